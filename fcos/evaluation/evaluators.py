"""Which evaluator belongs to a config."""

from __future__ import annotations

from detectron2.evaluation import DatasetEvaluator
from fcos.config import CfgNode
from fcos.config.detector_keys import most_found_by
from fcos.evaluation.coco_evaluation import FastCOCOEvaluator
from fcos.evaluation.proposals import ProposalEvaluator

__all__ = ["evaluator_of"]


def evaluator_of(cfg: CfgNode, dataset_name: str, folder: str) -> DatasetEvaluator:
    """Make the evaluator of what a model gives: proposals, boxes, or boxes and masks.

    Args:
        cfg: of the model.
        dataset_name: a registered data set.
        folder: where files are written to.
    """
    if cfg.MODEL.META_ARCHITECTURE == "ProposalNetwork":
        return ProposalEvaluator(dataset_name)
    tasks = ("bbox", "segm") if cfg.MODEL.MASK_ON else ("bbox",)
    max_dets = max(100, most_found_by(cfg))
    return FastCOCOEvaluator(dataset_name, tasks, folder, max_dets)
