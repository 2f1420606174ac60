"""Which row of Table 3 a config is."""

import re
from pathlib import Path

import pytest
import yaml

from fcos.config import read_cfg
from fcos.evaluation.report.rows import BASELINE, LAST, MASKS, RETINANET, ROWS, kind_of

CONFIGS = Path(__file__).parents[3] / "configs"


def kind_of_file(name, *options):
    return kind_of(yaml.safe_load(read_cfg(str(CONFIGS / name), list(options)).dump()))


@pytest.mark.parametrize("name", [name for name in ROWS if name != RETINANET])
def test_each_config_of_table_3_is_its_row(name):
    assert kind_of_file(f"table3/{name}.yaml") == name
    text = (CONFIGS / "table3" / f"{name}.yaml").read_text()
    assert float(re.search(r"AP ([\d.]+) on COCO minival", text)[1]) == ROWS[name].published["AP"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("R_50_1x.yaml", BASELINE),
        ("R_50_1x_improve.yaml", LAST),
        ("digits.yaml", LAST),
        ("digits_retinanet.yaml", RETINANET),
        ("R_50_1x_iou.yaml", "other"),
        ("R_50_1x_dcnv2.yaml", "other"),
        ("digits_mask.yaml", "fcos_masks"),
        ("Mask_R_50_FPN_1x.yaml", "fcos_masks"),
        ("Mask_RCNN_R_50_FPN_1x.yaml", "mask_rcnn"),
    ],
)
def test_other_configs(name, kind):
    assert kind_of_file(name) == kind


def test_what_is_no_row():
    assert kind_of({}) == kind_of_file("R_50_1x.yaml", "MODEL.FCOS.NMS_THRESH_TEST", "0.7")
    assert kind_of({}) == "other"
    assert kind_of({"MODEL": {"META_ARCHITECTURE": "RetinaNet"}}) == RETINANET
    options = ["MODEL.PROPOSAL_GENERATOR.NAME", "RPN", "MODEL.ROI_HEADS.NAME", "StandardROIHeads"]
    assert kind_of_file("Mask_R_50_FPN_1x.yaml", *options) == "mask_rcnn"
    # A second stage corrects the boxes of FCOS.
    assert kind_of_file("Mask_R_50_FPN_1x.yaml", *options[2:]) == "other"
    assert set(MASKS) == {"mask_rcnn", "fcos_masks"}


def test_the_baseline_is_the_papers_fourth_row():
    assert list(ROWS).index(BASELINE) == 3 and ROWS[BASELINE].published["AP"] == 36.5
