"""Where a model runs."""

from __future__ import annotations

import torch
from torch import Tensor

from fcos.utils.errors import UserError

__all__ = ["check_device", "upload"]


def check_device(device: str) -> None:
    """Refuse a device that this machine lacks.

    Args:
        device: the value of MODEL.DEVICE, such as "cpu", "cuda" or "cuda:1".

    Raises:
        UserError: it is no device, or a GPU that is not there.
    """
    try:
        wanted = torch.device(device)
    except RuntimeError:
        raise UserError(f"MODEL.DEVICE is {device!r}: expected cuda or cpu.") from None
    number = torch.cuda.device_count()
    if wanted.type == "cuda" and (wanted.index or 0) >= number:
        raise UserError(
            f"MODEL.DEVICE is {device}, but torch finds {number or 'no'} GPU{'s' * (number > 1)} "
            "here; set MODEL.DEVICE to cpu to run on the CPU, which is slow."
        )


def upload(value: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device without waiting for what the device has yet to do.

    From ordinary memory a copy to a GPU waits until the GPU is idle, and then the GPU waits for the
    next operation to be queued; from pinned memory it does not.

    Args:
        value: of any shape, on the CPU or on ``device``.
        device: where to.

    Returns:
        The copy; ``value`` itself where it is there already.
    """
    if device.type == "cuda" and value.device.type == "cpu" and torch.cuda.is_available():
        value = value.pin_memory()
    return value.to(device, non_blocking=True)
