"""The pictures of the steps."""

import math

import pytest

from fcos.evaluation.report.loss_shapes import draw_loss_shapes
from fcos.evaluation.report.steps import show_steps
from fcos.evaluation.report.study import study_runs
from fcos.evaluation.runs import open_folder
from fcos.evaluation.truth import read_truth
from tests.evaluation.report.standin import leave_run
from tests.helpers import tiny_cfg, write_model


def studied(data, folder):
    truth = read_truth("pets", str(data.json_file), str(data.image_root))
    return study_runs([open_folder(str(folder))], truth, "pets", 1)


@pytest.fixture
def trained(data):
    """A detector that was evaluated; what it detected is made up."""
    folder = data.root / "run"
    data.evaluate(folder, with_masks=False)
    cfg = tiny_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.DATASETS.TEST = ("pets",)
    return write_model(folder, cfg)


def test_the_steps_are_those_of_the_detector_on_an_image_with_objects(data, trained):
    steps, why_not = show_steps(studied(data, trained))
    assert why_not == "" and steps.label == "run" and steps.size == (64, 64)
    assert steps.file_name in {f"{i}.png" for i in (10, 11, 12, 14, 15)}
    assert [(x.name, x.stride) for x in steps.levels] == [(f"p{i}", 2**i) for i in range(3, 8)]
    assert all(level.rows * level.stride >= 64 for level in steps.levels)
    # Three or four objects of 8, 24 and 60 pixels in the network: the smallest levels learn them.
    assert 0 < sum(level.learning for level in steps.levels) < 100
    assert steps.levels[-1].learning == 0
    # 32 channels, a layer with 9 weights and a bias in each tower, and outputs of 3 + 4 + 1; a
    # factor for each of 5 levels.
    assert steps.head_parameters == 2 * 32 * (9 * 32 + 1) + (3 + 4 + 1) * (9 * 32 + 1) + 5
    assert steps.parameters > steps.head_parameters
    assert {name: len(made) for name, made in steps.pictures.items()} == {
        "head": 1,
        "targets": 2,
        "losses": 1,
        "inference": 2,
        "training": 0,  # it left no log
    }
    files = [picture for made in steps.pictures.values() for picture in made]
    starts = {"jpeg": b"\xff\xd8", "svg+xml": b"<?xml"}
    assert all(picture.data.startswith(starts[picture.kind]) for picture in files)
    assert all(picture.text for picture in files)


def test_without_weights_there_is_a_sentence(data):
    steps, why_not = show_steps(studied(data, leave_run(data, "a", "3_nms")))
    assert steps is None and why_not.startswith("The steps have no pictures: ")
    rcnn = leave_run(data, "b", "mask_rcnn", mask_ap=20.0)
    steps, why_not = show_steps(studied(data, rcnn))
    assert steps is None
    assert why_not == "No FCOS with detections was run, so the steps have no pictures."


def test_of_detectors_with_masks_alone_the_fcos_is_explained(data):
    paths = [
        leave_run(data, "rcnn", "mask_rcnn", ap=50.0, mask_ap=20.0),
        leave_run(data, "masks", "fcos_masks", mask_ap=20.0),
    ]
    truth = read_truth("pets", str(data.json_file), str(data.image_root))
    study = study_runs([open_folder(path) for path in paths], truth, "pets", 1)
    assert study.subject.label == "masks" and study.explained is study.segmentation


def test_no_box_loss_hides_another():
    """Moved by half a side, 1 of 7 quarters is of both; 2 of the 9 around them are of neither."""
    lines = draw_loss_shapes(0.25, 2.0, "giou").axes[1].lines
    at = {line.get_label().split(" (")[0]: float(line.get_ydata()[-1]) for line in lines}
    assert at["1 - IoU"] == pytest.approx(1 - 1 / 7, rel=1e-3)
    assert at["1 - GIoU"] == pytest.approx(1 - 1 / 7 + 2 / 9, rel=1e-3)
    assert at["-log IoU"] == pytest.approx(math.log(7), rel=1e-3)
