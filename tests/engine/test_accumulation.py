"""Gradients of a batch in several passes are those of one pass, up to rounding."""

import pytest
import torch

from detectron2.structures import Boxes, Instances
from fcos.config import get_cfg
from fcos.config.training_checks import check_accumulation
from fcos.engine import loop as loop_module
from fcos.engine.accumulation import AccumulatingLoop, as_one_batch
from fcos.engine.loop import TrainingLoop
from fcos.engine.schedule import schedule_table
from fcos.utils.errors import UserError
from tests.engine.test_processes import LATER, DoubleHalfEmpty, make, project, result, train
from tests.helpers import DEVICE
from tests.modeling.test_training_step import model_of
from tests.processes import run_in_two

__all__ = ["project"]  # a fixture

SIZES = [(64, 96), (80, 64), (96, 64), (50, 70)]


def batch(objects=(2, 0, 3, 1)):
    """Images of different sizes, so that parts of them are padded differently."""
    generator = torch.Generator().manual_seed(0)
    records = []
    for (height, width), number in zip(SIZES, objects, strict=True):
        instances = Instances((height, width))
        corner = torch.arange(number)[:, None] * 8.0
        instances.gt_boxes = Boxes(torch.cat((corner, corner, corner + 20, corner + 30), dim=1))
        instances.gt_classes = torch.arange(number) % 3
        image = torch.randint(0, 256, (3, height, width), generator=generator).to(torch.uint8)
        records.append({"image": image, "instances": instances})
    return records


GN = ["MODEL.RESNETS.NORM", "FrozenBN", "MODEL.FCOS.NORM", "GN", "MODEL.FPN.OUT_CHANNELS", 64]
SWITCHES = [
    [],
    ["MODEL.FCOS.LOSS_NORMALIZER", "moving_fg"],
    ["MODEL.FCOS.LOSS_NORMALIZER", "all", "MODEL.FCOS.BOX_QUALITY", "iou"],
    [*("MODEL.FCOS.CENTER_SAMPLE", "True"), *("MODEL.FCOS.NORMALIZE_REG_TARGETS", "True")],
    [*("MODEL.FCOS.LOCATION", "corner"), *("MODEL.FCOS.LOC_LOSS_TYPE", "giou")],
]


def one_step(make_loop, records, switches):
    model = model_of([*GN, *switches]).double()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    loop = make_loop(model, iter([records]), optimizer, DEVICE)
    loop.train(0, 1)
    gradients = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    buffers = {n: b for n, b in model.named_buffers() if "moving" in n}
    return loop.losses, gradients, buffers


@pytest.mark.parametrize("steps", [2, 4])
@pytest.mark.parametrize("switches", SWITCHES, ids=lambda s: "-".join(s[1::2]) or "defaults")
def test_losses_and_gradients_are_those_of_one_pass(switches, steps):
    want = one_step(TrainingLoop, batch(), switches)
    got = one_step(lambda *a: AccumulatingLoop(steps, *a), batch(), switches)
    assert got[0] == pytest.approx(want[0], rel=1e-5)
    for name, gradient in want[1].items():
        scale = gradient.abs().max().item()
        assert (got[1][name] - gradient).abs().max().item() <= 1e-5 * scale + 1e-9, name
    for name, value in want[2].items():  # the running average makes one step, not one in each pass
        torch.testing.assert_close(got[2][name], value)
    if "moving_fg" in switches:
        assert want[2]


def test_no_objects_at_all():
    want = one_step(TrainingLoop, batch((0, 0, 0, 0)), [])
    got = one_step(lambda *a: AccumulatingLoop(2, *a), batch((0, 0, 0, 0)), [])
    assert got[0] == pytest.approx(want[0], rel=1e-5)


def test_averages_of_parts_would_not_be(monkeypatch):
    """What this is for: without the counts of the batch, another loss."""
    monkeypatch.setattr("fcos.engine.accumulation.as_one_batch", lambda *_: torch.enable_grad())
    records = batch((0, 0, 3, 1))
    want = one_step(TrainingLoop, records, [])[0]
    got = one_step(lambda *a: AccumulatingLoop(2, *a), records, [])[0]
    assert abs(got["loss_fcos_cls"] / want["loss_fcos_cls"] - 1) > 0.05


def test_the_model_is_as_before():
    model = model_of([])
    records = batch()
    before = set(vars(model))
    with as_one_batch(model, [records[:2], records[2:]]):
        assert model.preprocess_image(records[:1]).tensor.shape[-2:] == (96, 96)
    assert set(vars(model)) == before
    assert model.preprocess_image(records[1:2]).tensor.shape[-2:] == (96, 64)


def test_all_losses_are_read_once(monkeypatch):
    reads = []
    read = loop_module.HostCopy.read
    monkeypatch.setattr(loop_module.HostCopy, "read", lambda s: (reads.append(1), read(s))[1])
    one_step(lambda *a: AccumulatingLoop(4, *a), batch(), [])
    assert len(reads) == 1


@pytest.mark.cpu
def test_two_processes_in_two_passes_train_as_one_in_one(project):
    options = [*LATER, "SOLVER.MAX_ITER", "4", "SOLVER.CLIP_GRADIENTS.ENABLED", "True"]
    options += ["SOLVER.CLIP_GRADIENTS.CLIP_VALUE", "0.1"]
    run_in_two(train, DoubleHalfEmpty, "two", [*options, "SOLVER.ACCUMULATION_STEPS", "2"])
    train(DoubleHalfEmpty, "one", options)
    losses_two, weights_two = result("two")
    losses_one, weights_one = result("one")
    assert len(losses_one) == len(losses_two) == 4
    for one, two in zip(losses_one, losses_two, strict=True):
        assert two == pytest.approx(one, rel=1e-5)
    start = make(DoubleHalfEmpty, "one", options).model.state_dict()
    for name, value in weights_one.items():
        way = (value - start[name]).abs().max().item()
        assert way > 0, name
        assert (weights_two[name] - value).abs().max().item() < 1e-4 * way, name


# ---- values ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "batch_size", "processes", "said"),
    [
        (0, 4, 1, "SOLVER.ACCUMULATION_STEPS is 0: set it to 1 or more."),
        (3, 4, 1, "cannot divide the 4 images that each process has of SOLVER.IMS_PER_BATCH 4"),
        (4, 4, 2, "the 2 images that each process has .*: set it to one of 1, 2."),
    ],
)
@pytest.mark.cpu
def test_passes_that_cannot_be(steps, batch_size, processes, said):
    cfg = get_cfg()
    cfg.merge_from_list(["SOLVER.ACCUMULATION_STEPS", steps, "SOLVER.IMS_PER_BATCH", batch_size])
    with pytest.raises(UserError, match=said):
        check_accumulation(cfg, processes)


@pytest.mark.cpu
def test_the_table_names_the_passes():
    cfg = get_cfg()
    cfg.merge_from_list(["SOLVER.ACCUMULATION_STEPS", 2, "SOLVER.IMS_PER_BATCH", 8])
    assert "8 (2 processes x 4, in 2 passes)" in schedule_table(cfg, 10, 2)
