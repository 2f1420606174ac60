"""Detection, masks and augmentation on a GPU that is only imagined: where they wait for it."""

import collections
import math
import re

import numpy as np
import pytest
import torch

from detectron2.modeling import build_model
from detectron2.structures import PolygonMasks
from detectron2.utils.events import EventStorage
from fcos.layers import loss_normalizer
from fcos.modeling import OneStageDetectorWithTTA
from fcos.modeling.optimize import optimize_for_inference
from fcos.utils.errors import UserError
from tests.helpers import tiny_cfg, tiny_mask_cfg
from tests.imagined_gpu import ImaginedGpu, OnGpu, pretend
from tests.modeling.test_training_step import inputs

pytestmark = pytest.mark.cpu


@pytest.fixture
def gpu(monkeypatch):
    pretend(monkeypatch)
    return ImaginedGpu()


def model_of(cfg):
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    head = model.proposal_generator.fcos_head
    torch.nn.init.normal_(head.cls_logits.weight, std=0.3)
    torch.nn.init.zeros_(head.cls_logits.bias)
    torch.nn.init.constant_(head.bbox_pred.bias, 2.5)
    return model


def images(number=2):
    generator = torch.Generator().manual_seed(0)
    sizes = [(64, 96), (80, 96), (64, 64), (50, 90)][:number]
    return [
        {
            "image": torch.randint(0, 256, (3, h, w), dtype=torch.uint8, generator=generator),
            "height": 2 * h,
            "width": 2 * w,
        }
        for h, w in sizes
    ]


def inputs_with_masks():
    batch = inputs()
    square = np.array([8.0, 8, 40, 8, 40, 40, 8, 40])
    for entry in batch:
        entry["instances"].gt_masks = PolygonMasks([[square]] * len(entry["instances"]))
    return batch


def places(gpu, *files):
    """How often the program waited in each of these files of ours."""
    ours = [re.search(r"/fcos/((?:modeling|layers|utils)/.*)[.]py:", wait) for wait in gpu.waits]
    counted = collections.Counter(name[1] for name in ours if name)
    return {file: counted[file] for file in files}


def check_equal(found, want, **tolerance):
    """All on the GPU, with the values of the CPU."""
    for a, b in zip(found, want, strict=True):
        a, b = a["instances"], b["instances"]
        assert len(a) == len(b) > 0
        fields = a.get_fields()
        tensors = [getattr(value, "tensor", value) for value in fields.values()]
        assert all(type(value) is OnGpu for value in tensors)
        for name, value in zip(fields, tensors, strict=True):
            wanted = b.get(name)
            torch.testing.assert_close(value.cpu(), getattr(wanted, "tensor", wanted), **tolerance)


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["MODEL.FCOS.INCLUSIVE_PIXELS", True, "MODEL.FCOS.RANK_BY_CLASS", True],
        ["MODEL.FCOS.DROP_EMPTY", "before", "MODEL.FCOS.CLIP_BEFORE_NMS", True],
        ["MODEL.FCOS.NORMALIZE_REG_TARGETS", True, "MODEL.FCOS.NORM", "GN"],
        ["MODEL.FCOS.USE_DEFORMABLE", True, "MODEL.FCOS.NORM", "BN", "MODEL.CHANNELS_LAST", True],
    ],
    ids=lambda s: "-".join(str(x) for x in s[1::2]) or "defaults",
)
def test_detection(options, gpu):
    cfg = tiny_cfg()
    cfg.merge_from_list(options)
    model = model_of(cfg)
    with torch.no_grad():
        want = model(images())
        with gpu:
            model.to("cuda")
            check_equal(model(images()), want)


@pytest.mark.parametrize("number", [1, 4])
def test_how_often_detection_waits_does_not_depend_on_the_number_of_levels(number, gpu):
    with torch.no_grad(), gpu:
        model = model_of(tiny_cfg()).to("cuda")
        gpu.waits.clear()
        model(images(number))
    assert places(gpu, "modeling/fcos/fcos_inference", "layers/nms", "utils/device") == {
        "modeling/fcos/fcos_inference": 6,  # for a batch of any size
        "layers/nms": number,
        "utils/device": 0,
    }


@pytest.mark.parametrize("cfg", [tiny_cfg, tiny_mask_cfg], ids=["boxes", "masks"])
@pytest.mark.parametrize(
    "precision, dtype, tolerance",
    [
        ("float32", torch.float32, 1e-4),
        ("auto", torch.float16, 0.05),
        ("bfloat16", torch.bfloat16, 0.05),
    ],
)
def test_the_optimized_copy(cfg, precision, dtype, tolerance, gpu):
    model = model_of(cfg())
    with torch.no_grad():
        want = model(images())
        with gpu:
            made = optimize_for_inference(model.to("cuda"), precision)
            assert next(made.parameters()).dtype is dtype
            for a, b in zip(made(images()), want, strict=True):
                scores = a["instances"].scores
                assert scores.is_cuda and scores.dtype is torch.float32
                best = b["instances"].scores[:20]
                torch.testing.assert_close(scores[:20].cpu(), best, rtol=0, atol=tolerance)


@pytest.mark.parametrize("is_autocast", [False, True], ids=["optimized", "autocast"])
@pytest.mark.parametrize("output", ["cls_logits", "bbox_pred", "ctrness"])
def test_outputs_beyond_float16(output, is_autocast, gpu):
    """Infinite in one place, they are one detection fewer."""

    def detect(precision, times=1.0):
        model = model_of(tiny_cfg()).to("cuda")
        if not is_autocast:
            model = optimize_for_inference(model, precision)
        layer = getattr(model.proposal_generator.fcos_head, output)
        layer.register_forward_hook(lambda *calls: calls[-1] * times)
        gpu.waits.clear()
        dtype = getattr(torch, precision)
        with torch.autocast("cuda", dtype, enabled=is_autocast and precision != "float32"):
            return model(images())

    message = (
        "^The detector's outputs for these images are not finite in float16, which ends at 65504: "
        r"compute in bfloat16 or float32, for instance by --optimize bfloat16\.$"
    )
    with torch.no_grad(), gpu:
        detect("float16")
        waits = places(gpu, "modeling/fcos/fcos", "modeling/fcos/fcos_inference")
        assert waits == {"modeling/fcos/fcos": 1, "modeling/fcos/fcos_inference": 6}
        with pytest.raises(UserError, match=message):
            detect("float16", math.nan)
        if output != "bbox_pred":
            with pytest.raises(UserError, match=message):
                detect("float16", 1e9)
        for precision in ("bfloat16", "float32"):
            detect(precision, 1e9)


def test_masks(gpu):
    model = model_of(tiny_mask_cfg())
    with torch.no_grad():
        want = model(images())
        assert any(result["instances"].pred_masks.any() for result in want)
        with gpu:
            check_equal(model.to("cuda")(images()), want)


@pytest.mark.parametrize("precision", [None, torch.float16, torch.bfloat16], ids=str)
def test_training_of_masks(precision, gpu):
    batch = inputs_with_masks()
    model = model_of(tiny_mask_cfg()).train()
    with EventStorage():
        want = model(batch)
        model = model_of(tiny_mask_cfg()).train()
        with gpu:
            model.to("cuda")
            gpu.waits.clear()
            with torch.autocast("cuda", precision, enabled=precision is not None):
                losses = model(batch)
            assert {"loss_mask", "loss_fcos_cls"} < losses.keys()
            for name, value in losses.items():
                assert value.is_cuda
                torch.testing.assert_close(value.cpu(), want[name], rtol=0.02, atol=0.002)
    of_boxes = "modeling/fcos/region_proposals"
    counted = places(gpu, of_boxes, "modeling/roi_heads/fcos_mask_heads")
    assert counted["modeling/roi_heads/fcos_mask_heads"] == len(batch)  # which lie on an object
    assert counted[of_boxes] == len(batch)  # which have an area


def test_what_processes_exchange_lies_on_the_gpu(gpu, monkeypatch):
    """NCCL takes nothing else, whereas a number of the CPU may take part in arithmetic."""
    exchanged = []
    monkeypatch.setattr(loss_normalizer, "num_processes", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_reduce", exchanged.append)
    model = model_of(tiny_mask_cfg()).train()
    with EventStorage(), gpu:
        model.to("cuda")(inputs_with_masks())
    assert [type(value) for value in exchanged] == [OnGpu] * 2  # of FCOS and of masks


@pytest.mark.parametrize("cfg", [tiny_cfg, tiny_mask_cfg], ids=["boxes", "masks"])
def test_test_time_augmentation(cfg, gpu):
    cfg = cfg()
    cfg.TEST.AUG.MIN_SIZES = (64, 96)
    model = model_of(cfg)
    want = OneStageDetectorWithTTA(cfg, model)(images())
    with gpu:
        model.to("cuda")
        check_equal(OneStageDetectorWithTTA(cfg, model)(images()), want)
