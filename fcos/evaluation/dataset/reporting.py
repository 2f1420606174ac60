"""From a config to the page on its data sets."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from detectron2.data import MetadataCatalog
from fcos.config.checks import check_fcos
from fcos.config.data_checks import check_input, check_loader
from fcos.config.defaults import read_cfg
from fcos.config.detector_keys import is_of_fcos
from fcos.data import check_augmentations, register_custom_datasets
from fcos.evaluation.dataset.album import make_album
from fcos.evaluation.dataset.numbers import numbers_of
from fcos.evaluation.dataset.page import render_report
from fcos.evaluation.dataset.study import study_data
from fcos.utils.errors import UserError
from fcos.utils.files import check_writable, keep_inputs, write_text

__all__ = ["report_on_data", "summary_of_report"]


def report_on_data(config_file: str, options: Sequence[str], output: str) -> dict[str, Any]:
    """Write the page on the data sets of a config, and its numbers as JSON beside it.

    Args:
        config_file: of a training.
        options: changes to it, ``KEY, VALUE, ...``.
        output: path of the page, which ends in .html.

    Returns:
        The numbers.

    Raises:
        UserError: the config, a data set or the output cannot be used.
    """
    root, suffix = os.path.splitext(output)
    if suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--output {output}: expected the name of a page, which ends in .html.")
    cfg = read_cfg(config_file, options)
    if not is_of_fcos(cfg):
        raise UserError(
            f"{config_file} is of another detector, but the page is on what FCOS learns from the "
            "data: give a config of an FCOS on the same data."
        )
    for check in (check_loader, check_fcos, check_input, check_augmentations):
        check(cfg)
    register_custom_datasets(cfg)
    names = [*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]
    for name in names:
        keep_inputs(f"{root}.json", MetadataCatalog.get(name).get("json_file"))
    check_writable(os.path.dirname(output))
    study = study_data(cfg)
    numbers = numbers_of(config_file, options, study)
    text = json.dumps(numbers, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(f"{root}.json", [text, "\n"])
    write_text(output, [render_report(numbers, study, make_album(study))])
    return numbers


def summary_of_report(numbers: dict[str, Any]) -> str:
    """State the most important figures in some lines."""
    learnt, fates = numbers["learnt"], numbers["learnt"]["fates"]
    configured = numbers["ambiguous"][
        "near_the_middle" if numbers["ambiguous"]["center_sample"] else "all_of_the_box"
    ]
    lost = ", ".join(f"{count:,} {fate}" for fate, count in fates.items() if count)
    suspicious = sum(found["objects"] for found in numbers["suspicious"])
    lines = [
        f"{learnt['images']:,} images, {learnt['objects']:,} objects to learn from.",
        f"Best possible recall: {learnt['best_possible_recall']:.2f} % ({lost}).",
        f"Ambiguous locations: {configured['ambiguous']:.2f} %, between classes "
        f"{configured['between_classes']:.2f} %.",
        f"Suspicious labels: {suspicious:,}. Advice: {len(numbers['advice'])}.",
    ]
    return "\n".join([*([numbers["refused"]] if numbers["refused"] else []), *lines])
