"""What a training shows of itself: curves at its end, and its images with their targets."""

import logging
import random
import signal

import cv2
import numpy as np
import pytest
import torch

from detectron2.engine import HookBase
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from fcos.checkpoint import read_checkpoint
from fcos.engine import Trainer, TrainingStopped, displays
from fcos.engine.displays import CurvesPage
from fcos.engine.loggers import Loggers
from fcos.engine.pictures import TrainingPictures, positive_locations
from fcos.modeling.fcos import FCOSTargets
from fcos.utils.errors import UserError
from tests.engine.test_trainer import cfg_of
from tests.helpers import ground_truth
from tests.tiny import MASK_OPTIONS

pytestmark = pytest.mark.cpu
SHORT = ["SOLVER.MAX_ITER", "2"]
SMALL = ["DATASETS.TEST", "()"]  # without an evaluation


@pytest.fixture
def without_page(monkeypatch):
    """Drawing curves takes longer than such a training."""
    monkeypatch.setattr(displays, "write_curves", lambda runs: ("", []))


def train(cfg, *hooks, resume=False):
    trainer = Trainer(cfg)
    trainer.register_hooks(hooks)
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


class Does(HookBase):
    def __init__(self, action):
        self.action = action

    def after_step(self):
        self.action(self.trainer)


# ---- curves ----------------------------------------------------------------------------------


def test_a_training_ends_with_its_curves(project, caplog):
    with caplog.at_level(logging.INFO, "fcos"):
        train(cfg_of(project, *SHORT))
    page = (project / "output" / "curves.html").read_text(encoding="utf-8")
    assert "Curves of output" in page and "loss_fcos_ctr over iterations" in page
    assert "Box AP over iterations" in page  # of the evaluation after the last iteration
    assert "Curves of this training: output/curves.html" in caplog.text


def test_a_stopped_training_has_its_curves_too(project):
    with pytest.raises(TrainingStopped):
        train(cfg_of(project), Does(lambda trainer: signal.raise_signal(signal.SIGTERM)))
    assert (project / "output" / "curves.html").is_file()


def test_a_diverged_training_has_its_curves_too(project):
    def spoil(trainer):
        if trainer.iter == 1:
            with torch.no_grad():
                trainer.model.proposal_generator.fcos_head.cls_logits.bias.fill_(float("nan"))

    with pytest.raises(UserError, match="loss_fcos_cls is nan"):
        train(cfg_of(project), Does(spoil))
    assert (project / "output" / "curves.html").is_file()


def test_curves_that_cannot_be_drawn_are_a_warning(project, monkeypatch, caplog):
    def fail(*args):
        raise ImportError("No module named 'matplotlib'")

    monkeypatch.setattr(displays, "write_curves", fail)
    train(cfg_of(project, *SHORT))
    assert "The page of curves was not written: No module named 'matplotlib'" in caplog.text
    assert (project / "output" / "model_final.pth").is_file()


def test_without_an_iteration_there_are_no_curves(project, monkeypatch, caplog):
    monkeypatch.setattr(Trainer, "run_step", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(cfg_of(project))
    assert not (project / "output" / "curves.html").exists()
    assert "page of curves" not in caplog.text


# ---- images ----------------------------------------------------------------------------------


def pictures_of(trainer):
    """The pictures that a training puts, as (iteration, name, picture)."""
    put = []
    trainer.loop.register_hooks(
        [
            TrainingPictures(
                trainer.cfg.VIS_PERIOD or 2,
                ["dark", "bright"],
                trainer.cfg.INPUT.FORMAT,
                [lambda name, picture: put.append((trainer.iter, name, picture))],
            )
        ]
    )
    trainer.resume_or_load(resume=False)
    trainer.train()
    return put


def test_images_are_drawn_every_period(project, without_page):
    put = pictures_of(
        Trainer(cfg_of(project, *SMALL, "SOLVER.MAX_ITER", "3", "SOLVER.IMS_PER_BATCH", "6"))
    )
    assert [(at, name) for at, name, _ in put] == [
        (at, f"training/image_{number}") for at in (0, 2) for number in range(4)
    ]
    for _, _, picture in put:
        assert picture.dtype == np.uint8 and picture.shape == (640 + 28, 2 * 640 + 8, 3)


def test_images_are_red_green_blue_for_both_orders_of_channels(project):
    """A coloured stripe in a corner that no object covers."""
    put = []
    for order in ("BGR", "RGB"):
        sample = {"image": torch.zeros(3, 64, 64, dtype=torch.uint8), "instances": one_object()}
        sample["image"][order.index("R"), :8] = 255
        trainer = Trainer(cfg_of(project, "INPUT.FORMAT", order))
        hook = TrainingPictures(1, ["a", "b"], order, [lambda _, picture: put.append(picture)])
        trainer.loop.register_hooks([hook])
        trainer.loop.batch = [sample]
        hook.after_backward()
        assert put[-1][28 + 40, 600].tolist() == [255, 0, 0]
    assert (put[0] == put[1]).all()


def one_object():
    return Instances(
        (64, 64),
        gt_boxes=Boxes(torch.tensor([[10.0, 20.0, 40.0, 60.0]])),
        gt_classes=torch.tensor([1]),
    )


def test_the_locations_are_those_that_the_model_learns(project, monkeypatch, without_page):
    """Compared with the labels that the loss gets, for images of several sizes."""
    learnt, drawn = [], []
    assign = FCOSTargets.fcos_target

    def note(self, feature_sizes, gt_instances):
        labels, distances = assign(self, feature_sizes, gt_instances)
        if len(gt_instances) > 1:  # a batch; the picture asks for one image
            learnt.append([int((of_image < self.num_classes).sum()) for of_image in labels])
        return labels, distances

    def look(targets, size, truth):
        points = positive_locations(targets, size, truth)
        drawn.append(sum(map(len, points)))
        return points

    monkeypatch.setattr(FCOSTargets, "fcos_target", note)
    monkeypatch.setattr("fcos.engine.pictures.positive_locations", look)
    options = ["INPUT.MIN_SIZE_TRAIN", "(64, 100, 130)", "INPUT.MAX_SIZE_TRAIN", "140"]
    corner = ["MODEL.FCOS.LOCATION", "corner", "VIS_PERIOD", "1"]
    train(cfg_of(project, *options, *corner, *SHORT, *SMALL))
    assert sum(map(len, learnt)) == len(drawn) == 8
    assert [count for batch in learnt for count in batch] == drawn
    assert max(drawn) > 0


def test_locations_by_hand():
    """A box of 40 pixels: the four locations of P3 within it, and none of the coarser levels."""
    targets = FCOSTargets(num_classes=2)
    found = positive_locations(targets, (64, 64), ground_truth([[10, 10, 24, 24]], [1]))
    assert [len(level) for level in found] == [4, 0, 0, 0, 0]
    assert found[0].tolist() == [[12, 12], [20, 12], [12, 20], [20, 20]]


def test_an_image_without_objects(project):
    options = ["DATALOADER.FILTER_EMPTY_ANNOTATIONS", "False", "SOLVER.MAX_ITER", "1"]
    trainer = Trainer(cfg_of(project, *options))
    batch = next(iter(trainer.data_loader))
    hook = TrainingPictures(1, ["a", "b"], "BGR", [])
    trainer.loop.register_hooks([hook])
    trainer.loop.batch = [{**batch[0], "instances": batch[0]["instances"][:0]}]
    hook.after_backward()


def test_pictures_are_in_tensorboard(project, without_page):
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    train(cfg_of(project, *SHORT, *SMALL, "VIS_PERIOD", "1"))
    events = event_accumulator.EventAccumulator(str(project / "output"), {"images": 0}).Reload()
    names = [f"training/image_{number}" for number in range(4)]
    assert events.Tags()["images"] == names
    data = events.Images(names[0])
    assert data[-1].step == 1
    picture = cv2.imdecode(np.frombuffer(data[-1].encoded_image_string, np.uint8), 1)
    assert picture.shape == (668, 1288, 3)


def generators():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


def test_no_random_state_is_touched(project):
    trainer = Trainer(cfg_of(project, *MASK_OPTIONS, "VIS_PERIOD", "1"))
    trainer.loop.batch = next(iter(trainer.data_loader))
    trainer.loop.iter = 0
    before = generators()
    with EventStorage(0):
        (hook,) = [h for h in trainer.loop._hooks if isinstance(h, TrainingPictures)]
        hook.put = hook.put[:1]  # TensorBoard's
        hook.after_backward()
    assert generators() == before


@pytest.mark.parametrize("masks", [[], MASK_OPTIONS], ids=["boxes", "masks"])
def test_training_is_the_same_to_the_bit(project, masks, without_page):
    weights = []
    for period in ("0", "1"):
        folder = f"output_{period}"
        options = ["VIS_PERIOD", period, "OUTPUT_DIR", folder, *SMALL, *masks]
        torch.manual_seed(0)  # of the first weights
        train(cfg_of(project, *SHORT, *options))
        weights.append(read_checkpoint(str(project / folder / "model_final.pth"))["model"])
    assert weights[0].keys() == weights[1].keys()
    assert all((np.asarray(v) == np.asarray(weights[1][k])).all() for k, v in weights[0].items())


# ---- several processes -----------------------------------------------------------------------


@pytest.mark.parametrize("is_main", [True, False])
def test_only_the_main_process_shows(project, monkeypatch, is_main):
    monkeypatch.setattr(comm, "is_main_process", lambda: is_main)
    trainer = Trainer(cfg_of(project, "VIS_PERIOD", "1"))
    hooks = {type(hook) for hook in (*trainer._hooks, *trainer.loop._hooks)}
    shown = {Loggers, CurvesPage, TrainingPictures}
    assert hooks & shown == (shown if is_main else set())
