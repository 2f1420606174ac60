"""Let all processes have the same errors, so that none waits for the others, and values."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import TypeVar

import torch

from detectron2.utils import comm
from fcos.utils.errors import UserError, one_line

__all__ = ["in_all", "on_main", "raise_together", "take_from_main"]

T = TypeVar("T")


def raise_together(error: UserError | None) -> None:
    """Raise an error in every process if any process has one. Every process must call this.

    Args:
        error: of this process, or ``None``.

    Raises:
        UserError: the error of the lowest rank that has one.
    """
    messages = comm.all_gather(None if error is None else str(error))
    for message in messages:
        if message is not None:
            shared = UserError(message)
            shared.in_all_processes = True
            raise shared


def in_all(action: Callable[[], T]) -> T:
    """Call ``action`` in every process; if it fails in one, raise the error in all of them.

    Raises:
        UserError: the error of the lowest rank that has one.
        Exception: of another kind, in the process that has it; the others get a UserError.
    """
    error: UserError | None = None
    try:
        result = action()
    except UserError as problem:
        error = problem
    except Exception as bug:  # the others would wait for this process
        with contextlib.suppress(UserError):
            raise_together(UserError(f"Process {comm.get_rank()} failed: {one_line(bug)}"))
        raise
    raise_together(error)
    return result


def on_main(action: Callable[[], T]) -> T:
    """Call ``action`` in the main process and return its result in all of them.

    Every process must call this.

    Raises:
        UserError: the error of ``action``, in every process.
    """
    results = in_all(lambda: action() if comm.is_main_process() else None)
    first: T = comm.all_gather(results)[0]
    return first


def take_from_main(tensors: Iterable[torch.Tensor]) -> None:
    """Give tensors, in place, the values that they have in the main process.

    Every process must call this, with tensors of the same shapes in the same order.
    """
    if comm.get_world_size() > 1:
        for tensor in tensors:
            torch.distributed.broadcast(tensor, 0)
