"""One process of a group: join the others, run, and end when they do."""

from __future__ import annotations

import atexit
import dataclasses
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

import torch

from detectron2.engine.launch import DEFAULT_TIMEOUT
from detectron2.utils import comm
from fcos.utils import signals
from fcos.utils.errors import UserError, one_line
from fcos.utils.launched import REMEDIES, Place
from fcos.utils.lifelines import Lifelines

__all__ = ["Ending", "join", "run_and_exit", "run_joined"]

_HINT_S = 20  # that a process waits for the others before it says so


@dataclasses.dataclass(frozen=True)
class Ending:
    """How a process ends.

    Attributes:
        code: exit code.
        text: printed on stderr; "" for nothing.
        is_shared: every process ends like this: they wait for each other, and the first of each
            machine prints the text. Otherwise the others are ended when this process has.
    """

    code: int = 0
    text: str = ""
    is_shared: bool = True

    def show(self) -> None:
        """Print the text."""
        if self.text:
            print(self.text, file=sys.stderr, flush=True)


def join(place: Place, has_parent: bool, remedy: str) -> Lifelines:
    """Join the other processes of the group, over NCCL or, without GPUs, over gloo.

    Args:
        place: of this process.
        has_parent, remedy: as of :class:`fcos.utils.lifelines.Lifelines`.

    Returns:
        The connections that tell when another process has ended.

    Raises:
        UserError: the processes cannot meet, or not as they are numbered.
    """
    _wait_for_others(place)
    try:
        local_ranks = comm.all_gather(place.local_rank)
        local_size = max(local_ranks) + 1
        machines, rest = divmod(place.world_size, local_size)
        is_numbered = not rest and local_ranks == list(range(local_size)) * machines
        if not is_numbered or place.local_size not in (None, local_size):
            error = UserError(
                "Each machine needs equally many processes, whose ranks follow one another; the "
                f"local ranks of ranks 0, 1, ... are {', '.join(map(str, local_ranks))}. With "
                "srun: --ntasks-per-node and --distribution=block."
            )
            error.in_all_processes = True
            raise error
        comm.create_local_process_group(local_size)
        comm.synchronize()  # later code may have a shorter timeout
        lines = Lifelines(dataclasses.replace(place, local_size=local_size), has_parent, remedy)
        lines.meet(comm.all_gather)
    except RuntimeError as error:  # torch's, of a connection that has ended
        raise UserError(f"The processes lost each other at the start: {one_line(error)}") from error
    return lines


def _wait_for_others(place: Place) -> None:
    """Make the process group. In a thread, because torch lets no signal through as it waits."""
    errors: list[Exception] = []
    has_met = threading.Event()
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        # srun may let each process see its own GPU alone.
        torch.cuda.set_device(place.local_rank if torch.cuda.device_count() > 1 else 0)

    def meet() -> None:
        try:
            where = f"{place.url}?rank={place.rank}&world_size={place.world_size}"
            store, *_ = next(torch.distributed.rendezvous(where, timeout=DEFAULT_TIMEOUT))
            # torchrun keeps one store for all its restarts: in it are addresses of processes that
            # have ended, which these would wait for.
            attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
            torch.distributed.init_process_group(
                "nccl" if has_gpu else "gloo",
                store=torch.distributed.PrefixStore(f"attempt {attempt}", store),
                rank=place.rank,
                world_size=place.world_size,
                timeout=DEFAULT_TIMEOUT,
            )
        except Exception as error:
            errors.append(error)
        has_met.set()

    threading.Thread(target=meet, daemon=True).start()
    is_alone = not place.by and place.local_size == place.world_size  # they start together
    if not has_met.wait(None if is_alone else _HINT_S):
        hint = f"; {REMEDIES[place.by]}" if place.by else ""
        print(
            f"Rank {place.rank} waits at {place.url} for the others of {place.world_size} "
            f"processes, {DEFAULT_TIMEOUT.seconds // 60} minutes at most{hint}.",
            file=sys.stderr,
            flush=True,
        )
        has_met.wait()
    if errors:
        raise UserError(_no_meeting(place, errors[0])) from errors[0]


def _no_meeting(place: Place, error: Exception) -> str:
    where = "MASTER_ADDR and MASTER_PORT" if place.by else "--dist-url"
    if "EADDRINUSE" in str(error):
        return (
            f"Port {place.port} of this machine, where the processes were to meet, is in use: "
            f"choose another ({where})."
        )
    return (
        f"Rank {place.rank} of {place.world_size} processes met no others at {place.url} "
        f"({where}): {one_line(error)}"
    )


class _Interrupt:
    """Handler of SIGINT: raise KeyboardInterrupt, but only once per Ctrl-C.

    A terminal sends Ctrl-C to every process, and the process that started them passes it on as
    well. The second signal would interrupt the clean-up that the first one started.
    """

    def __init__(self) -> None:
        self._since = -math.inf

    def __call__(self, number: int, frame: Any) -> None:
        if time.monotonic() - self._since > 1:
            self._since = time.monotonic()
            raise KeyboardInterrupt


def run_joined(run: Callable[[], Ending], lines: Lifelines) -> int:
    """Run this process's part and end with the others; return the exit code.

    Args:
        run: returns how to end.
        lines: to the others.
    """
    try:
        signal.signal(signal.SIGINT, _Interrupt())
        signals.unblock({signal.SIGINT})
    except KeyboardInterrupt:  # it came while this process was importing
        return 128 + signal.SIGINT
    try:
        ending = run()
    except KeyboardInterrupt:
        lines.fail(128 + signal.SIGINT)
        return 128 + signal.SIGINT
    except BaseException:
        lines.wait_for_news()  # it may be that another process has ended
        lines.fail(1)
        raise
    # By now it ends by itself. Ended half-way by the launcher, it would leave semaphores (tqdm has
    # one) that Python warns of.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if ending.is_shared:
        if comm.get_local_rank() == 0:
            ending.show()
        lines.part()
    else:
        lines.wait_for_news(1)
        ending.show()
        lines.fail(ending.code)
    return ending.code


def run_and_exit(run: Callable[[], int]) -> NoReturn:
    """Run a process of a process group, leave the group, and exit before Python shuts down.

    While Python shuts down, a thread that asks for its lock is stopped. A thread of gloo asks for
    the lock to free the tensors of the last collective; stopped there, in C++, it aborts the
    process. So the last exit handler ends the process.

    Args:
        run: returns the exit code. Exit handlers that it registers are run.
    """
    code = 1  # if ``run`` raises

    def exit_at_once() -> None:
        logging.shutdown()  # registered earlier, so it would run later
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    atexit.register(exit_at_once)  # the first to be registered is the last to be run
    code = run()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # After an error NCCL would wait for the other processes, which may never come.
    if code == 0 or torch.distributed.get_backend() == "gloo":
        torch.distributed.destroy_process_group()
    sys.exit(code)
