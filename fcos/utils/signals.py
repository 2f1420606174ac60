"""Signals that wait, on systems that can hold them back."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

__all__ = ["block", "blocked_in_children", "restore", "unblock"]

Mask = Iterable[int]


def block(signals: Mask) -> Mask:
    """Hold these signals back in this thread.

    Windows holds none back: there nothing happens.

    Returns:
        What was held back before, for :func:`restore`.
    """
    return _change("SIG_BLOCK", signals)


def unblock(signals: Mask) -> Mask:
    """Let these signals through again; those that came meanwhile come now."""
    return _change("SIG_UNBLOCK", signals)


def restore(before: Mask) -> None:
    """Hold back what :func:`block` found."""
    _change("SIG_SETMASK", before)


@contextmanager
def blocked_in_children(signals: Mask) -> Iterator[None]:
    """Start processes that hold these signals back from their first moment on: they inherit it.

    multiprocessing starts a process of its own before the first that it spawns, and lets SIGINT and
    SIGTERM through again as it does so. Here that process is started first.
    """
    if hasattr(signal, "pthread_sigmask"):
        resource_tracker.ensure_running()
    before = block(signals)
    try:
        yield
    finally:
        restore(before)


def _change(how: str, signals: Mask) -> Mask:
    if not hasattr(signal, "pthread_sigmask"):
        return ()
    return signal.pthread_sigmask(getattr(signal, how), signals)
