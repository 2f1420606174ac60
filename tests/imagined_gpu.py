"""A GPU that is only imagined: its tensors lie on the CPU and say that they do not.

What is computed is real, so detection, whose sizes depend on scores, runs to its end. Tensors of
the CPU and of the imagined GPU do not mix, just as with a real one, and each time that the program
would have to wait for the GPU is noted.
"""

from __future__ import annotations

import contextlib
import traceback

import pytest
import torch
import torch.cuda.amp.common
from torch import Tensor
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_map_only

aten = torch.ops.aten
# What needs a value, or a number of values, that only the device knows.
READS = {
    aten._local_scalar_dense,
    aten.bincount,
    aten.equal,
    aten.is_nonzero,
    aten.masked_select,
    aten.nonzero,
    aten.nonzero_numpy,
    aten.unique_consecutive,
    aten.unique_dim,
    aten._unique,
    aten._unique2,
    "torchvision::nms",
}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._unsafe_index}
COPIES = {aten._to_copy, aten.copy_}


class OnGpu(Tensor):
    """A tensor that is on the imagined GPU; its numbers are ``held`` by one of the CPU."""

    @staticmethod
    def __new__(cls, held, device):
        return Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=device,
        )

    def __init__(self, held, device):
        self.held = held

    def tolist(self):
        return self.to("cpu").tolist()  # torch's own looks at the memory

    def __reduce_ex__(self, protocol):  # a file knows one kind of tensor
        return self.held.__reduce_ex__(protocol)

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise AssertionError(f"{func} outside of the imagination")


class ImaginedGpu(TorchDispatchMode):
    """While it is entered, there is a GPU.

    Attributes:
        device: of its tensors. Gradients can be computed on "meta" alone, since torch looks for a
            real "cuda" then; autocast and ``is_cuda`` are as on a GPU with "cuda" alone.
        waits: the operations, each with its place, for which the program would have waited.
    """

    # What FakeTensorMode is to torch: while there is one, no real device is started.
    _mode_key = torch._C._TorchDispatchModeKey.FAKE

    def __init__(self, device="cuda"):
        super().__init__()
        self.device = torch.device(device) if device == "meta" else torch.device(device, 0)
        self.waits = []
        self._before = []

    def __enter__(self):
        if self.device.type == "cuda":
            _keep_torch_from_the_driver()
        # torch.tensor(..., device=...) then copies in sight of this mode.
        self._before.append((torch._C._only_lift_cpu_tensors(), torch.backends.cudnn.enabled))
        torch._C._set_only_lift_cpu_tensors(True)
        torch.backends.cudnn.enabled = False  # its operations have no counterpart on the CPU
        # Module.to(...) makes new parameters: one cannot become a tensor of another class.
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        only_lift_cpu_tensors, torch.backends.cudnn.enabled = self._before.pop()
        torch._C._set_only_lift_cpu_tensors(only_lift_cpu_tensors)
        torch.__future__.set_overwrite_module_params_on_conversion(bool(self._before))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if torch.is_inference_mode_enabled():
            # What is made of other operations has not been taken apart then.
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        given = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
        there = [x for x in given if isinstance(x, OnGpu)]
        here = [x for x in given if not isinstance(x, OnGpu)]
        target = kwargs.get("device")
        if target is not None:
            is_there = torch.device(target).type == self.device.type
        elif func.overloadpacket is aten.copy_:
            is_there = isinstance(args[0], OnGpu)
        else:
            is_there = bool(there)
        self._look(func, args, kwargs, here, there, is_there)
        if func.overloadpacket is aten._pin_memory:
            pinned = args[0].clone()
            pinned.lies_in_pinned_memory = True
            return pinned
        result = func(*tree_map(self._held, args), **tree_map(self._held, kwargs))
        if torch.Tag.inplace_view in func.tags and isinstance(args[0], OnGpu):
            with no_dispatch():  # the tensor itself gets the new shape too
                func(*args, **kwargs)
        if not is_there:
            return result
        known = {id(x.held): x for x in there}  # an operation in place returns what it was given
        return tree_map_only(
            Tensor, lambda x: known[id(x)] if id(x) in known else OnGpu(x, self.device), result
        )

    def _held(self, value):
        if isinstance(value, torch.device) and value.type == self.device.type:
            return torch.device("cpu")
        return value.held if isinstance(value, OnGpu) else value

    def _look(self, func, args, kwargs, here, there, is_there):
        """Note a wait; refuse a mixture."""
        name = func.overloadpacket
        if name in COPIES:
            source = args[1] if name is aten.copy_ else args[0]
            if isinstance(source, OnGpu) != is_there:
                last = args[2] if len(args) > 2 else False
                is_free = kwargs.get("non_blocking", last)
                # From ordinary memory of the CPU a copy waits, whatever it is told.
                if is_there and self.device.type == "cuda":
                    is_free = is_free and hasattr(source, "lies_in_pinned_memory")
                if not is_free:
                    self._wait(func)
            return
        if not there:
            return
        if name in READS or func.name().split(".")[0] in READS:
            self._wait(func)
        if name is aten.repeat_interleave and kwargs.get("output_size") is None:
            self._wait(func)
        if name in INDEXING:
            for index in args[1]:
                if index is not None and index.dtype in (torch.bool, torch.uint8):
                    self._wait(func)
                elif index is not None and not isinstance(index, OnGpu):
                    self._wait(func)  # it is copied
            here = [x for x in here if not any(x is index for index in args[1])]
        # A single number of the CPU may take part in arithmetic.
        is_arithmetic = torch.Tag.pointwise in func.tags or name is aten.fill_ or name in INDEXING
        assert all(x.device.type == "cpu" for x in here), "torch.tensor() does not work on meta"
        wrong = [x for x in here if x.dim() or not is_arithmetic]
        assert not wrong, f"{func} mixes tensors of the CPU and the GPU"

    def _wait(self, func):
        stack = traceback.extract_stack()
        frame = next(
            f for f in reversed(stack) if "/torch" not in f.filename and f.filename != __file__
        )
        self.waits.append(f"{frame.filename}:{frame.lineno} {func}: {frame.line}")


def can_be_imagined():
    """Whether this torch can be kept from the driver."""
    return hasattr(torch._C, "_ensureCUDADeviceGuardSet")


def _keep_torch_from_the_driver():
    """What torch does around an operation on a GPU asks the driver for nothing from here on."""
    if not can_be_imagined():
        pytest.skip(f"a GPU can be imagined from torch 2.10 on, this is {torch.__version__}")
    torch._C._ensureCUDADeviceGuardSet()


class _Stream:
    """Whoever waits for an event of this one is told so by his own reading."""

    def record_event(self):
        return self

    def synchronize(self):
        pass


def pretend(monkeypatch):
    """Let torch say of the machine what it says where there is one GPU."""
    cuda = torch.cuda
    monkeypatch.setattr(cuda, "is_available", lambda: True)
    monkeypatch.setattr(cuda, "device_count", lambda: 1)
    monkeypatch.setattr(cuda, "is_bf16_supported", lambda *args, **kwargs: True)
    monkeypatch.setattr(cuda, "current_stream", lambda *args: _Stream())
    monkeypatch.setattr(cuda, "synchronize", lambda *args: None)
    monkeypatch.setattr(cuda, "device", contextlib.nullcontext)
    monkeypatch.setattr(cuda, "set_device", lambda *args: None)
    # Without this torch.autocast("cuda") does nothing.
    monkeypatch.setattr(cuda.amp.common, "amp_definitely_not_available", lambda: False)
