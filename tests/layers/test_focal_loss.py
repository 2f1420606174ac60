"""Focal loss by hand, against its definition in double precision, and what it keeps in memory."""

import math

import pytest
import torch
import torch.nn.functional as F

from fcos.layers import focal_loss_sum


def test_focal_loss_by_hand():
    # p = 0.8 for the true class: 0.25 * 0.2^2 * -ln 0.8.
    # p = 0.3 for the other one: 0.75 * 0.3^2 * -ln 0.7.
    logits = torch.tensor([[math.log(0.8 / 0.2), math.log(0.3 / 0.7)]])
    want = 0.25 * 0.04 * -math.log(0.8) + 0.75 * 0.09 * -math.log(0.7)
    assert focal_loss_sum(logits, torch.tensor([0])).item() == pytest.approx(want, rel=1e-6)
    # Background: both classes are wrong.
    want = 0.75 * 0.64 * -math.log(0.2) + 0.75 * 0.09 * -math.log(0.7)
    assert focal_loss_sum(logits, torch.tensor([2])).item() == pytest.approx(want, rel=1e-6)


def test_focal_loss_is_finite_in_half_precision():
    logits = torch.tensor([[-60000.0, 60000.0]], dtype=torch.float16)
    loss = focal_loss_sum(logits, torch.tensor([0]))
    # -ln sigmoid(-60000) is 60000 to float32's precision; the fp16 input is 60000 exactly.
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(0.25 * 60000 + 0.75 * 60000, rel=1e-3)


def test_focal_loss_errors():
    with pytest.raises(ValueError, match=r"labels: expected \(3,\), got \(2,\)"):
        focal_loss_sum(torch.zeros(3, 5), torch.zeros(2, dtype=torch.int64))


def twin(logits, labels, alpha, gamma):
    """arXiv:1708.02002, Eq. (5), as it is written, with an array of ones and zeros."""
    p = logits.sigmoid()
    is_class = F.one_hot(labels, logits.shape[-1] + 1)[..., :-1].bool()
    p_t = torch.where(is_class, p, 1 - p)
    alpha_t = torch.where(is_class, alpha, 1 - alpha)
    return -(alpha_t * (1 - p_t) ** gamma * p_t.log()).sum()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 3.5])
@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_value_and_gradient_equal_the_definition(alpha, gamma):
    random = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 50, 7, generator=random) * 4
    labels = torch.randint(0, 8, (3, 50), generator=random)
    ours = logits.clone().requires_grad_()
    exact = logits.double().requires_grad_()
    loss, want = focal_loss_sum(ours, labels, alpha, gamma), twin(exact, labels, alpha, gamma)
    assert loss.item() == pytest.approx(want.item(), rel=1e-6, abs=1e-6)
    (loss * 3).backward()
    (want * 3).backward()
    torch.testing.assert_close(ours.grad, exact.grad.float(), rtol=1e-5, atol=1e-9)
    assert ours.equal(logits)  # an argument is not changed


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
def test_a_chance_of_nothing_has_no_gradient_rather_than_a_subnormal_one(gamma):
    logits = torch.tensor([[-20.0, -25.0, -30.0, -44.0, -100.0]], requires_grad=True)
    exact = logits.detach().double().requires_grad_()
    labels = torch.tensor([5])
    loss, want = focal_loss_sum(logits, labels, 0.25, gamma), twin(exact, labels, 0.25, gamma)
    (loss * 1e-4).backward()
    (want * 1e-4).backward()
    assert loss.item() == pytest.approx(want.item(), rel=1e-4)
    assert logits.grad[0, 0].item() == pytest.approx(exact.grad[0, 0].item(), rel=1e-5)
    assert logits.grad[0, 1:].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_get_their_gradient_back_in_their_own(dtype):
    logits = torch.tensor([[1.0, -2.0]], dtype=dtype, requires_grad=True)
    labels = torch.tensor([1])
    loss = focal_loss_sum(logits, labels)
    loss.backward()
    full = logits.detach().float().requires_grad_()
    focal_loss_sum(full, labels).backward()
    assert loss.dtype == torch.float32
    assert logits.grad.dtype == dtype
    assert logits.grad.equal(full.grad.to(dtype))


@pytest.mark.parametrize("shape", [(0, 5), (2, 0, 5)])
def test_no_location_is_no_loss(shape):
    logits = torch.zeros(shape, requires_grad=True)
    loss = focal_loss_sum(logits, torch.zeros(shape[:-1], dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.shape == shape


@pytest.mark.parametrize("logit", [-1e4, -90.0, 90.0, 1e4])
def test_extreme_logits_are_finite(logit):
    logits = torch.full((2, 3), logit, requires_grad=True)
    loss = focal_loss_sum(logits, torch.tensor([0, 3]))
    loss.backward()
    # One positive and five negatives, of which those that are wrong cost |logit|.
    assert loss.item() == pytest.approx(0.75 * 5 * logit if logit > 0 else 0.25 * -logit)
    assert logits.grad.isfinite().all()


def test_the_backward_pass_needs_one_tensor_of_the_size_of_the_logits():
    kept = []
    logits = torch.zeros(64, 80, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()), lambda t: t):
        focal_loss_sum(logits, torch.full((64,), 80))
    assert sum(kept) < 1.1 * logits.numel()


def test_without_a_gradient_nothing_is_kept():
    assert not focal_loss_sum(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64)).requires_grad
