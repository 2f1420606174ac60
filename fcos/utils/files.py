"""Files that are either complete or not there at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

from fcos.utils.errors import UserError

__all__ = ["check_writable", "keep_inputs", "write_text", "write_whole"]


def keep_inputs(path: str, *inputs: str | None) -> None:
    """See that a file to be written is none of those that it is made from.

    Args:
        path: of the file.
        inputs: files, or addresses; ``None`` counts as none.

    Raises:
        UserError: it is one of them, by whatever name.
    """
    for source in inputs:
        if source and os.path.exists(source) and os.path.exists(path):
            if os.path.samefile(source, path):
                raise UserError(f"{path} would overwrite {source}: choose another place.")


def write_whole(path: str, write: Callable[[BinaryIO], Any], advice: str) -> None:
    """Write a file beside ``path``, bring it to the disk, and only then give it its name.

    Args:
        path: of the file.
        write: writes its content.
        advice: ends the message of an error.

    Raises:
        UserError: it cannot be written, such as on a full disk. A file that was there before is as
            it was.
    """
    unfinished = f"{path}.unfinished"
    try:
        with open(unfinished, "wb") as file:
            write(file)
        with open(unfinished, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except (OSError, RuntimeError) as error:
        if os.path.exists(unfinished):
            os.remove(unfinished)
        raise UserError(f"{path} cannot be written: {_reason(error)}. {advice}") from error


def check_writable(folder: str) -> None:
    """Make ``folder`` (the current one if empty) and see that a file can be written there.

    Raises:
        UserError: it cannot.
    """
    folder = folder or "."
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"Nothing can be written to {folder}: {error.strerror}.") from error


def write_text(path: str, pieces: Iterable[str]) -> None:
    """Write a text file, whole or not at all.

    Args:
        path: of the file.
        pieces: the text, in order. They can be made one at a time, so that it is never in memory
            as a whole.

    Raises:
        UserError: it cannot be written. What stood there before still does.
    """
    write_whole(
        path,
        lambda file: file.writelines(piece.encode() for piece in pieces),
        "Choose another place.",
    )


def _reason(error: BaseException) -> str:
    """The operating system's reason, which torch's writer hides behind errors of its own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return cause.strerror or os.strerror(cause.errno or errno.EIO)
        cause = cause.__cause__ or cause.__context__
    return " ".join(str(error).split())
