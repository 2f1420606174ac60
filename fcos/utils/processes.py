"""Several processes, on one machine or many: check that they can start, run them, end them."""

from __future__ import annotations

import dataclasses
import functools
import os
import socket
import urllib.parse
from collections.abc import Callable, Sequence
from typing import Any

import torch

from fcos.utils.children import run_children
from fcos.utils.errors import UserError, short
from fcos.utils.joining import Ending, join, run_and_exit, run_joined
from fcos.utils.launched import REMEDIES, Place, launched

_MOST_PROCESSES = 512  # of a machine
_MOST_MACHINES = 100_000

__all__ = [
    "Ending",
    "Processes",
    "check_processes",
    "choose_processes",
    "run_and_exit",
    "run_processes",
]


@dataclasses.dataclass(frozen=True)
class Processes:
    """Which processes to start on this machine.

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

    def places(self) -> list[Place]:
        """Return the places of the processes of this machine."""
        host, port = meeting_point(self.dist_url)
        first = self.machine_rank * self.num_gpus
        return [
            Place(first + i, self.total, i, self.num_gpus, host, port) for i in range(self.num_gpus)
        ]


def meeting_point(dist_url: str) -> tuple[str, int]:
    """Return host and port of a --dist-url; for "auto" a free port of this machine.

    Raises:
        UserError: it is neither "auto" nor tcp://host:port.
    """
    if dist_url == "auto":
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return "127.0.0.1", probe.getsockname()[1]
    try:
        url = urllib.parse.urlsplit(dist_url)
        if url.scheme == "tcp" and url.hostname and url.port:
            return url.hostname, url.port
    except ValueError:  # the port is no number, or the address is incomplete
        pass
    raise UserError(f"--dist-url is {dist_url}: expected tcp://<machine>:<port>.")


def choose_processes(
    device: str,
    *,
    num_gpus: int | None = None,
    num_machines: int | None = None,
    machine_rank: int | None = None,
    dist_url: str | None = None,
    default_gpus: int = 1,
    advice: str = "",
) -> Processes | Place:
    """Choose the processes to start; or, where torchrun or srun has, the place of this one.

    Args:
        device: the value of MODEL.DEVICE, known to exist here.
        num_gpus, num_machines, machine_rank, dist_url: of the command line; ``None``: not given.
        default_gpus: for ``num_gpus``.
        advice: as of :func:`check_processes`.

    Raises:
        UserError: they could only fail, or contradict what the launcher has started.
    """
    place = launched()
    if place is not None and place.by == "srun" and place.world_size == num_machines and dist_url:
        place = None  # srun has started one program on each machine, which starts the processes
    if place is not None:
        if place.local_size is None and num_gpus is not None:
            place = dataclasses.replace(place, local_size=num_gpus)  # checked when they have met
        asked = (
            ("--num-gpus", num_gpus, place.local_size),
            ("--num-machines", num_machines, place.machines),
            ("--machine-rank", machine_rank, place.machine_rank),
            ("--dist-url", None if dist_url == "auto" else dist_url, place.url),
        )
        _check_asked(place, asked)
    if place is not None and place.world_size > 1:
        _check_place(place, device)
        return place
    processes = Processes(
        default_gpus if num_gpus is None else num_gpus,
        1 if num_machines is None else num_machines,
        machine_rank or 0,
        dist_url or "auto",
    )
    check_processes(processes, device, advice)
    return processes


def _check_asked(place: Place, asked: Sequence[tuple[str, Any, Any]]) -> None:
    for option, value, real in asked:
        if value is not None and real is not None and value != real:
            raise UserError(
                f"{option} {value} contradicts {place.by}, which started {place.world_size} "
                f"processes, for which it is {real}: leave {option} out; {REMEDIES[place.by]}."
            )


def _check_place(place: Place, device: str) -> None:
    """Refuse a GPU that this process, which a launcher has started, lacks."""
    wanted = torch.device(device)
    if wanted.type == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # or they would communicate through the GPUs
        return
    gpus = torch.cuda.device_count()
    needed = place.local_size or place.local_rank + 1
    if gpus < needed and not (place.by == "srun" and gpus == 1):
        raise UserError(
            f"{place.by} started {needed} processes on this machine, which has {gpus} GPUs: start "
            "one for each GPU."
        )
    if wanted.index is not None:
        raise UserError(_one_gpu(device, place.world_size))


def _one_gpu(device: str, number: int) -> str:
    kind = torch.device(device).type
    return (
        f"MODEL.DEVICE is {device}, but there are to be {number} processes, each with a GPU of its "
        f"own: set MODEL.DEVICE to {kind}, or ask for one process."
    )


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
    for name, asked, most in (
        ("--num-gpus", processes.num_gpus, _MOST_PROCESSES),
        ("--num-machines", processes.num_machines, _MOST_MACHINES),
    ):
        if asked > most:
            raise UserError(f"{name} is {short(str(asked), 20)}: ask for at most {most:,}.")
    if wanted.type == "cpu":
        if number > 1:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif processes.num_gpus > torch.cuda.device_count():
        raise UserError(
            f"--num-gpus {processes.num_gpus}, but this machine has {torch.cuda.device_count()}; "
            f"ask for at most that many{advice}."
        )
    elif number > 1 and wanted.index is not None:
        raise UserError(_one_gpu(device, number))
    meeting_point(processes.dist_url)
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


def run_processes(
    run: Callable[[], Ending],
    processes: Processes | Place,
    remedy: str = "Start again.",
) -> int:
    """Run the processes of this machine, or this one of a launcher, until they end.

    Args:
        run: called in each process; picklable.
        processes: as :func:`choose_processes` returns them.
        remedy: the sentence that says how to go on when a process has been killed.

    Returns:
        The exit code: 0, that of the first process that failed, or 128 + number of a signal. As
        one of a launcher's processes this one does not return; it exits.

    Raises:
        UserError: the processes cannot meet.
        Exception: what ``run`` raises, if there is a single process: then it is this one.
    """
    if isinstance(processes, Place):
        lines = join(processes, has_parent=False, remedy=remedy)
        run_and_exit(functools.partial(run_joined, run, lines))
    if processes.total <= 1:
        ending = run()
        ending.show()
        return ending.code
    return run_children(run, processes.places(), remedy)
