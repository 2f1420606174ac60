"""A trained detector made faster: for inference alone, and in a copy."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling.poolers import ROIPooler
from fcos.modeling.backbone import TimmBackbone
from fcos.modeling.fcos.fcos import FCOS
from fcos.utils.device import exact_float32, gpu_has_bfloat16
from fcos.utils.errors import UserError

__all__ = ["PRECISIONS", "dtype_for", "optimize_for_inference"]

PRECISIONS = ("auto", "float32", "bfloat16", "float16")

M = TypeVar("M", bound=nn.Module)

_FOLDABLE = (FrozenBatchNorm2d, nn.BatchNorm2d, nn.SyncBatchNorm)


def optimize_for_inference(model: M, precision: str = "auto", compile: bool = False) -> M:
    """Copy a detector; the copy is called in the same way and is faster.

    - Batch normalisation that follows a convolution, frozen or in evaluation mode, becomes part of
      the convolution's weights. Not in towers with MODEL.FCOS.NORM "BN", whose levels share a
      convolution but not the normalisation.
    - Weights and features lie in memory as ``MODEL.CHANNELS_LAST`` would have it.
    - Backbone and towers compute in half precision where it is fast. Distances are scaled, boxes
      decoded, scores ranked and regions cut out in float32; a mask head stays in float32.

    ``model`` itself is not changed. The copy has other weights under other names, so it cannot be
    trained and is no place to save or load weights.

    Args:
        model: what ``build_model`` gives for ``OneStageDetector`` or ``GeneralizedRCNN`` with
            FCOS, with its weights loaded, on the device it is to run on.
        precision: "float32", "bfloat16", "float16", or "auto": float16 on a GPU, bfloat16 on a
            processor that computes in it, else float32.
        compile: compile backbone and head by torch.compile, which takes minutes when the first
            image comes, and a C++ compiler. Images may have any size. On a CPU, R-50 gained 5 % of
            the time at most.

    Returns:
        The copy, in evaluation mode. In float16 it raises a UserError for images whose outputs go
        beyond its range.

    Raises:
        UserError: ``precision`` is not one of these, or the device does not compute in it, or a
            weight is beyond its range, or the model has no FCOS.
    """
    generator = getattr(model, "proposal_generator", None)
    if not isinstance(generator, FCOS):
        raise UserError(
            f"Only detectors with FCOS as MODEL.PROPOSAL_GENERATOR.NAME can be optimized, not "
            f"{type(model).__name__} with {type(generator).__name__}."
        )
    dtype = dtype_for(precision, next(model.parameters()).device)
    made: Any = copy.deepcopy(model).eval().requires_grad_(False)
    _fold_batch_norm(made)
    made.to(memory_format=torch.channels_last)
    _compute_in(dtype, made)
    if compile:
        for part in (made.backbone, made.proposal_generator.fcos_head):
            # Weights are constants then, and are brought to the order of the processor's kernels.
            part.compile(dynamic=True, options={"freezing": True})
    return made


def dtype_for(precision: str, device: torch.device) -> torch.dtype:
    """Choose the type that backbone and towers compute in.

    Args:
        precision: see :func:`optimize_for_inference`.
        device: that the model is to run on.

    Raises:
        UserError: ``precision`` is not known, or ``device`` does not compute in it.
    """
    if precision not in PRECISIONS:
        raise UserError(f"--optimize: expected one of {', '.join(PRECISIONS)}, got {precision!r}.")
    on_cpu = device.type == "cpu"
    if precision == "auto":
        precision = "float16" if not on_cpu else "bfloat16" if _cpu_has_bfloat16() else "float32"
    if on_cpu and precision == "float16":
        raise UserError(
            "--optimize float16 needs a GPU, but MODEL.DEVICE is cpu; choose bfloat16 or float32."
        )
    if precision == "bfloat16" and not (
        _cpu_has_bfloat16() if on_cpu else gpu_has_bfloat16(device)
    ):
        raise UserError(
            f"--optimize bfloat16: this {'processor' if on_cpu else 'GPU'} does not compute in it; "
            f"choose {'float32' if on_cpu else 'float16'}."
        )
    return getattr(torch, precision)


def _cpu_has_bfloat16() -> bool:
    """Say whether the processor itself multiplies in bfloat16; where it does not, it is slower."""
    if not hasattr(torch.cpu, "get_capabilities"):  # torch before 2.11
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _fold_batch_norm(model: nn.Module) -> None:
    """Fold batch normalisation into the convolutions of detectron2, which carry it as ``norm``."""
    for module in model.modules():
        norm = getattr(module, "norm", None)
        if isinstance(getattr(module, "weight", None), Tensor) and isinstance(norm, _FOLDABLE):
            _fold(module, norm)
            module.norm = None  # type: ignore[assignment]
        if isinstance(module, TimmBackbone):
            module.net = _folded_by_trial(module.net, 2 * module.size_divisibility)


def _fold(convolution: Any, norm: Any) -> None:
    statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, *statistics
    )


def _folded_by_trial(net: nn.Module, side: int) -> nn.Module:
    """Fold batch normalisation in a copy of a network whose order of layers shows only in a run.

    Where the copy's result differs, because a convolution is read by more than its normalisation,
    ``net`` itself is returned. The image that it is tried with is of this side.
    """
    made = copy.deepcopy(net)
    first = next(m for m in made.modules() if isinstance(m, nn.Conv2d))
    image = torch.rand(1, first.in_channels, side, side, device=first.weight.device)
    with torch.no_grad(), exact_float32():
        wanted = net(image)
        for convolution, norm in _normalised(made, image):
            _fold(convolution, norm)
            # What else timm's normalisation does stays in its place.
            rest = [m for m in (getattr(norm, name, None) for name in ("drop", "act")) if m]
            path = next(name for name, module in made.named_modules() if module is norm)
            made.set_submodule(path, nn.Sequential(*rest))
        found = made(image)
    is_same = all(
        torch.allclose(a, b, rtol=1e-3, atol=1e-3 * b.abs().max().item())
        for a, b in zip(found, wanted, strict=True)
    )
    return made if is_same else net


def _normalised(net: nn.Module, image: Tensor) -> list[tuple[nn.Module, nn.Module]]:
    """Pair each convolution with the batch normalisation that its unchanged result goes into."""
    results: dict[int, tuple[nn.Module, Tensor, int]] = {}  # by identity, kept alive by being here
    pairs = []

    def look(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(module, nn.Conv2d):
            results[id(output)] = module, output, output._version
        elif isinstance(module, _FOLDABLE) and id(inputs[0]) in results:
            convolution, tensor, version = results[id(inputs[0])]
            if tensor._version == version:  # no activation has been at work in place
                pairs.append((convolution, module))

    hooks = [module.register_forward_hook(look) for module in net.modules()]
    net(image)
    for hook in hooks:
        hook.remove()
    layers = [layer for pair in pairs for layer in pair]
    return [pair for pair in pairs if all(layers.count(layer) == 1 for layer in pair)]


def _compute_in(dtype: torch.dtype, model: Any) -> None:
    backbone, head = model.backbone, model.proposal_generator.fcos_head
    # The factor of each level is one number, and half precision would move all its boxes.
    parts = [backbone, head.share_tower, head.cls_tower, head.bbox_tower]
    parts += [head.cls_logits, head.bbox_pred, head.ctrness]
    _refuse_overflow(dtype, model, parts)
    for part in parts:
        part.to(dtype)
    backbone.register_forward_pre_hook(_InputAs(dtype))
    for module in model.modules():
        if isinstance(module, ROIPooler):
            module.register_forward_pre_hook(_features_in_float32)


def _refuse_overflow(dtype: torch.dtype, model: nn.Module, parts: Sequence[nn.Module]) -> None:
    """Refuse weights beyond the range of a type; one infinite weight would end all detections.

    float16 ends at 65504, and normalisation by a tiny variance, once folded, is a large weight.
    """
    names = {module: name for name, module in model.named_modules()}
    for part in parts:
        for name, value in part.state_dict().items():
            if not value.is_floating_point():  # a count of batches, which stays what it is
                continue
            if (value.isfinite() & ~value.to(dtype).isfinite()).any():
                kind = str(dtype).removeprefix("torch.")
                raise UserError(
                    f"--optimize {kind}: {names[part]}.{name} has values up to "
                    f"{value.abs().max().item():.3g}, but {kind} ends at "
                    f"{torch.finfo(dtype).max:.5g}; choose bfloat16 or float32."
                )


class _InputAs:
    """Brings images to the type and the order in memory that the backbone computes in."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        images = inputs[0].to(self.dtype, memory_format=torch.channels_last)
        return images, *inputs[1:]


def _features_in_float32(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    features: Sequence[Tensor] = inputs[0]
    return [feature.float() for feature in features], *inputs[1:]
