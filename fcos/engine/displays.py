"""What a training shows of itself: its curves, its images, and both at loggers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from detectron2.engine import HookBase
from detectron2.utils.events import get_event_storage
from fcos.config import CfgNode
from fcos.engine.loggers import Loggers
from fcos.engine.loop import TrainingLoop
from fcos.engine.pictures import TrainingPictures
from fcos.evaluation import write_curves
from fcos.utils.errors import one_line

__all__ = ["CurvesPage", "add_displays"]

logger = logging.getLogger(__name__)


class CurvesPage(HookBase):
    """Write the page of curves when the training ends, however it ends.

    Register it in the main process, after the hook that writes ``metrics.json``. A page that cannot
    be made is a warning.

    Args:
        output_dir: of the training.
    """

    def __init__(self, output_dir: str) -> None:
        self.output_dir = output_dir

    def after_train(self) -> None:
        if not self.trainer.storage.latest():
            return  # it failed before the first iteration was done
        try:
            page, _ = write_curves([self.output_dir])
            logger.info(f"Curves of this training: {page}")
        except Exception as error:  # never at the cost of a training
            logger.warning(f"The page of curves was not written: {one_line(error)}")


def add_displays(
    trainer: Any, loop: TrainingLoop, cfg: CfgNode, class_names: Sequence[str]
) -> None:
    """Register the hooks that show a training; only the main process calls this.

    Args:
        trainer: whose hooks are around iterations.
        loop: its inner loop, whose hooks are inside of iterations.
        cfg: of the training.
        class_names: in the order of the outputs.
    """
    loggers = Loggers(cfg)
    trainer.register_hooks([loggers, CurvesPage(cfg.OUTPUT_DIR)])
    if cfg.VIS_PERIOD > 0:
        put = [_put_image, loggers.put_image]
        loop.register_hooks([TrainingPictures(cfg.VIS_PERIOD, class_names, cfg.INPUT.FORMAT, put)])


def _put_image(name: str, picture: np.ndarray) -> None:
    """Put an image, (H, W, 3), where TensorBoard's writer finds it."""
    get_event_storage().put_image(name, torch.from_numpy(picture.transpose(2, 0, 1).copy()))
