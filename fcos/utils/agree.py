"""One process's error becomes every process's error, so that none waits for the others for ever."""

from __future__ import annotations

from detectron2.utils import comm
from fcos.utils.errors import UserError

__all__ = ["raise_together"]


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
