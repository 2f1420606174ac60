"""Trainings with INPUT.AUGMENTATIONS."""

import shutil
from itertools import islice

import pytest
import torch

from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from fcos.config import read_cfg
from fcos.data import build_train_stream, register_custom_datasets
from fcos.engine.preflight import check_training
from fcos.utils.errors import UserError
from tests.tiny import MASK_OPTIONS, train_net, write_project

pytestmark = pytest.mark.cpu

AUGMENTATIONS = (
    "[{'Mosaic': {'p': 0.5}}, {'RandomZoomOut': {'side_range': [1.0, 2.0]}}, 'RandomIoUCrop', "
    "{'RandomRotation': {'degrees': 10}}, 'RandomPhotometricDistort']"
)


def test_resumed_on_two_processes_with_the_same_bits(tmp_path):
    """The second half of a training again: from its checkpoint, and without loader processes."""
    write_project(tmp_path, number=14)
    options = ["--num-gpus", "2", "DATASETS.TEST", "()", "INPUT.AUGMENTATIONS", AUGMENTATIONS]

    def run(folder, workers, *more):
        result = train_net(
            tmp_path, *more, *options, "OUTPUT_DIR", folder, "DATALOADER.NUM_WORKERS", workers
        )
        assert result.returncode == 0, result.stderr
        return torch.load(tmp_path / folder / "model_final.pth", weights_only=True)

    whole = run("whole", "2")
    again = tmp_path / "again"
    again.mkdir()
    shutil.copy(tmp_path / "whole" / "model_0000003.pth", again)
    (again / "last_checkpoint").write_text("model_0000003.pth")
    resumed = run("again", "0", "--resume")
    for name, value in whole["model"].items():
        assert value.equal(resumed["model"][name]), name
    assert str(whole["trainer"]) == str(resumed["trainer"])


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A function from options to the config of a small project."""
    config = write_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DETECTRON2_DATASETS", "datasets")

    def read(*options):
        cfg = read_cfg(str(config), options)
        register_custom_datasets(cfg)
        return cfg

    return read


def test_masks_where_images_lose_all_objects(project):
    crop = "[{'Mosaic': {'p': 0.3}}, {'RandomCrop': {'size': [24, 24], 'pad_if_needed': True}}]"
    options = ["INPUT.AUGMENTATIONS", crop, "INPUT.MASK_FORMAT", "bitmask"]
    cfg = project(*MASK_OPTIONS, *options)
    torch.manual_seed(0)
    model = build_model(cfg).train()
    samples = sum(islice(build_train_stream(cfg), 4), [])
    empty = [sample for sample in samples if not len(sample["instances"])]
    others = [sample for sample in samples if len(sample["instances"])]
    assert empty and others and others[0]["instances"].has("gt_masks")
    with EventStorage():
        for batch in ([empty[0], others[0]], empty[:1], others):
            losses = model(batch)
            assert {"loss_fcos_cls", "loss_mask"} <= losses.keys()
            assert all(torch.isfinite(loss) for loss in losses.values())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "['RandomZoomIn']",
            r"^INPUT\.AUGMENTATIONS\[0\]: unknown transform RandomZoomIn\. Did you",
        ),
        (
            "[{'RandomZoomOut': {'side_range': 4}}]",
            r"\[0\]: RandomZoomOut refuses \{side_range: 4\}",
        ),
    ],
)
def test_mistakes_are_said_before_the_first_iteration(project, value, message):
    cfg = project("INPUT.AUGMENTATIONS", value)
    with pytest.raises(UserError, match=message):
        check_training(cfg, resume=False, check_all_images=False)
