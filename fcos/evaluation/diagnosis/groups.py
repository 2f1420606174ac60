"""AP of parts of the objects: by their size, by level of the pyramid, by how many an image has."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from detectron2.data.transforms import ResizeShortestEdge
from fcos.config.detector_keys import is_of_fcos
from fcos.evaluation.cocoeval import GroundTruth, silence
from fcos.evaluation.diagnosis.subject import Subject
from fcos.modeling.fcos.fcos_assignment import level_limits
from fcos.utils.nested import flat

__all__ = ["Group", "Levels", "by_crowding", "by_level", "by_size", "find_levels"]

_SIDES = (0, 16, 32, 64, 96, 128, 256, math.inf)  # pixels; 32 and 96 are COCO's
_NUMBERS = (1, 2, 4, 8, 16, 32, math.inf)  # objects of an image
_MOST = 1e10  # stands for infinity, as in COCO


@dataclasses.dataclass(frozen=True)
class Group:
    """A part of the objects.

    Attributes:
        name: what they have in common.
        lower, upper: ends of their range; the lower one belongs to it.
        images: how many images it has; 0 where the group is not one of images.
        objects: how many objects, crowds left out.
        ap, ap50: in percent; NaN without objects.
    """

    name: str
    lower: float
    upper: float
    images: int
    objects: int
    ap: float
    ap50: float


@dataclasses.dataclass(frozen=True)
class Levels:
    """How a detector's config assigns objects to the levels of its pyramid.

    Attributes:
        names: of the levels, such as "p3".
        strides: in pixels of the network input.
        limits: for the largest distance of a location to a side of its object, in the same pixels;
            one more than there are levels, from 0 to infinity.
        short, longest: INPUT.MIN_SIZE_TEST and MAX_SIZE_TEST; 0: images are not resized.
    """

    names: tuple[str, ...]
    strides: tuple[int, ...]
    limits: tuple[float, ...]
    short: int
    longest: int


def find_levels(config: dict[str, Any]) -> Levels | None:
    """Read the levels of FCOS from the contents of a ``config.yaml``; None: it is of no FCOS."""
    keys = flat(config)
    node = "MODEL.FCOS."
    try:
        strides = tuple(map(int, keys[f"{node}FPN_STRIDES"]))
        limits = level_limits(strides, tuple(map(float, keys[f"{node}SIZES_OF_INTEREST"])))
        names = tuple(map(str, keys[f"{node}IN_FEATURES"]))
        short, longest = int(keys["INPUT.MIN_SIZE_TEST"]), int(keys["INPUT.MAX_SIZE_TEST"])
    except (KeyError, TypeError, ValueError):
        return None
    if not is_of_fcos(config) or len(names) != len(strides):
        return None
    return Levels(names, strides, tuple(limits), short, longest)


def by_size(subject: Subject) -> list[Group]:
    """Compute AP by the square root of the area, which is the annotation's own."""
    edges = [side**2 for side in _SIDES]
    names = [_range(*pair) for pair in itertools.pairwise(_SIDES)]
    return _by_area(subject.truth.objects, subject, edges, names, _SIDES)


def by_level(subject: Subject, levels: Levels) -> list[Group]:
    """Compute AP by the level that the middle of an object belongs to.

    That location's distance to the farther sides is half of the longer side, in the network.
    Locations beside the middle may belong to a higher level.
    """
    truth = subject.truth
    images = truth.objects.image_at
    scales = np.array([_scale(truth.coco.imgs[id_], levels) for id_ in images])

    def reach(box: Sequence[float], image: int) -> float:
        return max(box[2], box[3]) / 2 * float(scales[image])

    annotations = [
        {**a, "area": reach(a["bbox"], images[a["image_id"]])}
        for a in truth.coco.dataset["annotations"]
    ]
    contents = {**truth.coco.dataset, "annotations": annotations}
    objects = GroundTruth(contents, truth.json_file, truth.has_masks)
    boxes = subject.found.boxes
    areas = boxes[:, 2:].max(axis=1, initial=0) / 2 * scales[subject.found.images]
    found = dataclasses.replace(subject.found, areas=areas)
    names = [name.upper() for name in levels.names]
    limits = levels.limits
    return _by_area(objects, dataclasses.replace(subject, found=found), limits, names, limits)


def by_crowding(subject: Subject) -> list[Group]:
    """Compute AP of the images that have so many objects, crowds left out."""
    numbers = subject.matches.num_objects
    places, ends = {}, list(itertools.pairwise(_NUMBERS))
    for lower, upper in ends:
        is_inside = (numbers >= lower) & (numbers < upper)
        if is_inside.any():
            places[lower, upper] = np.flatnonzero(is_inside)
    with silence():
        coco_eval = subject.truth.objects.prepared(subject.found, subject.task, subject.max_dets)
        coco_eval.evaluate()
        slices = {_count(*pair): (which + 1).tolist() for pair, which in places.items()}
        found = coco_eval.slice_by(slices)
    groups = []
    for pair, which in places.items():
        metrics = found[_count(*pair)]
        aps = [100 * metrics[key] if metrics[key] >= 0 else math.nan for key in ("AP", "AP50")]
        groups.append(Group(_count(*pair), *pair, len(which), int(numbers[which].sum()), *aps))
    return groups


def _by_area(
    objects: GroundTruth,
    subject: Subject,
    edges: Sequence[float],
    names: Sequence[str],
    ends: Sequence[float],
) -> list[Group]:
    """Evaluate ranges of what stands for the area of objects and detections.

    As in COCO, a detection that matches an object belongs to the object's range, any other to its
    own. There, both ends belong to a range; here, the lower one alone.
    """
    pairs = list(itertools.pairwise(edges))
    with silence():
        coco_eval = objects.prepared(subject.found, subject.task, subject.max_dets)
        coco_eval.params.areaRng = [
            [low, float(np.nextafter(min(high, _MOST), 0))] for low, high in pairs
        ]
        coco_eval.params.areaRngLbl = [str(number) for number in range(len(pairs))]
        coco_eval.evaluate()
        coco_eval.accumulate()
    precision = np.asarray(coco_eval.eval["precision"])[..., -1]
    areas, groups = objects.objects[:, 2], []
    for number, (low, high) in enumerate(pairs):
        count = int(((areas >= low) & (areas < high)).sum())
        part = precision[..., number]
        aps = [100 * _mean(part), 100 * _mean(part[0])]
        groups.append(Group(names[number], ends[number], ends[number + 1], 0, count, *aps))
    return [group for group in groups if group.objects]


def _mean(precision: np.ndarray) -> float:
    measured = precision[precision > -1]
    return float(measured.mean()) if measured.size else math.nan


def _scale(image: dict[str, Any], levels: Levels) -> float:
    """Return how much larger an image is in the network."""
    height, width = image["height"], image["width"]
    if not levels.short:
        return 1.0
    new = ResizeShortestEdge.get_output_shape(height, width, levels.short, levels.longest)
    return float(new[0] / height)


def _range(lower: float, upper: float) -> str:
    if not lower:
        return f"below {upper:g}"
    return f"from {lower:g} on" if math.isinf(upper) else f"{lower:g} to {upper:g}"


def _count(lower: float, upper: float) -> str:
    if math.isinf(upper):
        return f"{lower:g} or more"
    return f"{lower:g}" if upper == lower + 1 else f"{lower:g} to {upper - 1:g}"
