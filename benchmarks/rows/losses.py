"""Losses and their gradients: from the head's outputs, with and without target assignment."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks import ours, peer_detectron2, peer_torchvision
from benchmarks.agreement import agree_values
from benchmarks.scenes import STRIDES, Outputs, Truth, feature_sizes, outputs, truths
from benchmarks.settings import Settings
from benchmarks.work import Agreement, InProcess, Match, Row

__all__ = ["NOTE", "ROW", "compared_losses"]

IMAGES, BOXES = 2, 7
Values = dict[str, Tensor]
NOTE = "Box terms are compared without the centerness weights and the 1 in areas of ours."


def matches(settings: Settings, work: str) -> Iterator[Match]:
    with_targets = work == "losses-targets"
    size = settings.sizes.head_image
    title = (
        f"{'targets, ' if with_targets else ''}three losses and their gradients for the outputs of "
        f"a head, {IMAGES} images of {size[0]}x{size[1]} with {BOXES} boxes each"
    )
    truth = truths(IMAGES, BOXES, size)
    peers = [_torchvision(truth, settings, with_targets)]
    if peer_detectron2.is_there():
        peers.append(_detectron2(truth, settings, with_targets))
    for peer in peers:
        by_ratio = peer.name == peer_detectron2.NAME
        own = contestant(peer.name, truth, settings, with_targets, by_ratio)
        note = "By ratio to its centerness loss, since it divides by a moving average. "
        remark = (note if by_ratio else "") + NOTE
        yield Match(work, title, own, peer, _agree(settings), IMAGES, remark)


def _agree(settings: Settings) -> Callable[[Values, Values], Agreement]:
    tolerance = 1e-4 if settings.dtype == "float32" else 2e-2
    return lambda a, b: agree_values(a, b, tolerance)


def contestant(
    peer: str, truth: list[Truth], settings: Settings, with_targets: bool, by_ratio: bool = False
) -> InProcess:
    """Ours, with the settings of ``peer``."""
    size = settings.sizes.head_image
    cls, ltrb, ctr = _leaves(truth, settings).flat()
    given = [x.detach().requires_grad_() for x in (cls, ltrb.relu(), ctr)]
    generator = ours.proposal_generator(peer, settings)
    levels = feature_sizes(size)
    boxes = ours.instances(truth, size, settings.device)
    per_level = [(rows * columns, s) for (rows, columns), s in zip(levels, STRIDES, strict=True)]
    stride = torch.cat([given[0].new_full((n, 1), s).float() for n, s in per_level])

    def targets() -> tuple[Tensor, Tensor]:
        labels, ltrb_px = generator.targets.fcos_target(levels, boxes)
        return labels, ltrb_px / stride

    assigned = targets()

    def run() -> Values:
        losses = generator.losses(*given, *(targets() if with_targets else assigned))
        return _with_gradients(losses, given)

    def outcome(values: Values) -> Values:
        box = ours.box_term(*given, *assigned)
        cls_loss, ctr_loss = values["loss_fcos_cls"], values["loss_fcos_ctr"]
        return _compared(cls_loss, box, ctr_loss, values, by_ratio)

    return InProcess("fcos", run, outcome, settings.device, settings.autocast)


def _torchvision(truth: list[Truth], settings: Settings, with_targets: bool) -> InProcess:
    size = settings.sizes.head_image
    parts = peer_torchvision.Parts(IMAGES, size, settings)
    theirs = peer_torchvision.targets(truth, settings.device)
    said = peer_torchvision.head_outputs(_leaves(truth, settings))
    given = [x.detach().requires_grad_() for x in said.values()]
    matched = None if with_targets else parts.match(theirs)

    def run() -> Values:
        losses = parts.losses(theirs, dict(zip(said, given, strict=True)), matched)
        return _with_gradients(losses, given)

    def outcome(values: Values) -> Values:
        cls, box, ctr = (
            values[name] for name in ("classification", "bbox_regression", "bbox_ctrness")
        )
        return _compared(cls, box, ctr, values, False)

    return InProcess(peer_torchvision.NAME, run, outcome, settings.device, settings.autocast)


def _detectron2(truth: list[Truth], settings: Settings, with_targets: bool) -> InProcess:
    size = settings.sizes.head_image
    parts = peer_detectron2.Parts(IMAGES, size, settings)
    theirs = ours.instances(truth, size, settings.device)
    said = parts.per_level(_leaves(truth, settings))
    cls, reg, ctr = given = tuple([x.detach().requires_grad_() for x in levels] for levels in said)
    assigned = parts.match(theirs)

    def run() -> Values:
        losses = parts.losses((cls, reg, ctr), parts.match(theirs) if with_targets else assigned)
        values = _with_gradients(losses, [x for levels in given for x in levels])
        values["grad_cls"] = torch.cat([_gradient(x) for x in cls], dim=1)
        values["grad_ctr"] = torch.cat([_gradient(x) for x in ctr], dim=1)
        return values

    def outcome(values: Values) -> Values:
        cls, box, ctr = (
            values[name] for name in ("loss_fcos_cls", "loss_fcos_loc", "loss_fcos_ctr")
        )
        return _compared(cls, box, ctr, values, True)

    return InProcess(peer_detectron2.NAME, run, outcome, settings.device, settings.autocast)


def _leaves(truth: list[Truth], settings: Settings) -> Outputs:
    return outputs(truth, settings.sizes.head_image, settings.device, settings.torch_dtype)


def _with_gradients(losses: Values, given: list[Tensor]) -> Values:
    for x in given:
        x.grad = None
    sum(losses.values()).backward()  # type: ignore[union-attr]
    values = {name: loss.detach() for name, loss in losses.items()}
    return {**values, "grad_cls": _gradient(given[0]), "grad_ctr": _gradient(given[-1])}


def _gradient(x: Tensor) -> Tensor:
    assert x.grad is not None
    return x.grad


def compared_losses(cls_loss: Tensor, box_loss: Tensor, ctr_loss: Tensor, by_ratio: bool) -> Values:
    """By ratio to the last one where the divisor of all three is a peer's own."""
    divisor = ctr_loss.float() if by_ratio else 1.0
    return {
        "class loss": cls_loss.float() / divisor,
        "box loss": box_loss.float() / divisor,
        "centerness loss": ctr_loss.float() / divisor,
    }


def _compared(
    cls_loss: Tensor, box_loss: Tensor, ctr_loss: Tensor, gradients: Values, by_ratio: bool
) -> Values:
    divisor = ctr_loss.float() if by_ratio else 1.0
    return {
        **compared_losses(cls_loss, box_loss, ctr_loss, by_ratio),
        "class gradient": gradients["grad_cls"].float().flatten() / divisor,
        "centerness gradient": gradients["grad_ctr"].float().flatten() / divisor,
    }


ROW = Row(
    "losses and gradients from the outputs of a head, and with the assignment of targets",
    lambda _: ["losses", "losses-targets"],
    matches,
)
