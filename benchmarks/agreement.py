"""Whether two contestants computed the same thing, within a tolerance that is stated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from benchmarks.work import Agreement

__all__ = ["Found", "agree_detections", "agree_numbers", "agree_targets", "agree_values"]

Found = tuple[Tensor, Tensor, Tensor]
"""Boxes (M, 4), scores (M,) and classes (M,) of one image."""


def agree_targets(ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor]) -> Agreement:
    """Targets of a batch: labels equal everywhere, distances within 0.01 pixels.

    Args:
        ours, theirs: labels (N, L), background the same number in both, and distances (N, L, 4).
    """
    (labels, ltrb), (other_labels, other_ltrb) = ours, theirs
    if labels.shape != other_labels.shape:
        return Agreement(False, f"{tuple(labels.shape)} and {tuple(other_labels.shape)} locations")
    is_other = labels != other_labels
    apart = (ltrb - other_ltrb).abs().amax(dim=-1)
    wrong = int((is_other | (apart > 0.01)).sum())
    if wrong:
        return Agreement(False, f"targets differ at {wrong:,} of {labels.numel():,} locations")
    distances = _within(float(apart.max()), " px")
    return Agreement(
        True, f"labels equal at all {labels.numel():,} locations, distances {distances}"
    )


def _within(most: float, unit: str = "") -> str:
    return f"within {most:.0e}{unit}" if most > 0 else "equal"


def agree_values(
    ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], tolerance: float
) -> Agreement:
    """Named tensors: the norm of each difference is at most ``tolerance`` of the peer's norm."""
    if ours.keys() != theirs.keys():
        return Agreement(False, f"{', '.join(ours)} and {', '.join(theirs)} were computed")
    apart = {}
    for name, value in ours.items():
        other = theirs[name].double()
        if value.shape != other.shape:
            return Agreement(False, f"{name}: {tuple(value.shape)} and {tuple(other.shape)}")
        scale = float(other.norm())
        apart[name] = float((value.double() - other).norm()) / max(scale, 1e-12)
    text = ", ".join(
        f"{name} {difference:.0e}".replace("0e+00", "0") for name, difference in apart.items()
    )
    same = all(difference <= tolerance for difference in apart.values())  # NaN is not
    return Agreement(same, f"relative differences ({tolerance:.0e} allowed): {text}")


def agree_numbers(
    ours: Mapping[str, float], theirs: Mapping[str, float], tolerance: float, what: str
) -> Agreement:
    """Named numbers within ``tolerance`` of each other; NaN equals NaN."""
    if ours.keys() != theirs.keys():
        other = sorted(ours.keys() ^ theirs.keys())
        return Agreement(False, f"only one of them computed {', '.join(other[:5])}")
    apart = 0.0
    for name, value in ours.items():
        difference = abs(value - theirs[name])
        if not (difference <= tolerance or (value != value and theirs[name] != theirs[name])):
            return Agreement(False, f"{name} is {value:.6g} and {theirs[name]:.6g}")
        apart = max(apart, difference if difference == difference else 0.0)
    return Agreement(True, f"{len(ours)} {what}: {_within(apart)}")


def agree_detections(
    ours: Sequence[Found],
    theirs: Sequence[Found],
    pixels: float = 0.1,
    score: float = 1e-3,
    part: float = 0.99,
) -> Agreement:
    """Detections of a batch: nearly all have their like in the other list.

    Not all: where a score lies within rounding of the threshold, or an overlap within rounding of
    that of NMS, equal formulas decide differently.

    Args:
        ours, theirs: per image.
        pixels: how far a corner may be from its like.
        score: how far a score may.
        part: of all detections of the longer list that need a like.
    """
    pairs = list(zip(ours, theirs, strict=True))
    number = sum(max(len(a[1]), len(b[1])) for a, b in pairs)
    if not number:
        return Agreement(False, "neither detects anything, which compares nothing")
    alike = sum(_alike(a, b, pixels, score) for a, b in pairs)
    text = (
        f"{alike} of {number} detections alike, {part:.0%} needed (class, score within {score:g}, "
        f"corners within {pixels:g} px)"
    )
    return Agreement(alike >= part * number, text)


def _alike(ours: Found, theirs: Found, pixels: float, score: float) -> int:
    """How many detections of one image pair up; none is used twice."""
    boxes, scores, classes = (x.detach().cpu() for x in ours)
    other_boxes, other_scores, other_classes = (x.detach().cpu() for x in theirs)
    fits = classes[:, None] == other_classes
    fits &= (scores[:, None].float() - other_scores.float()).abs() <= score
    fits &= (boxes[:, None].float() - other_boxes.float()).abs().amax(dim=-1) <= pixels
    count = 0
    for row in range(len(fits)):
        partners = fits[row].nonzero()
        if len(partners):
            fits[:, int(partners[0])] = False
            count += 1
    return count


def always(ours: Any, theirs: Any) -> Agreement:
    """For a peer that is a yardstick and computes nothing."""
    return Agreement(True, "a yardstick: it computes nothing that could agree")
