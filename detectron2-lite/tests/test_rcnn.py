"""GeneralizedRCNN and ProposalNetwork: what they pass on to their parts, and what they return."""

import pytest
import torch
from torch import nn

import detectron2
from detectron2.config import get_cfg
from detectron2.modeling import (
    META_ARCH_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_HEADS_REGISTRY,
    Backbone,
    GeneralizedRCNN,
    ProposalNetwork,
    build_model,
)
from detectron2.modeling.meta_arch.rcnn import GeneralizedRCNN as same_class
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

lite_only = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="a message of detectron2-lite's own"
)


class Stem(Backbone):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=4, padding=1)
        self._out_features = ["a"]
        self._out_feature_channels, self._out_feature_strides = {"a": 4}, {"a": 4}

    @property
    def size_divisibility(self):
        return 32

    def forward(self, images):
        return {"a": self.conv(images)}


class Proposer(nn.Module):
    """One proposal per image, and what it was called with."""

    def __init__(self, *_):
        super().__init__()
        self.calls = []

    def forward(self, images, features, targets=None):
        self.calls.append((images, features, targets))
        proposals = [
            Instances(
                size,
                proposal_boxes=Boxes(torch.tensor([[1.0, 2, 10, 12]])),
                objectness_logits=torch.ones(1),
            )
            for size in images.image_sizes
        ]
        return proposals, {} if targets is None else {"loss_proposals": features["a"].sum() * 0 + 1}


class Heads(nn.Module):
    """The proposals as detections."""

    def __init__(self, *_):
        super().__init__()
        self.calls = []

    def forward(self, images, features, proposals, targets=None):
        self.calls.append((images, features, proposals, targets))
        if self.training:
            return proposals, {"loss_heads": features["a"].sum() * 0 + 2}
        results = [
            Instances(one.image_size, pred_boxes=one.proposal_boxes, scores=torch.ones(len(one)))
            for one in proposals
        ]
        return results, {}

    def forward_with_given_boxes(self, features, instances):
        self.calls.append((features, instances))
        for one in instances:
            one.pred_masks = torch.ones(len(one), 1, 4, 4)
        return instances


def image(height=20, width=30):
    return torch.arange(3 * height * width, dtype=torch.float32).view(3, height, width) % 255


def objects(size=(20, 30), **fields):
    boxes = Boxes(torch.tensor([[1.0, 1, 9, 9]]))
    return Instances(size, gt_boxes=boxes, gt_classes=torch.zeros(1, dtype=torch.int64), **fields)


def proposals(size=(20, 30)):
    boxes = Boxes(torch.tensor([[3.0, 3, 9, 9]]))
    return Instances(size, proposal_boxes=boxes, objectness_logits=torch.zeros(1))


def rcnn(**options):
    parts = {"backbone": Stem(), "proposal_generator": Proposer(), "roi_heads": Heads()}
    pixels = {"pixel_mean": [1.0, 2, 3], "pixel_std": [1.0, 1, 2], "input_format": "BGR"}
    return GeneralizedRCNN(**{**parts, **pixels, **options})


def proposal_network():
    return ProposalNetwork(
        backbone=Stem(), proposal_generator=Proposer(), pixel_mean=[1, 2, 3], pixel_std=[1, 1, 2]
    )


def train(model, *batch, iteration=0):
    shown = []
    with EventStorage(iteration) as storage:
        storage.put_image = lambda name, picture: shown.append((name, picture))
        losses = model(list(batch))
    return losses, shown


def test_training():
    model = rcnn()
    first, second = objects(), objects((33, 20))
    losses, shown = train(
        model,
        {"image": image(), "instances": first},
        {"image": image(33, 20).byte(), "instances": second},
    )
    assert {name: loss.item() for name, loss in losses.items()} == {
        "loss_heads": 2,
        "loss_proposals": 1,
    }
    assert all(loss.requires_grad for loss in losses.values()) and not shown
    ((images, features, targets),) = model.proposal_generator.calls
    assert images.image_sizes == [(20, 30), (33, 20)] and images.tensor.shape == (2, 3, 64, 32)
    assert list(features) == ["a"] and len(targets) == 2
    ((same_images, same_features, found, same_targets),) = model.roi_heads.calls
    assert same_images is images and same_features is features and same_targets is targets
    assert [len(one) for one in found] == [1, 1]


def test_normalisation_and_padding():
    images = rcnn().preprocess_image([{"image": image()}, {"image": image(5, 64)}])
    assert images.tensor.shape == (2, 3, 32, 64)
    assert images.image_sizes == [(20, 30), (5, 64)]
    # The first pixel of channel c is c * 20 * 30 modulo 255.
    assert images.tensor[0, :, 0, 0].tolist() == [0 - 1, 90 - 2, (180 - 3) / 2]
    assert not images.tensor[0, :, 20:].any() and not images.tensor[1, :, 5:].any()


def test_means_are_not_in_the_state_dict():
    model = rcnn()
    assert list(model.state_dict()) == ["backbone.conv.weight", "backbone.conv.bias"]
    assert model.device == torch.device("cpu")
    assert model.to("meta").device == torch.device("meta")


def test_inference():
    model = rcnn().eval()
    batch = [{"image": image(), "height": 40, "width": 60}, {"image": image()}]
    first, second = model(batch)
    assert first["instances"].image_size == (40, 60)
    assert first["instances"].pred_boxes.tensor.tolist() == [[2, 4, 20, 24]]
    assert second["instances"].pred_boxes.tensor.tolist() == [[1, 2, 10, 12]]
    assert model.proposal_generator.calls[0][2] is None and model.roi_heads.calls[0][3] is None
    (raw, _) = model.inference(batch, do_postprocess=False)
    assert raw.pred_boxes.tensor.tolist() == [[1, 2, 10, 12]]
    with pytest.raises(AssertionError):
        rcnn().inference(batch)


def test_inference_with_given_boxes():
    model = rcnn().eval()

    def given():
        classes = torch.zeros(1, dtype=torch.int64)
        boxes = Boxes(torch.tensor([[1.0, 2, 5, 6]]))
        return [Instances((20, 30), pred_boxes=boxes, pred_classes=classes)]

    batch = [{"image": image(), "height": 40, "width": 60}]
    (out,) = model.inference(batch, given())
    assert not model.proposal_generator.calls and len(model.roi_heads.calls) == 1
    assert out["instances"].pred_masks.shape == (1, 40, 60)
    assert out["instances"].pred_masks.sum() == 8 * 8
    (out,) = model.inference(batch, given(), do_postprocess=False)
    assert out.pred_masks.shape == (1, 1, 4, 4)


def test_proposals_that_come_with_the_images():
    model = rcnn(proposal_generator=None)
    losses, _ = train(model, {"image": image(), "instances": objects(), "proposals": proposals()})
    assert list(losses) == ["loss_heads"]
    (out,) = model.eval()([{"image": image(), "proposals": proposals()}])
    assert out["instances"].pred_boxes.tensor.tolist() == [[3, 3, 9, 9]]
    with pytest.raises((AssertionError, ValueError)):
        model.train()([{"image": image(), "instances": objects()}])


@pytest.mark.parametrize(("iteration", "is_shown"), [(0, True), (4, False), (5, True)])
def test_proposals_are_shown_every_so_often(iteration, is_shown):
    batch = {"image": image(), "instances": objects()}
    _, shown = train(rcnn(vis_period=5), batch, iteration=iteration)
    assert len(shown) == is_shown
    if is_shown:
        ((name, picture),) = shown
        assert name == "Left: GT bounding boxes;  Right: Predicted proposals"
        # Twice the image, in RGB; the two halves have different boxes.
        assert tuple(picture.shape) == (3, 20, 60)
        left, right = torch.as_tensor(picture).split(30, dim=2)
        plain = image().flip(0).byte()
        assert torch.equal(left[:, 15:], plain[:, 15:])
        assert all((half != plain).any() for half in (left, right))
        assert (left != right).any()


def test_proposal_network():
    model = proposal_network()
    losses, _ = train(model, {"image": image(), "instances": objects()})
    assert list(losses) == ["loss_proposals"]
    assert list(train(model, {"image": image(), "targets": objects()})[0]) == ["loss_proposals"]
    (out,) = model.eval()([{"image": image(), "height": 40, "width": 60}])
    assert list(out) == ["proposals"]
    assert out["proposals"].proposal_boxes.tensor.tolist() == [[2, 4, 20, 24]]
    assert out["proposals"].objectness_logits.tolist() == [1]


def test_by_config():
    PROPOSAL_GENERATOR_REGISTRY.register(type("_ProposerByName", (Proposer,), {}))
    ROI_HEADS_REGISTRY.register(type("_HeadsByName", (Heads,), {}))
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 18, 64
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "_ProposerByName"
    cfg.MODEL.ROI_HEADS.NAME = "_HeadsByName"
    cfg.MODEL.PIXEL_MEAN, cfg.VIS_PERIOD = [1.0, 2.0, 3.0], 9
    model = build_model(cfg)
    assert type(model) is GeneralizedRCNN is same_class
    assert model.pixel_mean.flatten().tolist() == [1, 2, 3]
    assert (model.vis_period, model.input_format) == (9, "BGR")
    cfg.MODEL.META_ARCHITECTURE = "ProposalNetwork"
    assert type(build_model(cfg)) is ProposalNetwork
    cfg.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "PrecomputedProposals"
    assert build_model(cfg).proposal_generator is None
    assert {"GeneralizedRCNN", "ProposalNetwork"} <= {name for name, _ in META_ARCH_REGISTRY}


@lite_only
def test_messages():
    with pytest.raises(ValueError, match="pixel_mean is of 2 channels, pixel_std of 3"):
        rcnn(pixel_mean=[1, 2])
    with pytest.raises(ValueError, match=r"vis_period \(VIS_PERIOD\) needs an input_format"):
        rcnn(vis_period=1, input_format=None)
    with pytest.raises(ValueError, match="without a proposal generator needs 'proposals'"):
        rcnn(proposal_generator=None).eval()([{"image": image()}])
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    with pytest.raises(NotImplementedError, match="Res5ROIHeads .* is not part of detectron2-lite"):
        build_model(cfg)
