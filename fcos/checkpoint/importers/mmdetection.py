"""Files of mmdetection 2.x and 3.x, with group normalisation in the towers or none."""

import re
from collections.abc import Iterable

import torch

from fcos.checkpoint.importers.family import HEAD, Family, Weights
from fcos.checkpoint.importers.rules import Rule, resnet


def _tower(theirs: str, ours: str) -> tuple[Rule, ...]:
    conv, layer = f"bbox_head.{theirs}.{{i}}.", f"{HEAD}{ours}.{{i*3}}."
    norm = f"{HEAD}{ours}.{{i*3+1}}."
    offset = conv + "conv.conv_offset.weight", layer + "offset.weight"
    return (
        Rule(conv + "conv.conv_offset.{what}", layer + "offset.{what}"),
        Rule(conv + "conv.{what}", layer + "conv.{what}", beside=offset),
        Rule(conv + "conv.{what}", layer + "{what}", beside=(conv + "gn.weight", norm + "weight")),
        Rule(conv + "gn.{what}", norm + "{what}", beside=(conv + "conv.weight", layer + "weight")),
        Rule(conv + "gn.{what}", norm + "{what}", beside=offset),
        # Without normalisation, each convolution is followed by its activation alone.
        Rule(conv + "conv.{what}", f"{HEAD}{ours}.{{i*2}}.{{what}}"),
    )


def _arrive(weights: Weights) -> Weights:
    """Add biases of 0 to convolutions without any, and give scales one dimension."""
    arrived = dict(weights)
    for name, value in weights.items():
        if _has_norm(name, weights) and _bias(name) not in weights:
            arrived[_bias(name)] = torch.zeros(len(value), dtype=torch.as_tensor(value).dtype)
        elif name.startswith(f"{HEAD}scales."):
            arrived[name] = torch.as_tensor(value).reshape(1)
    return arrived


def _leave(weights: Weights) -> Weights:
    """Undo :func:`_arrive`, and add the counters of batch normalisation, with value 0."""
    biases = [_bias(name) for name in weights if _has_norm(name, weights)]
    if any(bool((torch.as_tensor(weights[name]) != 0).any()) for name in biases):
        biases = []
    left: Weights = {}
    for name, value in weights.items():
        if name.startswith(f"{HEAD}scales."):
            value = torch.as_tensor(value).reshape(())
        if name not in biases:
            left[name] = value
        if name.endswith(".norm.running_var"):
            left[name.replace("running_var", "num_batches_tracked")] = torch.tensor(0)
    return left


def _has_norm(name: str, weights: Weights) -> bool:
    """Say whether this is the kernel of a tower's convolution that normalisation follows."""
    match = re.fullmatch(re.escape(HEAD) + r"(\w+_tower)\.(\d+)\.(conv\.)?weight", name)
    if match is None or int(match[2]) % 3:  # of every three layers, the first
        return False
    return f"{HEAD}{match[1]}.{int(match[2]) + 1}.weight" in weights


def _bias(name: str) -> str:
    return name.removesuffix("weight") + "bias"


def _advice(names: Iterable[str]) -> str:
    found = set(names)
    towers = "bbox_head.cls_convs.0."
    if not {f"{towers}conv.bias", f"{towers}gn.weight"} <= found:
        return ""
    return (
        "The convolutions of its towers have biases, which mmdetection leaves out, with no more "
        "than a warning, unless its bbox_head is built with conv_bias=True."
    )


FAMILY = Family(
    name="mmdetection",
    mark=r"bbox_head\.(conv|fcos)_centerness\.",
    rules=(
        Rule("backbone.conv1.weight", "backbone.bottom_up.stem.conv1.weight"),
        Rule("backbone.bn1.{what}", "backbone.bottom_up.stem.conv1.norm.{what}"),
        Rule(
            "backbone.layer{s}.{b}.conv2.conv_offset.{what}",
            "backbone.bottom_up.res{s+1}.{b}.conv2_offset.{what}",
        ),
        *resnet("backbone."),
        Rule("neck.lateral_convs.{i}.conv.{what}", "backbone.fpn_lateral{i+3}.{what}"),
        Rule("neck.fpn_convs.3.conv.{what}", "backbone.top_block.p6.{what}"),
        Rule("neck.fpn_convs.4.conv.{what}", "backbone.top_block.p7.{what}"),
        Rule("neck.fpn_convs.{i}.conv.{what}", "backbone.fpn_output{i+3}.{what}"),
        *_tower("cls_convs", "cls_tower"),
        *_tower("reg_convs", "bbox_tower"),
        Rule("bbox_head.conv_cls.{what}", HEAD + "cls_logits.{what}"),
        Rule("bbox_head.conv_reg.{what}", HEAD + "bbox_pred.{what}"),
        Rule("bbox_head.conv_centerness.{what}", HEAD + "ctrness.{what}"),
        Rule("bbox_head.scales.{i}.scale", HEAD + "scales.{i}.scale"),
        # The spelling of mmdetection 1.x, which 2.x reads as well.
        Rule("bbox_head.fcos_cls.{what}", HEAD + "cls_logits.{what}"),
        Rule("bbox_head.fcos_reg.{what}", HEAD + "bbox_pred.{what}"),
        Rule("bbox_head.fcos_centerness.{what}", HEAD + "ctrness.{what}"),
    ),
    dropped=r".*\.num_batches_tracked",
    arrive=_arrive,
    leave=_leave,
    advice=_advice,
)
