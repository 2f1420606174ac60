"""A whole training step: forward, backward and SGD, with equal weights and frozen layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import ours, peer_detectron2, peer_torchvision
from benchmarks.agreement import agree_values
from benchmarks.apart import Apart
from benchmarks.rows.losses import NOTE, compared_losses
from benchmarks.scenes import Truth, count, pictures, truths
from benchmarks.settings import Settings
from benchmarks.work import Agreement, InProcess, Match, Row
from detectron2.utils.events import EventStorage
from fcos.utils.memory import keep_freed_memory

__all__ = ["PEERS", "ROW", "step"]

BOXES = 7
Values = dict[str, Tensor]


def _works(settings: Settings) -> list[str]:
    return [f"training-{settings.train_batch}"]


def matches(settings: Settings, work: str) -> Iterator[Match]:
    images, size = settings.train_batch, settings.sizes.model_image
    title = (
        f"training step, ResNet-{settings.sizes.depth}-FPN, {count(images)} of "
        f"{size[0]}x{size[1]} with {BOXES} boxes each, stem and first stage frozen"
    )
    for name in PEERS:
        given: dict[str, Any] = {"peer": name, "images": images, "size": size}
        own = Apart("fcos", f"{__name__}:ours_apart", settings, **given)
        peer = Apart(name, f"{__name__}:peer_apart", settings, **given)
        remark = "Losses of the first step; " + NOTE[0].lower() + NOTE[1:]
        yield Match(work, title, own, peer, _agree(settings), images, remark)


def ours_apart(settings: Settings, peer: str, images: int, size: tuple[int, int]) -> InProcess:
    """Ours in a process of its own, which is set up as that of ``train_net.py``."""
    keep_freed_memory()
    scene = _scene(images, size)
    weights = PEERS[peer](settings, *scene)[1]
    return contestant(peer, weights, *scene, settings, by_ratio=peer == peer_detectron2.NAME)


def peer_apart(settings: Settings, peer: str, images: int, size: tuple[int, int]) -> InProcess:
    """A peer in a process of its own."""
    return PEERS[peer](settings, *_scene(images, size))[0]


def _scene(images: int, size: tuple[int, int]) -> tuple[list[Tensor], list[Truth]]:
    return pictures(images, size), truths(images, BOXES, size)


def _agree(settings: Settings) -> Callable[[Values, Values], Agreement]:
    tolerance = 1e-3 if settings.dtype == "float32" else 5e-2
    return lambda a, b: agree_values(a, b, tolerance)


def contestant(
    peer: str,
    weights: Values,
    images: list[Tensor],
    truth: list[Truth],
    settings: Settings,
    by_ratio: bool = False,
) -> InProcess:
    """Ours, with the settings and the weights of ``peer``."""
    model = ours.detector(peer, settings)
    ours.load(model, weights)
    size = (images[0].shape[1], images[0].shape[2])
    boxes = ours.instances(truth, size, settings.device)
    given = [
        {"image": image.to(settings.device), "instances": b}
        for image, b in zip(images, boxes, strict=True)
    ]
    losses_module = model.proposal_generator.losses
    box_terms: list[Tensor] = []

    def note(_: nn.Module, args: Any, kwargs: Any) -> None:  # before the first step only
        box_terms.append(ours.box_term(*args, **kwargs))
        hook.remove()

    hook = losses_module.register_forward_pre_hook(note, with_kwargs=True)

    def outcome(values: Values) -> Values:
        terms = values["loss_fcos_cls"], box_terms[0], values["loss_fcos_ctr"]
        return compared_losses(*terms, by_ratio)

    return InProcess("fcos", step(model, settings, given), outcome, settings.device)


def step(model: nn.Module, settings: Settings, *given: Any) -> Callable[[], Values]:
    """A training step of any detector whose forward gives a dict of losses."""
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    # So small a rate that a step more or less changes no work.
    optimizer = torch.optim.SGD(trained, lr=1e-6, momentum=0.9, weight_decay=1e-4)

    def run() -> Values:
        # A storage is where detectron2's models note how many locations are positive.
        with settings.autocast(), EventStorage():
            losses = model(*given)
        sum(losses.values()).backward()
        optimizer.step()
        optimizer.zero_grad()  # here, so that a step begins with no gradients that it could free
        return {name: loss.detach() for name, loss in losses.items()}

    return run


def _torchvision(
    settings: Settings, images: list[Tensor], truth: list[Truth]
) -> tuple[InProcess, Values]:
    torch.manual_seed(0)
    model = peer_torchvision.detector(settings)
    given = [image.to(settings.device).float() / 255 for image in images]
    peer_torchvision.make_confident(model, given[0])
    boxes = peer_torchvision.targets(truth, settings.device)
    names = ("classification", "bbox_regression", "bbox_ctrness")

    def outcome(values: Values) -> Values:
        cls, box, ctr = (values[name] for name in names)
        return compared_losses(cls, box, ctr, False)

    weights = {name: value.clone() for name, value in model.state_dict().items()}
    run = step(model, settings, given, boxes)
    return InProcess(peer_torchvision.NAME, run, outcome, settings.device), weights


def _detectron2(
    settings: Settings, images: list[Tensor], truth: list[Truth]
) -> tuple[InProcess, Values]:
    torch.manual_seed(0)
    model = peer_detectron2.detector(settings)
    size = (images[0].shape[1], images[0].shape[2])
    boxes = ours.instances(truth, size, settings.device)
    given = [
        {"image": image.to(settings.device), "instances": b}
        for image, b in zip(images, boxes, strict=True)
    ]
    peer_detectron2.make_confident(model, given[0])
    names = ("loss_fcos_cls", "loss_fcos_loc", "loss_fcos_ctr")

    def outcome(values: Values) -> Values:
        cls, box, ctr = (values[name] for name in names)
        return compared_losses(cls, box, ctr, True)

    weights = {name: value.clone() for name, value in model.state_dict().items()}
    run = step(model, settings, given)
    return InProcess(peer_detectron2.NAME, run, outcome, settings.device), weights


PEERS = {peer_torchvision.NAME: _torchvision}
if peer_detectron2.is_there():
    PEERS[peer_detectron2.NAME] = _detectron2

ROW = Row("a whole training step", _works, matches)
