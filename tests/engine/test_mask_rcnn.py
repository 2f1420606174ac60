"""Mask R-CNN, a detector that is not FCOS, through the same programs."""

import json

import numpy as np
import pytest
import torch

from fcos.checkpoint import AdetCheckpointer
from fcos.config import read_cfg
from fcos.engine import Trainer
from fcos.engine.preflight import check_training
from fcos.predict import Predictor
from fcos.predict.detector import prepare_cfg
from fcos.utils.errors import UserError
from tests.engine.test_trainer import cfg_of
from tests.tiny import ROOT

pytestmark = pytest.mark.cpu

MASK_RCNN = """
MODEL.META_ARCHITECTURE GeneralizedRCNN MODEL.MASK_ON True
MODEL.BACKBONE.NAME build_resnet_fpn_backbone MODEL.PROPOSAL_GENERATOR.NAME RPN
MODEL.RESNETS.OUT_FEATURES ['res2','res3','res4','res5']
MODEL.FPN.IN_FEATURES ['res2','res3','res4','res5']
MODEL.ANCHOR_GENERATOR.SIZES [[8],[16],[32],[64],[128]]
MODEL.RPN.IN_FEATURES ['p2','p3','p4','p5','p6']
MODEL.RPN.PRE_NMS_TOPK_TRAIN 50 MODEL.RPN.PRE_NMS_TOPK_TEST 50
MODEL.RPN.POST_NMS_TOPK_TRAIN 20 MODEL.RPN.POST_NMS_TOPK_TEST 20
MODEL.ROI_HEADS.NAME StandardROIHeads MODEL.ROI_HEADS.NUM_CLASSES 2
MODEL.ROI_HEADS.IN_FEATURES ['p2','p3'] MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE 16
MODEL.ROI_HEADS.SCORE_THRESH_TEST 0.1
MODEL.ROI_BOX_HEAD.NAME FastRCNNConvFCHead MODEL.ROI_BOX_HEAD.NUM_FC 1
MODEL.ROI_BOX_HEAD.FC_DIM 16 MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION 4
MODEL.ROI_MASK_HEAD.NAME MaskRCNNConvUpsampleHead MODEL.ROI_MASK_HEAD.NUM_CONV 1
MODEL.ROI_MASK_HEAD.CONV_DIM 8 MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION 7
MODEL.FCOS.NUM_CLASSES 80 TEST.DETECTIONS_PER_IMAGE 7
""".split()


def test_it_is_trained_evaluated_and_detects(project):
    cfg = cfg_of(project, *MASK_RCNN, "SOLVER.MAX_ITER", 2, "SOLVER.ACCUMULATION_STEPS", 2)
    check_training(cfg, resume=False, check_all_images=True)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    lines = (project / "output" / "metrics.json").read_text().splitlines()
    figures = {name: value for line in lines for name, value in json.loads(line).items()}
    losses = {f"loss_{name}" for name in ("cls", "box_reg", "mask", "rpn_cls", "rpn_loc")}
    logged = {"rpn/num_pos_anchors", "roi_head/num_fg_samples", "fast_rcnn/cls_accuracy"}
    assert {*losses, *logged, "bbox/AP", "segm/AP", "segm/AP-dark"} <= set(figures)

    cfg.MODEL.WEIGHTS = "output/model_final.pth"
    cfg.MODEL.DEVICE = "cpu"
    image = np.full((64, 64, 3), 128, np.uint8)
    found = Predictor(prepare_cfg(cfg, 0.0), threshold=0.0)(image)
    assert len(found) == 7 and found.pred_masks.shape == (7, 64, 64)
    higher = float(found.scores[3])
    found = Predictor(prepare_cfg(cfg, higher), threshold=higher)(image)
    assert (found.scores >= higher).all() and len(found) == 4


def test_the_lowest_score_is_no_square(project):
    """FCOS compares a class probability with it, Mask R-CNN a score."""
    cfg = cfg_of(project, *MASK_RCNN)
    lowest = [prepare_cfg(cfg, t).MODEL.ROI_HEADS.SCORE_THRESH_TEST for t in (0, 0.05, 0.3)]
    assert lowest == [0, 0.05, 0.1]
    assert prepare_cfg(cfg, 0.1).MODEL.FCOS.SCORE_THRESH_TEST == cfg.MODEL.FCOS.SCORE_THRESH_TEST


def test_other_numbers_of_classes(project):
    cfg = cfg_of(project, *MASK_RCNN, "MODEL.ROI_HEADS.NUM_CLASSES", 5)
    with pytest.raises(UserError, match="but MODEL.ROI_HEADS.NUM_CLASSES is 5: set MODEL.ROI_H"):
        check_training(cfg, resume=False, check_all_images=True)
    five = Trainer.build_model(cfg)
    torch.save({"model": five.state_dict()}, "five.pth")
    two = Trainer.build_model(cfg_of(project, *MASK_RCNN))
    checkpointer = AdetCheckpointer(two)
    checkpointer.load("five.pth")
    with pytest.raises(UserError, match=r"of 5 classes, but MODEL.ROI_HEADS.NUM_CLASSES is 2; set"):
        checkpointer.coverage.require_all("Evaluation")
    with pytest.raises(UserError, match=r"of 5 classes, but MODEL.ROI_HEADS.NUM_CLASSES is 2: set"):
        checkpointer.coverage.require_start(two, False)
    said = checkpointer.coverage.require_start(two, True)
    assert said.endswith(
        "The layers with outputs of each class are re-initialised, from 5 classes in the file to 2."
    )


def test_the_parts_that_start_at_random_are_named(project):
    model = Trainer.build_model(cfg_of(project, *MASK_RCNN))
    weights = {k: v for k, v in model.state_dict().items() if k.startswith("backbone.")}
    torch.save({"model": weights}, "backbone.pth")
    checkpointer = AdetCheckpointer(model)
    checkpointer.load("backbone.pth")
    said = checkpointer.coverage.require_start(model, False)
    assert "head " in said and "box head " in said and "mask head " in said


def test_the_demo_on_digits_has_the_budget_of_the_one_with_fcos():
    cfg = read_cfg(str(ROOT / "configs" / "digits_mask_rcnn.yaml"), [])
    fcos = read_cfg(str(ROOT / "configs" / "digits_mask.yaml"), [])
    for key in ("MAX_ITER", "STEPS", "IMS_PER_BATCH", "WARMUP_ITERS"):
        assert cfg.SOLVER[key] == fcos.SOLVER[key]
    for key in ("NUM_CONV", "CONV_DIM", "CLS_AGNOSTIC_MASK", "POOLER_RESOLUTION"):
        assert cfg.MODEL.ROI_MASK_HEAD[key] == fcos.MODEL.ROI_MASK_HEAD[key]
    assert cfg.MODEL.RESNETS == fcos.MODEL.RESNETS and cfg.MODEL.FPN == fcos.MODEL.FPN
