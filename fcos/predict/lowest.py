"""The lowest score of a detection that is kept: one for all classes, or one for each."""

from __future__ import annotations

import dataclasses
import logging

from torch import Tensor

from detectron2.config import CfgNode
from detectron2.structures import Instances
from fcos.checkpoint import DEFAULT_SCORE, ScoreThresholds
from fcos.config.detector_keys import has_square_roots

__all__ = ["LowestScores", "lowest_scores"]

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class LowestScores:
    """The lowest score of each class that is kept.

    Attributes:
        default: of classes without a score of their own; 0 keeps all of them.
        scores: of class 0, 1, ..., None without one; empty where no class has its own.
        rule: how ``scores`` were chosen.
        is_given: the user chose ``default`` for all classes.
    """

    default: float
    scores: tuple[float | None, ...] = ()
    rule: str = ""
    is_given: bool = False

    @property
    def keeps_all(self) -> bool:
        """Say whether nothing is left out."""
        return not any(self.of_classes(len(self.scores) + 1))

    def of_classes(self, number: int) -> list[float]:
        """Return the score of each of ``number`` classes."""
        known = [self.default if score is None else score for score in self.scores]
        return (known + [self.default] * number)[:number]

    def setting(self, number: int) -> float | list[float]:
        """Return what tells two runs of a detector of ``number`` classes apart."""
        return self.of_classes(number) if self.scores else self.default

    def keep(self, found: Instances) -> Instances:
        """Leave out the detections with a lower score than that of their class."""
        return found if self.keeps_all else found[found.scores >= self._least(found)]

    def _least(self, found: Instances) -> Tensor:
        # The last one is of all classes that the list does not have.
        least = found.scores.new_tensor(self.of_classes(len(self.scores) + 1))
        return least[found.pred_classes.clamp(max=len(least) - 1)]

    def __str__(self) -> str:
        """Say it behind "detections with": ``a score of at least 0.5``."""
        own = [score for score in self.scores if score is not None]
        if not own:
            return f"a score of at least {self.default:g}"
        text = f"at least the score of their class (by {self.rule}: {_range(own)})"
        lacking = len(self.scores) - len(own)
        classes = "1 class that has" if lacking == 1 else f"{lacking} classes that have"
        return text + (f", {self.default:g} for {classes} none" if lacking else "")

    @property
    def origin(self) -> str:
        """Say where they come from."""
        if self.scores:
            return "from the checkpoint"
        return "as given" if self.is_given else "the default; the checkpoint has none of its own"

    @property
    def for_evaluations(self) -> str:
        """Return a sentence to say beside a file of detections; empty where it has all."""
        if self.keeps_all:
            return ""
        return " Lower scores are left out: for an evaluation, use --confidence-threshold 0."


def lowest_scores(
    cfg: CfgNode, threshold: float | None, stored: ScoreThresholds | None, default: float
) -> LowestScores:
    """Choose the scores: the given one, those of the checkpoint, or the default.

    Args:
        cfg: the config of the detector.
        threshold: given by the user; None: not.
        stored: in the checkpoint.
        default: where neither is there. A class that the checkpoint's scores lack is cut at
            DEFAULT_SCORE.
    """
    if threshold is not None:
        return LowestScores(threshold, is_given=True)
    if stored is None or stored.is_empty:
        return LowestScores(default)
    if stored.augmented != cfg.TEST.AUG.ENABLED:
        with_or_without = "with" if stored.augmented else "without"
        logger.warning(
            f"The scores to cut at in {cfg.MODEL.WEIGHTS} were found {with_or_without} test-time "
            "augmentation (TEST.AUG.ENABLED), with which scores are higher: give a threshold, or "
            "find them anew with fcos checkpoint thresholds."
        )
    scores = stored.scores(has_square_roots(cfg))
    return LowestScores(DEFAULT_SCORE, tuple(scores), stored.rule)


def _range(scores: list[float]) -> str:
    low, high = f"{min(scores):.2f}", f"{max(scores):.2f}"
    return low if low == high else f"{low}-{high}"
