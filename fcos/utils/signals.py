"""Signals that wait, on systems that can hold them back."""

from __future__ import annotations

import signal
from collections.abc import Iterable

__all__ = ["block", "restore", "unblock"]

Mask = Iterable[int]


def block(signals: Mask) -> Mask:
    """Hold these signals back in this thread, and in the processes that it starts.

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


def _change(how: str, signals: Mask) -> Mask:
    if not hasattr(signal, "pthread_sigmask"):
        return ()
    return signal.pthread_sigmask(getattr(signal, how), signals)
