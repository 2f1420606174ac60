"""The processes of a group that this one starts, on this machine."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any

from fcos.utils import signals
from fcos.utils.errors import UserError
from fcos.utils.joining import Ending, join, run_and_exit, run_joined
from fcos.utils.launched import Place

__all__ = ["run_children"]

# One that is killed leaves a semaphore (tqdm has one), which Python removes, with a warning. And
# from torch 2.14 on, each would tell the user how fvcore compiles its losses.
_NOT_FOR_THE_USER = (
    "ignore:resource_tracker",
    "ignore:`torch.jit.script` is deprecated:FutureWarning",
)
_GRACE_S = 30  # for the others to end, when one has failed; they learn of it within milliseconds


def run_children(run: Callable[[], Ending], places: Sequence[Place], remedy: str) -> int:
    """Start a process at each place, and wait until all have ended.

    Args:
        run: called in each of them; picklable.
        places: one for each process.
        remedy: the sentence that says how to go on when one has been killed.

    Returns:
        The exit code: 0, that of the first process that failed, or 128 + number of a signal.
    """
    spawned = multiprocessing.get_context("spawn")
    have_begun = spawned.RawArray("b", len(places))
    children = [
        spawned.Process(target=_run_child, args=(run, place, have_begun, remedy))
        for place in places
    ]
    with _signals_passed_on(children, have_begun) as received:
        _start(children)
        if received:  # it came before all had been started
            for child in children:
                child.terminate()
        failed = _wait_for(children, have_begun)
    if received:
        return 128 + received[0]
    if failed is None:
        return 0
    code, place = children[failed].exitcode, places[failed]
    if code is None or code >= 0:  # it has said itself why
        return code or 1
    name = signal.Signals(-code).name
    why = ", perhaps because the memory was full" if name == "SIGKILL" else ""
    print(
        f"Rank {place.rank} of {place.world_size} processes was ended by {name}{why}, so the "
        f"others have ended too. {remedy}",
        file=sys.stderr,
        flush=True,
    )
    return 128 - code


def _start(children: Sequence[BaseProcess]) -> None:
    """Start processes that Ctrl-C cannot interrupt as they import: each would print a traceback."""
    set_before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join([*filter(None, [set_before]), *_NOT_FOR_THE_USER])
    try:
        with signals.blocked_in_children({signal.SIGINT}):
            for child in children:
                child.start()
    finally:
        del os.environ["PYTHONWARNINGS"]
        if set_before is not None:
            os.environ["PYTHONWARNINGS"] = set_before


def _wait_for(children: Sequence[BaseProcess], have_begun: Sequence[bool]) -> int | None:
    """Wait until all have ended; return the one that failed, and made the others end.

    It is one that a signal has ended, or that has another exit code than those that it made end.
    """
    deadline = float("inf")
    killed: set[int] = set()  # by this function
    while running := {n: child for n, child in enumerate(children) if child.exitcode is None}:
        # Not for ever: the sentinel of a killed process lives on in processes that it has forked.
        connection.wait([child.sentinel for child in running.values()], 0.2)
        if not any(child.exitcode for child in children):
            continue
        deadline = min(deadline, time.monotonic() + _GRACE_S)
        for number, child in running.items():
            if child.exitcode is not None:
                continue
            if not have_begun[number]:  # it waits for one that will not come
                child.terminate()
            elif time.monotonic() > deadline:
                child.kill()
            else:
                continue
            killed.add(number)
    codes = {n: child.exitcode or 0 for n, child in enumerate(children) if n not in killed}
    by_signal = min(codes, key=codes.__getitem__)
    failed = by_signal if codes[by_signal] < 0 else max(codes, key=codes.__getitem__)
    return failed if codes[failed] else None


def _run_child(run: Callable[[], Ending], place: Place, have_begun: Any, remedy: str) -> None:
    try:
        lines = join(place, has_parent=True, remedy=remedy)
    except UserError as error:
        if place.local_rank == 0 or not error.in_all_processes:
            print(f"Error: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
    have_begun[place.local_rank] = True
    run_and_exit(functools.partial(run_joined, run, lines))


@contextmanager
def _signals_passed_on(
    children: Sequence[BaseProcess], have_begun: Sequence[bool]
) -> Iterator[list[int]]:
    """Pass SIGTERM and SIGINT on to the other processes while this one waits for them.

    Args:
        children: the other processes.
        have_begun: for each of them, whether it handles SIGINT by now. Until all do, they get
            SIGTERM instead, which needs no handler.

    Yields:
        The signals received so far.
    """
    received: list[int] = []

    def pass_on(number: int, _: Any) -> None:
        received.append(number)
        if not all(have_begun):
            number = signal.SIGTERM
        for child in children:
            if child.pid is not None and child.exitcode is None:
                os.kill(child.pid, number)

    previous = {n: signal.signal(n, pass_on) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
