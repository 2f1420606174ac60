"""Compiled code and activation checkpointing: the same numbers, names and files."""

import copy

import pytest
import torch
from torch import nn

from detectron2.modeling import build_model
from fcos.engine.acceleration import (
    accelerate,
    check_compiler,
    checkpoint_activations,
    compile_parts,
)
from fcos.utils.errors import UserError
from tests.helpers import DEVICE, not_imagined, tiny_cfg, tiny_mask_cfg
from tests.modeling.test_training_step import inputs, model_of

pytestmark = not_imagined  # which has no memory whose addresses could be told apart


def step(model, batch=None):
    """Losses, gradients and bytes kept for the backward pass of one training step."""
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    model.zero_grad()
    torch.manual_seed(3)  # whoever draws random numbers draws the same
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = model(batch or inputs())
    sum(losses.values()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return losses, gradients, sum(kept.values())


def assert_equal(ours, others):
    assert ours.keys() == others.keys()
    for name, value in ours.items():
        assert value.equal(others[name]), name


# ---- activation checkpointing ----------------------------------------------------------------


@pytest.mark.parametrize(
    "switches",
    [
        [],
        ["MODEL.FCOS.NORM", "GN", "MODEL.RESNETS.NORM", "FrozenBN"],
        ["MODEL.FCOS.NORM", "BN", "MODEL.FCOS.NUM_SHARED_CONVS", "1"],
        ["MODEL.BACKBONE.FREEZE_AT", "3", "MODEL.FCOS.NUM_STACKED_CONVS", "0"],
    ],
    ids=["BN", "GN", "BN head", "frozen"],
)
def test_the_same_bits_with_less_memory(switches):
    plain = model_of(switches)
    model = copy.deepcopy(plain)
    checkpoint_activations(model)
    for _ in range(2):  # statistics of batch normalisation move in between
        losses, gradients, kept = step(plain)
        same_losses, same_gradients, less = step(model)
        assert_equal(losses, same_losses)
        assert_equal(gradients, same_gradients)
        assert less < (kept if "3" in switches else 0.5 * kept)
        assert list(plain.state_dict()) == list(model.state_dict())
        assert_equal(plain.state_dict(), model.state_dict())


def test_random_layers_draw_the_same_again():
    plain = model_of([])
    plain.backbone.bottom_up.res3.append(nn.Dropout(0.5))
    plain.backbone.bottom_up.res3.append(nn.Conv2d(128, 128, 1))
    model = copy.deepcopy(plain)
    checkpoint_activations(model)
    assert_equal(step(plain)[1], step(model)[1])


def test_a_backbone_of_timm():
    pytest.importorskip("timm", reason="timm is not installed")
    switches = ["MODEL.BACKBONE.NAME", "build_fcos_timm_fpn_backbone", "MODEL.TIMM.NAME"]
    plain = model_of([*switches, "mobilenetv2_050", "MODEL.TIMM.NORM", "BN"])
    model = copy.deepcopy(plain)
    checkpoint_activations(model)
    losses, gradients, kept = step(plain)
    same_losses, same_gradients, less = step(model)
    assert_equal(losses, same_losses)
    assert_equal(gradients, same_gradients)
    assert_equal(plain.state_dict(), model.state_dict())
    assert less < 0.5 * kept


def test_a_copy_computes_with_its_own_weights():
    model = model_of([])
    checkpoint_activations(model)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert step(other)[0]["loss_fcos_cls"] != step(model)[0]["loss_fcos_cls"]


def test_detections_are_the_same():
    plain = model_of([])
    model = copy.deepcopy(plain)
    checkpoint_activations(model)
    for each in (plain, model):
        each.eval()
    with torch.no_grad():
        image = torch.zeros(1, 3, 64, 64, device=DEVICE)
        assert_equal(plain.backbone(image), model.backbone(image))


# ---- torch.compile ---------------------------------------------------------------------------


def compiled(model):
    """As for training, without the minutes that a C++ compiler takes."""
    compile_parts(model, backend="eager")
    return model


def test_compiled_parts_keep_losses_gradients_and_names():
    torch.compiler.reset()
    plain = model_of(["MODEL.RESNETS.NORM", "FrozenBN"])
    model = compiled(copy.deepcopy(plain))
    losses, gradients, _ = step(plain)
    same_losses, same_gradients, _ = step(model)
    torch.testing.assert_close(same_losses, losses)
    torch.testing.assert_close(same_gradients, gradients, rtol=1e-3, atol=1e-5)
    assert list(model.state_dict()) == list(plain.state_dict())


def test_one_compilation_for_all_sizes():
    torch.compiler.reset()
    model = compiled(model_of(["MODEL.RESNETS.NORM", "FrozenBN"]))
    step(model, inputs((288, 416), 672))  # no two sides alike, which would be kept alike
    with torch.compiler.set_stance("fail_on_recompile"):
        for size in ((416, 288), 320), ((320, 384), 384), ((352, 480), 800):
            step(model, inputs(*size))
        with pytest.raises(RuntimeError, match="recompile"):
            step(model, inputs((64, 64), 64))  # sides of one cell are special


def test_compiled_code_keeps_sizes_open_in_the_backward_pass_too(monkeypatch):
    """torch's own choice of layouts closes them; to see that, a compiler would take minutes."""
    calls = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: calls.append(options))
    compile_parts(model_of([]))
    wanted = {"dynamic": True, "backend": "inductor", "options": {"layout_optimization": False}}
    assert calls == [wanted, wanted]


@pytest.mark.parametrize("change", [checkpoint_activations, compiled])
def test_inside_the_wrapper_for_several_processes(tmp_path, change):
    torch.compiler.reset()
    plain = model_of(["MODEL.RESNETS.NORM", "FrozenBN"])
    model = copy.deepcopy(plain)
    change(model)
    options = {"init_method": f"file://{tmp_path}/init", "rank": 0, "world_size": 1}
    torch.distributed.init_process_group("gloo", **options)
    try:
        wrapped = nn.parallel.DistributedDataParallel(model)
        for _ in range(2):
            step(wrapped)
    finally:
        torch.distributed.destroy_process_group()
    step(plain)
    gradients = {name: p.grad for name, p in model.named_parameters()}
    assert any(gradient.any() for gradient in gradients.values())
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-3, atol=1e-5)
    assert list(wrapped.state_dict()) == [f"module.{name}" for name in plain.state_dict()]


def test_masks_too():
    torch.compiler.reset()
    model = compiled(build_model(tiny_mask_cfg()))
    assert model.backbone._compiled_call_impl is not None
    assert model.proposal_generator.fcos_head._compiled_call_impl is not None


def test_a_compiler_that_does_not_work_is_a_sentence(monkeypatch):
    def fail(function):
        def broken(x):
            raise RuntimeError("no g++ here\nand a long story")

        return broken

    monkeypatch.setattr("fcos.engine.acceleration.torch.compile", fail)
    with pytest.raises(UserError) as error:
        check_compiler("cpu")
    assert str(error.value) == (
        "MODEL.COMPILE is True, but torch.compile does not work on cpu here (RuntimeError: no g++ "
        "here); install a C++ compiler (on a GPU, Triton too), or set MODEL.COMPILE False."
    )


def test_both_at_once_are_refused():
    cfg = tiny_cfg()
    cfg.MODEL.COMPILE = cfg.MODEL.ACTIVATION_CHECKPOINTING = True
    with pytest.raises(UserError, match="MODEL.COMPILE and MODEL.ACTIVATION_CHECKPOINTING are bo"):
        accelerate(nn.Identity(), cfg)
