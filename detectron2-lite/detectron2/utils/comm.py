"""Communication between the processes of a training; all of it works with one process too."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from detectron2._missing import missing_names

__getattr__ = missing_names(__name__)

# The processes of this machine, among them; made by create_local_process_group.
_local_group: dist.ProcessGroup | None = None


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def get_world_size() -> int:
    """Number of processes, on all machines."""
    return dist.get_world_size() if _is_distributed() else 1


def get_rank() -> int:
    """Number of this process among all, from 0."""
    return dist.get_rank() if _is_distributed() else 0


def is_main_process() -> bool:
    """Whether this is process 0, the one that logs and writes."""
    return get_rank() == 0


def create_local_process_group(num_workers_per_machine: int) -> None:
    """Tell which processes share a machine; ``detectron2.engine.launch`` calls it.

    Every process calls it, after ``torch.distributed.init_process_group``.

    Args:
        num_workers_per_machine: number of processes on each machine; ranks on one machine follow
            one another.
    """
    global _local_group
    world_size = dist.get_world_size()
    assert world_size % num_workers_per_machine == 0, (
        f"{world_size} processes do not divide into machines of {num_workers_per_machine}"
    )
    machine = dist.get_rank() // num_workers_per_machine
    for first in range(0, world_size, num_workers_per_machine):
        # new_group has to be called in every process for every group.
        group = dist.new_group(list(range(first, first + num_workers_per_machine)))
        if first == machine * num_workers_per_machine:
            _local_group = group


def get_local_process_group() -> dist.ProcessGroup:
    """The group of the processes on this machine.

    Raises:
        AssertionError: nobody has called ``create_local_process_group``.
    """
    assert _local_group is not None, (
        "The processes of this machine are not known: start them with detectron2.engine.launch, "
        "or call detectron2.utils.comm.create_local_process_group(num_workers_per_machine) after "
        "torch.distributed.init_process_group"
    )
    return _local_group


def get_local_rank() -> int:
    """Number of this process among those of its machine, from 0."""
    return dist.get_rank(group=get_local_process_group()) if _is_distributed() else 0


def get_local_size() -> int:
    """Number of processes on this machine."""
    return dist.get_world_size(group=get_local_process_group()) if _is_distributed() else 1


def synchronize() -> None:
    """Wait until every process has come to this call."""
    if get_world_size() == 1:
        return
    if dist.get_backend() == "nccl":
        # Without the device, NCCL guesses which GPU this process uses.
        dist.barrier(device_ids=[torch.cuda.current_device()])
    else:
        dist.barrier()


@functools.lru_cache
def _cpu_group() -> dist.ProcessGroup | None:
    """All processes over gloo: pickled objects go through main memory, whatever the backend."""
    if dist.get_backend() == "gloo":
        return None  # the default group
    return dist.new_group(backend="gloo")


def _leave_groups() -> None:
    """End the groups and their threads; the last thing that a process does with others.

    A thread of gloo that runs for longer than Python may abort the process. It ends with the last
    reference to its group.
    """
    global _local_group
    _local_group = None
    _cpu_group.cache_clear()
    dist.destroy_process_group()


def all_gather(data: Any, group: dist.ProcessGroup | None = None) -> list[Any]:
    """Gather a value from every process, ordered by rank, on every process.

    Args:
        data: any object that pickles; tensors keep their device.
        group: the processes that take part; None for all.
    """
    if get_world_size() == 1:
        return [data]
    group = group or _cpu_group()
    gathered: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(gathered, data, group=group)
    return gathered


def gather(data: Any, dst: int = 0, group: dist.ProcessGroup | None = None) -> list[Any]:
    """Gather a value from every process, ordered by rank, on ``dst``; elsewhere an empty list.

    Args:
        data: any object that pickles.
        dst: rank of the process that receives.
        group: the processes that take part; None for all.
    """
    if get_world_size() == 1:
        return [data]
    group = group or _cpu_group()
    is_receiver = dist.get_rank() == dst
    gathered: list[Any] | None = [None] * dist.get_world_size(group) if is_receiver else None
    dist.gather_object(data, gathered, dst=dst, group=group)
    return gathered or []


def shared_random_seed() -> int:
    """A random number that is the same on every process; all of them have to call this.

    It is drawn from numpy's global generator of process 0.
    """
    return all_gather(np.random.randint(2**31))[0]


def reduce_dict(input_dict: dict[str, Tensor], average: bool = True) -> dict[str, Tensor]:
    """The sum over all processes of each value; only process 0 gets it.

    Args:
        input_dict: scalar tensors, under the same keys on every process.
        average: divide by the number of processes.

    Returns:
        A dict of the same keys (sorted); on other processes than 0 its values mean nothing. With
        one process, ``input_dict`` itself.
    """
    world_size = get_world_size()
    if world_size == 1 or not input_dict:
        return input_dict
    names = sorted(input_dict)
    with torch.no_grad():
        values = torch.stack([input_dict[name] for name in names])
        dist.reduce(values, dst=0)
        if average and dist.get_rank() == 0:
            values /= world_size
    return dict(zip(names, values, strict=True))
