"""Step 3 against the papers, by hand and against the reference values."""

import itertools
import json
import math

import pytest
import torch

from fcos.layers import mean_over_processes
from fcos.modeling.fcos import FCOSLosses, FCOSTargets
from tests.helpers import (
    GOLDEN,
    LEVELS,
    flatten,
    golden,
    ground_truth,
    raw_outputs,
    strides_of_locations,
)

VALUES = golden("losses.npz")
LOSSES = json.loads((GOLDEN / "losses.json").read_text())["losses"]


def settings_of(run):
    """Arguments of FCOSLosses, whether distances are in strides, radius and pixel convention."""
    if run.startswith("tianzhi/"):
        _, kind, norm, radius = run.split("/")
        radius = float(radius.removeprefix("radius")) or None
        return {"loc_loss_type": kind}, norm == "norm1", radius, True
    _, quality, kind, *rest = run.split("/")  # adet/<quality>/<kind>[/<something else>]
    options = {"loc_loss_type": kind, "box_quality": quality}
    if rest == ["normalizer_all"]:
        options["normalizer"] = "all"
    elif rest and rest[0].startswith("moving_fg"):
        options["normalizer"] = "moving_fg"
    return options, True, None if rest == ["no_center_sampling"] else 1.5, False


def losses_of(batch, run, images=(0, 1)):
    """Our losses on the inputs of a run, and the raw outputs that they were computed from.

    A run whose name ends in "step<n>" is the n-th step on the same batch.
    """
    options, in_strides, radius, inclusive = settings_of(run)
    levels = raw_outputs(VALUES)
    for level in sum(levels, []):
        level.requires_grad_()
    cls, reg, ctr = ([x[list(images)] for x in part] for part in levels)
    sizes = [tuple(x.shape[-2:]) for x in cls]
    strides = strides_of_locations(sizes)
    truth = [
        ground_truth(VALUES[f"gt/{batch}/{i}/boxes"], VALUES[f"gt/{batch}/{i}/classes"])
        for i in images
    ]
    labels, targets = FCOSTargets(
        num_classes=5, center_radius=radius, inclusive_pixels=inclusive
    ).fcos_target(sizes, truth)
    ltrb = flatten(reg).relu()
    if in_strides:
        targets = targets / strides
    else:
        ltrb = ltrb * strides
    module = FCOSLosses(**options)
    for _ in range(int(run.partition("step")[2] or 1)):
        losses = module(flatten(cls), ltrb, flatten(ctr).squeeze(-1), labels, targets)
    return losses, dict(zip(("cls", "reg", "ctr"), levels, strict=True))


def reference(key):
    return [v for k, v in LOSSES[key].items() if k.startswith("loss")]


RUNS = [key for key in LOSSES if "two_ranks" not in key]


@pytest.mark.parametrize("key", RUNS)
def test_losses_equal_the_reference(key):
    batch, run = key.split("/", 1)
    losses, _ = losses_of(batch, run)
    quality = "loss_fcos_iou" if "/iou/" in run and "adet" in run else "loss_fcos_ctr"
    assert list(losses) == ["loss_fcos_cls", "loss_fcos_loc", quality]
    got = [value.item() for value in losses.values()]
    assert got == pytest.approx(reference(key), rel=1e-5, abs=1e-7)


GRADIENTS = sorted({key[5:].rsplit("/", 2)[0] for key in VALUES.files if key.startswith("grad/")})


@pytest.mark.parametrize("key", GRADIENTS)
def test_gradients_equal_the_reference(key):
    batch, run = key.split("/", 1)
    losses, raw = losses_of(batch, run)
    sum(losses.values()).backward()
    for name, levels in raw.items():
        for level, tensor in zip(LEVELS, levels, strict=True):
            want = torch.tensor(VALUES[f"grad/{key}/{name}/p{level}"])
            torch.testing.assert_close(tensor.grad, want, atol=1e-6, rtol=1e-4)


# --- all three -----------------------------------------------------------------------------------


def test_losses_by_hand():
    """One positive location off the middle, one background location, one class."""
    # Target (1, 2, 4, 2): centerness 0.5. Prediction (2, 2, 4, 2): areas 20 and 24, IoU 21/25.
    losses = FCOSLosses()(
        torch.zeros(1, 2, 1),
        torch.tensor([[[2.0, 2, 4, 2], [9, 9, 9, 9]]]),
        torch.zeros(1, 2),
        torch.tensor([[0, 1]]),
        torch.tensor([[[1.0, 2, 4, 2], [0, 0, 0, 0]]]),
    )
    half = -math.log(0.5)
    assert losses["loss_fcos_cls"].item() == pytest.approx(0.25 * (0.25 + 0.75) * half)
    # Weighted by 0.5 and divided by the sum of weights, 0.5.
    assert losses["loss_fcos_loc"].item() == pytest.approx(-math.log(21 / 25), rel=1e-6)
    # Binary cross entropy of sigmoid(0) = 0.5 is ln 2 whatever the target; background is left out.
    assert losses["loss_fcos_ctr"].item() == pytest.approx(half)


def test_the_iou_of_the_predicted_box_as_quality_by_hand():
    """It is learnt without a gradient of its own, and all locations weigh the same."""
    # Targets (1, 2, 4, 2) and (1, 1, 1, 1), predictions (2, 2, 4, 2) and (1, 1, 1, 1): IoU 21/25
    # and 1, so the quality learns these and the box loss is the mean of -ln(21/25) and 0.
    ltrb = torch.tensor([[[2.0, 2, 4, 2], [1, 1, 1, 1], [9, 9, 9, 9]]], requires_grad=True)
    losses = FCOSLosses(box_quality="iou")(
        torch.zeros(1, 3, 1),
        ltrb,
        torch.full((1, 3), math.log(3.0)),  # sigmoid: 3/4
        torch.tensor([[0, 0, 1]]),
        torch.tensor([[[1.0, 2, 4, 2], [1, 1, 1, 1], [0, 0, 0, 0]]]),
    )
    assert losses["loss_fcos_loc"].item() == pytest.approx(-math.log(21 / 25) / 2, rel=1e-6)
    cross_entropies = [-q * math.log(0.75) - (1 - q) * math.log(0.25) for q in (21 / 25, 1)]
    assert losses["loss_fcos_iou"].item() == pytest.approx(sum(cross_entropies) / 2, rel=1e-6)
    assert not torch.autograd.grad(losses["loss_fcos_iou"] + 0 * ltrb.sum(), ltrb)[0].any()


def test_without_objects_box_and_centerness_losses_are_zero_with_a_gradient_path():
    cls, ltrb, ctr = torch.zeros(2, 6, 3), torch.ones(2, 6, 4), torch.zeros(2, 6)
    for tensor in (cls, ltrb, ctr):
        tensor.requires_grad_()
    labels = torch.full((2, 6), 3)
    losses = FCOSLosses()(cls, ltrb, ctr, labels, torch.zeros(2, 6, 4))
    assert losses["loss_fcos_loc"].item() == 0
    assert losses["loss_fcos_ctr"].item() == 0
    # 36 negatives at p = 0.5, and the normaliser is at least 1.
    assert losses["loss_fcos_cls"].item() == pytest.approx(36 * 0.75 * 0.25 * math.log(2))
    sum(losses.values()).backward()
    assert (ltrb.grad == 0).all()
    assert (ctr.grad == 0).all()
    assert (cls.grad > 0).all()


def test_a_box_without_size_and_an_overflowing_background_stay_finite():
    ltrb = torch.tensor([[[0.0, 0, 0, 0], [math.inf, math.inf, 1, 1]]], requires_grad=True)
    losses = FCOSLosses(loc_loss_type="giou")(
        torch.zeros(1, 2, 1), ltrb, torch.zeros(1, 2), torch.tensor([[0, 1]]), torch.zeros(1, 2, 4)
    )
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    assert ltrb.grad.isfinite().all()


def test_bfloat16_outputs_lose_no_more_than_their_own_rounding():
    _, raw = losses_of("both", "tianzhi/iou/norm0/radius0")
    cls, reg, ctr = (flatten(raw[name]).detach().bfloat16() for name in ("cls", "reg", "ctr"))
    labels = torch.full(cls.shape[:2], 5)
    labels[:, ::7] = 2
    arguments = (labels, torch.full((*labels.shape, 4), 3.0))
    low = FCOSLosses()(cls, reg.relu(), ctr.squeeze(-1), *arguments)
    full = FCOSLosses()(cls.float(), reg.float().relu(), ctr.float().squeeze(-1), *arguments)
    for name, value in full.items():
        assert low[name].dtype == torch.float32
        torch.testing.assert_close(low[name], value, atol=0, rtol=0)


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"focal_alpha": -0.1}, r"focal_alpha: expected within \[0, 1\], got -0.1"),
        ({"focal_alpha": math.nan}, "focal_alpha: .*, got nan"),
        ({"focal_gamma": -1.0}, "focal_gamma: expected at least 0, got -1.0"),
        ({"focal_gamma": math.nan}, "focal_gamma: .*, got nan"),
        ({"focal_gamma": math.inf}, "focal_gamma: .*, got inf"),
    ],
)
def test_settings_that_do_not_fit(kwargs, message):
    with pytest.raises(ValueError, match=message):
        FCOSLosses(**kwargs)


def test_loss_errors():
    with pytest.raises(ValueError, match="loc_loss_type: expected one of .*'giou'.*got 'diou'"):
        FCOSLosses(loc_loss_type="diou")
    with pytest.raises(ValueError, match="box_quality: .*'ctrness', 'iou'.*, got 'ctr'"):
        FCOSLosses(box_quality="ctr")
    message = "kind: expected one of .*'fg', 'moving_fg', 'all'.*, got 'bg'"
    with pytest.raises(ValueError, match=message):
        FCOSLosses(normalizer="bg")
    with pytest.raises(ValueError, match=r"centerness_logits: expected \(1, 2\), got \(1, 3\)"):
        FCOSLosses()(
            torch.zeros(1, 2, 1),
            torch.zeros(1, 2, 4),
            torch.zeros(1, 3),
            torch.zeros(1, 2, dtype=torch.int64),
            torch.zeros(1, 2, 4),
        )


# --- several processes ---------------------------------------------------------------------------


def test_one_process_changes_nothing():
    values = torch.tensor([3.0, 1.5])
    assert mean_over_processes(values) is values


BATCHES = ("both", "second_empty", "both_empty")
# Name of the reference values of two processes, and the run that they are of.
TWO = {
    "two_ranks/adet": "adet/ctrness/giou",
    "two_ranks/adet_iou": "adet/iou/giou",
    "all": "adet/ctrness/giou/normalizer_all",
    "moving_fg": "adet/ctrness/giou/moving_fg_step3",
    "iou_moving_fg": "adet/iou/linear_iou/moving_fg_step2",
}


def _one_of_two(rank, init_file, results):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{init_file}", rank=rank, world_size=2
    )
    for batch, (name, run) in itertools.product(BATCHES, TWO.items()):
        losses, _ = losses_of(batch, run, images=(rank,))
        results[f"{batch}/{name}/rank{rank}"] = [v.item() for v in losses.values()]
    values = torch.tensor([1.0 + 2 * rank])
    results[f"mean{rank}"] = mean_over_processes(values).item()
    results[f"unchanged{rank}"] = values.item()
    torch.distributed.destroy_process_group()


def test_two_processes_equal_the_reference_and_one_process(tmp_path):
    """Also when one of them has no object: both take part in the one all-reduce."""
    with torch.multiprocessing.Manager() as manager:
        results = manager.dict()
        torch.multiprocessing.spawn(_one_of_two, (tmp_path / "init", results), nprocs=2)
        results = dict(results)
    for rank in range(2):
        assert results[f"mean{rank}"] == 2.0  # of 1 and 3
        assert results[f"unchanged{rank}"] == 1 + 2 * rank
    for batch, (name, run) in itertools.product(BATCHES, TWO.items()):
        keys = [f"{batch}/{name}/rank{rank}" for rank in range(2)]
        for key in keys:
            if key in LOSSES:
                assert results[key] == pytest.approx(reference(key), rel=1e-5, abs=1e-7)
        # The mean over processes, which is what DistributedDataParallel descends, is the loss of
        # one process with both images.
        one, _ = losses_of(batch, run)
        mean = [(a + b) / 2 for a, b in zip(*(results[key] for key in keys), strict=True)]
        assert mean == pytest.approx([value.item() for value in one.values()], rel=1e-5)
