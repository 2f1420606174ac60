"""Hooks that say, once each, that a training learns nothing.

They look every few iterations and change nothing: not a bit of the weights, no random number. Only
the main process looks, at its own share of the batch, and never waits for a GPU: what a hook
computes there is read when the losses have been read, which are queued later.
"""

from __future__ import annotations

import logging
import statistics
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from detectron2.engine import HookBase
from detectron2.utils import comm
from fcos.config import CfgNode
from fcos.engine.loop import HostCopy
from fcos.modeling.fcos import FCOSLosses

__all__ = ["InARow", "LossWatch", "OutputWatch"]

logger = logging.getLogger(__name__)

# A class branch whose logits of a class differ by no more than this says the same everywhere.
_SPREAD = 0.01
# A loss whose median is above this share of its first one has not fallen.
_SHARE = 0.97
# Terms with a least value far above 0, which hardly fall in a training that learns.
_HAVE_A_FLOOR = ("loss_fcos_ctr", "loss_fcos_iou")


class InARow:
    """Count how often in a row something was seen.

    Attributes:
        needed: this number is worth a warning.
        is_over: the warning was given.
    """

    def __init__(self, needed: int) -> None:
        self.needed = needed
        self.is_over = False
        self._count = 0

    def add(self, is_seen: bool) -> bool:
        """Return whether a warning is to be given, which is so only once."""
        self._count = self._count + 1 if is_seen else 0
        is_due = self._count >= self.needed and not self.is_over
        self.is_over = self.is_over or is_due
        return is_due


class OutputWatch(HookBase):
    """Warn of boxes without a size, and of class logits that are the same at all locations.

    Args:
        period: iterations between two looks.
        looks: how often in a row boxes have to be without a size. It is seen in what locations
            with an object predict; there, the loss has no gradient then.
        looks_at_classes: how often in a row the logits have to be equal. A detector that learns
            slowly begins like that.
    """

    def __init__(
        self, cfg: CfgNode, period: int = 20, looks: int = 3, looks_at_classes: int = 15
    ) -> None:
        self.cfg = cfg
        self.period = period
        self._boxes = InARow(looks)
        self._classes = InARow(looks_at_classes)
        self._handles: list[RemovableHandle] = []
        self._seen: HostCopy | None = None

    def before_step(self) -> None:
        is_due = (self.trainer.iter + 1) % self.period == 0 and comm.is_main_process()
        if is_due and not (self._boxes.is_over and self._classes.is_over):
            # MODEL.COMPILE leaves the losses as they are. A hook that stayed would also see those
            # of the validation, and travel with copies of the model.
            modules = self.trainer.model.modules()
            losses = [module for module in modules if isinstance(module, FCOSLosses)]
            self._handles = [module.register_forward_pre_hook(self._look) for module in losses]

    @torch.no_grad()
    def _look(self, _: Any, outputs: tuple[Tensor, ...]) -> None:
        for handle in self._handles:
            handle.remove()
        cls_logits, ltrb, _, labels, _ = outputs
        is_positive = labels < cls_logits.shape[-1]
        area = (ltrb[..., 0] + ltrb[..., 2]) * (ltrb[..., 1] + ltrb[..., 3])
        spread = (cls_logits.amax((0, 1)) - cls_logits.amin((0, 1))).amax()
        seen = is_positive.sum(), (is_positive & (area > 0)).sum(), spread
        self._seen = HostCopy(torch.stack([number.float() for number in seen]))

    def after_step(self) -> None:
        if self._seen is None:
            return
        positives, with_size, spread = self._seen.read()
        self._seen = None
        if positives and self._boxes.add(not with_size):
            self._warn_of_boxes()
        if self._classes.add(spread < _SPREAD):
            self._warn_of_classes()

    def _warn_of_boxes(self) -> None:
        node = self.cfg.MODEL.FCOS
        remedy = "lower SOLVER.BASE_LR or lengthen SOLVER.WARMUP_ITERS"
        if not node.PRIOR_DISTANCE:
            remedy = f"set MODEL.FCOS.PRIOR_DISTANCE to 1 (it is 0), or {remedy}"
        logger.warning(
            f"The box branch has stopped learning: for about {self._boxes.needed * self.period} "
            "iterations, no box that should fit an object has had a size, and there the relu of "
            "MODEL.FCOS.NORMALIZE_REG_TARGETS and the loss have no gradient. It stays like that: "
            f"start again, and {remedy}."
        )

    def _warn_of_classes(self) -> None:
        logger.warning(
            f"The class branch has learnt nothing: for about {self._classes.needed * self.period} "
            "iterations, each class has had one score at all locations (logits differ by less than "
            f"{_SPREAD}), so its features say nothing of the image. Lower SOLVER.BASE_LR, or set "
            "MODEL.FCOS.NORM GN; a backbone that starts at random needs batch normalisation "
            "(MODEL.RESNETS.NORM or MODEL.TIMM.NORM BN) and MODEL.BACKBONE.FREEZE_AT 0."
        )


class LossWatch(HookBase):
    """Warn of a term of the loss that has not fallen since the training began.

    It looks once. Trainings that go on from a detector's weights are left alone: their losses may
    be as low as they get.

    Args:
        after: iterations of the training before it looks; its warm-up is over by then.
        first: so many iterations at the beginning are compared
        last: with so many at the end.
    """

    def __init__(self, after: int, first: int = 20, last: int = 100) -> None:
        self.after = after
        self.first = first
        self.last = last

    def after_step(self) -> None:
        trainer = self.trainer
        if trainer.iter + 1 == self.after and trainer.head_is_new and comm.is_main_process():
            for name in trainer.loop.losses:
                self._look(name)

    def _look(self, name: str) -> None:
        values = [value for value, _ in self.trainer.storage.history(name).values()]
        if name in _HAVE_A_FLOOR or len(values) < self.first + self.last:
            return
        before = statistics.median(values[: self.first])
        now = statistics.median(values[-self.last :])
        if now > before * _SHARE > 0:
            logger.warning(
                f"{name} has not fallen in {self.after} iterations: its median was {before:.3g} in "
                f"the first {self.first} and is {now:.3g} in the last {self.last}. Compare "
                "SOLVER.BASE_LR with the linear rule in the table of the schedule, and look at "
                "the data: fcos data show draws it as training gets it."
            )
