"""Loader processes that leave it to their parent what happens on SIGINT and SIGTERM."""

from __future__ import annotations

import multiprocessing.util
import signal
import weakref
from collections.abc import Iterable, Iterator
from multiprocessing.process import BaseProcess
from typing import TypeVar

from fcos.utils.memory import keep_freed_memory

__all__ = ["start_iterating"]

T = TypeVar("T")

_workers: weakref.WeakSet[BaseProcess] = weakref.WeakSet()


def start_iterating(loader: Iterable[T]) -> Iterator[T]:
    """``iter(loader)``, but the processes that it starts do not react to SIGINT and SIGTERM.

    A terminal or a job scheduler sends these signals to the workers too. The parent answers them,
    perhaps by saving a checkpoint after the current iteration. If the workers died of them,
    PyTorch would raise an exception in the midst of that iteration.

    This process, and with it those it starts, keep freed memory: the pages of images are a quarter
    of the time of loading them.
    """
    keep_freed_memory()
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


def _kill_at_exit(workers: set[BaseProcess]) -> None:
    if workers:
        _workers.update(workers)
        multiprocessing.util.Finalize(None, _kill_workers, exitpriority=0)


def _kill_workers() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # or PyTorch takes their end for a failure
    for worker in list(_workers):
        if worker.is_alive():
            worker.kill()
