"""Several processes, on one machine or many: check that they can start, run them, end them."""

from __future__ import annotations

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
from contextlib import contextmanager, suppress
from multiprocessing.synchronize import Barrier
from threading import BrokenBarrierError
from typing import Any, NoReturn

import torch
from torch.multiprocessing import ProcessExitedException

from detectron2.engine import launch
from detectron2.utils import comm
from fcos.utils.errors import UserError

__all__ = ["Ending", "Processes", "check_processes", "run_and_exit", "run_processes"]

_PATIENCE = 30  # seconds that a process which has ended waits for the others


@dataclasses.dataclass(frozen=True)
class Processes:
    """Which processes to run, as detectron2's ``launch`` takes them.

    Attributes:
        num_gpus: processes of each machine; with GPUs, each has one.
        num_machines: in all.
        machine_rank: number of this machine, from 0.
        dist_url: where the processes meet: tcp://host:port, or "auto" on a single machine.
    """

    num_gpus: int = 1
    num_machines: int = 1
    machine_rank: int = 0
    dist_url: str = "auto"

    @property
    def total(self) -> int:
        """The processes of all machines."""
        return self.num_gpus * self.num_machines


def check_processes(processes: Processes, device: str, advice: str = "") -> None:
    """Refuse processes that could only fail, each with a traceback of its own.

    With MODEL.DEVICE cpu and several processes, hide the GPUs from them: otherwise they would
    communicate through the GPUs.

    Args:
        processes: those to start.
        device: the value of MODEL.DEVICE, known to exist here.
        advice: what else to change when there are fewer GPUs.

    Raises:
        UserError: there are too few GPUs, ``device`` is one particular GPU for several processes,
            or the machines cannot meet.
    """
    wanted, number = torch.device(device), processes.total
    if processes.num_gpus < 0 or processes.num_machines < 1:
        raise UserError("--num-gpus must not be negative, and --num-machines at least 1.")
    if wanted.type == "cpu":
        if number > 1:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif processes.num_gpus > torch.cuda.device_count():
        raise UserError(
            f"--num-gpus {processes.num_gpus}, but this machine has {torch.cuda.device_count()}; "
            f"ask for at most that many{advice}."
        )
    elif number > 1 and wanted.index is not None:
        raise UserError(
            f"MODEL.DEVICE is {device}, but there are to be {number} processes, each with a GPU of "
            f"its own: set MODEL.DEVICE to {wanted.type}, or ask for one process."
        )
    if processes.num_machines > 1 and processes.dist_url == "auto":
        raise UserError(
            "Several machines need an address to meet at: give the same --dist-url "
            "tcp://<first machine>:<free port> on each, and --machine-rank 0, 1, ..."
        )
    if not 0 <= processes.machine_rank < processes.num_machines:
        raise UserError(
            f"--machine-rank {processes.machine_rank} is not one of 0 to "
            f"{processes.num_machines - 1}."
        )


@dataclasses.dataclass(frozen=True)
class Ending:
    """How a process ends.

    Attributes:
        code: exit code.
        text: printed on stderr; "" for nothing.
        is_shared: every process ends like this: they wait for each other, and the first prints the
            text. Otherwise the others are ended when this process has.
    """

    code: int = 0
    text: str = ""
    is_shared: bool = True


def run_processes(run: Callable[[], Ending], processes: Processes) -> int:
    """Start the processes of this machine, wait until they end, and print their texts.

    Args:
        run: called in each process; picklable.
        processes: those to run.

    Returns:
        The exit code: 0, that of the first process that failed, or 128 + number of a signal.

    Raises:
        Exception: what ``run`` raises, if there is a single process: then it is this one.
    """
    if processes.total <= 1:
        ending = run()
        _print(ending.text)
        return ending.code
    spawned = multiprocessing.get_context("spawn")
    has_printed = spawned.Value("b", False)  # its lock lets one process print at a time
    have_begun = spawned.RawArray("b", processes.num_gpus)
    all_ended = spawned.Barrier(processes.num_gpus)
    # A process inherits the signal mask of the thread that starts it. With SIGINT blocked there,
    # Ctrl-C cannot interrupt the imports of a new process, which would print a traceback.
    starter = ThreadPoolExecutor(1, initializer=_mask_interrupts, initargs=(signal.SIG_BLOCK,))
    with starter, _signals_passed_on(have_begun) as received:
        try:
            starter.submit(
                launch,
                _run_child,
                processes.num_gpus,
                args=(run, has_printed, have_begun, all_ended),
                dist_url=processes.dist_url,
                machine_rank=processes.machine_rank,
                num_machines=processes.num_machines,
            ).result()
        except ProcessExitedException as error:
            if not received:
                return error.exit_code if error.exit_code > 0 else 128 - error.exit_code
    return 128 + received[0] if received else 0


def _mask_interrupts(how: int) -> None:
    signal.pthread_sigmask(how, {signal.SIGINT})


class _Interrupt:
    """Handler of SIGINT: raise KeyboardInterrupt, but only once per Ctrl-C.

    A terminal sends Ctrl-C to every process, and the first process passes it on to the others as
    well. The second signal would interrupt the clean-up that the first one started.
    """

    def __init__(self) -> None:
        self._since = -math.inf

    def __call__(self, number: int, frame: Any) -> None:
        if time.monotonic() - self._since > 1:
            self._since = time.monotonic()
            raise KeyboardInterrupt


def _run_child(
    run: Callable[[], Ending], has_printed: Any, have_begun: Any, all_ended: Barrier
) -> None:
    def run_to_its_end() -> int:
        have_begun[comm.get_local_rank()] = True
        signal.signal(signal.SIGINT, _Interrupt())
        try:
            _mask_interrupts(signal.SIG_UNBLOCK)
        except KeyboardInterrupt:  # it came while this process was importing
            return 128 + signal.SIGINT
        ending = run()
        with has_printed.get_lock():
            if not (ending.is_shared and has_printed.value):
                _print(ending.text)
            has_printed.value = has_printed.value or (ending.is_shared and bool(ending.text))
        if ending.is_shared:
            # ``launch`` ends the others by SIGTERM when one has failed, half-way through what they
            # still close and tidy up. One that does not come is left to ``launch``.
            with suppress(BrokenBarrierError):
                all_ended.wait(_PATIENCE)
        return ending.code

    run_and_exit(run_to_its_end)


def _print(text: str) -> None:
    if text:
        print(text, file=sys.stderr, flush=True)


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
    # By now it ends by itself. Ended half-way by the launcher, it would leave semaphores (tqdm has
    # one) that Python warns of.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # After an error NCCL would wait for the other processes, which may never come.
    if code == 0 or torch.distributed.get_backend() == "gloo":
        torch.distributed.destroy_process_group()
    sys.exit(code)


@contextmanager
def _signals_passed_on(have_begun: Sequence[bool]) -> Iterator[list[int]]:
    """Pass SIGTERM and SIGINT on to the other processes while this one waits for them.

    Args:
        have_begun: for each process, whether it handles SIGINT by now. Until all do, they get
            SIGTERM instead, which needs no handler.

    Yields:
        The signals received so far.
    """
    received: list[int] = []

    def pass_on(number: int, _: Any) -> None:
        received.append(number)
        if not all(have_begun):
            number = signal.SIGTERM
        for child in multiprocessing.active_children():
            if child.pid is not None:
                os.kill(child.pid, number)

    # It would log every process that it ends after the first one has failed.
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)
    previous = {n: signal.signal(n, pass_on) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
