"""Read weights files of all usual forms without running code from them."""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from typing import Any, BinaryIO

import numpy as np
import torch

from fcos.checkpoint import hugging_face
from fcos.checkpoint.content import as_checkpoint, without_prefix
from fcos.checkpoint.plain_pickle import Forbidden, read_pickle
from fcos.checkpoint.sums import damaged_part
from fcos.checkpoint.torch_files import check_archive, check_old_file
from fcos.checkpoint.writing import read_safetensors
from fcos.checkpoint.zoo import fetch, fetched, nearest, published
from fcos.utils.errors import UserError, one_line
from fcos.utils.reading import WEIGHTS, open_file

__all__ = ["DamagedFile", "local_file", "read_checkpoint", "read_file"]

# The first bytes of a file tell its form; its name may not.
_ZIP = b"PK\x03\x04"
_OLD_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"  # torch.save before 1.6


class DamagedFile(UserError):
    """A weights file is not as it was written."""


def read_checkpoint(path: str) -> dict[str, Any]:
    """Read a weights file or a training checkpoint.

    The form is found from the content, not from the name: a file of ``torch.save`` (also of old
    versions), safetensors, or a pickle of numpy arrays (detectron2's model zoo, Caffe2). It may
    hold ``{"model": ...}``, ``{"state_dict": ...}``, ``{"blobs": ...}`` or only a mapping of names
    to arrays. A prefix ``module.`` of all names is dropped.

    Checksums are looked at where the form has them (:mod:`fcos.checkpoint.sums`).

    Args:
        path: a file, or an address that detectron2's ``PathManager`` knows (``detectron2://``,
            ``https://``), ``hf://owner/repository/file`` or the name of a published model, which
            is downloaded once and kept.

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
    """Return the path of a weights file on this machine.

    Args:
        path: a file; or what is downloaded first, an address or the name of a published model.

    Raises:
        UserError: there is no such file, or it cannot be downloaded.
    """
    if path.startswith(hugging_face.PREFIX):
        return hugging_face.downloaded(path)
    model = published(path)
    local = fetched(model) if model else fetch(path, path)
    if os.path.isfile(local):
        return local
    where = os.path.abspath(local)
    folder = where if os.path.isdir(where) else os.path.dirname(where)
    kind = "is a folder, not a file" if folder == where else f"does not exist (looked for {where})"
    if os.path.exists(where) and folder != where:
        kind = "is no regular file"
    near = nearest(path)
    hint = f"did you mean {near} of fcos zoo?" if near else "check MODEL.WEIGHTS."
    raise UserError(f"The weights file {path} {kind}{_nearby(folder)}; {hint}")


def read_file(path: str, mmap: bool = False) -> dict[str, Any]:
    """Read a file on this machine as :func:`read_checkpoint`, but keep a prefix ``module.``.

    Args:
        path: the file.
        mmap: leave the tensors in the file until they are used, if its form allows it. This is
            faster if only a part is needed, such as the weights without the optimizer's state.
    """
    try:
        with open_file(path, WEIGHTS) as file:
            start = file.read(len(_OLD_TORCH))
            file.seek(0)
            length = os.path.getsize(path)
            if start.startswith(_ZIP):
                _check_zip(path)
                is_as_in_memory = check_archive(file, length)
                _check_sums(path)
                content = _torch_load(path, file, is_as_in_memory and mmap)
            elif start.startswith(_OLD_TORCH):
                check_old_file(file, length)
                content = _torch_load(path, file, mmap=False)
            elif _is_safetensors(start, path):
                content = read_safetensors(path)
            else:
                _refuse_others(start, path)
                content = read_pickle(file, length)
    except OSError as error:
        raise UserError(f"The weights file {path} cannot be read: {error.strerror}.") from None
    except UserError:
        raise
    except Forbidden as error:
        raise UserError(_would_run(path, one_line(error))) from None
    except Exception as error:  # damaged files raise errors of nearly every type
        raise DamagedFile(_damaged(path, one_line(error))) from None
    return as_checkpoint(content, path)


def _is_safetensors(start: bytes, path: str) -> bool:
    """Look for a length in the first 8 bytes, and for a JSON object of that length behind it."""
    length = int.from_bytes(start[:8], "little")
    is_whole = length + 8 <= os.path.getsize(path)
    return start[8:9] == b"{" and (is_whole or path.endswith(".safetensors"))


def _check_zip(path: str) -> None:
    """Refuse archives that are no checkpoints."""
    if not zipfile.is_zipfile(path):  # the table of contents is at the end
        raise DamagedFile(_damaged(path, "its end is missing"))
    with zipfile.ZipFile(path) as archive:
        names = {name.rsplit("/", 1)[-1] for name in archive.namelist()}
    if "data.pkl" not in names:
        raise UserError(f"{path} is a zip archive, but not a checkpoint written by torch.save.")
    if "constants.pkl" in names:
        raise UserError(f"{path} is a TorchScript program, not a weights file.")


def _check_sums(path: str) -> None:
    if part := damaged_part(path):
        raise DamagedFile(_damaged(path, f"the checksum of {part} is another one"))


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


def _torch_load(path: str, file: BinaryIO, mmap: bool) -> Any:
    # By this ending torch 2.14 takes any file for one of safetensors.
    is_misnamed = path.endswith(".safetensors")
    file.seek(0)
    source = file if is_misnamed else path
    # Training checkpoints often have numpy scalars (a learning rate, a metric), which are harmless.
    allowed: list[Any] = [np.ndarray, np.dtype, *((f, name) for name, f in _NUMPY_NAMES.items())]
    allowed += {type(np.dtype(kind)) for kind in "?bBhHiIlLqQefd"}
    try:
        with torch.serialization.safe_globals(allowed):
            mmap = mmap and not is_misnamed
            return torch.load(source, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        forbidden = re.search(r"GLOBAL (\S+)", str(error))
        if forbidden is None:  # do not show torch's advice to run the file's code
            raise DamagedFile(_damaged(path, "its list of tensors makes no sense")) from None
        raise UserError(_would_run(path, forbidden.group(1))) from None


# First bytes of files that are mistaken for weights, and what to say of them.
_IMAGES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*")
_OTHERS = {
    _IMAGES: "is an image, not weights; name the weights first, then the images",
    (b"<",): "is a web page, not weights: the address or the download was wrong",
}


def _refuse_others(start: bytes, path: str) -> None:
    """Refuse files of another kind that a user has named in the place of weights."""
    for starts, sentence in _OTHERS.items():
        if start.startswith(starts):
            raise UserError(f"{path} {sentence}.")
    if path.endswith((".yaml", ".yml")):
        raise UserError(f"{path} is a config, not weights: give it by --config-file.")


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
