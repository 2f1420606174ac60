"""Run a function in several processes that communicate."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from detectron2.utils import comm

__all__ = ["DEFAULT_TIMEOUT", "launch"]

DEFAULT_TIMEOUT = timedelta(minutes=30)


def launch(
    main_func: Callable[..., Any],
    num_gpus_per_machine: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str | None = None,
    args: tuple = (),
    timeout: timedelta = DEFAULT_TIMEOUT,
) -> None:
    """Run ``main_func(*args)`` in one process per GPU; call it once on every machine.

    With a single process in all, ``main_func`` is simply called.  Otherwise the processes are
    connected by NCCL, one GPU each, or by gloo on machines without GPUs.  Whatever ends one of
    them ends all of this machine's.

    Args:
        main_func: picklable, thus defined at the top level of a module.
        num_gpus_per_machine: processes per machine; without GPUs, any number of them.
        num_machines: machines in all.
        machine_rank: which of the machines this one is, counted from 0.
        dist_url: where the processes meet, such as ``tcp://10.0.0.1:29500``, an address of
            machine 0.  ``"auto"`` takes a free port of this machine.  ``None`` reads the
            environment variables MASTER_ADDR and MASTER_PORT.
        args: arguments of ``main_func``.
        timeout: how long a process waits for the others before it gives up.

    Raises:
        ValueError: more GPUs are asked for than there are, or ``dist_url`` does not say where to
            meet.
    """
    world_size = num_machines * num_gpus_per_machine
    if torch.cuda.is_available() and num_gpus_per_machine > torch.cuda.device_count():
        raise ValueError(
            f"{num_gpus_per_machine} GPUs per machine are asked for (--num-gpus), "
            f"but this machine has {torch.cuda.device_count()}"
        )
    if world_size <= 1:
        main_func(*args)
        return
    url = _meeting_point(dist_url, num_machines)
    mp.spawn(
        _run_worker,
        args=(main_func, args, world_size, num_gpus_per_machine, machine_rank, url, timeout),
        nprocs=num_gpus_per_machine,
    )


def _meeting_point(dist_url: str | None, num_machines: int) -> str:
    """``dist_url`` with "auto" and ``None`` resolved; errors as of ``launch``."""
    if dist_url is None:
        if not {"MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
            raise ValueError(
                'launch: several processes need a dist_url: "auto" on one machine, '
                "tcp://<address of machine 0>:<free port> on several"
            )
        return "env://"
    if dist_url == "auto":
        if num_machines > 1:
            raise ValueError(
                'launch: dist_url "auto" works on one machine only; '
                "with several, give all of them tcp://<address of machine 0>:<free port>"
            )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    if num_machines > 1 and dist_url.startswith("file://"):
        logging.getLogger(__name__).warning(
            "launch: a file:// dist_url is unreliable between machines, tcp:// is better"
        )
    return dist_url


def _run_worker(
    local_rank: int,
    main_func: Callable[..., Any],
    args: tuple,
    world_size: int,
    workers_per_machine: int,
    machine_rank: int,
    dist_url: str,
    timeout: timedelta,
) -> None:
    """Body of each process: join the others, then call ``main_func``."""
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        # Before all else: otherwise every process opens a context on GPU 0.
        torch.cuda.set_device(local_rank)
    try:
        dist.init_process_group(
            backend="nccl" if has_gpu else "gloo",
            init_method=dist_url,
            world_size=world_size,
            rank=machine_rank * workers_per_machine + local_rank,
            timeout=timeout,
        )
    except Exception:
        logging.getLogger(__name__).error("The processes did not find each other at %s", dist_url)
        raise
    comm.create_local_process_group(workers_per_machine)
    # Wait for processes that still start: later code may have a shorter timeout.
    comm.synchronize()
    main_func(*args)
    if dist.is_initialized():  # main_func may have left the group itself
        comm._leave_groups()
