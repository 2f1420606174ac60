"""Several processes, on one machine or many: refused before they start, started, and ended."""

from __future__ import annotations

import argparse
import atexit
import dataclasses
import logging
import math
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from torch.multiprocessing import ProcessExitedException

from detectron2.engine import launch
from detectron2.utils import comm
from fcos.utils.errors import UserError

__all__ = ["Ending", "check_processes", "end_process", "run_processes"]

# In all functions, ``args`` has detectron2's num_gpus, num_machines, machine_rank and dist_url.


def check_processes(args: argparse.Namespace, device: str, advice: str = "") -> None:
    """Refuse what the other processes could only answer with a traceback each.

    Args:
        args: the processes that are asked for.
        device: the value of MODEL.DEVICE, known to exist here.
        advice: what else to do when there are fewer GPUs.

    Raises:
        UserError: there are not as many GPUs, ``device`` is one of them, or the machines cannot
            meet.
    """
    wanted, number = torch.device(device), args.num_gpus * args.num_machines
    if args.num_gpus < 0 or args.num_machines < 1:
        raise UserError("--num-gpus must not be negative, and --num-machines at least 1.")
    if wanted.type == "cpu":
        if number > 1:
            # Otherwise a machine with GPUs would join its processes by them.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif args.num_gpus > torch.cuda.device_count():
        raise UserError(
            f"--num-gpus {args.num_gpus}, but this machine has {torch.cuda.device_count()}; ask "
            f"for at most that many{advice}."
        )
    elif number > 1 and wanted.index is not None:
        raise UserError(
            f"MODEL.DEVICE is {device}, but there are to be {number} processes, each with a GPU of "
            f"its own: set MODEL.DEVICE to {wanted.type}, or ask for one process."
        )
    if args.num_machines > 1 and args.dist_url == "auto":
        raise UserError(
            "Several machines need an address to meet at: give the same --dist-url "
            "tcp://<first machine>:<free port> on each, and --machine-rank 0, 1, ..."
        )
    if not 0 <= args.machine_rank < args.num_machines:
        raise UserError(
            f"--machine-rank {args.machine_rank} is not one of 0 to {args.num_machines - 1}."
        )


@dataclasses.dataclass(frozen=True)
class Ending:
    """How a process ends.

    Attributes:
        code: exit code.
        text: what the user has to know, for stderr; "" is nothing.
        is_shared: every process ends so, and one of them says it. It is whichever comes first,
            since the first one that fails is the end of the others.
    """

    code: int = 0
    text: str = ""
    is_shared: bool = True


def run_processes(process: Callable[[argparse.Namespace], Ending], args: argparse.Namespace) -> int:
    """Start this machine's processes, wait for their end, and say what they have to say.

    Args:
        process: called with ``args`` in each; picklable.
        args: picklable.

    Returns:
        The exit code: 0, or that of the first process that failed, or 128 + number of a signal.

    Raises:
        Exception: what a single ``process`` raises, which is run in this very one.
    """
    if args.num_gpus * args.num_machines <= 1:
        ending = process(args)
        _say(ending.text)
        return ending.code
    spawned = multiprocessing.get_context("spawn")
    has_spoken = spawned.Value("b", False)  # its lock lets one of them speak at a time
    have_begun = spawned.RawArray("b", args.num_gpus)
    # A thread's own signal mask is that of the processes it starts: the imports of these, whose
    # traceback would be all that is seen, are not interrupted.
    starter = ThreadPoolExecutor(1, initializer=_mask_interrupts, initargs=(signal.SIG_BLOCK,))
    with starter, _handing_signals_on(have_begun) as received:
        try:
            starter.submit(
                launch,
                _run_and_end,
                args.num_gpus,
                args=(process, args, has_spoken, have_begun),
                dist_url=args.dist_url,
                machine_rank=args.machine_rank,
                num_machines=args.num_machines,
            ).result()
        except ProcessExitedException as error:
            if not received:
                return error.exit_code if error.exit_code > 0 else 128 - error.exit_code
    return 128 + received[0] if received else 0


def _mask_interrupts(how: int) -> None:
    signal.pthread_sigmask(how, {signal.SIGINT})


class _Interrupt:
    """KeyboardInterrupt for SIGINT, but one for a Ctrl-C that is told twice.

    A terminal sends it to every process, and the first process hands it on once more: while a
    process tidies up after the one, the other would be a traceback.
    """

    def __init__(self) -> None:
        self._since = -math.inf

    def __call__(self, number: int, frame: Any) -> None:
        if time.monotonic() - self._since > 1:
            self._since = time.monotonic()
            raise KeyboardInterrupt


def _run_and_end(
    process: Callable[[argparse.Namespace], Ending],
    args: argparse.Namespace,
    has_spoken: Any,
    have_begun: Any,
) -> None:
    have_begun[comm.get_local_rank()] = True
    signal.signal(signal.SIGINT, _Interrupt())
    try:
        _mask_interrupts(signal.SIG_UNBLOCK)
    except KeyboardInterrupt:  # one that came before
        end_process(128 + signal.SIGINT)
    ending = process(args)
    with has_spoken.get_lock():
        if not (ending.is_shared and has_spoken.value):
            _say(ending.text)
        has_spoken.value = has_spoken.value or (ending.is_shared and bool(ending.text))
    end_process(ending.code)


def _say(text: str) -> None:
    if text:
        print(text, file=sys.stderr, flush=True)


def end_process(code: int) -> NoReturn:
    """Part from the other processes and end this one, which ``launch`` has started.

    The exit handlers run, but Python's own end is left out: it stops every thread that asks for
    the interpreter's lock, and a thread of gloo does so when it lets go of the last collective's
    tensors. Stopped there, in C++, it aborts the process.

    Args:
        code: exit code of the process.
    """
    # NCCL waits for the others here, who may never come after an error.
    if code == 0 or torch.distributed.get_backend() == "gloo":
        torch.distributed.destroy_process_group()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextmanager
def _handing_signals_on(have_begun: Sequence[bool]) -> Iterator[list[int]]:
    """While this process only waits for others, they get the signals it gets.

    Args:
        have_begun: for each of them, whether it has an answer to SIGINT. Before all have, SIGTERM,
            which needs none, takes its place.

    Yields:
        The signals so far.
    """
    received: list[int] = []

    def hand_on(number: int, _: Any) -> None:
        received.append(number)
        if not all(have_begun):
            number = signal.SIGTERM
        for child in multiprocessing.active_children():
            if child.pid is not None:
                os.kill(child.pid, number)

    # It would report each process that it ends after the first one left.
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)
    previous = {n: signal.signal(n, hand_on) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
