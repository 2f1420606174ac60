"""The page of curves of trainings."""

from fcos.evaluation.training.page import write_curves

__all__ = ["write_curves"]
