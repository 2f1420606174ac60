"""A training ends when it no longer gets better: against a count by hand, and over resumes."""

import json
import logging
import os
from pathlib import Path

import pytest
import torch

from fcos.checkpoint import read_checkpoint
from fcos.config import get_cfg
from fcos.config.evaluation_checks import check_evaluations
from fcos.data import register_custom_datasets
from fcos.engine import Trainer
from fcos.engine.schedule import schedule_table
from fcos.utils.errors import UserError
from tests.processes import run_in_two

pytestmark = pytest.mark.cpu


def logged():
    return [json.loads(line) for line in Path("output/metrics.json").read_text().splitlines()]


NAN = float("nan")


class Told(Trainer):
    """The result of an evaluation is what the test says."""

    results: dict[int, float] = {}
    averages: dict[int, float] = {}

    def test(self, cfg, model, evaluators=None):
        values = self.results if evaluators is None else self.averages
        value = values.get(min(self.iter + 1, self.max_iter), 0.0)
        return {"bbox": {"AP": value, "AR": -value}}


def train(results, *options, output="output", averages=(), resume=False):
    """Train with an evaluation in every iteration, and with these results."""
    cfg = get_cfg()
    cfg.merge_from_file("tiny.yaml")
    cfg.merge_from_list(["SOLVER.MAX_ITER", 8, "TEST.EVAL_PERIOD", 1, "TEST.PATIENCE", 2])
    cfg.merge_from_list(["OUTPUT_DIR", output, *options])
    os.makedirs(output, exist_ok=True)
    register_custom_datasets(cfg)
    Told.results, Told.averages = (
        dict(enumerate(values, start=1)) for values in (results, averages)
    )
    torch.manual_seed(0)
    trainer = Told(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


def by_hand(results, patience, most):
    """The number of iterations."""
    best, waited = None, 0
    for done, value in enumerate(results[: most - 1], start=1):
        if value == value and (best is None or value > best):
            best, waited = value, 0
        elif best is not None:
            waited += 1
        if waited >= patience:
            return done
    return most


@pytest.mark.parametrize(
    ("patience", "results"),
    [
        (2, [0.1, 0.3, 0.2, 0.3, 0.1, 0.4, 0.1, 0.1]),
        (3, [0.1, 0.3, 0.2, 0.3, 0.4, 0.4, 0.1, 0.1]),
        (1, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]),
        (2, [NAN, NAN, NAN, 0.1, NAN, NAN, NAN, NAN]),
    ],
)
def test_it_ends_where_counting_ends(project, results, patience):
    trainer = train(results, "TEST.PATIENCE", patience)
    done = by_hand(results, patience, 8)
    assert trainer.iter == trainer.max_iter == done
    final = read_checkpoint("output/model_final.pth")
    assert final["iteration"] == final["trainer"]["iteration"] == done - 1
    assert (project / "output" / "last_checkpoint").read_text() == "model_final.pth"
    for name, value in trainer.model.state_dict().items():
        assert value.equal(final["model"][name])
    rows = logged()
    assert max(row["iteration"] for row in rows) == done  # of the last evaluation


RESULTS = [0.1, 0.3, 0.2, 0.2, 0.2, 0.2, 0.5, 0.1]


def test_what_is_said(project, caplog):
    with caplog.at_level(logging.INFO):
        train(RESULTS)
    (said,) = [r.getMessage() for r in caplog.records if "ends early" in r.getMessage()]
    assert said == (
        "The training ends early, after iteration 3 of 8: 2 evaluations in a row were no better "
        "than the best one. The highest bbox/AP, 0.300, was that after iteration 1; its weights "
        "are in output/model_best.pth. model_final.pth has the last weights. To train on, use "
        "--resume with a larger TEST.PATIENCE, or 0."
    )
    assert read_checkpoint("output/model_best.pth")["iteration"] == 1


def test_a_training_that_has_ended_says_so_and_a_larger_patience_goes_on(project, caplog):
    train(RESULTS)
    before = read_checkpoint("output/model_final.pth")
    caplog.clear()
    with caplog.at_level(logging.INFO):
        trainer = train(RESULTS, resume=True)
    assert caplog.text.count("The training ends early, after iteration 3 of 8") == 1
    assert trainer.iter == 4
    after = read_checkpoint("output/model_final.pth")
    assert str(after) == str(before)
    trainer = train(RESULTS, "TEST.PATIENCE", 5, resume=True)
    assert trainer.iter == 8
    assert read_checkpoint("output/model_best.pth")["iteration"] == 6
    whole = train(RESULTS, "TEST.PATIENCE", 0, output="whole").model.state_dict()
    for name, value in trainer.model.state_dict().items():
        assert value.equal(whole[name])


def test_while_the_average_gets_better_it_goes_on(project):
    ema = ["SOLVER.EMA_DECAY", 0.9]
    trainer = train([0.3, 0.2, 0.1], *ema, averages=[0.1, 0.2, 0.3, 0.2, 0.1, 0.5])
    assert trainer.iter == 5
    assert read_checkpoint("output/model_best_ema.pth")["iteration"] == 2
    assert read_checkpoint("output/model_final_ema.pth")["iteration"] == 4


def test_a_metric_that_is_not_there(project):
    said = r"TEST.BEST_METRIC segm/AP, by which TEST.PATIENCE ends .* one of bbox/AP\."
    with pytest.raises(UserError, match=said):
        train(RESULTS, "TEST.BEST_METRIC", "segm/AP")


def test_augmented_evaluation_comes_at_the_end_too(project, monkeypatch):
    monkeypatch.setattr(Told, "test_with_TTA", lambda *_: {"bbox_TTA": {"AP": 0.7}})
    train(RESULTS, "TEST.AUG.ENABLED", True)
    rows = logged()
    assert [row["iteration"] for row in rows if "bbox_TTA/AP" in row] == [4]


def in_two(output):
    assert train(RESULTS, output=output).iter == 4


def test_two_processes_end_together(project):
    run_in_two(in_two, "two")
    assert read_checkpoint("two/model_final.pth")["iteration"] == 3


# ---- values ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["TEST.PATIENCE", -1], r"^TEST.PATIENCE is -1: set it to 0 or more\."),
        (["TEST.PATIENCE", 3, "DATASETS.TEST", ("a",)], "but TEST.EVAL_PERIOD is 0, so there are"),
        (["TEST.PATIENCE", 3, "TEST.EVAL_PERIOD", 5], "3 evaluations, but DATASETS.TEST is empty"),
    ],
)
def test_what_cannot_be(options, said):
    cfg = get_cfg()
    cfg.merge_from_list(options)
    with pytest.raises(UserError, match=said):
        check_evaluations(cfg)


def test_the_table_names_it():
    cfg = get_cfg()
    cfg.merge_from_list(["TEST.PATIENCE", 3, "TEST.EVAL_PERIOD", 500, "DATASETS.TEST", ("a",)])
    table = schedule_table(cfg, 10, 1)
    assert "the best by bbox/AP is kept; ends early after 3 that are no better" in table
