"""Files that are either complete or not there at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any, BinaryIO

import torch

from fcos.utils.errors import UserError

__all__ = ["keep_inputs", "write_weights", "write_whole"]


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


def write_weights(path: str, content: dict[str, Any]) -> None:
    """Write weights, as safetensors if the name of the file ends so, else as ``torch.save`` does.

    Args:
        path: of the file.
        content: what is to be in the file; for safetensors, a mapping of names to tensors.

    Raises:
        UserError: it cannot be written, or safetensors is not installed.
    """
    if not path.endswith(".safetensors"):
        write_whole(path, lambda file: torch.save(content, file), "Choose another place.")
        return
    save_file = safetensors_torch(path).save_file
    tensors = {name: torch.as_tensor(value).contiguous() for name, value in content.items()}

    def write(file: BinaryIO) -> None:
        mode = os.stat(file.name).st_mode
        save_file(tensors, file.name, metadata={"format": "pt"})
        os.chmod(file.name, mode)  # safetensors replaces the file by one for its owner only

    write_whole(path, write, "Choose another place.")


def safetensors_torch(path: str) -> Any:
    """The module ``safetensors.torch``.

    Raises:
        UserError: it is not installed.
    """
    try:
        import safetensors.torch
    except ImportError:
        raise UserError(
            f"{path} is in the format safetensors, but the package is not installed: "
            "pip install safetensors."
        ) from None
    return safetensors.torch


def _reason(error: BaseException) -> str:
    """The operating system's reason, which torch's writer hides behind errors of its own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return cause.strerror or os.strerror(cause.errno or errno.EIO)
        cause = cause.__cause__ or cause.__context__
    return " ".join(str(error).split())
