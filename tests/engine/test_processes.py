"""Several processes train as one does, and end together."""

import contextlib
import os

import pytest
import torch
from torch.multiprocessing import ProcessExitedException

from detectron2.engine import HookBase
from detectron2.utils import comm
from fcos.config import get_cfg
from fcos.data import register_custom_datasets
from fcos.engine import Trainer
from fcos.utils.agree import in_all, raise_together
from fcos.utils.errors import UserError
from tests.processes import run_in_two
from tests.tiny import MASK_OPTIONS, write_project

pytestmark = pytest.mark.cpu

ITERATIONS = 20
# With batch normalisation nothing could be equal: its statistics are of one process's share.
OPTIONS = [
    *("MODEL.RESNETS.NORM", "GN"),
    *("MODEL.RESNETS.DEPTH", "18"),
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", "64"),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", "64"),
    *("SOLVER.CHECKPOINT_PERIOD", "100"),
    *("SOLVER.IMS_PER_BATCH", "8"),
    *("SOLVER.MAX_ITER", str(ITERATIONS)),
    # So low that rounding is not blown up by the wild steps of a detector at its beginning.
    *("SOLVER.BASE_LR", "0.0001"),
    *("DATASETS.TEST", "()"),
]


# Switches whose normalisers are averaged over the processes in a way of their own.
LATER = [*("MODEL.FCOS.BOX_QUALITY", "iou"), *("MODEL.FCOS.LOSS_NORMALIZER", "moving_fg")]
LATER += ["MODEL.ACTIVATION_CHECKPOINTING", "True"]


class Record(HookBase):
    def __init__(self):
        self.losses = []

    def after_step(self):
        latest = self.trainer.storage.latest()
        self.losses.append({k: v for k, (v, _) in latest.items() if "loss" in k})


class Changed:
    """A stream of training batches with something done to each."""

    def __init__(self, stream, change):
        self.stream, self.change = stream, change
        self.seed, self.start = stream.seed, stream.start

    def __iter__(self):
        return map(self.change, self.stream)


def half_empty(batch):
    """Every second image, which is all that the second of two processes gets, has no objects."""
    emptied = batch[1::2]
    if comm.get_world_size() == 2:
        emptied = batch if comm.get_rank() == 1 else []
    for sample in emptied:
        sample["instances"] = sample["instances"][:0]
    return batch


class HalfEmpty(Trainer):
    @classmethod
    def build_train_loader(cls, cfg):
        return Changed(super().build_train_loader(cfg), half_empty)


class Double(Trainer):
    """Weights in double precision (losses stay in float32): rounding stays far below a mistake."""

    @classmethod
    def build_model(cls, cfg):
        return super().build_model(cfg).double()


class DoubleHalfEmpty(Double, HalfEmpty):
    pass


def make(trainer_type, output, options=()):
    cfg = get_cfg()
    cfg.merge_from_file("tiny.yaml")
    cfg.merge_from_list([*OPTIONS, *options, "OUTPUT_DIR", output])
    os.makedirs(output, exist_ok=True)
    register_custom_datasets(cfg)
    torch.manual_seed(0)
    return trainer_type(cfg)


def train(trainer_type, output, options=()):
    trainer, record = make(trainer_type, output, options), Record()
    trainer.register_hooks([record])
    trainer.resume_or_load(resume=False)
    trainer.train()
    if comm.is_main_process():
        torch.save({"losses": record.losses}, os.path.join(output, "losses.pth"))


def result(output):
    losses = torch.load(f"{output}/losses.pth", weights_only=True)["losses"]
    weights = torch.load(f"{output}/model_final.pth", weights_only=True)["model"]
    return losses, weights


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, number=16)
    return tmp_path


@pytest.mark.parametrize(
    ("trainer_type", "options", "others"),
    [
        (Double, [], {"loss_fcos_ctr"}),
        (DoubleHalfEmpty, LATER, {"loss_fcos_iou"}),
        (DoubleHalfEmpty, MASK_OPTIONS, {"loss_fcos_ctr", "loss_mask"}),
    ],
    ids=["full", "one-empty-later-switches", "one-empty-masks"],
)
def test_two_processes_train_as_one(project, trainer_type, options, others):
    run_in_two(train, trainer_type, "two", options)
    train(trainer_type, "one", options)
    losses_two, weights_two = result("two")
    losses_one, weights_one = result("one")
    assert len(losses_one) == len(losses_two) == ITERATIONS
    for one, two in zip(losses_one, losses_two, strict=True):
        assert one.keys() == two.keys() >= {"loss_fcos_cls", "loss_fcos_loc", *others}
        for name in one:
            assert two[name] == pytest.approx(one[name], rel=1e-5), name
    start = make(trainer_type, "one", options).model.state_dict()
    for name, value in weights_one.items():
        way = (value - start[name]).abs().max().item()
        assert way > 0, name
        assert (weights_two[name] - value).abs().max().item() < 1e-4 * way, name


def distance(weights, others):
    squares = [(weights[name] - others[name]).double().square().sum() for name in weights]
    return sum(squares).sqrt().item()


@pytest.mark.parametrize("trainer_type", [Trainer, HalfEmpty], ids=["full", "one-empty"])
def test_in_float32_they_differ_by_rounding_alone(project, trainer_type):
    # Training blows rounding up, so its size is measured: by one process whose convolutions sum
    # the same numbers in another order.
    run_in_two(train, trainer_type, "two")
    train(trainer_type, "one")
    train(trainer_type, "other", ["MODEL.CHANNELS_LAST", "False"])
    losses_two, weights_two = result("two")
    losses_one, weights_one = result("one")
    rounding = distance(result("other")[1], weights_one)
    assert 0 < rounding < 0.01 * distance(make(trainer_type, "one").model.state_dict(), weights_one)
    assert distance(weights_two, weights_one) < 3 * rounding
    for one, two in zip(losses_one, losses_two, strict=True):
        assert two == pytest.approx(one, rel=1e-4)


# ---- ending together -------------------------------------------------------------------------


class Breaks(Trainer):
    """The second process's losses are not finite in iteration 2."""

    @classmethod
    def build_model(cls, cfg):
        model = super().build_model(cfg)
        calls = []

        def spoil(module, inputs, losses):
            calls.append(1)
            if len(calls) == 3 and comm.get_rank() == 1:
                losses["loss_fcos_loc"] = losses["loss_fcos_loc"] * float("nan")
            return losses

        model.register_forward_hook(spoil)
        return model


def report(action, *args):
    """Write to a file what the process raised; exit with 7."""
    try:
        action(*args)
    except UserError as error:
        with open(f"error{comm.get_rank()}.txt", "w") as file:
            file.write(f"{error.in_all_processes} {error}")
        comm.synchronize()
        return 7
    return 0


def test_all_processes_stop_when_one_has_a_bad_loss(project):
    with pytest.raises(ProcessExitedException) as ended:
        run_in_two(report, train, Breaks, "out")
    assert ended.value.exit_code == 7
    first, second = (project / f"error{rank}.txt" for rank in (0, 1))
    assert first.read_text() == second.read_text()
    said = first.read_text()
    assert said.startswith("True The loss is not finite at iteration 2: loss_fcos_loc is nan, for")
    assert said.count(".png") == 4  # its own share of the 8
    assert "there is no checkpoint yet" in said


def fail_in_second():
    raise_together(UserError("disk full") if comm.get_rank() == 1 else None)


def test_an_error_of_one_is_an_error_of_all(project):
    with pytest.raises(ProcessExitedException):
        run_in_two(report, fail_in_second)
    for rank in (0, 1):
        assert (project / f"error{rank}.txt").read_text() == "True disk full"


def bug_in_first():
    in_all(lambda: [][0] if comm.get_rank() == 0 else None)


def with_a_bug():
    with contextlib.suppress(IndexError):
        return report(bug_in_first)
    comm.synchronize()
    return 7


def test_a_bug_in_one_does_not_keep_the_others_waiting(project):
    with pytest.raises(ProcessExitedException):
        run_in_two(with_a_bug)
    told = (project / "error1.txt").read_text()
    assert told == "True Process 0 failed: list index out of range"


def test_a_bug_in_the_only_process_stays_what_it_is():
    with pytest.raises(IndexError):
        bug_in_first()


def test_without_an_error_nothing_is_raised():
    raise_together(None)
