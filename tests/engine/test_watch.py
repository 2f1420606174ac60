"""Warnings of trainings that learn nothing: when they come, once, and when they do not."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from fcos.config import get_cfg
from fcos.engine import Trainer
from fcos.engine import trainer as trainer_module
from fcos.engine.watch import LossWatch, OutputWatch
from fcos.engine.watch_steps import ClippingWatch
from fcos.modeling.fcos import FCOSLosses
from tests.engine.test_trainer import cfg_of

pytestmark = pytest.mark.cpu

BACKGROUND = 2


class Outputs(nn.Module):
    """Two images of three locations, whose second one has an object; 0 is the step."""

    def __init__(self, distances=(1.0, 1.0, 1.0, 1.0), spread=1.0, label=1):
        super().__init__()
        self.losses = FCOSLosses()
        self.ltrb = torch.zeros(2, 3, 4)
        self.ltrb[:, 1] = torch.tensor(distances)
        self.logits = torch.zeros(2, 3, 2)
        self.logits[1, 2, 1] = spread
        self.labels = torch.full((2, 3), BACKGROUND)
        self.labels[:, 1] = label

    def forward(self):
        targets = torch.ones(2, 3, 4)
        self.losses(self.logits, self.ltrb, torch.zeros(2, 3), self.labels, targets)


def watched(model, iterations, cfg=None, change=None):
    """Run a watch beside a model of fixed outputs."""
    watch = OutputWatch(cfg or get_cfg())
    watch.trainer = SimpleNamespace(iter=0, model=model)
    for watch.trainer.iter in range(iterations):
        if change:
            change(watch.trainer.iter)
        watch.before_step()
        if model.losses._forward_pre_hooks:  # else nobody looks at it
            model()
        assert not model.losses._forward_pre_hooks  # a validation is not looked at
        watch.after_step()


@pytest.mark.parametrize("distances", [(0, 0, 0, 0), (0, 1, 0, 1), (1, 0, 3, 0)])
def test_boxes_without_a_size(distances, caplog):
    """Also where only left and right are 0: no area, so no gradient for top and bottom either."""
    watched(Outputs(distances), 59)
    assert not caplog.records
    watched(Outputs(distances), 400)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "The box branch has stopped learning: for about 60 iterations, no box" in record.message
    assert record.message.endswith("lower SOLVER.BASE_LR or lengthen SOLVER.WARMUP_ITERS.")


def test_the_published_initialisation_is_named(caplog):
    cfg = get_cfg()
    cfg.MODEL.FCOS.PRIOR_DISTANCE = 0.0
    watched(Outputs((0, 0, 0, 0)), 60, cfg)
    assert "set MODEL.FCOS.PRIOR_DISTANCE to 1 (it is 0), or lower SOLVER.BASE_LR" in caplog.text


def test_one_score_everywhere(caplog):
    watched(Outputs(spread=0.0099), 299)
    assert not caplog.records
    watched(Outputs(spread=0.0099), 600)
    (record,) = caplog.records
    assert "The class branch has learnt nothing: for about 300 iterations, each" in record.message
    assert "MODEL.FCOS.NORM GN" in record.message


@pytest.mark.parametrize(
    "model",
    [
        Outputs(),
        Outputs((0.1, 0, 0, 0.1)),  # a corner: it has an area
        Outputs((0, 0, 0, 0), label=BACKGROUND),  # no object, so no box is expected
        Outputs(spread=0.0101),
    ],
    ids=["healthy", "corner", "no object", "slow"],
)
def test_nothing_is_said_of_others(model, caplog):
    watched(model, 700)
    assert not caplog.records


def test_it_has_to_be_so_in_every_look(caplog):
    model = Outputs((0, 0, 0, 0), spread=0.0)

    def change(iteration):  # one look of three is healthy
        model.ltrb[:, 1] = float(iteration % 60 == 59)
        model.logits[0, 0, 0] = float(iteration % 300 == 299)

    watched(model, 700, change=change)
    assert not caplog.records


def test_the_main_process_says_it(monkeypatch, caplog):
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    watched(Outputs((0, 0, 0, 0), spread=0.0), 400)
    assert not caplog.records


# ---- losses ----------------------------------------------------------------------------------


def losses(values, name="loss_fcos_loc", head_is_new=True, after=300):
    """Run a watch beside a training with these values of a loss."""
    watch = LossWatch(after)
    with EventStorage() as storage:
        watch.trainer = SimpleNamespace(
            storage=storage, head_is_new=head_is_new, loop=SimpleNamespace(losses={name: 0.0})
        )
        for watch.trainer.iter, value in enumerate(values):
            storage.put_scalar(name, value)
            watch.after_step()
            storage.step()


def test_a_loss_that_stays(caplog):
    noise = [0.95 + 0.1 * (-1) ** i for i in range(1000)]
    losses(noise[:299])
    assert not caplog.records
    losses(noise)
    (record,) = caplog.records
    want = "loss_fcos_loc has not fallen in 300 iterations: its median was 0.95 in the first 20"
    assert record.message.startswith(want)


def test_losses_that_fall_or_may_stay(caplog):
    slowly = [1 - 0.0002 * i for i in range(1000)]  # 0.95 in the middle of the last 100
    losses(slowly)
    losses([1.0] * 1000, name="loss_fcos_ctr")
    losses([1.0] * 1000, head_is_new=False)
    losses([0.0] * 1000)  # nothing to learn
    losses([1.0] * 50, after=50)  # too short to tell
    assert not caplog.records


# ---- in a training ---------------------------------------------------------------------------


def trained(project, iterations, before=None):
    """Train the tiny detector with a relu on its boxes; return its weights."""
    torch.manual_seed(0)
    cfg = cfg_of(project, *OPTIONS, "SOLVER.MAX_ITER", str(iterations))
    trainer = Trainer(cfg)
    trainer.resume_or_load(False)
    if before:
        before(trainer)
    trainer.train()
    return trainer.model.state_dict()


OPTIONS = [
    *("MODEL.FCOS.NORMALIZE_REG_TARGETS", "True"),
    *("SOLVER.CLIP_GRADIENTS.ENABLED", "True"),
    *("SOLVER.IMS_PER_BATCH", "1"),
    *("SOLVER.BASE_LR", "0.001"),  # at 0.01 the boxes may die
    *("SOLVER.CHECKPOINT_PERIOD", "1000"),
    *("DATASETS.TEST", "()"),
]


def kill_boxes(trainer):
    head = trainer.model.proposal_generator.fcos_head
    torch.nn.init.constant_(head.bbox_pred.bias, -100.0)


@pytest.mark.parametrize("is_dead", [True, False])
def test_a_dead_box_branch_in_a_training(is_dead, project, caplog):
    trained(project, 60, kill_boxes if is_dead else None)
    told = [r.message for r in caplog.records if "watch" in r.name]
    assert len(told) == is_dead
    assert all("The box branch has stopped learning" in message for message in told)


def test_looking_changes_no_bit(project, monkeypatch):
    for watch in (OutputWatch, ClippingWatch):
        monkeypatch.setattr(trainer_module, watch.__name__, partial(watch, period=1))
    watched = trained(project, 4)
    monkeypatch.setattr(OutputWatch, "before_step", lambda self: None)
    monkeypatch.setattr(ClippingWatch, "after_backward", lambda self: None)
    alone = trained(project, 4)
    assert all(torch.equal(watched[name], alone[name]) for name in alone)
