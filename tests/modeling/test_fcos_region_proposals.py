"""FCOS in the place of RPN: below detectron2's box heads, and alone (paper, Table 6)."""

import pytest
import torch

from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from fcos.config.model_classes import model_classes, num_detected_classes
from fcos.utils.errors import UserError
from tests.helpers import tiny_cfg

SIZE = (64, 96)
BOX_HEADS = """
MODEL.META_ARCHITECTURE GeneralizedRCNN
MODEL.ROI_HEADS.NAME StandardROIHeads
MODEL.ROI_HEADS.NUM_CLASSES 3
MODEL.ROI_HEADS.IN_FEATURES ['p3','p4','p5']
MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE 16
MODEL.ROI_BOX_HEAD.NAME FastRCNNConvFCHead
MODEL.ROI_BOX_HEAD.NUM_FC 1
MODEL.ROI_BOX_HEAD.FC_DIM 16
MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION 7
MODEL.FCOS.SCORE_THRESH_TRAIN 0.0
MODEL.FCOS.SCORE_THRESH_TEST 0.0
MODEL.FCOS.NMS_POST_TOPK 300
MODEL.FCOS.NMS_POST_TOPK_TRAIN 300
"""


def cfg_of(text, **overrides):
    cfg = tiny_cfg()
    cfg.merge_from_list([*text.split(), *(x for pair in overrides.items() for x in pair)])
    return cfg


def record(classes=(1, 2)):
    boxes = torch.tensor([[8.0, 8, 40, 40], [50, 20, 90, 60]])[: len(classes)]
    truth = Instances(SIZE, gt_boxes=Boxes(boxes), gt_classes=torch.tensor(classes))
    image = torch.full((3, *SIZE), 100, dtype=torch.uint8)
    for x1, y1, x2, y2 in boxes.int().tolist():
        image[:, y1:y2, x1:x2] = 220
    return {"image": image, "instances": truth}


@pytest.mark.parametrize("num_classes", [1, 3])
def test_detectron2s_box_heads_learn_from_proposals_of_fcos(num_classes):
    """Of one class, "object", or of the three of the data, which the box heads tell apart."""
    torch.manual_seed(0)
    model = build_model(cfg_of(BOX_HEADS, **{"MODEL.FCOS.NUM_CLASSES": num_classes})).train()
    assert model.proposal_generator.fcos_head.cls_logits.out_channels == num_classes
    optimizer = torch.optim.SGD(model.parameters(), lr=0.002, momentum=0.9)
    totals = []
    with EventStorage():
        for _ in range(4):
            losses = model([record(), record((0,))])
            totals.append(sum(losses.values()))
            optimizer.zero_grad()
            totals[-1].backward()
            optimizer.step()
    names = {"loss_cls", "loss_box_reg", "loss_fcos_cls", "loss_fcos_loc", "loss_fcos_ctr"}
    assert set(losses) == names
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert totals[-1] < totals[1] < totals[0]
    with torch.no_grad():
        (output,) = model.eval()([{**record(), "height": 128, "width": 192}])
    found = output["instances"]
    assert found.image_size == (128, 192)
    assert set(found.get_fields()) == {"pred_boxes", "scores", "pred_classes"}


def test_one_class_of_proposals_is_what_every_object_belongs_to():
    torch.manual_seed(0)
    model = build_model(cfg_of(BOX_HEADS, **{"MODEL.FCOS.NUM_CLASSES": 1})).train()
    losses = []
    for classes in ((1, 2), (0, 0), (2, 1)):
        given = record(classes)
        images = model.preprocess_image([given])
        with torch.no_grad(), EventStorage():
            features = model.backbone(images.tensor)
            _, found = model.proposal_generator(images, features, [given["instances"]])
        losses.append({name: loss.item() for name, loss in found.items()})
        assert given["instances"].gt_classes.tolist() == list(classes)
    assert losses[0] == losses[1] == losses[2]
    assert losses[0]["loss_fcos_loc"] > 0


def test_there_are_many_more_proposals_than_detections():
    torch.manual_seed(0)
    cfg = cfg_of(BOX_HEADS, **{"MODEL.FCOS.NUM_CLASSES": 1, "MODEL.FCOS.NMS_THRESH_TRAIN": 0.99})
    model = build_model(cfg).train()
    head = model.proposal_generator.fcos_head
    torch.nn.init.normal_(head.bbox_pred.weight, std=0.3)
    torch.nn.init.constant_(head.bbox_pred.bias, 2.5)
    images = model.preprocess_image([record()])
    with torch.no_grad():
        (proposals,), _ = model.proposal_generator(
            images, model.backbone(images.tensor), [record()["instances"]]
        )
    assert len(proposals) > 100


@pytest.mark.parametrize("num_classes", [1, 3])
def test_alone_it_gives_proposals_in_pixels_of_the_output(num_classes):
    torch.manual_seed(0)
    cfg = cfg_of(
        "MODEL.META_ARCHITECTURE ProposalNetwork MODEL.FCOS.SCORE_THRESH_TEST 0.0",
        **{"MODEL.FCOS.NUM_CLASSES": num_classes},
    )
    model = build_model(cfg).eval()
    model.proposal_generator.fcos_head.bbox_pred.bias.data.fill_(2.5)
    image = {"image": record()["image"]}
    with torch.no_grad():
        (one,) = model([image])
        (twice,) = model([{**image, "height": 128, "width": 192}])
    proposals, scaled = one["proposals"], twice["proposals"]
    assert set(proposals.get_fields()) == {"proposal_boxes", "objectness_logits"}
    assert len(proposals) == len(scaled) > 0
    torch.testing.assert_close(scaled.proposal_boxes.tensor, 2 * proposals.proposal_boxes.tensor)
    assert (proposals.objectness_logits.diff() <= 0).all()

    found = []
    model.train().proposal_generator.register_forward_hook(lambda *args: found.append(args[2][0]))
    losses = model([record(classes=(1, 2))])
    assert set(losses) == {"loss_fcos_cls", "loss_fcos_loc", "loss_fcos_ctr"}
    assert all(loss.isfinite() for loss in losses.values())
    assert found == [[]]  # nobody reads its proposals in training


# ---- the number of classes ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "number", "key"),
    [
        ("MODEL.FCOS.NUM_CLASSES 3", 3, "FCOS"),
        ("MODEL.FCOS.NUM_CLASSES 1", 1, "FCOS"),
        (BOX_HEADS, 3, "ROI_HEADS"),
        (BOX_HEADS + "MODEL.FCOS.NUM_CLASSES 1", 3, "ROI_HEADS"),
        (BOX_HEADS + "MODEL.PROPOSAL_GENERATOR.NAME RPN", 3, "ROI_HEADS"),
        (BOX_HEADS + "MODEL.ROI_HEADS.NAME FCOSMaskROIHeads", 3, "FCOS"),
        ("MODEL.META_ARCHITECTURE RetinaNet MODEL.RETINANET.NUM_CLASSES 7", 7, "RETINANET"),
        ("MODEL.META_ARCHITECTURE ProposalNetwork", 3, "FCOS"),
        ("MODEL.META_ARCHITECTURE ProposalNetwork MODEL.FCOS.NUM_CLASSES 1", None, "FCOS"),
        (
            "MODEL.META_ARCHITECTURE ProposalNetwork MODEL.PROPOSAL_GENERATOR.NAME RPN",
            None,
            "FCOS",
        ),
    ],
)
def test_which_key_says_how_many_classes_the_data_has(options, number, key):
    found = model_classes(cfg_of(options))
    assert found.number == number
    assert found.key == f"MODEL.{key}.NUM_CLASSES"


def test_box_heads_of_other_classes_than_the_proposals():
    cfg = cfg_of(BOX_HEADS, **{"MODEL.FCOS.NUM_CLASSES": 2})
    message = (
        "MODEL.FCOS.NUM_CLASSES is 2, but MODEL.ROI_HEADS.NUM_CLASSES is 3: set the former to the "
        "latter, or to 1"
    )
    with pytest.raises(UserError, match=message):
        build_model(cfg)


def test_proposals_are_no_detections():
    cfg = cfg_of("MODEL.META_ARCHITECTURE ProposalNetwork")
    with pytest.raises(UserError, match="ProposalNetwork, which gives proposals and no detections"):
        num_detected_classes(cfg)
    assert num_detected_classes(tiny_cfg()) == 3
