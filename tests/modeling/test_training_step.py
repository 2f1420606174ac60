"""A training step computes on the GPU alone and never waits for it: shown without a GPU."""

import copy

import pytest
import torch

from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from tests.helpers import tiny_cfg
from tests.imagined_gpu import ImaginedGpu, pretend


def inputs(heights=(64, 80), width=96):
    """Two images of these heights; the first has two boxes."""
    images = []
    for height, count in zip(heights, (2, 0), strict=True):
        instances = Instances((height, width))
        corner = torch.arange(count)[:, None] * 8.0
        instances.gt_boxes = Boxes(torch.cat((corner, corner, corner + 30, corner + 40), dim=1))
        instances.gt_classes = torch.arange(count)
        image = torch.zeros(3, height, width, dtype=torch.uint8)
        images.append({"image": image, "instances": instances})
    return images


SWITCHES = [
    [],
    ["MODEL.FCOS.LOSS_NORMALIZER", "moving_fg"],
    ["MODEL.FCOS.LOSS_NORMALIZER", "all", "MODEL.FCOS.BOX_QUALITY", "iou"],
    ["MODEL.FCOS.CENTER_SAMPLE", "True", "MODEL.FCOS.NORMALIZE_REG_TARGETS", "True"],
    ["MODEL.FCOS.LOC_LOSS_TYPE", "giou", "MODEL.FCOS.NORM", "GN", "MODEL.RESNETS.NORM", "FrozenBN"],
]
of_switches = pytest.mark.parametrize(
    "switches", SWITCHES, ids=lambda s: "-".join(s[1::2]) or "defaults"
)


def model_of(switches):
    cfg = tiny_cfg()
    cfg.merge_from_list(switches)
    torch.manual_seed(0)
    return build_model(cfg).train()


def two_steps(model):
    """The losses of the second."""
    optimizer = torch.optim.SGD(model.parameters(), 0.001, momentum=0.9, foreach=True)
    for _ in range(2):
        losses = model(inputs())
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    return losses


@of_switches
@pytest.mark.cpu
def test_forward_backward_and_update_stay_on_the_gpu_and_wait_for_nothing(switches):
    want = two_steps(model_of(switches))
    model, gpu = model_of(switches), ImaginedGpu("meta")
    with gpu:
        model.to(gpu.device)
        gpu.waits.clear()
        losses = two_steps(model)
        assert not gpu.waits
        assert all(value.device == gpu.device for value in losses.values())
        assert all(p.device == p.grad.device == gpu.device for p in model.parameters())
        torch.testing.assert_close({k: v.cpu() for k, v in losses.items()}, want)


@of_switches
@pytest.mark.parametrize("precision", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.cpu
def test_in_mixed_precision_too(switches, precision, monkeypatch):
    want = model_of(switches)(inputs())
    model, gpu = model_of(switches), ImaginedGpu()
    pretend(monkeypatch)
    with gpu:
        model.to("cuda")
        gpu.waits.clear()
        with torch.autocast("cuda", precision, enabled=precision is not torch.float32):
            features = model.backbone(model.preprocess_image(inputs()).tensor)
            losses = model(inputs())
        assert not gpu.waits
        assert features["p3"].dtype is precision
        assert all(value.device == gpu.device for value in losses.values())
        for name, value in losses.items():
            assert value.dtype is torch.float32
            torch.testing.assert_close(value.cpu(), want[name], rtol=0.02, atol=0.001)


@pytest.mark.gpu
@of_switches
def test_a_real_gpu_is_not_waited_for_either(switches):
    want = two_steps(model_of(switches))
    model = model_of(switches).to("cuda")
    two_steps(copy.deepcopy(model))  # the first time, CUDA is started and memory taken
    try:
        torch.cuda.set_sync_debug_mode("error")
        losses = two_steps(model)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for name, value in losses.items():
        torch.testing.assert_close(value.cpu(), want[name], rtol=0.01, atol=0.001)
