"""The tests of the method on another device: ``FCOS_TEST_DEVICE=cuda pytest tests/layers``.

A test makes tensors without saying where, calls the code, and compares. With this mode, what the
test makes lies on the device, and so do modules that are built. What the code makes lies where the
code says: a forgotten ``device=`` is found. Random numbers are those of the CPU.

``FCOS_TEST_DEVICE=imagined`` shows without a GPU whether a test, or what it tests, mixes devices.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

import detectron2
import fcos
from tests.helpers import DEVICE

MAKERS = set(_device_constructors())
FILLERS = {Tensor.bernoulli_, Tensor.exponential_, Tensor.normal_, Tensor.random_, Tensor.uniform_}
TESTS = str(Path(__file__).parent) + os.sep
CODE = tuple(str(Path(p.__file__).parent) + os.sep for p in (fcos, detectron2))


class OnDevice(TorchFunctionMode):
    """While it is entered, what a test makes lies on ``device`` if nothing says where."""

    is_paused = False

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = torch.device(device)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.is_paused:
            return func(*args, **kwargs)
        if func in MAKERS and kwargs.get("device") is None and _is_for_the_device():
            return self._made(func, args, kwargs)
        if func in FILLERS and args[0].device.type == self.device.type:
            with torch.no_grad():
                values = func(torch.empty_like(args[0], device="cpu"), *args[1:], **kwargs)
            return args[0].copy_(values)
        return func(*args, **kwargs)

    def _made(self, func: Any, args: Any, kwargs: Any) -> Any:
        is_given = args and isinstance(args[0], Tensor)
        if is_given and func in (torch.tensor, torch.as_tensor, torch.asarray):
            return func(*args, **kwargs)
        learns = kwargs.pop("requires_grad", False)
        made = func(*args, **kwargs)
        if not isinstance(made, Tensor):
            return made
        return made.to(self.device).requires_grad_(learns)


def _is_for_the_device() -> bool:
    """Whether a test makes it, or a module that is being built and would be moved there."""
    frame, is_in_code = sys._getframe(2), False
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(TESTS):
            return not is_in_code
        if frame.f_code.co_name == "__init__" and isinstance(frame.f_locals["self"], nn.Module):
            return True
        is_in_code = is_in_code or file.startswith(CODE)
        frame = frame.f_back
    return False


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """New tensors lie on the CPU again."""
    OnDevice.is_paused = True
    yield
    OnDevice.is_paused = False


def enter() -> None:
    """Run this process's tests on ``DEVICE``: without TF32, and the same bits each time."""
    if DEVICE == "cpu":
        return
    if DEVICE == "imagined":
        _imagine()
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    OnDevice(DEVICE).__enter__()


def _imagine() -> None:
    from torch.utils import backend_registration

    from tests.imagined_gpu import ImaginedGpu

    class Backend(backend_registration._DummyBackendModule):
        def get_amp_supported_dtype(self) -> list[torch.dtype]:
            return [torch.float16, torch.bfloat16]

    backend_registration._setup_privateuseone_for_python_backend(DEVICE, Backend())
    ImaginedGpu(DEVICE).__enter__()
