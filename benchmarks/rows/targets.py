"""Target assignment: ground truth in, what every location has to predict out."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import ours, peer_detectron2, peer_torchvision
from benchmarks.agreement import agree_targets
from benchmarks.scenes import feature_sizes, truths
from benchmarks.settings import Settings
from benchmarks.work import InProcess, Match, Row

__all__ = ["ROW"]

IMAGES = 2


def _works(settings: Settings) -> list[str]:
    return [f"targets-{number}" for number in settings.sizes.boxes]


def matches(settings: Settings, work: str) -> Iterator[Match]:
    boxes, size = int(work.rpartition("-")[2]), settings.sizes.head_image
    title = f"target assignment, {IMAGES} images of {size[0]}x{size[1]} with {boxes} boxes each"
    truth = truths(IMAGES, boxes, size)

    def match(peer: InProcess, remark: str = "") -> Match:
        own = contestant(peer.name, boxes, settings)
        return Match(work, title, own, peer, agree_targets, IMAGES, remark)

    parts = peer_torchvision.Parts(IMAGES, size, settings)
    theirs = peer_torchvision.targets(truth, settings.device)
    yield match(
        InProcess(
            peer_torchvision.NAME,
            lambda: parts.match(theirs),
            lambda matched: parts.labels_and_distances(matched, theirs),
            settings.device,
        ),
        "Timed: which box a location learns; ours makes the locations, labels and distances too.",
    )
    if peer_detectron2.is_there():
        builtin = peer_detectron2.Parts(IMAGES, size, settings)
        given = ours.instances(truth, size, settings.device)
        yield match(
            InProcess(
                peer_detectron2.NAME,
                lambda: builtin.match(given),
                builtin.labels_and_distances,
                settings.device,
            ),
            "Timed: labels and boxes; ours makes the locations and distances too.",
        )


def contestant(peer: str, boxes: int, settings: Settings) -> InProcess:
    """Ours, with the settings of ``peer``."""
    size = settings.sizes.head_image
    given = ours.instances(truths(IMAGES, boxes, size), size, settings.device)
    assign = ours.proposal_generator(peer, settings).targets.fcos_target
    levels = feature_sizes(size)
    return InProcess("fcos", lambda: assign(levels, given), lambda x: x, settings.device)


ROW = Row("target assignment for few and for many boxes per image", _works, matches)
