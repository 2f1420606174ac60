"""Post-processing: the head's outputs in, detections out."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import ours, peer_detectron2, peer_torchvision
from benchmarks.agreement import agree_detections
from benchmarks.scenes import Outputs, count, feature_sizes, outputs, truths
from benchmarks.settings import Settings
from benchmarks.work import Agreement, InProcess, Match, Row

__all__ = ["ROW"]

OBJECTS = 40


def _works(settings: Settings) -> list[str]:
    batches = settings.batches
    return [*(f"postprocess-{n}" for n in batches), f"postprocess-dense-{batches[0]}"]


def matches(settings: Settings, work: str) -> Iterator[Match]:
    images, size = int(work.rpartition("-")[2]), settings.sizes.head_image
    is_dense = "dense" in work
    said = make_outputs(images, settings, is_dense)
    what = (
        "most classes likely at most locations"
        if is_dense
        else f"{OBJECTS} objects, each seen at about nine locations"
    )
    title = f"post-processing, {count(images)} of {size[0]}x{size[1]}, 80 classes, {what}"
    parts = peer_torchvision.Parts(images, size, settings)
    theirs = peer_torchvision.head_outputs(said)
    peers = [
        InProcess(
            peer_torchvision.NAME,
            lambda: parts.detections(theirs),
            peer_torchvision.found,
            settings.device,
            settings.autocast,
        )
    ]
    if peer_detectron2.is_there():
        builtin = peer_detectron2.Parts(images, size, settings)
        peers.append(
            InProcess(
                peer_detectron2.NAME,
                lambda: builtin.detections(said),
                ours.found,
                settings.device,
                settings.autocast,
            )
        )

    for peer in peers:
        own = contestant(peer.name, said, settings)
        yield Match(work, title, own, peer, lambda a, b: _agree(a, b, settings), images)


def _agree(a: list, b: list, settings: Settings) -> Agreement:
    if settings.dtype == "float32":
        return agree_detections(a, b)
    # Peers compute scores and boxes in the precision that they are given, in which scores tie and
    # NMS then keeps another one of several neighbours.
    return agree_detections(a, b, pixels=8.0, score=2e-2, part=0.75)


def make_outputs(images: int, settings: Settings, is_dense: bool = False) -> Outputs:
    size = settings.sizes.head_image
    truth = truths(images, OBJECTS, size)
    return outputs(truth, size, settings.device, settings.torch_dtype, is_dense)


def contestant(peer: str, said: Outputs, settings: Settings) -> InProcess:
    """Ours, with the settings of ``peer``."""
    size = settings.sizes.head_image
    generator = ours.proposal_generator(peer, settings)
    cls, ltrb, ctr = said.flat()
    ltrb, levels, sizes = ltrb.relu(), feature_sizes(size), [size] * len(cls)

    def run() -> list:
        return generator.predict_proposals(cls, ltrb, ctr, levels, sizes)

    return InProcess("fcos", run, ours.found, settings.device, settings.autocast)


ROW = Row("from the head's outputs to detections", _works, matches)
