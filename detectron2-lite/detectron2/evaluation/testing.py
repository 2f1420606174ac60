"""Printing results, and comparing them with those that the config expects."""

from __future__ import annotations

import logging
import math
import pprint
import sys
from collections.abc import Mapping
from typing import Any

from detectron2._missing import missing_names

__all__ = ["flatten_results_dict", "print_csv_format", "verify_results"]

__getattr__ = missing_names(__name__)

logger = logging.getLogger(__name__)


def print_csv_format(results: Mapping[str, Any]) -> None:
    """Log the main results as lines of comma-separated values.

    Args:
        results: task to metric to number. Metrics with "-" in their name (those of one class) are
            left out. A task may also have a number itself.

    Raises:
        AssertionError: ``results`` is empty or no mapping.
    """
    if not isinstance(results, Mapping):
        raise AssertionError(f"results: expected a dict of tasks, got {results!r}")
    for task, metrics in results.items():
        if not isinstance(metrics, Mapping):
            logger.info("copypaste: %s=%s", task, metrics)
            continue
        main = {name: value for name, value in metrics.items() if "-" not in name}
        logger.info("copypaste: Task: %s", task)
        logger.info("copypaste: %s", ",".join(main))
        logger.info("copypaste: %s", ",".join(f"{value:.4f}" for value in main.values()))


def verify_results(cfg: Any, results: Mapping[str, Mapping[str, float]]) -> bool:
    """Compare results with TEST.EXPECTED_RESULTS, and leave the program where one is off.

    Args:
        cfg: its TEST.EXPECTED_RESULTS lists [task, metric, expected number, tolerance].
        results: task to metric to number.

    Returns:
        True, also if nothing is expected.

    Raises:
        SystemExit: with code 1: a number is too far off, not finite or not there.
    """
    expected = cfg.TEST.EXPECTED_RESULTS
    if not expected:
        return True
    if all(_is_met(results, *row) for row in expected):
        logger.info("The results are as expected.")
        return True
    logger.error("The results are not as expected!")
    logger.error("Expected (task, metric, number, tolerance): %s", pprint.pformat(expected))
    logger.error("Actual: %s", pprint.pformat(results))
    sys.exit(1)


def _is_met(results: Mapping, task: str, metric: str, expected: float, tolerance: float) -> bool:
    actual = results.get(task, {}).get(metric)
    if actual is None or not math.isfinite(actual):
        return False
    return abs(actual - expected) <= tolerance


def flatten_results_dict(results: Mapping[str, Any]) -> dict[str, Any]:
    """Nested results by their path: ``{"bbox": {"AP": 1.0}}`` becomes ``{"bbox/AP": 1.0}``."""
    flat: dict[str, Any] = {}
    for key, value in results.items():
        if isinstance(value, Mapping):
            below = flatten_results_dict(value)
            flat.update({f"{key}/{path}": number for path, number in below.items()})
        else:
            flat[key] = value
    return flat
