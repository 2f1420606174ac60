"""Mask R-CNN, Faster R-CNN and RPN, R-50 FPN: numbers of a picture recorded from detectron2."""

import numpy as np
import pytest
import torch
from golden_values import fill, golden_json, golden_npz

from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Boxes, ImageList, Instances
from detectron2.utils.events import EventStorage

GOLDEN = golden_json("rcnn.json")
ARRAYS = golden_npz("rcnn.npz")

# The settings of the published FPN configs that are no defaults.
FPN = """
MODEL.DEVICE cpu MODEL.BACKBONE.NAME build_resnet_fpn_backbone
MODEL.RESNETS.OUT_FEATURES ['res2','res3','res4','res5']
MODEL.FPN.IN_FEATURES ['res2','res3','res4','res5']
MODEL.ANCHOR_GENERATOR.SIZES [[32],[64],[128],[256],[512]]
MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS [[0.5,1.0,2.0]]
MODEL.RPN.IN_FEATURES ['p2','p3','p4','p5','p6']
MODEL.RPN.PRE_NMS_TOPK_TRAIN 2000 MODEL.RPN.PRE_NMS_TOPK_TEST 1000
MODEL.RPN.POST_NMS_TOPK_TRAIN 1000 MODEL.RPN.POST_NMS_TOPK_TEST 1000
MODEL.ROI_HEADS.NAME StandardROIHeads MODEL.ROI_HEADS.IN_FEATURES ['p2','p3','p4','p5']
MODEL.ROI_BOX_HEAD.NAME FastRCNNConvFCHead MODEL.ROI_BOX_HEAD.NUM_FC 2
MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION 7
MODEL.ROI_MASK_HEAD.NAME MaskRCNNConvUpsampleHead MODEL.ROI_MASK_HEAD.NUM_CONV 4
MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION 14
"""
# No random choice of anchors and proposals: all are learnt from.
ALL = """
MODEL.RPN.BATCH_SIZE_PER_IMAGE 1000000 MODEL.RPN.POSITIVE_FRACTION 1.0
MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE 1000000 MODEL.ROI_HEADS.POSITIVE_FRACTION 1.0
"""
OF_MODEL = {
    "mask_rcnn": "MODEL.MASK_ON True",
    "faster_rcnn": "MODEL.MASK_ON False",
    "rpn": "MODEL.META_ARCHITECTURE ProposalNetwork MODEL.RPN.POST_NMS_TOPK_TEST 2000",
}


def config(name, extra=ALL):
    cfg = get_cfg()
    cfg.merge_from_list(f"{FPN} {extra} {OF_MODEL[name]}".split())
    return cfg


WEIGHTS = {}


@pytest.fixture(params=list(OF_MODEL), scope="module")
def case(request):
    """A model's name and the model; all have the weights of Mask R-CNN, which has the most."""
    model = build_model(config(request.param))
    if not WEIGHTS:
        WEIGHTS.update(fill(model, GOLDEN["models"]["mask_rcnn"]["fill_rules"]).state_dict())
    model.load_state_dict({name: WEIGHTS[name] for name in model.state_dict()})
    return request.param, model


def photo():
    bgr = np.ascontiguousarray(golden_npz("photo.npz")["rgb"][:, :, ::-1].transpose(2, 0, 1))
    image = torch.as_tensor(bgr)
    height, width = image.shape[1:]
    return {"image": image, "height": 2 * height, "width": 2 * width}


def ground_truth(size):
    truth = GOLDEN["truth"]
    masks = torch.zeros(len(truth["boxes"]), *size, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, truth["boxes"], strict=True):
        mask[y1:y2, x1 : (x1 + x2) // 2 + 5] = True
    return Instances(
        tuple(size),
        gt_boxes=Boxes(torch.tensor(truth["boxes"], dtype=torch.float32)),
        gt_classes=torch.tensor(truth["classes"]),
        gt_masks=BitMasks(masks),
    )


def close(found, expected, tolerance):
    torch.testing.assert_close(
        torch.as_tensor(found).float(), torch.as_tensor(expected).float(), rtol=0, atol=tolerance
    )


def test_names_and_shapes(case):
    name, model = case
    found = [[key, list(value.shape)] for key, value in model.state_dict().items()]
    assert sorted(found) == sorted(GOLDEN["models"][name]["state_dict"])


def test_losses(case):
    name, model = case
    entry = photo()
    entry["instances"] = ground_truth(entry["image"].shape[1:])
    with EventStorage(), torch.no_grad():
        losses = model.train()([entry])
    expected = GOLDEN["models"][name]["losses"]
    assert {key: loss.item() for key, loss in losses.items()} == pytest.approx(expected, rel=1e-4)


def test_proposals(case):
    name, model = case
    model.eval()
    with torch.no_grad():
        image = (photo()["image"] - model.pixel_mean) / model.pixel_std
        images = ImageList.from_tensors([image], model.backbone.size_divisibility)
        features = model.backbone(images.tensor)
        proposals, losses = model.proposal_generator(images, features)
    assert losses == {} and len(proposals) == 1
    best = proposals[0][:200]
    close(best.proposal_boxes.tensor, ARRAYS[f"{name}/proposals/boxes"], 0.01)
    close(best.objectness_logits, ARRAYS[f"{name}/proposals/logits"], 1e-4)


def test_detections(case):
    name, model = case
    model.eval()
    with torch.no_grad():
        (output,) = model([photo()])
    if name == "rpn":
        assert list(output) == ["proposals"] and len(output["proposals"]) > 200
        return
    found = output["instances"]
    assert found.image_size == (308, 436)
    close(found.scores, ARRAYS[f"{name}/det/scores"], 1e-4)
    close(found.pred_boxes.tensor, ARRAYS[f"{name}/det/boxes"], 0.01)
    assert found.pred_classes.tolist() == ARRAYS[f"{name}/det/classes"].tolist()
    assert found.has("pred_masks") == (name == "mask_rcnn")
    if found.has("pred_masks"):
        pixels = found.pred_masks.flatten(1).sum(dim=1).numpy()
        expected = ARRAYS["mask_rcnn/det/mask_pixels"]
        assert (np.abs(pixels - expected) <= np.maximum(1, 0.002 * expected)).all()
