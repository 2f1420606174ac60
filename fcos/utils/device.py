"""Where a model runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch
from torch import Tensor

from fcos.utils.errors import UserError

__all__ = [
    "check_device",
    "device_here",
    "exact_float32",
    "gpu_has_bfloat16",
    "make_current",
    "upload",
    "usable_cores",
]


def usable_cores() -> int:
    """Return how many cores of the processor this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
    if wanted.type == "cpu":  # nor is CUDA asked for anything, which could start it
        return
    if wanted.type != "cuda":
        raise UserError(f"MODEL.DEVICE is {device!r}: expected cuda or cpu.")
    number = torch.cuda.device_count()
    if (wanted.index or 0) >= number:
        raise UserError(
            f"MODEL.DEVICE is {device}, but torch finds {number or 'no'} GPU{'s' * (number > 1)} "
            "here; set MODEL.DEVICE to cpu to run on the CPU, which is slow."
        )


def device_here(device: str) -> str:
    """Return a device, or what stands in for it on a machine that lacks it: a GPU, else the CPU.

    Args:
        device: the value of MODEL.DEVICE that was right on another machine.
    """
    try:
        check_device(device)
    except UserError:
        return "cuda" if device.startswith("cuda") and torch.cuda.device_count() else "cpu"
    return device


def make_current(device: str) -> None:
    """Make this the current GPU: torch's calls that name none, of memory statistics say, mean it.

    Args:
        device: the value of MODEL.DEVICE, known to exist here. Without a number it is the current
            GPU already, which in each of several processes is another one.
    """
    wanted = torch.device(device)
    if wanted.type == "cuda" and wanted.index is not None:
        torch.cuda.set_device(wanted)


def gpu_has_bfloat16(device: torch.device) -> bool:
    """Say whether a GPU itself multiplies in bfloat16; older ones emulate it, slowly.

    Args:
        device: a GPU; without a number, the current one.
    """
    is_current = device.index is None
    with contextlib.nullcontext() if is_current else torch.cuda.device(device):
        return torch.cuda.is_bf16_supported(including_emulation=False)


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """Let a GPU compute in full float32; by default it may round factors to 10 bits (TF32)."""
    # Not by cudnn.flags(), which puts all that it is not told to a default: cuDNN itself to "off".
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, torch.get_float32_matmul_precision()
    cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])


def upload(value: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device without waiting for what the device has yet to do.

    A copy from ordinary memory waits until the GPU is idle, and then the GPU waits for its next
    operation. A copy from pinned memory does not.

    Args:
        value: of any shape, on the CPU or on ``device``.
        device: where to.

    Returns:
        The copy; ``value`` itself where it is there already.
    """
    if device.type == "cuda" and value.device.type == "cpu" and torch.cuda.is_available():
        value = value.pin_memory()
    return value.to(device, non_blocking=True)
