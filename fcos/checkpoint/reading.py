"""Read weights files of all usual forms without running code from them."""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from collections import OrderedDict
from typing import Any, BinaryIO

import numpy as np
import torch

from detectron2.utils.file_io import PathManager
from fcos.checkpoint import hugging_face
from fcos.checkpoint.content import as_checkpoint, without_prefix
from fcos.checkpoint.writing import safetensors_torch
from fcos.utils.errors import UserError, one_line

__all__ = ["local_file", "read_checkpoint", "read_file"]

# The first bytes of a file tell its form; its name may not.
_ZIP = b"PK\x03\x04"
_OLD_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"  # torch.save before 1.6


def read_checkpoint(path: str) -> dict[str, Any]:
    """Read a weights file or a training checkpoint.

    The form is found from the content, not from the name: a file of ``torch.save`` (also of old
    versions), safetensors, or a pickle of numpy arrays (detectron2's model zoo, Caffe2). It may
    hold ``{"model": ...}``, ``{"state_dict": ...}``, ``{"blobs": ...}`` or only a mapping of names
    to arrays. A prefix ``module.`` of all names is dropped.

    Args:
        path: a file, or an address that detectron2's ``PathManager`` knows (``detectron2://``,
            ``https://``) or ``hf://owner/repository/file``, downloaded once and kept.

    Returns:
        The content, with at least ``"model"``: parameter name -> CPU tensor or numpy array.
        ``"matching_heuristics": True`` is added for Caffe2's names, which detectron2 converts.
        Tensors may be mapped from the file: change only copies of them.

    Raises:
        UserError: the file is missing, damaged, holds no weights, or is a pickle that would run
            code. No code from the file is ever run.
    """
    checkpoint = read_file(local_file(path), mmap=True)
    checkpoint["model"] = without_prefix(checkpoint["model"])
    return checkpoint


def local_file(path: str) -> str:
    """Return the path of a weights file on this machine; download it if ``path`` is an address.

    Raises:
        UserError: there is no such file, or it cannot be downloaded.
    """
    if path.startswith(hugging_face.PREFIX):
        return hugging_face.downloaded(path)
    try:
        local = PathManager.get_local_path(path)
    except (OSError, RuntimeError, KeyError) as error:
        raise UserError(f"The weights file {path} cannot be fetched: {one_line(error)}") from None
    if os.path.isfile(local):
        return local
    where = os.path.abspath(local)
    folder = where if os.path.isdir(where) else os.path.dirname(where)
    kind = "is a folder, not a file" if folder == where else f"does not exist (looked for {where})"
    if os.path.exists(where) and folder != where:
        kind = "is no regular file"
    raise UserError(f"The weights file {path} {kind}{_nearby(folder)}; check MODEL.WEIGHTS.")


def read_file(path: str, mmap: bool = False) -> dict[str, Any]:
    """Read a file on this machine as :func:`read_checkpoint`, but keep a prefix ``module.``.

    Args:
        path: the file.
        mmap: leave the tensors in the file until they are used, if its form allows it. This is
            faster if only a part is needed, such as the weights without the optimizer's state.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(len(_OLD_TORCH))
            file.seek(0)
            if start.startswith(_ZIP):
                content = _torch_load(path, _check_zip(path) and mmap)
            elif start.startswith(_OLD_TORCH):
                content = _torch_load(path, mmap=False)
            elif _is_safetensors(start, path):
                content = safetensors_torch(path).load_file(path)
            else:
                content = _Unpickler(file, path).load()
    except OSError as error:
        raise UserError(f"The weights file {path} cannot be read: {error.strerror}.") from None
    except UserError:
        raise
    except Exception as error:  # damaged files raise errors of nearly every type
        raise UserError(_damaged(path, one_line(error))) from None
    return as_checkpoint(content, path)


def _is_safetensors(start: bytes, path: str) -> bool:
    """Look for a length in the first 8 bytes, and for a JSON object of that length behind it."""
    length = int.from_bytes(start[:8], "little")
    is_whole = length + 8 <= os.path.getsize(path)
    return start[8:9] == b"{" and (is_whole or path.endswith(".safetensors"))


def _check_zip(path: str) -> bool:
    """Return whether the tensors lie in the archive as they are, as torch.save writes them."""
    if not zipfile.is_zipfile(path):  # the table of contents is at the end
        raise UserError(_damaged(path, "its end is missing"))
    with zipfile.ZipFile(path) as archive:
        files = archive.infolist()
    names = {file.filename.rsplit("/", 1)[-1] for file in files}
    if "data.pkl" not in names:
        raise UserError(f"{path} is a zip archive, but not a checkpoint written by torch.save.")
    if "constants.pkl" in names:
        raise UserError(f"{path} is a TorchScript program, not a weights file.")
    return all(file.compress_type == zipfile.ZIP_STORED for file in files)


# Numpy's helpers for pickling, taken from what it pickles. In files they have the module of numpy 1
# or of numpy 2.
_NUMPY_FUNCTIONS = {
    "_reconstruct": np.empty(1).__reduce__()[0],
    "_frombuffer": np.empty(1).__reduce_ex__(5)[0],
    "scalar": np.float32(0).__reduce__()[0],
}
_NUMPY_NAMES = {
    f"{package}.{'numeric' if name == '_frombuffer' else 'multiarray'}.{name}": function
    for package in ("numpy.core", "numpy._core")
    for name, function in _NUMPY_FUNCTIONS.items()
}


def _torch_load(path: str, mmap: bool) -> Any:
    # Training checkpoints often have numpy scalars (a learning rate, a metric), which are harmless.
    allowed: list[Any] = [np.ndarray, np.dtype, *((f, name) for name, f in _NUMPY_NAMES.items())]
    allowed += {type(np.dtype(kind)) for kind in "?bBhHiIlLqQefd"}
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        forbidden = re.search(r"GLOBAL (\S+)", str(error))
        if forbidden is None:  # do not show torch's advice to run the file's code
            raise UserError(_damaged(path, "its list of tensors makes no sense")) from None
        raise UserError(_would_run(path, forbidden.group(1))) from None


def _bytes_of_python2(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes encoded as {encoding}")
    return text.encode("latin1")


def _allowed_names() -> dict[tuple[str, str], Any]:
    allowed: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("_codecs", "encode"): _bytes_of_python2,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }
    for module in ("builtins", "__builtin__"):  # Python 3 and 2
        for kind in (bytes, bytearray, complex, dict, frozenset, list, set, tuple):
            allowed[module, kind.__name__] = kind
    for name, function in _NUMPY_NAMES.items():
        module, _, attribute = name.rpartition(".")
        allowed[module, attribute] = function
    return allowed


_ALLOWED = _allowed_names()


class _Unpickler(pickle.Unpickler):
    """Builds numpy arrays and plain containers, and refuses everything else."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        super().__init__(file, encoding="latin1")  # arrays pickled by Python 2
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise UserError(_would_run(self._path, f"{module}.{name}")) from None


def _damaged(path: str, reason: str) -> str:
    size = os.path.getsize(path)
    return (
        f"The weights file {path} ({size:,} bytes) is truncated, damaged or no weights file at "
        f"all ({reason}); copy or download it again."
    )


def _would_run(path: str, name: str) -> str:
    return (
        f"{path} is refused, and nothing in it was run: it asks for {name} to be called, but a "
        "weights file is data, not a program; save the model's state_dict() alone and use that."
    )


def _nearby(folder: str, most: int = 5) -> str:
    """Return ``; the folder has a.pth, b.pth`` for a message, or nothing."""
    if not os.path.isdir(folder):
        return f"; there is no folder {folder} either"
    found = sorted(
        name for name in os.listdir(folder) if name.endswith((".pth", ".pkl", ".safetensors"))
    )
    if not found:
        return ""
    more = ", ..." if len(found) > most else ""
    return f"; the folder {folder} has {', '.join(found[:most])}{more}"
