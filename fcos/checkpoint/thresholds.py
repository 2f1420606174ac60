"""The scores to cut detections at, which a checkpoint carries beside its weights."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tabulate import tabulate

from fcos.checkpoint.reading import local_file, read_file
from fcos.utils.errors import UserError
from fcos.utils.files import write_whole

__all__ = [
    "DEFAULT_SCORE",
    "THRESHOLDS",
    "ClassThreshold",
    "ScoreThresholds",
    "add_thresholds",
    "check_has_place",
    "thresholds_in",
]

#: what programs cut at where nothing else is known
DEFAULT_SCORE = 0.5

#: the name of the entry in the file
THRESHOLDS = "score_thresholds"

_FEW = 20  # With fewer objects, one more or less that is found moves a best score a lot.


@dataclasses.dataclass(frozen=True)
class ClassThreshold:
    """The score that detections of one class are cut at, and what it is worth.

    Attributes:
        score: the lowest that is kept; None: none could be chosen.
        precision, recall: in [0, 1], of what is kept.
        objects: of this class in the data set, without crowds.
        detections: of this class that were right or wrong, of any score.
    """

    score: float | None
    precision: float = 0.0
    recall: float = 0.0
    objects: int = 0
    detections: int = 0

    @property
    def note(self) -> str:
        """What to know about the score; empty if there is nothing."""
        if self.score is None:
            return f"{DEFAULT_SCORE:g} is used: {self._why_none()}"
        return f"from fewer than {_FEW} objects: uncertain" if self.objects < _FEW else ""

    def _why_none(self) -> str:
        if not self.objects:
            return "no objects"
        return "not reached" if self.detections else "nothing detected"


@dataclasses.dataclass(frozen=True)
class ScoreThresholds:
    """The scores that detections are cut at, class by class.

    Attributes:
        rule: how they were chosen, such as "best F1".
        dataset: on which data set.
        square_root: the scores are square roots, by MODEL.FCOS.SQRT_SCORE; else products.
        augmented: the detections were made with test-time augmentation.
        classes: in the order of the outputs of the model.
    """

    rule: str
    dataset: str
    square_root: bool
    augmented: bool
    classes: tuple[ClassThreshold, ...]

    @property
    def is_empty(self) -> bool:
        """Say whether there is no score for any class."""
        return all(class_.score is None for class_ in self.classes)

    def scores(self, square_root: bool) -> list[float | None]:
        """Return the score of each class, None where there is none.

        Args:
            square_root: of the detections to be cut, as the attribute.
        """
        power = 1.0 if square_root == self.square_root else 2.0 if self.square_root else 0.5
        return [None if c.score is None else c.score**power for c in self.classes]

    def entry(self) -> dict[str, Any]:
        """Return what a checkpoint has of it."""
        return {THRESHOLDS: dataclasses.asdict(self) | {"classes": [vars(c) for c in self.classes]}}

    def table(self, names: Sequence[str] = ()) -> str:
        """Lay out the scores in lines.

        Args:
            names: of the classes; where their number is another one, classes are numbered.
        """
        if len(names) != len(self.classes):
            names = [f"class {number}" for number in range(len(self.classes))]
        headers = ["class", "score", "precision", "recall", "F1", "objects", ""]
        rows = [_row(*pair) for pair in zip(names, self.classes, strict=True)]
        augmented = ", with test-time augmentation" if self.augmented else ""
        title = f"Scores to cut at, by {self.rule} on {self.dataset} at IoU 0.5{augmented}"
        return f"{title}\n{tabulate(rows, headers, disable_numparse=True)}".rstrip()


def _row(name: str, class_: ClassThreshold) -> list[str]:
    measured = ["-"] * 4
    if class_.score is not None:
        precision, recall = class_.precision, class_.recall
        f1 = 2 * precision * recall / max(1e-9, precision + recall)
        measured = [f"{class_.score:.3f}", *(f"{x:.2f}" for x in (precision, recall, f1))]
    return [name, *measured, f"{class_.objects:,}", class_.note]


def thresholds_in(checkpoint: Mapping[str, Any], path: str) -> ScoreThresholds | None:
    """Take the thresholds out of the contents of a checkpoint.

    Args:
        checkpoint: all that is in the file, with or without the weights.
        path: what messages call the file.

    Returns:
        None where it has none, as weights that others published.

    Raises:
        UserError: what it has cannot be used.
    """
    entry = checkpoint.get(THRESHOLDS)
    if entry is None:
        return None
    try:
        classes = tuple(ClassThreshold(**class_) for class_ in entry["classes"])
        found = ScoreThresholds(**{**entry, "classes": classes})
        is_sound = _is_sound(found)
    except (KeyError, TypeError):
        is_sound = False
    if not is_sound:
        raise UserError(
            f"The score thresholds in {path} are damaged: write them again with fcos checkpoint "
            f"thresholds {path}, or give a threshold."
        )
    return found


def _is_sound(found: ScoreThresholds) -> bool:
    texts = isinstance(found.rule, str) and isinstance(found.dataset, str)
    return texts and all(
        (class_.score is None or 0 <= class_.score <= 1)
        and 0 <= class_.precision <= 1
        and 0 <= class_.recall <= 1
        and isinstance(class_.objects, int)
        for class_ in found.classes
    )


def check_has_place(path: str) -> None:
    """Check that thresholds can be written into a file.

    Args:
        path: of a checkpoint on this machine.

    Raises:
        UserError: it is not there, or is none of ``torch.save``.
    """
    if not zipfile.is_zipfile(local_file(path)):
        raise UserError(
            f"{path} is not in the format of torch.save, the only one with a place for score "
            "thresholds: convert it with fcos checkpoint convert."
        )


def add_thresholds(path: str, thresholds: ScoreThresholds, output: str | None = None) -> None:
    """Write thresholds into a checkpoint, or change them; all else in it stays as it is.

    Args:
        path: of the checkpoint.
        thresholds: to be written.
        output: a file to write instead of ``path``.

    Raises:
        UserError: the file cannot be read or written, or has no place for them.
    """
    check_has_place(path)
    content, entry = read_file(path, mmap=True), thresholds.entry()
    if output is None and content.get(THRESHOLDS) == entry[THRESHOLDS]:
        return
    content.update(entry)
    advice = f"{path} is as it was, without new score thresholds."
    write_whole(output or path, lambda file: torch.save(content, file), advice)
