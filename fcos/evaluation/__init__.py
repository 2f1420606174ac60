"""Figures of a run: COCO evaluation, comparisons, and recorded detections."""

from fcos.evaluation.coco_evaluation import FastCOCOEvaluator
from fcos.evaluation.comparing import run_comparison, summary
from fcos.evaluation.evaluators import evaluator_of
from fcos.evaluation.thresholds import thresholds_of_results
from fcos.evaluation.training import write_curves
from fcos.evaluation.verifying import record, verify

__all__ = [
    "FastCOCOEvaluator",
    "evaluator_of",
    "record",
    "run_comparison",
    "summary",
    "thresholds_of_results",
    "verify",
    "write_curves",
]
