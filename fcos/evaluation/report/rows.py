"""The rows of the paper's Table 3, what is published for them, and which row a config is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from fcos.utils.nested import flat

__all__ = [
    "BASELINE",
    "LAST",
    "MASKS",
    "METRICS",
    "PUBLISHED_MASKS",
    "RETINANET",
    "ROWS",
    "Row",
    "kind_of",
    "row_of",
]

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
RETINANET, BASELINE, LAST = "0_retinanet", "3_nms", "8_normalization"


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of Table 3.

    Attributes:
        name: of its config, ``configs/table3/NAME.yaml``.
        title: what it is; from the fifth on each row keeps what the rows before it changed.
        published: METRICS on COCO minival with R-50, in percent.
        settings: keys under MODEL.FCOS with their values; empty for RetinaNet.
    """

    name: str
    title: str
    published: dict[str, float]
    settings: dict[str, Any]


# What all FCOS rows are told apart by, as the first of them has it.
_FIRST = {
    "TOP_IN_FEATURE": "res5",
    "NMS_THRESH_TEST": 0.5,
    "NORM": "none",
    "CTR_ON_REG": False,
    "CENTER_SAMPLE": False,
    "LOC_LOSS_TYPE": "iou",
    "NORMALIZE_REG_TARGETS": False,
}
# Source: arXiv:1904.01355, Table 3. Each row with what it changes.
_TABLE: tuple[tuple[str, str, tuple[float, ...], dict[str, Any]], ...] = (
    ("1_c5", "FCOS, P6 from C5, NMS 0.5", (36.3, 54.8, 38.7, 20.5, 39.8, 47.8), {}),
    (
        "2_p5",
        "FCOS, P6 from P5, NMS 0.5",
        (36.4, 54.9, 38.8, 19.7, 39.7, 48.8),
        {"TOP_IN_FEATURE": "p5"},
    ),
    (
        BASELINE,
        "FCOS, P6 from P5, NMS 0.6 (the baseline)",
        (36.5, 54.5, 39.2, 19.8, 40.0, 48.9),
        {"NMS_THRESH_TEST": 0.6},
    ),
    ("4_gn", "+ GN in the towers", (37.1, 55.9, 39.8, 21.3, 41.0, 47.8), {"NORM": "GN"}),
    (
        "5_ctr_on_reg",
        "+ centerness from the box tower",
        (37.4, 56.1, 40.3, 21.8, 41.2, 48.8),
        {"CTR_ON_REG": True},
    ),
    (
        "6_ctr_sampling",
        "+ center sampling",
        (38.1, 56.7, 41.4, 22.6, 41.6, 50.4),
        {"CENTER_SAMPLE": True},
    ),
    ("7_giou", "+ GIoU loss", (38.3, 57.1, 41.0, 21.9, 42.4, 49.5), {"LOC_LOSS_TYPE": "giou"}),
    (
        LAST,
        "+ distances in strides",
        (38.6, 57.4, 41.4, 22.3, 42.5, 49.8),
        {"NORMALIZE_REG_TARGETS": True},
    ),
)


def _rows() -> dict[str, Row]:
    figures = dict(zip(METRICS, (35.9, 56.0, 38.2, 20.0, 39.8, 47.4), strict=True))
    rows = {RETINANET: Row(RETINANET, "RetinaNet, P6 from C5, NMS 0.5", figures, {})}
    settings = dict(_FIRST)
    for name, title, published, changed in _TABLE:
        settings = settings | changed
        figures = dict(zip(METRICS, published, strict=True))
        rows[name] = Row(name, title, figures, settings)
    return rows


ROWS: dict[str, Row] = _rows()


# Detectors with masks that are compared.
MASKS = {"mask_rcnn": "Mask R-CNN", "fcos_masks": "FCOS with masks"}
# Mask R-CNN R50-FPN 1x on COCO val2017, as published in detectron2's MODEL_ZOO.md. For FCOS with
# exactly this mask head, nothing is published.
PUBLISHED_MASKS = {"mask_rcnn": {"box": 38.6, "mask": 35.2}}

# Detectors that are none of Table 3's, by keys under MODEL.FCOS.
_OTHERS = {"BOX_QUALITY": "ctrness", "USE_DEFORMABLE": False}


def kind_of(config: Mapping[str, Any]) -> str:
    """Say which detector a ``config.yaml`` is of.

    Returns:
        The name of a row of ROWS, a key of MASKS, or "other".
    """
    values = flat(config)
    generator = values.get("MODEL.PROPOSAL_GENERATOR.NAME")
    if values.get("MODEL.MASK_ON"):
        heads = values.get("MODEL.ROI_HEADS.NAME")
        known: dict[tuple[object, object], str] = {
            ("RPN", "StandardROIHeads"): "mask_rcnn",
            ("FCOS", "FCOSMaskROIHeads"): "fcos_masks",
        }
        return known.get((generator, heads), "other")
    row = row_of(values)
    return row.name if row else "other"


def row_of(values: Mapping[str, Any]) -> Row | None:
    """Find the row of Table 3 of a config without masks, from its values under dotted keys."""
    architecture = values.get("MODEL.META_ARCHITECTURE")
    if architecture == "RetinaNet":
        return ROWS[RETINANET]
    if architecture != "OneStageDetector":
        return None
    if values.get("MODEL.PROPOSAL_GENERATOR.NAME") != "FCOS":
        return None
    if any(values.get(f"MODEL.FCOS.{key}", value) != value for key, value in _OTHERS.items()):
        return None
    for row in ROWS.values():
        if row.settings and all(
            values.get(f"MODEL.FCOS.{key}") == value for key, value in row.settings.items()
        ):
            return row
    return None
