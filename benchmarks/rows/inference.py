"""Whole inference: pictures in, detections out, with equal weights."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import ours, peer_detectron2, peer_torchvision
from benchmarks.agreement import agree_detections
from benchmarks.apart import Apart
from benchmarks.scenes import count, pictures
from benchmarks.settings import Settings
from benchmarks.work import Agreement, InProcess, Match, Row
from fcos.modeling.optimize import dtype_for, optimize_for_inference
from fcos.utils.memory import keep_freed_memory

__all__ = ["ROW"]


def _works(settings: Settings) -> list[str]:
    return [f"inference-{kind}{n}" for kind in ("", "opt-") for n in settings.batches]


def matches(settings: Settings, work: str) -> Iterator[Match]:
    images, size = int(work.rpartition("-")[2]), settings.sizes.model_image
    is_optimised = "-opt-" in work
    title = (
        f"inference, ResNet-{settings.sizes.depth}-FPN, {count(images)} of {size[0]}x{size[1]}"
        f"{f', ours after optimize_for_inference ({_precision(settings)})' if is_optimised else ''}"
    )
    for name in PEERS:
        given: dict[str, Any] = {"peer": name, "images": images, "size": size}
        own = Apart("fcos", f"{__name__}:ours_apart", settings, is_optimised=is_optimised, **given)
        peer = Apart(name, f"{__name__}:peer_apart", settings, **given)
        precision = _precision(settings) if is_optimised else settings.dtype
        agree = functools.partial(_agree, precision=precision)
        yield Match(work, title, own, peer, agree, images)


def ours_apart(
    settings: Settings, peer: str, images: int, size: tuple[int, int], is_optimised: bool
) -> InProcess:
    """Ours in a process of its own, which is set up as that of ``demo.py``."""
    keep_freed_memory()
    scene = pictures(images, size)
    weights = PEERS[peer](settings, scene)[1]
    return contestant(peer, weights, scene, settings, is_optimised)


def peer_apart(settings: Settings, peer: str, images: int, size: tuple[int, int]) -> InProcess:
    """A peer in a process of its own."""
    return PEERS[peer](settings, pictures(images, size))[0]


def _precision(settings: Settings) -> str:
    """That of the optimised copy: what ``optimize_for_inference`` chooses for the device."""
    return str(dtype_for("auto", torch.device(settings.device))).removeprefix("torch.")


def _agree(a: list, b: list, precision: str) -> Agreement:
    if precision == "float32":
        return agree_detections(a, b, pixels=0.5, score=2e-3, part=0.97)
    return agree_detections(a, b, pixels=16.0, score=0.1, part=0.75)


def contestant(
    peer: str,
    weights: dict[str, Tensor],
    images: list[Tensor],
    settings: Settings,
    is_optimised: bool = False,
) -> InProcess:
    """Ours, with the settings and the weights of ``peer``."""
    model = ours.detector(peer, settings)
    ours.load(model, weights)
    model = _optimised(model.eval()) if is_optimised else model.eval()
    given = [{"image": image.to(settings.device)} for image in images]
    if is_optimised:  # it computes in the precision that it was made for
        settings = dataclasses.replace(settings, dtype="float32")
    return InProcess("fcos", _inference(model, settings, given), ours.found, settings.device)


def _optimised(model: nn.Module) -> nn.Module:
    # A compiler is a machine's own: without it, the figure is one that every user gets.
    return optimize_for_inference(model, compile=False)


def _torchvision(settings: Settings, images: list[Tensor]) -> tuple[InProcess, dict[str, Tensor]]:
    torch.manual_seed(0)
    model = peer_torchvision.detector(settings).eval()
    given = [image.to(settings.device).float() / 255 for image in images]
    peer_torchvision.make_confident(model, given[0])
    run = _inference(model, settings, given)
    peer = InProcess(peer_torchvision.NAME, run, peer_torchvision.found, settings.device)
    return peer, model.state_dict()


def _detectron2(settings: Settings, images: list[Tensor]) -> tuple[InProcess, dict[str, Tensor]]:
    torch.manual_seed(0)
    model = peer_detectron2.detector(settings).eval()
    given = [{"image": image.to(settings.device)} for image in images]
    peer_detectron2.make_confident(model, given[0])
    run = _inference(model, settings, given)
    peer = InProcess(peer_detectron2.NAME, run, ours.found, settings.device)
    return peer, model.state_dict()


def _inference(model: nn.Module, settings: Settings, given: Any) -> Callable[[], Any]:
    def run() -> Any:
        with torch.inference_mode(), settings.autocast():
            return model(given)

    return run


PEERS = {peer_torchvision.NAME: _torchvision}
if peer_detectron2.is_there():
    PEERS[peer_detectron2.NAME] = _detectron2

ROW = Row("whole inference; -opt: with optimize_for_inference", _works, matches)
