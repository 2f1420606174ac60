"""MODEL.CHANNELS_LAST: another order in memory, the same detector."""

import copy

import pytest
import torch

from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from tests.helpers import tiny_cfg, tiny_mask_cfg

SIZE = (64, 96)


def detector(make_cfg, channels_last, norm="GN"):
    torch.manual_seed(0)
    cfg = make_cfg()
    cfg.merge_from_list(["MODEL.CHANNELS_LAST", channels_last, "MODEL.FCOS.NORM", norm])
    cfg.MODEL.FCOS.SCORE_THRESH_TEST = 0.001
    return build_model(cfg)


def batch():
    generator = torch.Generator().manual_seed(0)
    truth = Instances(
        SIZE, gt_boxes=Boxes(torch.tensor([[8.0, 8, 40, 40]])), gt_classes=torch.tensor([1])
    )
    return [
        {"image": torch.randint(0, 256, (3, *SIZE), generator=generator), "instances": truth}
        for _ in range(2)
    ]


def is_channels_last(x):
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


@pytest.mark.parametrize("make_cfg", [tiny_cfg, tiny_mask_cfg])
@pytest.mark.parametrize("channels_last", [True, False])
def test_the_order_goes_through_the_whole_detector(make_cfg, channels_last):
    model = detector(make_cfg, channels_last).eval()
    images = model.preprocess_image(batch())
    with torch.no_grad():
        features = model.backbone(images.tensor)
        outputs = model.proposal_generator.fcos_head(list(features.values()))
    for x in (features["p3"], features["p4"], outputs[0][0], outputs[1][1]):
        assert is_channels_last(x) == channels_last
    convolutions = [p for p in model.parameters() if p.dim() == 4 and min(p.shape) > 1]
    assert len(convolutions) > 20
    assert {is_channels_last(p) for p in convolutions} == {channels_last}


@pytest.mark.parametrize("norm", ["none", "GN", "BN"])
def test_losses_gradients_and_detections_are_the_same(norm):
    # In double precision, where no rounding decides on which side of a ReLU's zero a value is.
    models = [detector(tiny_cfg, is_last, norm).double() for is_last in (True, False)]
    models[1].load_state_dict(models[0].state_dict())  # weights know no order
    found = []
    for model in models:
        with EventStorage(0):
            losses = model.train()(batch())
        sum(losses.values()).backward()
        with torch.no_grad():
            found.append((losses, [r["instances"] for r in model.eval()(batch())]))
    for (name, a), (_, b) in zip(*(m.named_parameters() for m in models), strict=True):
        torch.testing.assert_close(a, b, atol=0, rtol=0)
        if a.requires_grad:
            scale = b.grad.abs().max().item()
            torch.testing.assert_close(a.grad, b.grad, atol=1e-5 * scale + 1e-7, rtol=0, msg=name)
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-5, rtol=1e-5)
    for a, b in zip(found[0][1], found[1][1], strict=True):
        assert len(a) == len(b) > 0
        torch.testing.assert_close(a.scores, b.scores, atol=1e-5, rtol=0)


def test_a_copy_goes_on_in_the_same_order():
    model = copy.deepcopy(detector(tiny_cfg, True)).eval()
    with torch.no_grad():
        assert is_channels_last(model.backbone(torch.zeros(1, 3, *SIZE))["p3"])
