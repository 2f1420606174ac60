"""What is printed before a training is what it does, also after a resume with other settings."""

import json
import logging
import re
from pathlib import Path

import pytest
import torch

from detectron2.engine.hooks import CallbackHook
from fcos.config import get_cfg
from fcos.data import register_custom_datasets
from fcos.engine import Trainer
from fcos.engine.preflight import check_training
from fcos.engine.schedule import learning_rate, schedule_table

pytestmark = pytest.mark.cpu


def learning_rates(cfg):
    return list(map(learning_rate(cfg), range(cfg.SOLVER.MAX_ITER)))


COSINE = ["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR"]
FIXED = ["SOLVER.LR_SCHEDULER_NAME", "WarmupStepWithFixedGammaLR"]


def cfg_of(*options):
    cfg = get_cfg()
    cfg.merge_from_file("tiny.yaml")
    cfg.merge_from_list(["MODEL.RESNETS.DEPTH", 50, *options])
    register_custom_datasets(cfg)
    return cfg


class Watched(Trainer):
    """Notes the rate of every iteration, its images, and the iteration before each evaluation."""

    def __init__(self, cfg):
        super().__init__(cfg)
        self.rates, self.images, self.evaluated = [], [], []
        self.register_hooks([CallbackHook(before_step=lambda _: self.note())])
        self.model.register_forward_pre_hook(self.note_batch)

    def note(self):
        (rate,) = {group["lr"] for group in self.optimizer.param_groups}
        self.rates.append(rate)

    def note_batch(self, model, inputs):
        if model.training:
            self.images.append([image["file_name"] for image in inputs[0]])

    def test(self, cfg, model, evaluators=None):
        self.evaluated.append(self.iter)
        return {"bbox": {"AP": 1.0}}


def train(*options, resume=False):
    trainer = Watched(cfg_of(*options))
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


# ---- the table -------------------------------------------------------------------------------


def numbers(text):
    return [float(number) for number in re.findall(r"\d[\d.]*(?:e-\d+)?", text.replace(",", ""))]


@pytest.mark.parametrize(
    "options",
    [
        ["SOLVER.STEPS", (5, 9), "TEST.EVAL_PERIOD", 4, "SOLVER.CHECKPOINT_PERIOD", 3],
        ["SOLVER.STEPS", (2,), "SOLVER.WARMUP_METHOD", "constant", "TEST.EVAL_PERIOD", 6],
        [*COSINE, "TEST.EVAL_PERIOD", 20, "SOLVER.CHECKPOINT_PERIOD", 20],
        [*FIXED, "SOLVER.IMS_PER_BATCH", 3],
        ["SOLVER.WARMUP_ITERS", 20, "DATASETS.TEST", ()],
        ["SOLVER.WARMUP_ITERS", 0],
    ],
    ids=["steps", "constant", "cosine", "fixed", "squeezed", "no warm-up"],
)
def test_every_figure_of_the_table(project, options):
    cfg = cfg_of("SOLVER.MAX_ITER", 12, *options)
    lines = [line.strip().split("   ", 1) for line in schedule_table(cfg, 12, 1).splitlines()]
    said = {name: value.strip() for name, value in lines}
    trainer = train("SOLVER.MAX_ITER", 12, *options)

    assert int(said["training images"]) == len(set(sum(trainer.images, [])))
    sizes = [len(images) for images in trainer.images]
    assert {numbers(said["images per batch"])[0]} == set(sizes)
    assert numbers(said["iterations"]) == [len(sizes), sum(sizes) / 12]
    _check_rates(said, trainer, cfg.SOLVER.WARMUP_ITERS)
    assert said["precision"] == str(trainer.loop.precision or "float32")

    files = sorted(path.name for path in Path("output").glob("model_0*.pth"))
    period, number = numbers(said["checkpoint every"])
    assert len(files) == number
    assert files == [f"model_{i - 1:07d}.pth" for i in range(1, 13) if i % period == 0]
    assert (
        "and model_final.pth" in said["checkpoint every"]
        and Path("output/model_final.pth").exists()
    )

    is_kept = "the best by bbox/AP is kept" in said["evaluation every"]
    assert is_kept == Path("output/model_best.pth").exists()
    if is_kept:
        period, number = numbers(said["evaluation every"])
        done = [i for i in range(1, 12) if i % period == 0]
        assert trainer.evaluated == [*(i - 1 for i in done), 12]
        assert len(trainer.evaluated) == number
    elif said["evaluation every"].startswith("only after the last iteration"):
        assert trainer.evaluated == [12]


def _check_rates(said, trainer, warmup):
    """Every rate that is named, at the iteration that is named."""

    def near(rate):
        return pytest.approx(rate, rel=0.006)  # three digits

    rates = trainer.rates
    logged = [json.loads(line) for line in Path("output/metrics.json").read_text().splitlines()]
    assert {row["iteration"]: row["lr"] for row in logged if "lr" in row}[11] == rates[11]
    assert numbers(said["learning rate"])[0] == near(trainer.cfg.SOLVER.BASE_LR)
    assert numbers(said["last iteration"]) == [near(rates[-1])]
    if warmup:
        first, last = numbers(said["warm-up"])[-2:]
        assert (first, last) == (near(rates[0]), near(rates[min(warmup, 11)]))
    named = re.findall(r"([\d.e-]+) from (\d+) \(([\d.]+) epochs\)", said["after warm-up"])
    for rate, at, epochs in named:
        assert float(rate) == near(rates[int(at)])
        assert rates[int(at)] != rates[int(at) - 1]
        assert float(epochs) == pytest.approx(
            len(sum(trainer.images[: int(at)], [])) / 12, abs=0.006
        )
    changes = [i for i in range(warmup + 1, 12) if rates[i] != rates[i - 1]]
    assert [int(at) for _, at, _ in named] == changes
    assert bool(changes) == (said["after warm-up"] not in ("constant", "no iteration"))


def test_doubts_are_warnings_before_the_training(project, caplog):
    options = ["SOLVER.WARMUP_ITERS", 100, "SOLVER.BASE_LR", 0.025, "MODEL.RPN.LOSS_WEIGHT", 2.0]
    with caplog.at_level(logging.WARNING, logger="fcos"):
        check_training(cfg_of(*options), resume=False, check_all_images=False)
    said = caplog.text
    assert said.count("SOLVER.WARMUP_ITERS is 100, but SOLVER.MAX_ITER is 8") == 1
    assert said.count("Set, but without effect on this detector: MODEL.RPN.LOSS_WEIGHT 2.0.") == 1
    assert "linear rule" not in said  # from random weights


# ---- other settings on resume ----------------------------------------------------------------

BEFORE = ["DATASETS.TEST", "()", "SOLVER.CHECKPOINT_PERIOD", 4, "SOLVER.MAX_ITER", 8]


def momenta(optimizer):
    return [state["momentum_buffer"] for state in optimizer.state_dict()["state"].values()]


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ([], ["SOLVER.BASE_LR", 0.001], "SOLVER.BASE_LR is 0.001, but was 0.01 before"),
        ([], ["SOLVER.MOMENTUM", 0.5], "SOLVER.MOMENTUM is 0.5, but was 0.9 before"),
        ([], ["SOLVER.WEIGHT_DECAY", 0.01], "SOLVER.WEIGHT_DECAY is 0.01, but was 0.0001 before"),
        ([], ["SOLVER.STEPS", (5,)], "SOLVER.STEPS is [5], but was [] before"),
        (COSINE, ["SOLVER.MAX_ITER", 40], "SOLVER.MAX_ITER is 40, but was 8 before"),
        (FIXED, ["SOLVER.GAMMA", 0.5], "SOLVER.GAMMA is 0.5, but was 0.1 before"),
        ([], COSINE, "LR_SCHEDULER_NAME is WarmupCosineLR, but was WarmupMultiStepLR before"),
        ([], [], ""),
    ],
)
def test_settings_are_those_of_the_config(project, caplog, before, now, said):
    train(*BEFORE, *before)
    (project / "output" / "last_checkpoint").write_text("model_0000003.pth")
    saved = torch.load("output/model_0000003.pth", weights_only=True)["trainer"]["loop"]
    options = [*BEFORE, *before, *now]
    fresh, resumed = Watched(cfg_of(*options)), Watched(cfg_of(*options))
    with caplog.at_level(logging.WARNING, logger="fcos"):
        resumed.resume_or_load(resume=True)
    lines = [record.getMessage() for record in caplog.records if " before:" in record.getMessage()]
    assert len(lines) == bool(said)
    assert said in "".join(lines)
    for built, group in zip(
        fresh.optimizer.param_groups, resumed.optimizer.param_groups, strict=True
    ):
        for key in set(built) - {"params", "lr"}:
            assert group[key] == built[key], key
    loaded = momenta(resumed.optimizer)
    states = saved["optimizer"]["state"].values()
    assert len(loaded) == len(states) > 10
    for momentum, state in zip(loaded, states, strict=True):
        assert momentum.equal(state["momentum_buffer"])
    resumed.max_iter = 8
    resumed.train()
    assert resumed.rates == learning_rates(resumed.cfg)[4:8]


@pytest.mark.parametrize("schedule", [[], COSINE, FIXED], ids=["steps", "cosine", "fixed"])
def test_a_shorter_training_is_over(project, schedule):
    train(*BEFORE, *schedule)
    trainer = train(*BEFORE, *schedule, "SOLVER.MAX_ITER", 5, resume=True)
    assert trainer.rates == []


@pytest.mark.parametrize("schedule", [COSINE, FIXED], ids=["cosine", "fixed"])
def test_a_finished_training_goes_on_as_a_longer_one(project, schedule):
    train(*BEFORE, *schedule)
    trainer = train(*BEFORE, *schedule, "SOLVER.MAX_ITER", 12, resume=True)
    assert trainer.rates == learning_rates(trainer.cfg)[8:]


def test_settings_without_effect_are_not_compared(project, caplog):
    train(*BEFORE, *COSINE)
    with caplog.at_level(logging.WARNING, logger="fcos"):
        train(*BEFORE, *COSINE, "SOLVER.STEPS", (5,), "SOLVER.GAMMA", 0.5, resume=True)
    assert " before:" not in caplog.text
