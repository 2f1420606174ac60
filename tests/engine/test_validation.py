"""The validation loss: a batch of all images by hand, and no trace in the training."""

import json
import os
from pathlib import Path

import pytest
import torch

from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from fcos.checkpoint import read_checkpoint
from fcos.config import get_cfg
from fcos.config.evaluation_checks import check_evaluations
from fcos.data import build_validation_stream, register_custom_datasets
from fcos.engine import Trainer
from fcos.engine.validation import validation_losses
from fcos.utils.errors import UserError
from tests.processes import run_in_two
from tests.tiny import MASK_OPTIONS

pytestmark = pytest.mark.cpu


def logged():
    return [json.loads(line) for line in Path("output/metrics.json").read_text().splitlines()]


# Without batch normalisation a training computes as an evaluation does.
NORM = [
    *("MODEL.RESNETS.NORM", "GN"),
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", 64),
    *("MODEL.RESNETS.DEPTH", 18),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", 64),
]
SWITCHES = [
    [],
    ["MODEL.FCOS.LOSS_NORMALIZER", "all", "MODEL.FCOS.BOX_QUALITY", "iou"],
    MASK_OPTIONS,
]


def cfg_of(*options):
    cfg = get_cfg()
    cfg.merge_from_file("tiny.yaml")
    cfg.merge_from_list(
        ["TEST.VALIDATION_LOSS", True, "DATASETS.TEST", ("tiny_train",), *NORM, *options]
    )
    register_custom_datasets(cfg)
    return cfg


def model_of(cfg):
    torch.manual_seed(0)
    return Trainer.build_model(cfg).train()


def one_batch(cfg, model):
    """The losses of all images, as a training computes them."""
    images = [image for batch in build_validation_stream(cfg, "tiny_train") for image in batch]
    assert len(images) == 12
    with torch.no_grad(), EventStorage():
        losses = {name: loss.item() for name, loss in model(images).items()}
    return {**losses, "total_loss": sum(losses.values())}


@pytest.mark.parametrize("images", [1, 5])
@pytest.mark.parametrize("switches", SWITCHES, ids=["boxes", "all-iou", "masks"])
def test_it_is_that_of_a_batch_of_all_images(project, switches, images):
    cfg = cfg_of(*switches, "TEST.IMS_PER_BATCH", images)
    model = model_of(cfg)
    got = validation_losses(cfg, model)["validation"]
    want = one_batch(cfg, model)
    assert got == pytest.approx(want, rel=1e-5)
    assert len(want) == 4 + ("loss_mask" in want)
    assert ("loss_mask" in want) == cfg.MODEL.MASK_ON


def test_a_moving_average_stays_and_the_positives_divide(project):
    fixed, moving = cfg_of(), cfg_of("MODEL.FCOS.LOSS_NORMALIZER", "moving_fg")
    model = model_of(moving)
    got = validation_losses(moving, model)
    assert model.proposal_generator.losses.normalizer.moving_num_fg == 100
    assert got == validation_losses(fixed, model_of(fixed))


def test_images_come_as_for_evaluation(project):
    options = ["INPUT.CROP.ENABLED", True, "INPUT.AUGMENTATIONS", ["RandomVerticalFlip"]]
    options += ["INPUT.MIN_SIZE_TRAIN", (32,), "INPUT.MIN_SIZE_TEST", 96, "INPUT.MAX_SIZE_TEST", 96]
    cfg = cfg_of(*options)
    first, second = (list(build_validation_stream(cfg, "tiny_train")) for _ in range(2))
    tests = list(Trainer.build_test_loader(cfg, "tiny_train"))
    for a, b, test in zip(first, second, tests, strict=True):
        assert a[0]["image"].shape == (3, 96, 96)
        assert a[0]["image"].equal(b[0]["image"]) and a[0]["image"].equal(test[0]["image"])
        assert len(a[0]["instances"]) == 1


def test_batch_normalisation_uses_its_running_statistics(project):
    cfg = cfg_of(
        *("MODEL.RESNETS.NORM", "BN"),
        *("MODEL.RESNETS.STEM_OUT_CHANNELS", 64),
        *("TEST.IMS_PER_BATCH", 5),
    )
    model = model_of(cfg)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    got = validation_losses(cfg, model)
    for name, value in model.state_dict().items():
        assert value.equal(before[name]), name
    assert all(part.training for part in model.modules())
    cfg.TEST.IMS_PER_BATCH = 1
    alone = validation_losses(cfg, model)
    assert alone["validation"] == pytest.approx(got["validation"], rel=1e-4)


def in_two(output):
    cfg = cfg_of("OUTPUT_DIR", output)
    found = validation_losses(cfg, model_of(cfg))
    with open(f"{output}/{comm.get_rank()}.json", "w") as file:
        json.dump(found, file)


def test_two_processes_share_the_images(project):
    run_in_two(in_two, "output")
    first, second = (json.loads(Path(f"output/{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    cfg = cfg_of()
    want = validation_losses(cfg, model_of(cfg))["validation"]
    assert first["validation"] == pytest.approx(want, rel=1e-6)


# ---- in a training ---------------------------------------------------------------------------


def train(output, *options):
    cfg = get_cfg()
    cfg.merge_from_file("tiny.yaml")
    cfg.merge_from_list(
        ["TEST.EVAL_PERIOD", 2, "MODEL.FCOS.LOSS_NORMALIZER", "moving_fg", "SOLVER.MAX_ITER", 6]
    )
    cfg.merge_from_list(["OUTPUT_DIR", output, *options])
    os.makedirs(output, exist_ok=True)
    register_custom_datasets(cfg)
    torch.manual_seed(0)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    return trainer


def test_the_training_is_that_without_it(project):
    train("with", "TEST.VALIDATION_LOSS", True)
    train("without")
    found = read_checkpoint("with/model_final.pth")
    want = read_checkpoint("without/model_final.pth")
    for name, value in want["model"].items():
        assert value.equal(found["model"][name]), name
    assert str(want["trainer"]) == str(found["trainer"])


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_the_least_loss_may_be_the_best(project, decay):
    metric = ["TEST.BEST_METRIC", "validation/total_loss", "SOLVER.EMA_DECAY", decay]
    trainer = train("output", "TEST.VALIDATION_LOSS", True, *metric, "TEST.EVAL_PERIOD", 3)
    rows = logged()
    kinds = {"validation": "model_best"}
    kinds |= {"validation_EMA": "model_best_ema"} if decay else {}
    for kind, name in kinds.items():
        losses = {
            r["iteration"]: r[f"{kind}/total_loss"] for r in rows if f"{kind}/total_loss" in r
        }
        assert len(losses) == 2
        best = read_checkpoint(f"output/{name}.pth")["best"]
        assert best["metric"] == f"{kind}/total_loss"
        assert best["value"] == min(losses.values())
        terms = {f"{kind}/loss_fcos_{term}" for term in ("cls", "loc", "ctr")}
        assert all(terms <= row.keys() for row in rows if f"{kind}/total_loss" in row)
    assert "validation/total_loss" not in trainer.loop.losses


def test_names_of_several_data_sets(project):
    cfg = cfg_of("DATASETS.TEST", ("tiny_val", "tiny_train"))
    found = validation_losses(cfg, model_of(cfg))
    assert [*found] == ["tiny_val", "tiny_train"]
    assert found["tiny_val"]["validation"] != found["tiny_train"]["validation"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["DATASETS.TEST", ()], "VALIDATION_LOSS is True, but DATASETS.TEST is empty: name a data"),
        (
            ["TEST.VALIDATION_LOSS", False, "TEST.BEST_METRIC", "validation/total_loss"],
            "validation/total_loss, which is computed with TEST.VALIDATION_LOSS True only",
        ),
    ],
)
def test_what_cannot_be(project, options, said):
    with pytest.raises(UserError, match=said):
        check_evaluations(cfg_of(*options))
