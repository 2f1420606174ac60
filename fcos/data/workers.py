"""Loader processes that leave it to their parent what happens on SIGINT and SIGTERM."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing.util
import signal
import weakref
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.process import BaseProcess
from typing import TypeVar

from torch.utils.data import DataLoader

from fcos.utils import signals
from fcos.utils.memory import keep_freed_memory

__all__ = ["start_iterating"]

T = TypeVar("T")

_BLOCKED = (signal.SIGINT, signal.SIGTERM)

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
    with signals.blocked_in_children(_BLOCKED):
        try:
            with _workers_as_this(loader):
                return iter(loader)
        finally:
            # Before a signal can come through: Python ends the workers left at its exit by SIGTERM,
            # and would wait for those that block it for ever.
            _kill_at_exit(set(multiprocessing.active_children()) - others)


@contextlib.contextmanager
def _workers_as_this(loader: Iterable[T]) -> Iterator[None]:
    """Not forked from this process but from a server, or spawned, they are told how it is set."""
    if not isinstance(loader, DataLoader):
        yield
        return
    given = loader.worker_init_fn
    loader.worker_init_fn = functools.partial(_begin_worker, given)
    try:
        yield
    finally:
        loader.worker_init_fn = given


def _begin_worker(given: Callable[[int], None] | None, number: int) -> None:
    signals.block(_BLOCKED)
    keep_freed_memory()
    if given is not None:
        given(number)


def _kill_at_exit(workers: set[BaseProcess]) -> None:
    if workers:
        _workers.update(workers)
        multiprocessing.util.Finalize(None, _kill_workers, exitpriority=0)


def _kill_workers() -> None:
    if hasattr(signal, "SIGCHLD"):  # not on Windows
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # or PyTorch takes their end for a failure
    for worker in list(_workers):
        if worker.is_alive():
            worker.kill()
