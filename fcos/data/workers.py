"""Loader processes that leave it to their parent what happens on SIGINT and SIGTERM.

They, or the parent where it loads by itself, keep the memory of one image for the next.
"""

from __future__ import annotations

import functools
import multiprocessing.util
import signal
import weakref
from collections.abc import Iterable, Iterator
from multiprocessing.process import BaseProcess
from typing import TypeVar

__all__ = ["start_iterating"]

T = TypeVar("T")

_workers: weakref.WeakSet[BaseProcess] = weakref.WeakSet()


def start_iterating(loader: Iterable[T]) -> Iterator[T]:
    """``iter(loader)``, but the processes that it starts do not react to SIGINT and SIGTERM.

    A terminal or a job scheduler sends these signals to the workers too. The parent answers them,
    perhaps by saving a checkpoint after the current iteration. If the workers died of them,
    PyTorch would raise an exception in the midst of that iteration.
    """
    _keep_freed_memory()
    others = set(multiprocessing.active_children())
    # Blocked signals are inherited: unlike a handler, this holds from a worker's first moment.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
    try:
        return iter(loader)
    finally:
        # Before a signal can come through: Python ends the workers left at its exit by SIGTERM, and
        # would wait for those that block it for ever.
        _kill_at_exit(set(multiprocessing.active_children()) - others)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@functools.cache  # once in a process is enough
def _keep_freed_memory() -> None:
    """Makes this process, and those forked from it, use the memory of one image for the next.

    glibc asks the system for each larger block anew and gives it back when it is freed. The system
    clears all of its pages, which took a quarter of the time of loading. From the largest such
    block that was freed, of 32 MiB at most, glibc learns to keep what is smaller, and up to twice
    as much in all: see M_MMAP_THRESHOLD in mallopt(3). Elsewhere this does nothing.
    """
    bytes(2**25 - 2**16)  # never touched, so of no cost


def _kill_at_exit(workers: set[BaseProcess]) -> None:
    if workers:
        _workers.update(workers)
        multiprocessing.util.Finalize(None, _kill_workers, exitpriority=0)


def _kill_workers() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # or PyTorch takes their end for a failure
    for worker in list(_workers):
        if worker.is_alive():
            worker.kill()
