"""The mask head, its loss and its predictions; values and first weights from detectron2 0.6."""

import numpy as np
import pytest
import torch
from golden_values import golden_json
from torch.nn import functional as F

import detectron2
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import BaseMaskRCNNHead as same_class
from detectron2.modeling import build_mask_head, detector_postprocess
from detectron2.modeling.roi_heads import MaskRCNNConvUpsampleHead
from detectron2.modeling.roi_heads.mask_head import (
    BaseMaskRCNNHead,
    mask_rcnn_inference,
    mask_rcnn_loss,
)
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks
from detectron2.utils.events import EventStorage

lite_only = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="a message of detectron2-lite's own"
)

SIZE = (100, 120)
BOXES = torch.tensor([[10, 10, 40, 40], [50, 50, 90, 95.0], [20, 30, 60, 70]])
# Of 6 regions and 4 classes.
LOGITS = torch.randn(6, 4, 28, 28, generator=torch.Generator().manual_seed(0))


def regions(number=3, bits=False):
    """Triangles that fill half of their boxes, and regions two pixels beside these boxes."""
    triangles = [[np.array([x1, y1, x2, y1, x2, y2])] for x1, y1, x2, y2 in BOXES.tolist()]
    masks = PolygonMasks(triangles)
    return Instances(
        SIZE,
        proposal_boxes=Boxes(BOXES[:number] + 2),
        gt_classes=torch.tensor([3, 1, 0])[:number],
        gt_masks=(BitMasks.from_polygon_masks(masks, *SIZE) if bits else masks)[:number],
    )


def loss_of(logits, instances, *, iteration=0, vis_period=0, images=None):
    with EventStorage(iteration) as storage:
        if images is not None:
            storage.put_image = lambda name, image: images.append((name, image))
        loss = mask_rcnn_loss(logits, instances, vis_period)
        logged = {name: value for name, (value, _) in storage.latest().items()}
    return loss, logged


@pytest.mark.parametrize(
    ("channels", "bits", "loss", "accuracy", "false_positive", "false_negative"),
    [
        (4, False, 0.80118221, 0.508078231292517, 0.48651771956856704, 0.4985768500948767),
        (1, False, 0.81237710, 0.49744897959183676, 0.5061633281972265, 0.4981024667931689),
        (4, True, 0.79417938, 0.5114795918367347, 0.47324159021406725, 0.5076628352490421),
    ],
)
def test_loss_equals_detectron2s(channels, bits, loss, accuracy, false_positive, false_negative):
    instances = [regions(bits=bits)] if bits else [regions(), regions()]
    logits = LOGITS[: 3 * len(instances), :channels].clone().requires_grad_()
    value, logged = loss_of(logits, instances)
    assert value.item() == pytest.approx(loss, rel=1e-6)
    assert logged == pytest.approx(
        {
            "mask_rcnn/accuracy": accuracy,
            "mask_rcnn/false_positive": false_positive,
            "mask_rcnn/false_negative": false_negative,
        },
        rel=1e-6,
    )
    value.backward()
    if channels == 4:  # only the masks of the regions' own classes
        of_class = logits.grad.flatten(2).any(dim=2)[:3].nonzero().tolist()
        assert of_class == [[0, 3], [1, 1], [2, 0]]


def test_loss_by_hand():
    # A mask that fills the region; a logit of 0 everywhere but for one cell of four, -2.
    square = np.array([0, 0, 100, 0, 100, 100, 0, 100.0])
    region = Instances(
        SIZE,
        proposal_boxes=Boxes(torch.tensor([[10, 10, 50, 50.0]])),
        gt_classes=torch.tensor([0]),
        gt_masks=PolygonMasks([[square]]),
    )
    logits = torch.tensor([[1.0, 1], [1, -2]])[None, None]
    loss, logged = loss_of(logits, [region])
    expected = (3 * np.log1p(np.exp(-1)) + np.log1p(np.exp(2))) / 4
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert list(logged.values()) == [0.75, 0.0, 0.25]


def test_loss_without_regions():
    logits = LOGITS[:0].clone().requires_grad_()
    for instances in ([regions(0), regions(0)], []):
        loss, logged = loss_of(logits, instances)
        assert loss.item() == 0 and loss.requires_grad and not logged
    # An image without objects has no gt_masks.
    empty = Instances(SIZE, proposal_boxes=Boxes(torch.zeros(0, 4)), gt_classes=torch.zeros(0))
    with_empty, _ = loss_of(LOGITS[:3], [empty, regions()])
    assert torch.equal(with_empty, loss_of(LOGITS[:3], [regions()])[0])


def test_loss_of_half_precision():
    loss, _ = loss_of(LOGITS.half(), [regions(), regions()])
    assert loss.item() == pytest.approx(0.8012, abs=1e-3)


@pytest.mark.parametrize(("iteration", "number"), [(0, 3), (4, 0), (5, 3)])
def test_masks_are_shown_every_so_often(iteration, number):
    images = []
    loss_of(LOGITS[:3], [regions()], iteration=iteration, vis_period=5, images=images)
    assert len(images) == number
    if number:
        name, image = images[1]
        assert name == "Left: mask prediction;   Right: mask GT (1)"
        assert image.shape == (3, 28, 56)
        torch.testing.assert_close(image[0, :, :28], LOGITS[1, 1].sigmoid())
        assert set(image[2, :, 28:].unique().tolist()) == {0.0, 1.0}


@lite_only
def test_messages():
    with pytest.raises(ValueError, match=r"expected square masks, got \(3, 4, 28, 14\)"):
        loss_of(LOGITS[:3, :, :, :14], [regions()])
    with pytest.raises(ValueError, match="are of 5 regions, instances of 6"):
        loss_of(LOGITS[:5], [regions(), regions()])
    with pytest.raises(ValueError, match="conv_dims: expected channels of one layer at least"):
        head(conv_dims=[])
    with pytest.raises(NotImplementedError, match="BaseMaskRCNNHead has no layers"):
        BaseMaskRCNNHead().layers(LOGITS)


def detections(*classes):
    return Instances(SIZE, pred_classes=torch.tensor(classes, dtype=torch.int64))


def test_predictions():
    first, nothing, second = detections(1, 0), detections(), detections(3, 2, 1, 0)
    mask_rcnn_inference(LOGITS, [first, nothing, second])
    assert nothing.pred_masks.shape == (0, 1, 28, 28)
    torch.testing.assert_close(first.pred_masks, LOGITS[:2, [1, 0]][[0, 1], [0, 1], None].sigmoid())
    torch.testing.assert_close(second.pred_masks[1, 0], LOGITS[3, 2].sigmoid())
    second = detections(3, 2)
    mask_rcnn_inference(LOGITS[:2, :1], [second])
    torch.testing.assert_close(second.pred_masks, LOGITS[:2, :1].sigmoid())


def head(num_classes=5, conv_dims=(6, 6, 7), **options):
    return MaskRCNNConvUpsampleHead(
        ShapeSpec(channels=8, width=14, height=14),
        num_classes=num_classes,
        conv_dims=list(conv_dims),
        **options,
    )


def test_names_and_shapes_of_mask_rcnn():
    golden = [
        [name.removeprefix("roi_heads.mask_head."), shape]
        for name, shape, _ in golden_json("host_names.json")["mask_rcnn_R_50_FPN"]
        if name.startswith("roi_heads.mask_head.")
    ]
    cfg = get_cfg()
    cfg.MODEL.ROI_MASK_HEAD.NUM_CONV = 4
    model = build_mask_head(cfg, ShapeSpec(channels=256, width=14, height=14))
    assert type(model) is MaskRCNNConvUpsampleHead
    assert [[name, list(value.shape)] for name, value in model.state_dict().items()] == golden


def test_first_weights():
    # Sums of absolute values, made by detectron2 with torch.manual_seed(0).
    torch.manual_seed(0)
    sums = [p.double().abs().sum().item() for p in head().parameters()]
    expected = [63.35754037, 0, 48.38551191, 0, 37.11375352, 0, 0.022748008, 0]
    assert sums == pytest.approx(expected, rel=1e-6)


def test_layers():
    model = head(conv_dims=[6, 7])
    x = torch.randn(3, 8, 14, 14)
    hidden = F.relu(F.conv2d(x, model.mask_fcn1.weight, model.mask_fcn1.bias, padding=1))
    hidden = F.relu(F.conv_transpose2d(hidden, model.deconv.weight, model.deconv.bias, stride=2))
    expected = F.conv2d(hidden, model.predictor.weight, model.predictor.bias)
    torch.testing.assert_close(model.layers(x), expected)
    assert expected.shape == (3, 5, 28, 28)
    assert [name for name, _ in head(conv_dims=[4]).named_children()] == [
        *("deconv", "deconv_relu", "predictor")
    ]


def test_training_and_inference():
    model = head(num_classes=4, loss_weight=3.0)
    x = torch.randn(3, 8, 14, 14)
    with EventStorage():
        losses = model(x, [regions()])
        expected = 3 * mask_rcnn_loss(model.layers(x), [regions()])
    assert list(losses) == ["loss_mask"]
    torch.testing.assert_close(losses["loss_mask"], expected)
    found = detections(0, 3, 1)
    found.pred_boxes = Boxes(BOXES)
    with torch.no_grad():
        (out,) = model.eval()(x, [found])
    assert out.pred_masks.shape == (3, 1, 28, 28)
    assert detector_postprocess(out, 200, 240).pred_masks.shape == (3, 200, 240)


def test_by_config():
    cfg = get_cfg()
    options = cfg.MODEL.ROI_MASK_HEAD
    options.NUM_CONV, options.CONV_DIM, options.NORM = 2, 64, "GN"
    options.CLS_AGNOSTIC_MASK, cfg.VIS_PERIOD = True, 7
    model = build_mask_head(cfg, ShapeSpec(channels=8, width=14, height=14))
    assert model.predictor.weight.shape == (1, 64, 1, 1)
    assert model.mask_fcn2.norm.num_groups == 32 and model.mask_fcn2.bias is None
    assert (model.vis_period, model.loss_weight) == (7, 1.0)
    options.CLS_AGNOSTIC_MASK, cfg.MODEL.ROI_HEADS.NUM_CLASSES = False, 3
    model = build_mask_head(cfg, ShapeSpec(channels=8, width=14, height=14))
    assert model.predictor.weight.shape == (3, 64, 1, 1)
    assert BaseMaskRCNNHead.from_config(cfg, None) == {"vis_period": 7}
    assert same_class is BaseMaskRCNNHead
