"""What a training is made of, and the evaluation of a detector: the trainer's class methods."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from detectron2.engine import DefaultTrainer
from detectron2.evaluation import DatasetEvaluator
from fcos.config import CfgNode
from fcos.data import TestStream, TrainStream, build_test_stream, build_train_stream
from fcos.engine.optimizer import build_optimizer
from fcos.engine.schedule import build_lr_scheduler
from fcos.engine.thresholds import note_thresholds
from fcos.evaluation import evaluator_of
from fcos.modeling import OneStageDetectorWithTTA
from fcos.utils.agree import in_all, take_from_main
from fcos.utils.errors import config_errors

__all__ = ["TrainerParts"]

logger = logging.getLogger(__name__)


class TrainerParts(DefaultTrainer):
    """Builds the parts of a training from a config, and evaluates; a subclass may replace each."""

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """Build the detector. If one process fails, all of them stop.

        Raises:
            UserError: the config describes no detector, or a part of it is not available, such as
                a pretrained backbone without a network connection.
        """
        build = super().build_model

        def checked() -> nn.Module:
            with config_errors():
                return build(cfg)

        return in_all(checked)

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """Build what SOLVER.OPTIMIZER names."""
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(
        cls, cfg: CfgNode, optimizer: torch.optim.Optimizer
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """Build the schedule of the learning rate; its hook steps it after every iteration."""
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> TrainStream:
        """Make the stream of training batches, which can start at any iteration."""
        return build_train_stream(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> TestStream:
        """Make the stream of this process's share of a data set, by TEST.IMS_PER_BATCH."""
        return build_test_stream(cfg, dataset_name)

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, output_folder: str | None = None
    ) -> DatasetEvaluator:
        """Make the evaluator of COCO's average precision, over all classes and for each class; of
        a ``ProposalNetwork``, that of the recall of its proposals.

        It evaluates boxes and, with ``MODEL.MASK_ON``, masks. All detections of an image count,
        also where the detector gives more than COCO's usual 100. Files are written to
        ``output_folder``, by default ``inference/`` in OUTPUT_DIR. If DATASETS.TEST has several
        data sets, each has a folder of its own there.
        """
        folder = output_folder or os.path.join(cfg.OUTPUT_DIR, "inference")
        if len(cfg.DATASETS.TEST) > 1:
            folder = os.path.join(folder, dataset_name)
        return evaluator_of(cfg, dataset_name, folder)

    @classmethod
    def test(
        cls,
        cfg: CfgNode,
        model: nn.Module,
        evaluators: Sequence[DatasetEvaluator] | DatasetEvaluator | None = None,
    ) -> dict[str, Any]:
        """Evaluate on every data set of DATASETS.TEST, as detectron2's trainer does.

        Each process has running statistics of its own share of the batches; all take those of the
        main process first, which are the ones that it saves. The scores to cut at are chosen on the
        first data set, for the checkpoints.
        """
        take_from_main(model.buffers())
        if evaluators is None:
            evaluators = [cls.build_evaluator(cfg, name) for name in cfg.DATASETS.TEST]
        results = super().test(cfg, model, evaluators)
        note_thresholds(cfg, model, evaluators)
        return results

    @classmethod
    def test_with_TTA(cls, cfg: CfgNode, model: nn.Module) -> dict[str, Any]:
        """Evaluate on every data set of DATASETS.TEST with the augmentation of TEST.AUG.

        The views are made from the original images, not from resized ones. Files are written to
        ``inference_TTA/``.

        Args:
            cfg: the config.
            model: the detector; also one inside DistributedDataParallel.

        Returns:
            The results as :meth:`test` returns them, with ``_TTA`` appended to each name.

        Raises:
            UserError: TEST.AUG cannot be used.
        """
        logger.info("Evaluation with test-time augmentation (TEST.AUG); its results are ..._TTA.")
        cfg = cfg.clone()
        cfg.defrost()
        cfg.INPUT.MIN_SIZE_TEST = 0  # images as they are
        folder = os.path.join(cfg.OUTPUT_DIR, "inference_TTA")
        evaluators = [cls.build_evaluator(cfg, name, folder) for name in cfg.DATASETS.TEST]
        results = cls.test(cfg, OneStageDetectorWithTTA(cfg, model), evaluators)
        return {f"{name}_TTA": values for name, values in results.items()}
