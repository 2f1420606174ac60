"""Write weights files, completely or not at all."""

from __future__ import annotations

from typing import Any

import torch

from fcos.utils.errors import UserError
from fcos.utils.files import write_whole

__all__ = ["safetensors_torch", "write_weights"]


def write_weights(path: str, content: dict[str, Any]) -> None:
    """Write weights: as safetensors if the name of the file ends so, otherwise by ``torch.save``.

    Args:
        path: of the file.
        content: the content of the file; for safetensors, a mapping of names to tensors.

    Raises:
        UserError: it cannot be written, or safetensors is not installed.
    """
    if not path.endswith(".safetensors"):
        write_whole(path, lambda file: torch.save(content, file))
        return
    as_bytes = safetensors_torch(path).save
    tensors = {name: torch.as_tensor(value).contiguous() for name, value in content.items()}
    write_whole(path, lambda file: file.write(as_bytes(tensors, metadata={"format": "pt"})))


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
