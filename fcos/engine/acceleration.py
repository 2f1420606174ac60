"""Training with less time or less memory, on the same modules and names of weights."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from fcos.config import CfgNode
from fcos.config.training_checks import check_acceleration
from fcos.modeling.fcos import FCOSHead
from fcos.utils.errors import UserError

__all__ = ["accelerate", "check_compiler", "checkpoint_activations", "compile_parts"]


def accelerate(model: nn.Module, cfg: CfgNode) -> None:
    """Do to a detector, in place, what MODEL.COMPILE and MODEL.ACTIVATION_CHECKPOINTING ask for.

    Raises:
        UserError: both at once.
    """
    check_acceleration(cfg)
    if cfg.MODEL.ACTIVATION_CHECKPOINTING:
        checkpoint_activations(model)
    if cfg.MODEL.COMPILE:
        compile_parts(model)


# ---- torch.compile -------------------------------------------------------------------------------


def compile_parts(model: nn.Module, backend: str = "inductor") -> None:
    """Let torch.compile make the backbone and the heads of a detector, in place.

    The sizes of images are variables of the compiled code. Target assignment and losses, a few
    percent of the time, stay as they are. Modules, hooks and names in the state dict do not change.

    Args:
        model: with a ``backbone``, and an FCOSHead somewhere.
        backend: of torch.compile.
    """
    # With its choice of layouts, torch 2.11 compiles the backward pass for the sizes that it saw
    # first, and so compiles once more for every other size.
    options = {"layout_optimization": False} if backend == "inductor" else None
    if torch.__version__ < "2.11":
        # torch 2.6 fails to cut graphs of variable sizes for several processes, 2.11 does not.
        # The gradients of a part are then sent when all of them are there.
        torch._dynamo.config.optimize_ddp = False
    for part in [model.get_submodule("backbone"), *_heads(model)]:
        part.compile(dynamic=True, backend=backend, options=options)


def check_compiler(device: str) -> None:
    """See that torch.compile works here, by compiling one addition.

    Args:
        device: the value of MODEL.DEVICE.

    Raises:
        UserError: it does not.
    """
    try:
        torch.compile(_add_one)(torch.zeros(2, device=device))
    except Exception as error:  # of a compiler, the linker, Triton, ...
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UserError(
            f"MODEL.COMPILE is True, but torch.compile does not work on {device} here "
            f"({type(error).__name__}: {lines[0] if lines else 'no reason given'}); install a C++ "
            "compiler (on a GPU, Triton too), or set MODEL.COMPILE False."
        ) from error


def _add_one(x: torch.Tensor) -> torch.Tensor:
    return x + 1


# ---- activation checkpointing --------------------------------------------------------------------


def checkpoint_activations(model: nn.Module) -> None:
    """Keep only the inputs of the backbone's stages and the heads' towers for the backward pass.

    Losses and gradients keep their bits, and random layers their draws. Statistics of batch
    normalisation are updated once, as without. Names in the state dict do not change.

    Args:
        model: with a ``backbone``, and an FCOSHead somewhere.
    """
    parts = list(_stages(model.get_submodule("backbone")))
    for head in _heads(model):
        parts += [head.share_tower, head.cls_tower, head.bbox_tower]
    for part in parts:
        if any(parameter.requires_grad for parameter in part.parameters()):
            norms = [layer for layer in part.modules() if isinstance(layer, _BATCH_NORMS)]
            # Partial, of a bound method: a copy of the model gets one with its own weights.
            part.forward = functools.partial(_checkpointed, part.forward, norms)


_BATCH_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)


def _checkpointed(forward: Callable, norms: Sequence[Any], *args: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args)
    return checkpoint(
        forward,
        *args,
        use_reentrant=False,
        context_fn=lambda: (contextlib.nullcontext(), _without_statistics(norms)),
    )


@contextlib.contextmanager
def _without_statistics(norms: Sequence[Any]) -> Iterator[None]:
    """Keep the running statistics of batch normalisation as they are."""
    training = [norm for norm in norms if norm.training]
    settings = [(norm.momentum, norm.num_batches_tracked) for norm in training]
    for norm in training:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(training, settings, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


def _stages(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the outermost nn.Sequential of blocks in a module: the stages of a ResNet.

    Single residual blocks would need more memory: a ResNet-50 has 13 that are trained, whose inputs
    are larger than what one stage keeps while it is computed again.
    """
    for child in module.children():
        of_stages = all(isinstance(part, nn.Sequential) for part in child.children())
        if isinstance(child, nn.Sequential) and not of_stages:
            yield child
        else:  # also for a sequence of stages: a backbone calls its members, not the sequence
            yield from _stages(child)


def _heads(model: nn.Module) -> list[FCOSHead]:
    return [module for module in model.modules() if isinstance(module, FCOSHead)]
