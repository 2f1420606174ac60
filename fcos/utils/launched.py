"""Which process of a group this is, where torchrun, srun or another launcher has started it."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping

from fcos.utils.errors import UserError

__all__ = ["REMEDIES", "Place", "first_host", "launched", "torchrun_rank"]

# What to do where the variables of a launcher are not what they should be.
REMEDIES = {
    "torchrun": "to run without torchrun: unset RANK WORLD_SIZE LOCAL_RANK",
    "srun": "to run a single process: srun --ntasks=1",
}
# Set by srun for what it starts; sbatch and salloc set SLURM_NTASKS and SLURM_PROCID without it.
_OF_SRUN = (
    *("SLURM_STEP_NUM_TASKS", "SLURM_STEP_NODELIST", "SLURM_STEP_ID", "SLURM_STEPID"),
    *("SLURM_LAUNCH_NODE_IPADDR", "SLURM_SRUN_COMM_HOST"),
)


@dataclasses.dataclass(frozen=True)
class Place:
    """The place of one process in a group, and where the group meets.

    Attributes:
        rank: number of this process, from 0.
        world_size: number of processes in all.
        local_rank: number of this process among those of its machine, from 0.
        local_size: processes of this machine; ``None`` until the processes have met.
        host, port: where they meet: an address of the machine of rank 0.
        by: the launcher that has set the variables, "torchrun" or "srun"; "": this program itself.
    """

    rank: int
    world_size: int
    local_rank: int
    local_size: int | None
    host: str
    port: int
    by: str = ""

    @property
    def machines(self) -> int | None:
        """Number of machines; ``None`` where ``local_size`` is."""
        return self.world_size // self.local_size if self.local_size else None

    @property
    def machine_rank(self) -> int | None:
        """Number of this machine, from 0; ``None`` where ``local_size`` is."""
        return self.rank // self.local_size if self.local_size else None

    @property
    def url(self) -> str:
        """Where the processes meet, as torch takes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"


def launched(environ: Mapping[str, str] = os.environ) -> Place | None:
    """Return the place that a launcher has given this process; ``None`` without a launcher.

    Variables of torchrun come first: it may itself have been started by srun.

    Args:
        environ: the environment.

    Raises:
        UserError: variables are missing or contradict each other.
    """
    if any(name in environ for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")):
        return _of_torchrun(environ)
    return _of_srun(environ)


def torchrun_rank(environ: Mapping[str, str] = os.environ) -> tuple[int, int] | None:
    """Return rank and number of the processes that torchrun has started; ``None`` for one alone."""
    words = environ.get("RANK", ""), environ.get("WORLD_SIZE", "")
    if not all(word.isdecimal() for word in words):
        return None
    rank, world_size = map(int, words)
    return (rank, world_size) if world_size > 1 else None


def _of_torchrun(environ: Mapping[str, str]) -> Place:
    needed = ["RANK", "WORLD_SIZE", "LOCAL_RANK"]
    if environ.get("WORLD_SIZE") != "1":
        needed += ["MASTER_ADDR", "MASTER_PORT"]
    read = _Variables(environ, needed, REMEDIES["torchrun"])
    local_size = read.number("LOCAL_WORLD_SIZE") if "LOCAL_WORLD_SIZE" in environ else None
    place = Place(
        rank=read.number("RANK"),
        world_size=read.number("WORLD_SIZE"),
        local_rank=read.number("LOCAL_RANK"),
        local_size=local_size,
        host=environ.get("MASTER_ADDR", "127.0.0.1"),
        port=read.port("MASTER_PORT", default=0),
        by="torchrun",
    )
    _check(place, "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    return place


def _of_srun(environ: Mapping[str, str]) -> Place | None:
    is_of_srun = any(name in environ for name in _OF_SRUN)
    tasks = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environ else "SLURM_NTASKS"
    if not is_of_srun or environ.get(tasks, "1") == "1":
        return None
    read = _Variables(environ, ["SLURM_PROCID", "SLURM_LOCALID"], REMEDIES["srun"])
    # "4(x2)": two machines with 4 processes each.
    each = re.fullmatch(r"(\d+)(\(x\d+\))?", environ.get("SLURM_STEP_TASKS_PER_NODE", ""))
    place = Place(
        rank=read.number("SLURM_PROCID"),
        world_size=read.number(tasks),
        local_rank=read.number("SLURM_LOCALID"),
        local_size=int(each[1]) if each else None,
        host=environ.get("MASTER_ADDR") or _first_machine(environ),
        port=read.port("MASTER_PORT", default=_port_of_job(environ)),
        by="srun",
    )
    _check(place, "SLURM_PROCID", tasks, "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE")
    return place


def _first_machine(environ: Mapping[str, str]) -> str:
    for name in ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST"):
        if environ.get(name):
            hosts = environ[name]
            # The name of the only machine may be known to SLURM alone.
            return first_host(hosts) if re.search(r"[,\[]", hosts) else "127.0.0.1"
    if environ.get("SLURM_LAUNCH_NODE_IPADDR"):
        return environ["SLURM_LAUNCH_NODE_IPADDR"]
    raise UserError(
        "srun started several processes, but neither MASTER_ADDR nor SLURM_STEP_NODELIST says "
        "where they meet: set MASTER_ADDR to the name of the first machine."
    )


def first_host(hosts: str) -> str:
    """Return the first name of a list of SLURM: "gpu03" of "gpu[03-05,9],cpu1"."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", hosts)
    assert first is not None  # it matches ""
    return re.sub(r"\[([^\],-]*)[^\]]*\]", r"\1", first[0])


def _port_of_job(environ: Mapping[str, str]) -> int:
    """Choose the port of a step of a job: below those that Linux gives to whoever asks for any."""
    numbers = [environ.get(name, "") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID")]
    job, step = (int(word) if word.isdecimal() else 0 for word in numbers)
    return 20000 + (7 * job + step) % 10000


class _Variables:
    """Numbers in the environment; ``remedy`` ends the sentence about one that is wrong."""

    def __init__(self, environ: Mapping[str, str], needed: list[str], remedy: str) -> None:
        self._environ, self._remedy = environ, remedy
        missing = [name for name in needed if not environ.get(name)]
        if missing:
            present = ", ".join(name for name in needed if name not in missing)
            raise UserError(
                f"The environment says that this is one of several processes ({present} set), but "
                f"lacks {', '.join(missing)}; {remedy}."
            )

    def number(self, name: str) -> int:
        word = self._environ[name]
        if not word.isdecimal():
            raise UserError(
                f"{name} in the environment is {word!r}: expected a number from 0; {self._remedy}."
            )
        return int(word)

    def port(self, name: str, default: int) -> int:
        port = self.number(name) if self._environ.get(name) else default
        if port > 65535 or (port == 0 and self._environ.get(name)):
            raise UserError(f"{name} in the environment is {port}: a port is from 1 to 65535.")
        return port


def _check(place: Place, rank: str, size: str, local_rank: str, local: str) -> None:
    local_size = place.world_size if place.local_size is None else place.local_size
    pairs = (
        (place.rank < place.world_size, f"{rank} is {place.rank}, {size} {place.world_size}"),
        (
            place.local_rank < local_size,
            f"{local_rank} is {place.local_rank}, {local} {local_size}",
        ),
        (
            place.local_rank <= place.rank,
            f"{local_rank} is {place.local_rank}, {rank} {place.rank}",
        ),
        (
            0 < local_size <= place.world_size,
            f"{local} is {local_size}, {size} {place.world_size}",
        ),
    )
    for is_right, found in pairs:
        if not is_right:
            raise UserError(f"In the environment {found}, which cannot be; {REMEDIES[place.by]}.")
