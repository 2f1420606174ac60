"""The faster copy gives the same detections, and the original stays as it was."""

import copy
import re

import pytest
import torch
from torch import nn

from detectron2.layers import Conv2d, FrozenBatchNorm2d
from detectron2.modeling import build_model
from fcos.modeling import optimize
from fcos.modeling.optimize import optimize_for_inference
from fcos.utils.errors import UserError
from fcos_cli import arguments
from tests.helpers import not_imagined, tiny_cfg, tiny_mask_cfg


def detector(make_cfg=tiny_cfg, **overrides):
    """With statistics as after a training, and detections of all sizes."""
    torch.manual_seed(0)
    cfg = make_cfg()
    cfg.merge_from_list(["MODEL.FCOS.SCORE_THRESH_TEST", 0.2])
    cfg.merge_from_list([x for pair in overrides.items() for x in pair])
    model = build_model(cfg).eval()
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm2d, FrozenBatchNorm2d)):
            for name in ("weight", "running_var"):
                nn.init.uniform_(getattr(module, name).data, 0.5, 1.5)
            for name in ("bias", "running_mean"):
                nn.init.normal_(getattr(module, name).data, std=0.1)
    head = model.proposal_generator.fcos_head
    nn.init.normal_(head.cls_logits.weight, std=0.05)
    nn.init.zeros_(head.cls_logits.bias)
    nn.init.constant_(head.bbox_pred.bias, 3.0)
    return model


def inputs(*sizes):
    generator = torch.Generator().manual_seed(0)
    return [
        {"image": torch.randint(0, 256, (3, *size), generator=generator).byte()} for size in sizes
    ]


def run(model, *sizes):
    with torch.no_grad():
        return [output["instances"] for output in model(inputs(*sizes))]


def same(found, wanted, tolerance):
    for a, b in zip(found, wanted, strict=True):
        assert len(b) > 5
        assert abs(len(a) - len(b)) <= (0 if tolerance < 1e-3 else 0.2 * len(b))
        if tolerance < 1e-3:
            torch.testing.assert_close(a.scores, b.scores, atol=tolerance, rtol=0)
            torch.testing.assert_close(
                a.pred_boxes.tensor, b.pred_boxes.tensor, atol=100 * tolerance, rtol=0
            )
        else:
            torch.testing.assert_close(a.scores[:5], b.scores[:5], atol=tolerance, rtol=0)


@pytest.mark.parametrize("make_cfg", [tiny_cfg, tiny_mask_cfg])
@pytest.mark.parametrize("norm", ["BN", "FrozenBN", "GN"])
def test_float32_is_the_same_up_to_rounding(make_cfg, norm):
    model = detector(make_cfg, **{"MODEL.RESNETS.NORM": norm, "MODEL.FPN.NORM": norm})
    before = copy.deepcopy(model.state_dict())
    made = optimize_for_inference(model, "float32")
    same(run(made, (64, 96), (60, 50)), run(model, (64, 96), (60, 50)), 1e-4)
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    folded = [
        m for m in made.backbone.modules() if isinstance(m, (nn.BatchNorm2d, FrozenBatchNorm2d))
    ]
    assert folded == []
    assert not any(p.requires_grad for p in made.parameters())


def test_normalisation_in_a_backbone_of_timm_is_folded():
    pytest.importorskip("timm")
    settings = {
        "MODEL.BACKBONE.NAME": "build_fcos_timm_fpn_backbone",
        "MODEL.TIMM.NAME": "mobilenetv2_035",  # its layers have their activation inside
    }
    model = detector(**settings)
    made = optimize_for_inference(model, "float32")
    assert not any(isinstance(m, nn.BatchNorm2d) for m in made.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    same(run(made, (64, 96)), run(model, (64, 96)), 1e-4)


class Layers(nn.Module):
    """A convolution, batch normalisation, and something between or beside them."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.conv, self.bn = kind, nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        nn.init.uniform_(self.bn.running_var, 0.5, 1.5)

    def forward(self, x):
        y = self.conv(x)
        if self.kind == "activation":
            y = y.relu_()
        if self.kind == "twice":
            return [self.bn(y), self.bn(y)]
        return [self.bn(y) + (y if self.kind == "beside" else 0)]


@pytest.mark.parametrize(
    "kind, is_folded", [("", True), ("activation", False), ("beside", False), ("twice", False)]
)
def test_only_what_follows_a_convolution_directly_and_alone_is_folded(kind, is_folded):
    net = Layers(kind).eval()
    made = optimize._folded_by_trial(net, 8)
    assert isinstance(made.bn, nn.BatchNorm2d) != is_folded
    x = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(made(x), net(x))


def test_folding_is_tried_without_the_rounding_of_a_gpu():
    """Rounded to 10 bits, the results of both would differ by more than the trial allows."""
    seen = []
    net = Layers("").eval()
    net.forward = lambda x: (seen.append(torch.backends.cudnn.allow_tf32), Layers.forward(net, x))[
        1
    ]
    optimize._folded_by_trial(net, 8)
    assert seen and not any(seen)


def test_deformable_convolutions_keep_their_place():
    settings = {
        "MODEL.RESNETS.DEPTH": 50,
        "MODEL.RESNETS.RES2_OUT_CHANNELS": 16,
        "MODEL.RESNETS.STEM_OUT_CHANNELS": 8,
        "MODEL.RESNETS.WIDTH_PER_GROUP": 4,
        "MODEL.RESNETS.DEFORM_ON_PER_STAGE": "[False, False, True, True]",
        "MODEL.RESNETS.DEFORM_MODULATED": True,
        "MODEL.FCOS.USE_DEFORMABLE": True,
    }
    model = detector(**settings)
    same(run(optimize_for_inference(model, "float32"), (64, 96)), run(model, (64, 96)), 1e-4)


@pytest.mark.parametrize("make_cfg", [tiny_cfg, tiny_mask_cfg])
@not_imagined
def test_bfloat16_is_near_and_its_boxes_are_float32(make_cfg, monkeypatch):
    monkeypatch.setattr(optimize, "_cpu_has_bfloat16", lambda: True)  # slow where it has not
    model = detector(make_cfg)
    made = optimize_for_inference(model, "bfloat16")
    (found,) = got = run(made, (64, 96))
    same(got, run(model, (64, 96)), 0.03)
    assert found.pred_boxes.tensor.dtype == found.scores.dtype == torch.float32
    assert made.proposal_generator.fcos_head.scales[0].scale.dtype == torch.float32
    convolutions = [m for m in made.backbone.modules() if isinstance(m, Conv2d)]
    assert {m.weight.dtype for m in convolutions} == {torch.bfloat16}
    if make_cfg is tiny_mask_cfg:
        assert found.pred_masks.dtype == torch.bool and found.pred_masks.shape[1:] == (64, 96)


@pytest.mark.parametrize(
    "has_it, want", [(True, torch.bfloat16), (False, torch.float32)], ids=["has", "has not"]
)
@pytest.mark.cpu
def test_auto_asks_the_processor(has_it, want, monkeypatch):
    monkeypatch.setattr(optimize, "_cpu_has_bfloat16", lambda: has_it)
    made = optimize_for_inference(detector())
    assert made.backbone.fpn_output3.weight.dtype == want


@pytest.mark.parametrize(
    "precision, message",
    [
        ("float16", "--optimize float16 needs a GPU, but MODEL.DEVICE is cpu; choose bfloat16 or"),
        ("bfloat16", "--optimize bfloat16: this processor does not compute in it; choose float32"),
        ("int8", "--optimize: expected one of auto, float32, bfloat16, float16, got 'int8'"),
    ],
)
@pytest.mark.cpu
def test_precisions_that_cannot_be_had(precision, message, monkeypatch):
    monkeypatch.setattr(optimize, "_cpu_has_bfloat16", lambda: False)
    with pytest.raises(UserError, match=message):
        optimize_for_inference(detector(), precision)


@pytest.mark.parametrize(
    "factor, is_refused",
    [(65000.0, False), (66000.0, True), (float("inf"), False)],  # 65504 is the last of float16
)
@pytest.mark.parametrize(
    "name",
    [
        "backbone.bottom_up.res2.0.conv1.weight",
        "proposal_generator.fcos_head.cls_tower.0.weight",
        "proposal_generator.fcos_head.bbox_pred.bias",
    ],
)
def test_weights_beyond_float16_are_refused(name, factor, is_refused, monkeypatch):
    """Infinite scores would be no detections; what was infinite before is not float16's fault."""
    monkeypatch.setattr(optimize, "dtype_for", lambda precision, device: torch.float16)
    model = detector(**{"MODEL.RESNETS.NORM": "FrozenBN"})
    layer, _, kind = name.rpartition(".")
    convolution = model.get_submodule(layer)
    value = getattr(convolution, kind)
    with torch.no_grad():
        value[(0,) * value.ndim] = factor
        if norm := getattr(convolution, "norm", None):
            value[0, 0, 0, 0] = 0.1 * factor
            norm.weight[0], norm.running_var[0] = 1.0, 0.01 - norm.eps  # it divides by sqrt(0.01)
    if not is_refused:
        optimize_for_inference(model, "float16")
        return
    message = f"--optimize float16: {name} has values up to 6.6e+04, but float16 ends at 65504; "
    with pytest.raises(UserError, match=f"^{re.escape(message)}choose bfloat16 or float32.$"):
        optimize_for_inference(model, "float16")


def test_a_long_training_of_batch_normalisation_is_no_overflow(monkeypatch):
    """It counts its batches in a buffer, which is an integer in any precision."""
    monkeypatch.setattr(optimize, "dtype_for", lambda precision, device: torch.float16)
    model = detector(**{"MODEL.FCOS.NORM": "BN"})
    counts = [b for n, b in model.named_buffers() if n.endswith("num_batches_tracked")]
    assert counts
    for count in counts:
        count.fill_(90000)
    optimize_for_inference(model, "float16")


def test_other_detectors_are_refused():
    with pytest.raises(UserError, match="Only detectors with FCOS .* not Linear with NoneType"):
        optimize_for_inference(nn.Linear(1, 1))


def test_a_backend_is_asked_to_compile_for_any_size(monkeypatch):
    """The compiler itself takes minutes; what it is asked for is seen here."""
    asked = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: asked.append((self, options)))
    made = optimize_for_inference(detector(), "float32", compile=True)
    head = made.proposal_generator.fcos_head
    how = {"dynamic": True, "options": {"freezing": True}}
    assert asked == [(made.backbone, how), (head, how)]


def test_the_graph_that_is_compiled_takes_images_of_any_size():
    model = detector()
    made = optimize_for_inference(model, "float32")
    torch.compiler.reset()
    made.backbone.compile(dynamic=True, backend="eager", fullgraph=True)
    made.proposal_generator.fcos_head.compile(dynamic=True, backend="eager", fullgraph=True)
    for size in ((64, 96), (128, 64)):
        same(run(made, size), run(model, size), 2e-5)
    torch.compiler.reset()


def test_the_programs_offer_the_same_precisions():
    assert arguments.PRECISIONS == optimize.PRECISIONS
