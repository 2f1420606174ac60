"""The file ``last_checkpoint`` of a training, which names the checkpoint that it goes on from."""

from __future__ import annotations

import os

from fcos.utils.errors import UserError
from fcos.utils.files import write_whole
from fcos.utils.reading import FileKind, read_bytes

__all__ = ["TAG", "find_last_checkpoint", "name_last_checkpoint"]

TAG = "last_checkpoint"  # as detectron2 calls it
_NAME = FileKind("the name of a checkpoint", 4096)


def find_last_checkpoint(folder: str) -> str:
    """Return the path of the checkpoint that a training in ``folder`` goes on from.

    Args:
        folder: OUTPUT_DIR.

    Returns:
        Its path, or "" if there is none yet.

    Raises:
        UserError: the file cannot be read, or holds no name of a file.
    """
    path = os.path.join(folder, TAG)
    try:
        content = bytes(read_bytes(path, _NAME, as_text=True))
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. {_advice(path)}") from error
    try:
        name = content.decode().strip()
    except UnicodeDecodeError:
        name = ""
    if not name or not name.isprintable():
        what = repr(content[:40]) if content else "nothing"
        raise UserError(f"{path} holds {what} instead of a name. {_advice(path)}")
    return os.path.join(folder, name)


def name_last_checkpoint(folder: str, name: str, advice: str) -> None:
    """Make a file of ``folder`` the one that ``--resume`` goes on from.

    Args:
        folder: OUTPUT_DIR.
        name: of the file, with its ending.
        advice: ends the sentence that says that it cannot be written.
    """
    write_whole(os.path.join(folder, TAG), lambda file: file.write(name.encode()), advice)


def _advice(path: str) -> str:
    return (
        "It names the checkpoint that --resume goes on from: write the name of one into it (echo "
        f"model_0004999.pth > {path}), or remove it to start anew."
    )
