"""However a training is stopped around an evaluation, its best checkpoint is the same."""

import json
import multiprocessing
import os
import signal

import pytest
import torch

from detectron2.engine import HookBase
from detectron2.engine.hooks import EvalHook
from detectron2.utils import comm
from fcos.checkpoint import read_checkpoint
from fcos.config import get_cfg
from fcos.data import register_custom_datasets
from fcos.engine import Trainer, TrainingStopped
from fcos.engine.best import BestCheckpoint, EvaluationAgain
from fcos.engine.hooks import Checkpoints, StopOnSignal
from tests.engine.test_hooks import trainer
from tests.processes import run_in_two

pytestmark = pytest.mark.cpu

# ---- on a model of one weight ----------------------------------------------------------------

ITERATIONS, PERIOD = 6, 2
EVALUATIONS = (2, 4, 6)  # after so many iterations


class Killed(BaseException):
    """Nothing catches it: what a kill leaves behind is what is on the disk."""


class Breaks(HookBase):
    def __init__(self, at, action):
        self.at, self.action = at, action

    def before_step(self):
        if self.trainer.iter + 1 == self.at:
            self.action()


def run(folder, best, stop="", at=0):
    """Train, or go on, with the largest value after ``best`` iterations.

    ``stop`` is where it stops: when the evaluation after ``at`` iterations begins, when its
    checkpoint is to be written, or with a signal in the iteration before it.
    """
    folder.mkdir(exist_ok=True)
    loop, evaluated = trainer(folder), []
    loop.checkpointer.resume_or_load("", resume=True)
    save = loop.checkpointer.save

    def evaluate():
        done = min(loop.iter + 1, ITERATIONS)
        evaluated.append(done)
        if stop == "evaluating" and done == at:
            raise Killed
        return {"bbox": {"AP": 1.0 - abs(done - best) / 10}}

    def save_or_stop(name, **more):
        if stop == "saving" and name == "model_best" and more["iteration"] + 1 == at:
            raise Killed
        save(name, **more)

    loop.checkpointer.save = save_or_stop
    evaluation = EvalHook(PERIOD, evaluate)
    kept = BestCheckpoint(loop.checkpointer, PERIOD, "bbox/AP")
    loop.register_hooks([Checkpoints(loop.checkpointer, PERIOD), StopOnSignal(loop.checkpointer)])
    loop.register_hooks([evaluation, kept, EvaluationAgain([evaluation, kept])])
    if stop == "signal":
        loop.register_hooks([Breaks(at, lambda: os.kill(os.getpid(), signal.SIGTERM))])
    start = loop.iter + 1 if loop.checkpointer.has_checkpoint() else 0
    try:
        loop.train(start, ITERATIONS)
    except (Killed, TrainingStopped):
        assert stop
    else:
        assert not stop
    return evaluated


def plain(value):
    """A checkpoint without tensors: something that can be compared."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.numpy().tobytes()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def files(folder):
    paths = [*folder.glob("model_best*.pth"), *folder.glob("model_final*.pth")]
    return {path.stem: plain(read_checkpoint(str(path))) for path in paths}


@pytest.mark.parametrize("at", EVALUATIONS)
@pytest.mark.parametrize("best", EVALUATIONS)
@pytest.mark.parametrize("stop", ["evaluating", "saving", "signal"])
def test_it_is_that_of_a_training_without_interruption(tmp_path, stop, best, at):
    if stop == "saving" and at > best:
        return  # it is not the best, so nothing is written
    assert run(tmp_path / "whole", best) == [*EVALUATIONS]
    run(tmp_path / "parts", best, stop, at)
    assert run(tmp_path / "parts", best) == [n for n in EVALUATIONS if n >= at]
    whole = files(tmp_path / "whole")
    assert files(tmp_path / "parts") == whole
    kept = whole["model_best"]
    assert kept["best"] == {"metric": "bbox/AP", "value": 1.0, "iteration": best - 1}
    assert kept["iteration"] == kept["trainer"]["iteration"] == best - 1


def test_an_evaluation_made_again_changes_nothing(tmp_path):
    run(tmp_path, best=6)
    before = (tmp_path / "model_best.pth").stat()
    assert run(tmp_path, best=6) == [6]
    assert (tmp_path / "model_best.pth").stat() == before


def test_a_checkpoint_between_two_evaluations_is_not_evaluated(tmp_path):
    run(tmp_path, best=2, stop="signal", at=3)
    assert run(tmp_path, best=2) == [4, 6]


# ---- on a detector ---------------------------------------------------------------------------

OPTIONS = [
    *("SOLVER.CHECKPOINT_PERIOD", 2, "MODEL.FCOS.SCORE_THRESH_TEST", 0.0),
    *("TEST.BEST_METRIC", "bbox/score"),
]
SHORT = ["SOLVER.MAX_ITER", 6, "TEST.EVAL_PERIOD", 2]


class Scored(Trainer):
    """The metric is the mean score, which every weight has a part in; ``kill`` ends it in one."""

    kill = -1

    @classmethod
    def build_evaluator(cls, cfg, dataset_name, output_folder=None):
        evaluator = super().build_evaluator(cfg, dataset_name, output_folder)
        if comm.is_main_process():  # tests/torture.py waits for it
            with open(f"{cfg.OUTPUT_DIR}/evaluations", "a") as file:
                file.write("x")
        cls.kill -= 1
        if cls.kill == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        evaluate, folder = evaluator.evaluate, output_folder or f"{cfg.OUTPUT_DIR}/inference"

        def scored():
            results = evaluate()
            if results:
                with open(f"{folder}/coco_instances_results.json") as file:
                    found = json.load(file)
                score = sum(d["score"] for d in found) / len(found)
                # It rises in a training; the other one falls at last.
                results["bbox"].update(score=score, near=-abs(score - 0.1))
            return results

        evaluator.evaluate = scored
        return evaluator


def train(output, kill=0, resume=False, options=SHORT):
    cfg = get_cfg()
    cfg.merge_from_file("tiny.yaml")
    cfg.merge_from_list([*OPTIONS, *options, "OUTPUT_DIR", output])
    os.makedirs(output, exist_ok=True)
    register_custom_datasets(cfg)
    Scored.kill = kill
    torch.manual_seed(0)  # of the weights
    trainer = Scored(cfg)
    trainer.resume_or_load(resume=resume)
    open(f"{output}/started", "a").close()
    trainer.train()


@pytest.mark.parametrize("number", [2, 3])
def test_killed_in_an_evaluation(project, number):
    train("whole")
    process = multiprocessing.get_context("spawn").Process(target=train, args=("parts", number))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    train("parts", resume=True)
    parts, whole = files(project / "parts"), files(project / "whole")
    for name in whole:
        differ = [key for key in whole[name] if parts[name][key] != whole[name][key]]
        assert not differ, name
    for folder in ("whole", "parts"):  # closer together than detectron2 writes
        lines = map(json.loads, (project / folder / "metrics.json").read_text().splitlines())
        at = [line["iteration"] for line in lines if "bbox/score" in line]
        # Where all iterations were done before, detectron2 counts one more.
        assert [min(iteration, 6) for iteration in at] == [1, 3, 6]
    best = read_checkpoint("parts/model_best.pth")
    assert best["best"]["metric"] == "bbox/score" and 0 < best["best"]["value"] < 1


def test_two_processes_with_batch_norm_evaluate_the_weights_that_they_save(project):
    run_in_two(train, "two")
    logged = [json.loads(line) for line in (project / "two/metrics.json").read_text().splitlines()]
    (last,) = [row["bbox/score"] for row in logged if row["iteration"] == 6]
    detected = (project / "two/inference/coco_instances_results.json").read_text()

    cfg = get_cfg()
    cfg.merge_from_file("tiny.yaml")
    cfg.merge_from_list([*OPTIONS, "OUTPUT_DIR", "file"])
    os.mkdir("file")
    register_custom_datasets(cfg)
    model = Scored.build_model(cfg)
    model.load_state_dict(torch.load("two/model_final.pth", weights_only=True)["model"])
    results = Scored.test(cfg, model)
    assert results["bbox"]["score"] == last
    assert (project / "file/inference/coco_instances_results.json").read_text() == detected
    assert len(json.loads(detected)) > 30
