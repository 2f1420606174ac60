"""A folder that one program at a time writes to."""

from __future__ import annotations

import logging
import os

import filelock

from fcos.utils.errors import UserError

__all__ = ["FolderLock"]

logger = logging.getLogger(__name__)

_WAIT_S = 10  # for the processes of a run that was just killed


class FolderLock:
    """The lock of a folder, which the operating system releases however its process ends.

    Args:
        folder: its path.
        name: of the file in it that is locked, perhaps in a folder below; it stays.
    """

    def __init__(self, folder: str, name: str) -> None:
        self._folder = folder or "."
        self._lock = filelock.FileLock(os.path.join(self._folder, name))

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def acquire(self, refusal: str) -> None:
        """Lock the folder, which exists, until this context is left.

        On a file system without locks a warning is logged.

        Args:
            refusal: the sentence for the user if another process has the lock.

        Raises:
            UserError: another process has it.
        """
        try:
            self._lock.acquire(timeout=_WAIT_S, poll_interval=0.2)
        except filelock.Timeout:
            raise UserError(refusal) from None
        except (OSError, NotImplementedError) as error:  # some network file systems have no locks
            reason = getattr(error, "strerror", None) or error
            logger.warning(f"{self._folder} cannot be locked: {reason}. Start one run.")
