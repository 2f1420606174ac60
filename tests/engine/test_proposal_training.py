"""Trainings with FCOS as the proposal generator: the checks before them, and their figures."""

import json

import pytest

from detectron2.modeling import build_model
from fcos.checkpoint import AdetCheckpointer
from fcos.engine import Trainer
from fcos.engine.preflight import check_training
from fcos.utils.errors import UserError
from tests.engine.test_trainer import cfg_of

ALONE = """
MODEL.META_ARCHITECTURE ProposalNetwork
MODEL.FCOS.NUM_CLASSES 1
MODEL.FCOS.SCORE_THRESH_TEST 0.0
MODEL.FCOS.NMS_POST_TOPK 1000
MODEL.FCOS.NORMALIZE_REG_TARGETS True
TEST.BEST_METRIC box_proposals/AR@1000
TEST.EVAL_PERIOD 2
SOLVER.MAX_ITER 2
"""
BELOW_BOX_HEADS = """
MODEL.META_ARCHITECTURE GeneralizedRCNN
MODEL.FCOS.NUM_CLASSES 1
MODEL.FCOS.SCORE_THRESH_TRAIN 0.0
MODEL.FCOS.SCORE_THRESH_TEST 0.0
MODEL.ROI_HEADS.NAME StandardROIHeads
MODEL.ROI_HEADS.NUM_CLASSES 2
MODEL.ROI_HEADS.IN_FEATURES ['p3','p4','p5']
MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE 16
MODEL.ROI_BOX_HEAD.NAME FastRCNNConvFCHead
MODEL.ROI_BOX_HEAD.NUM_FC 1
MODEL.ROI_BOX_HEAD.FC_DIM 16
MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION 7
SOLVER.MAX_ITER 2
"""


def figures_after_training(project, options):
    """The figures of the last evaluation, by their names in metrics.json."""
    cfg = cfg_of(project, *options.split())
    check_training(cfg, resume=False, check_all_images=True)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    lines = (project / "output" / "metrics.json").read_text().splitlines()
    return {name: value for line in lines for name, value in json.loads(line).items()}


@pytest.mark.cpu
def test_proposals_alone_are_trained_and_their_recall_is_the_figure(project):
    """The data has two classes, the proposals one."""
    figures = figures_after_training(project, ALONE)
    names = {f"box_proposals/AR{area}@{n}" for area in ("", "s", "m", "l") for n in (100, 1000)}
    assert names <= set(figures)
    assert 0 < figures["box_proposals/AR@100"] <= figures["box_proposals/AR@1000"] <= 100
    assert figures["box_proposals/ARl@100"] is None  # images are of 64 x 64 pixels
    assert not any(name.startswith("bbox") for name in figures)
    assert (project / "output" / "model_best.pth").is_file()


@pytest.mark.cpu
def test_proposals_for_box_heads_are_trained_with_them(project):
    figures = figures_after_training(project, BELOW_BOX_HEADS)
    assert {"bbox/AP", "bbox/AP-dark", "bbox/AP-bright", "loss_cls"} <= set(figures)
    assert not any(name.startswith("box_proposals") for name in figures)

    # Its proposals can be evaluated by the same file, without the box heads.
    options = [*BELOW_BOX_HEADS.split(), "MODEL.META_ARCHITECTURE", "ProposalNetwork"]
    checkpointer = AdetCheckpointer(build_model(cfg_of(project, *options)))
    checkpointer.load("output/model_final.pth")
    checkpointer.coverage.require_all("Evaluation")
    assert "roi_heads.box_predictor.cls_score.weight" in checkpointer.coverage.dropped


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ALONE + "MODEL.FCOS.NUM_CLASSES 3",
            "has 2 classes .* but MODEL.FCOS.NUM_CLASSES is 3: set MODEL.FCOS.NUM_CLASSES 2",
        ),
        (
            BELOW_BOX_HEADS + "MODEL.ROI_HEADS.NUM_CLASSES 5",
            "but MODEL.ROI_HEADS.NUM_CLASSES is 5: set MODEL.ROI_HEADS.NUM_CLASSES 2",
        ),
    ],
)
def test_other_numbers_of_classes_are_refused_before_the_first_iteration(project, options, message):
    cfg = cfg_of(project, *options.split())
    with pytest.raises(UserError, match=message):
        check_training(cfg, resume=False, check_all_images=True)
