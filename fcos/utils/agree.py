"""One process's error becomes every process's error, so that none waits for the others for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from detectron2.utils import comm
from fcos.utils.errors import UserError

__all__ = ["in_all", "on_main", "raise_together"]

T = TypeVar("T")


def raise_together(error: UserError | None) -> None:
    """Raise in every process the first error that any of them has. Every process must call this.

    Args:
        error: what went wrong in this process, or ``None``.

    Raises:
        UserError: some process has an error; that of the lowest rank is raised in all of them.
    """
    messages = comm.all_gather(None if error is None else str(error))
    for message in messages:
        if message is not None:
            shared = UserError(message)
            shared.in_all_processes = True
            raise shared


def in_all(action: Callable[[], T]) -> T:
    """``action`` with errors for all: what it raises in one process, every process raises.

    Raises:
        UserError: that of the lowest rank that has one.
    """
    error: UserError | None = None
    try:
        result = action()
    except UserError as problem:
        error = problem
    raise_together(error)
    return result


def on_main(action: Callable[[], T]) -> T:
    """What ``action`` returns in the main process, in all of them. Every process must call this.

    Raises:
        UserError: that of ``action``.
    """
    results = in_all(lambda: action() if comm.is_main_process() else None)
    first: T = comm.all_gather(results)[0]
    return first
