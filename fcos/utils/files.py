"""The one way of writing: files that are complete or not there at all.

What is written has another name first, ending in ``.unfinished``, and is renamed when it is
complete. A process that is killed leaves at most something of such a name, which the next one
replaces. Nothing is written through a link: one in the place of a file is replaced by the file, and
what it leads to stays as it is. (The folder that a user names may be a link.) A device or a pipe is
never replaced. :mod:`fcos.utils.folders` makes whole folders in the same way.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

from fcos.utils.errors import UserError
from fcos.utils.places import check_place, reason_of, remove, unfinished_name

__all__ = [
    "append_to",
    "check_writable",
    "copy_file",
    "keep_inputs",
    "write_by_name",
    "write_text",
    "write_whole",
]

_ADVICE = "Choose another place."


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


# ---- files ---------------------------------------------------------------------------------------


def write_whole(
    path: str,
    write: Callable[[BinaryIO], Any],
    advice: str = _ADVICE,
    *,
    survives_power_loss: bool = True,
) -> None:
    """Write a file completely or not at all.

    Args:
        path: of the file.
        write: writes the content into an open file.
        advice: last sentence of the error message.
        survives_power_loss: wait until the disk has it, which takes some 10 ms; without, only the
            end of the process does no harm.

    Raises:
        UserError: the file cannot be written, for example on a full disk. A file that had this
            name before is unchanged.
    """
    with _beside(path, advice) as unfinished:
        with _created(unfinished) as file:
            write(file)
            file.flush()
            if survives_power_loss:
                os.fsync(file.raw.fileno())
            _check_same(file.raw.fileno(), unfinished)
        os.replace(unfinished, path)


def write_text(path: str, pieces: Iterable[str], errors: str = "strict", **more: Any) -> None:
    """Write a text file in UTF-8, completely or not at all.

    Args:
        path: of the file.
        pieces: the text, in order; a generator keeps the whole text out of memory.
        errors: as of ``str.encode``.
        more: as of :func:`write_whole`.

    Raises:
        UserError: the file cannot be written. A file that had this name before is unchanged.
    """
    encoded = (piece.encode("utf-8", errors) for piece in pieces)
    write_whole(path, lambda file: file.writelines(encoded), **more)


@contextlib.contextmanager
def write_by_name(path: str, advice: str = _ADVICE) -> Iterator[str]:
    """Write a file through a library that opens it itself, such as a video encoder.

    Args:
        path: of the file.
        advice: last sentence of the error message.

    Yields:
        Where to write it: under the same name in a folder that nobody else can write to. When the
        block ends, the file takes its place; after an error in the block, it is removed.

    Raises:
        UserError: it cannot be written. A file that had this name before is unchanged.
    """
    with _beside(path, advice) as unfinished:
        os.mkdir(unfinished, 0o700)
        inner = os.path.join(unfinished, os.path.basename(path))
        yield inner
        with open(inner, "rb+", buffering=0) as file:
            # A library may not say that its last bytes found no room: then one more finds none.
            end = file.seek(0, os.SEEK_END)
            file.write(b"\0")
            file.truncate(end)
            os.fsync(file.fileno())
        os.replace(inner, path)


@contextlib.contextmanager
def _beside(path: str, advice: str) -> Iterator[str]:
    """Yield a free name beside ``path``, and let nothing be left there."""
    unfinished = unfinished_name(path)
    try:
        check_place(path)
        remove(unfinished)
        yield unfinished
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path} cannot be written: {reason_of(error)}. {advice}") from error
    finally:
        with contextlib.suppress(OSError):
            remove(unfinished)


class _File(io.BufferedWriter):
    """A file that has no number: libraries write into it through Python.

    Pillow's encoders and NumPy take the number where they can, and then overlook or cannot name
    what the operating system refuses.
    """

    def fileno(self) -> int:
        raise io.UnsupportedOperation("this file is written through Python alone")


def _created(path: str) -> _File:
    """Open a new file; never one that is there already, nor one behind a link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return _File(io.FileIO(os.open(path, flags, 0o666), "w"))


def _check_same(number: int, path: str) -> None:
    """Refuse what another process has put in the place of an open file."""
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(number), os.lstat(path)):
            return
    raise OSError(errno.EBUSY, "another program writes the same file")


def append_to(path: str, advice: str = _ADVICE, *, new: bool = False) -> int:
    """Open a file to add to its end, and make it where it does not exist.

    Args:
        path: of the file.
        advice: last sentence of the error message.
        new: it must not exist.

    Returns:
        Its number, for ``os.write`` or ``open``.

    Raises:
        UserError: it cannot be opened, or is a link, device or pipe.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_EXCL if new else 0)
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # not on Windows
    try:
        check_place(path, may_be_link=False)
        return os.open(path, flags, 0o666)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {reason_of(error)}. {advice}") from error


def copy_file(source: str, path: str) -> str:
    """Copy a file completely or not at all; ``shutil.copytree`` takes this function.

    Returns:
        ``path``.

    Raises:
        UserError: it cannot be read or written.
    """
    try:
        with open(source, "rb") as content:
            write_whole(path, lambda file: shutil.copyfileobj(content, file))
    except OSError as error:  # of reading
        raise UserError(f"{source} cannot be read: {reason_of(error)}.") from error
    return path


def check_writable(folder: str, advice: str = "") -> None:
    """Make a folder where it does not exist, and check that a file can be written there.

    Args:
        folder: its path; "" is the current folder.
        advice: last sentence of the error message.

    Raises:
        UserError: the folder cannot be made, or it refuses a file of 64 KiB, or is an address.
    """
    folder = folder or "."
    if "://" in folder:
        raise UserError(f"{folder} is an address, to which nothing is written: name a folder.")
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
