"""The average of the weights: against a loop by hand, in files, and over a resume."""

import json
import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from detectron2.checkpoint import DetectionCheckpointer
from fcos.checkpoint import AdetCheckpointer, read_checkpoint
from fcos.config import get_cfg
from fcos.config.evaluation_checks import check_evaluations
from fcos.data import register_custom_datasets
from fcos.engine import Trainer
from fcos.engine.averaging import WeightAverage, decay_at
from fcos.engine.hooks import Checkpoints
from fcos.engine.loop import TrainingLoop
from fcos.engine.schedule import schedule_table
from fcos.utils.errors import UserError

pytestmark = pytest.mark.cpu


def logged():
    return [json.loads(line) for line in Path("output/metrics.json").read_text().splitlines()]


# ---- on a small model ------------------------------------------------------------------------


class Small(nn.Module):
    """A trained weight, a frozen one and batch normalisation."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0]))
        self.frozen = nn.Parameter(torch.tensor([3.0]), requires_grad=False)
        self.norm = nn.BatchNorm1d(2)

    def forward(self, x):
        return {"loss": (self.norm(x * self.weight) * x).sum() + self.weight.square().sum()}


def batches():
    generator = torch.Generator().manual_seed(0)
    while True:
        yield torch.rand(4, 2, generator=generator)


def train(folder, iterations, decay, start=0):
    model = Small()
    loop = TrainingLoop(model, batches(), torch.optim.SGD(model.parameters(), 0.1))
    checkpointer = AdetCheckpointer(model, str(folder), trainer=loop)
    checkpointer.class_names = ["thing"]
    average = WeightAverage(model, decay, checkpointer)
    loop.register_hooks([average, Checkpoints(checkpointer, 5)])
    loop.train(start, iterations)
    return model, average


def by_hand(iterations, decay):
    model, data = Small(), batches()
    average = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for number in range(1, iterations + 1):
        optimizer.zero_grad()
        model(next(data))["loss"].backward()
        optimizer.step()
        kept = min(decay, (1 + number) / (10 + number))
        for name, value in model.named_parameters():
            average[name] = kept * average[name] + (1 - kept) * value.detach()
    return {**model.state_dict(), **average}


@pytest.mark.parametrize("decay", [0.999, 0.3])
def test_it_is_the_average_by_hand(tmp_path, decay):
    model, average = train(tmp_path, 12, decay)
    want = by_hand(12, decay)
    got = average.model.state_dict()
    assert got.keys() == want.keys()
    for name, value in want.items():
        torch.testing.assert_close(got[name], value, rtol=1e-5, atol=1e-6, msg=name)
    assert not torch.allclose(got["weight"], model.weight, rtol=0.01)
    assert got["norm.running_mean"].equal(model.norm.running_mean)
    assert not any(parameter.requires_grad for parameter in average.model.parameters())


def test_it_forgets_slowly_only_later():
    assert [decay_at(n, 0.3) for n in (1, 2, 3, 4)] == [2 / 11, 3 / 12, 0.3, 0.3]
    assert decay_at(100_000, 0.9999) == 0.9999


def test_its_file_has_nothing_but_weights(tmp_path):
    _, average = train(tmp_path, 7, 0.9)
    saved = read_checkpoint(str(tmp_path / "model_final_ema.pth"))
    assert saved.keys() == {"model", "iteration", "class_names"}
    assert saved["iteration"] == 6
    for name, value in average.model.state_dict().items():
        assert saved["model"][name].equal(value)
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"


# ---- on a detector ---------------------------------------------------------------------------

OPTIONS = ["SOLVER.EMA_DECAY", 0.9, "TEST.EVAL_PERIOD", 4, "MODEL.FCOS.SCORE_THRESH_TEST", 0.0]


def cfg_of(*options):
    cfg = get_cfg()
    cfg.merge_from_file("tiny.yaml")
    cfg.merge_from_list(["TEST.BEST_METRIC", "bbox/AR", *OPTIONS, *options])
    register_custom_datasets(cfg)
    return cfg


class Scored(Trainer):
    """The metric is the mean score, on which every weight has an influence."""

    @classmethod
    def test(cls, cfg, model, evaluators=None):
        if not super().test(cfg, model, evaluators):
            return {}
        folder = "inference" if evaluators is None else "inference_EMA"
        with open(f"{cfg.OUTPUT_DIR}/{folder}/coco_instances_results.json") as file:
            found = json.load(file)
        return {"bbox": {"AR": sum(d["score"] for d in found) / len(found)}}


def trained(*options, resume=False):
    torch.manual_seed(0)
    trainer = Scored(cfg_of(*options))
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


def test_both_are_evaluated_and_kept(project):
    trainer = trained()
    rows = logged()
    raw = {row["iteration"]: row["bbox/AR"] for row in rows if "bbox/AR" in row}
    ema = {row["iteration"]: row["bbox_EMA/AR"] for row in rows if "bbox_EMA/AR" in row}
    assert [*raw] == [*ema] == [3, 8]
    assert raw != ema
    for name, values, metric in (
        ("model_best", raw, "bbox/AR"),
        ("model_best_ema", ema, "bbox_EMA/AR"),
    ):
        best = read_checkpoint(f"output/{name}.pth")["best"]
        assert best["metric"] == metric
        assert best["value"] == max(values.values())
    cfg = cfg_of("OUTPUT_DIR", "file")
    model = Trainer.build_model(cfg)
    AdetCheckpointer(model).load("output/model_final_ema.pth")
    assert Scored.test(cfg, model)["bbox"]["AR"] == ema[8]
    other = Trainer.build_model(cfg)
    DetectionCheckpointer(other).load("output/model_final_ema.pth")
    for name, value in other.state_dict().items():
        assert value.equal(model.state_dict()[name])
    weight = "backbone.fpn_output3.weight"
    assert not trainer.model.state_dict()[weight].equal(model.state_dict()[weight])


def test_the_training_is_that_without_it(project):
    with_it = trained().model.state_dict()
    without = trained("SOLVER.EMA_DECAY", 0.0, "OUTPUT_DIR", "without").model.state_dict()
    for name, value in without.items():
        assert value.equal(with_it[name]), name


SHORT = ["DATASETS.TEST", "()", "TEST.EVAL_PERIOD", 0, "SOLVER.MAX_ITER", 4]


def test_switched_off_on_resume(project, caplog):
    trained(*SHORT)
    with caplog.at_level(logging.WARNING):
        trained(*SHORT, "SOLVER.EMA_DECAY", 0.0, "SOLVER.MAX_ITER", 5, resume=True)
    said = [record.getMessage() for record in caplog.records]
    (line,) = [line for line in said if "EMA" in line or "Average" in line]
    assert line.startswith("SOLVER.EMA_DECAY is 0.0, but was 0.9 before: the training goes on")


def test_switched_on_on_resume(project, caplog):
    before = trained(*SHORT, "SOLVER.EMA_DECAY", 0.0).model.state_dict()
    with caplog.at_level(logging.INFO):
        trained(*SHORT, resume=True)  # all iterations are done
        trainer = trained(*SHORT, "SOLVER.MAX_ITER", 5, resume=True)
    assert "The checkpoint has no average of weights: it begins with its weights." in caplog.text
    assert "SOLVER.EMA_DECAY is 0.9, but was 0.0 before" in caplog.text
    name = "backbone.fpn_output3.weight"
    got = read_checkpoint("output/model_final_ema.pth")["model"][name]
    want = 2 / 11 * before[name] + 9 / 11 * trainer.model.state_dict()[name]
    torch.testing.assert_close(got, want)


# ---- values ----------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2.0])
def test_a_decay_out_of_range(project, decay):
    with pytest.raises(UserError, match=rf"^SOLVER.EMA_DECAY is {decay}: set it to a number"):
        Trainer(cfg_of("SOLVER.EMA_DECAY", decay))


def test_the_metric_is_named_without_the_ending(project):
    with pytest.raises(UserError, match=r"bbox_EMA/AP: set it to bbox/AP, by which"):
        check_evaluations(cfg_of("TEST.BEST_METRIC", "bbox_EMA/AP"))


def test_the_table_names_it(project):
    table = schedule_table(cfg_of("SOLVER.EMA_DECAY", 0.5, "SOLVER.MAX_ITER", 3), 12, 1)
    assert "average of weights     decay 0.182 to 0.307692, in model_final_ema.pth" in table
    assert "the best weights and the best average by bbox/AR are kept" in table
    assert "average" not in schedule_table(cfg_of("SOLVER.EMA_DECAY", 0.0), 12, 1)
