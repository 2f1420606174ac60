"""Write weights files, completely or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch

from fcos.checkpoint.stored_config import CARRIED
from fcos.utils.errors import UserError
from fcos.utils.files import write_whole

__all__ = ["read_safetensors", "safetensors_torch", "write_weights"]


def write_weights(
    path: str, content: dict[str, Any], carried: Mapping[str, Any] | None = None
) -> None:
    """Write weights: as safetensors if the name of the file ends so, otherwise by ``torch.save``.

    Args:
        path: of the file.
        content: the content of the file; for safetensors, a mapping of names to tensors.
        carried: for safetensors, what else is written, as JSON in its metadata.

    Raises:
        UserError: it cannot be written, or safetensors is not installed.
    """
    if not path.endswith(".safetensors"):
        write_whole(path, lambda file: torch.save(content, file))
        return
    as_bytes = safetensors_torch(path).save
    tensors = {name: torch.as_tensor(value).contiguous() for name, value in content.items()}
    texts = {name: json.dumps(value) for name, value in (carried or {}).items()}
    metadata = {"format": "pt", **texts}
    write_whole(path, lambda file: file.writelines(_sorted(as_bytes(tensors, metadata=metadata))))


def _sorted(content: bytes) -> tuple[bytes, bytes, memoryview]:
    """Return the pieces of a safetensors file whose metadata are in order.

    The package writes them in another order each time, so that two files of the same weights would
    have different sums.
    """
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of 8 bytes
    return len(text).to_bytes(8, "little"), text, memoryview(content)[end:]


def safetensors_torch(path: str) -> Any:
    """Import ``safetensors.torch``.

    Args:
        path: of the file that needs it, for the message.

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


def read_safetensors(path: str) -> dict[str, Any]:
    """Read what :func:`write_weights` wrote as safetensors, or another program without metadata.

    Args:
        path: of the file.

    Returns:
        The tensors under "model", and what they carry.
    """
    tensors = safetensors_torch(path).load_file(path)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        metadata = json.loads(file.read(length)).get("__metadata__", {})
    carried = {name: json.loads(metadata[name]) for name in CARRIED if name in metadata}
    return {"model": tensors, **carried}
