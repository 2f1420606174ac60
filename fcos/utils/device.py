"""Where a model runs."""

from __future__ import annotations

import torch

from fcos.utils.errors import UserError

__all__ = ["check_device"]


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
