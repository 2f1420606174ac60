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
    """Refuse to overwrite an input with the output.

    Args:
        path: the file to be written.
        inputs: files or addresses that it is made from; ``None`` is skipped.

    Raises:
        UserError: ``path`` is one of the inputs, perhaps under another name.
    """
    for source in inputs:
        if source and os.path.exists(source) and os.path.exists(path):
            if os.path.samefile(source, path):
                raise UserError(f"{path} would overwrite {source}: choose another place.")


def write_whole(path: str, write: Callable[[BinaryIO], Any], advice: str) -> None:
    """Write a file completely or not at all: under another name first, then rename it.

    Args:
        path: of the file.
        write: writes the content into an open file.
        advice: last sentence of the error message.

    Raises:
        UserError: the file cannot be written, for example on a full disk. A file that had this
            name before is unchanged.
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


def check_writable(folder: str, advice: str = "") -> None:
    """Make a folder where it does not exist, and check that a file can be written there.

    Args:
        folder: its path; "" is the current folder.
        advice: last sentence of the error message.

    Raises:
        UserError: the folder cannot be made, or it refuses a file of 64 KiB.
    """
    folder = folder or "."
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 2**16)
            file.flush()
            os.fsync(file.fileno())  # a full disk may refuse only now
    except (OSError, ValueError, RecursionError) as error:  # ... of a NUL, of a thousand folders
        reason = getattr(error, "strerror", None) or "no folder can have this name"
        text = f"Nothing can be written to {folder}: {reason}. {advice}"
        raise UserError(text.rstrip()) from error


def write_text(path: str, pieces: Iterable[str]) -> None:
    """Write a text file completely or not at all.

    Args:
        path: of the file.
        pieces: the text, in order; a generator keeps the whole text out of memory.

    Raises:
        UserError: the file cannot be written. A file that had this name before is unchanged.
    """
    write_whole(
        path,
        lambda file: file.writelines(piece.encode() for piece in pieces),
        "Choose another place.",
    )


def _reason(error: BaseException) -> str:
    """Find the operating system's reason: torch's writer raises another error from it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return cause.strerror or os.strerror(cause.errno or errno.EIO)
        cause = cause.__cause__ or cause.__context__
    return " ".join(str(error).split())
