"""Values of a config that would fail only where images meet the model, or after all is done."""

from __future__ import annotations

import math
from typing import Any

from fcos.config.config import CfgNode
from fcos.utils.errors import UserError

__all__ = ["check_expected_results", "check_pixels"]


def check_pixels(cfg: CfgNode) -> None:
    """Refuse pixels that are no colours.

    Raises:
        UserError: INPUT.FORMAT is neither BGR nor RGB, or MODEL.PIXEL_MEAN or PIXEL_STD is not one
            finite number for each colour, or PIXEL_STD divides by nothing.
    """
    if cfg.INPUT.FORMAT not in ("BGR", "RGB"):
        raise UserError(f"INPUT.FORMAT is {cfg.INPUT.FORMAT}, but only BGR and RGB are known.")
    for key, values in (("PIXEL_MEAN", cfg.MODEL.PIXEL_MEAN), ("PIXEL_STD", cfg.MODEL.PIXEL_STD)):
        if len(values) != 3 or not all(map(_is_number, values)):
            raise UserError(
                f"MODEL.{key} is {list(values)}: expected three numbers, for the channels of "
                f"{cfg.INPUT.FORMAT}."
            )
    if min(cfg.MODEL.PIXEL_STD) <= 0:
        raise UserError(
            f"MODEL.PIXEL_STD is {list(cfg.MODEL.PIXEL_STD)}, by which pixels are divided: set it "
            "to numbers above 0."
        )


def check_expected_results(cfg: CfgNode) -> None:
    """Refuse expectations that could not be compared with results, which come last.

    Raises:
        UserError: TEST.EXPECTED_RESULTS is no list of [task, metric, number, tolerance], has a task
            that the evaluation does not give, or is for other than one data set.
    """
    rows = cfg.TEST.EXPECTED_RESULTS
    if rows and len(cfg.DATASETS.TEST) != 1:
        raise UserError(
            "TEST.EXPECTED_RESULTS is for the results of one data set, but DATASETS.TEST has "
            f"{len(cfg.DATASETS.TEST)}: set TEST.EXPECTED_RESULTS to []."
        )
    tasks = ["bbox"] + ["segm"] * bool(cfg.MODEL.MASK_ON)
    tasks += [f"{task}_TTA" for task in tasks] * bool(cfg.TEST.AUG.ENABLED)
    for row in rows:
        if not _is_expectation(row):
            raise UserError(
                f"TEST.EXPECTED_RESULTS has {row!r}: expected lists of task, metric, number and "
                "tolerance, such as ['bbox', 'AP', 38.5, 0.2]."
            )
        if row[0] not in tasks:
            raise UserError(
                f"TEST.EXPECTED_RESULTS has the task {row[0]!r}, but this evaluation gives "
                f"{' and '.join(tasks)} only."
            )


def _is_expectation(row: Any) -> bool:
    if not isinstance(row, (list, tuple)) or len(row) != 4:
        return False
    return all(isinstance(word, str) for word in row[:2]) and all(map(_is_number, row[2:]))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
