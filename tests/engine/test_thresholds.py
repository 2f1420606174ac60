"""A training writes the scores to cut at into its checkpoints, and nothing else changes by it."""

import dataclasses
import json
import logging
import os

import pytest
import torch

from fcos.checkpoint import cfg_in, read_checkpoint, thresholds_in
from fcos.config import get_cfg
from fcos.data import register_custom_datasets
from fcos.engine import Trainer, parts
from fcos.engine.thresholds import thresholds_entry
from fcos.evaluation import FastCOCOEvaluator, thresholds_of_results
from fcos_cli.checkpoint import main
from tests.engine.test_best import Breaks, Killed, plain
from tests.processes import run_in_two

pytestmark = pytest.mark.cpu

OPTIONS = [
    *("SOLVER.MAX_ITER", 6, "SOLVER.CHECKPOINT_PERIOD", 2, "TEST.EVAL_PERIOD", 2),
    *("MODEL.FCOS.SCORE_THRESH_TEST", 0.0, "MODEL.FCOS.PRIOR_PROB", 0.3),
]


class Rising(Trainer):
    """The metric is the iteration times ``sign``: the last evaluation is the best, or the first."""

    sign = 1.0
    evaluations = 0

    @classmethod
    def test(cls, cfg, model, evaluators=None):
        results = super().test(cfg, model, evaluators)
        cls.evaluations += 1
        if results:
            with open(f"{cfg.OUTPUT_DIR}/inference/coco_instances_results.json") as file:
                found = file.read()
            with open(f"{cfg.OUTPUT_DIR}/results{cls.evaluations}.json", "w") as file:
                file.write(found)
            results["bbox"]["order"] = cls.sign * cls.evaluations
        return results


def cfg_of(output, *options):
    cfg = get_cfg()
    cfg.merge_from_file("tiny.yaml")
    cfg.merge_from_list([*OPTIONS, "OUTPUT_DIR", output, "TEST.BEST_METRIC", "bbox/order"])
    cfg.merge_from_list(list(options))
    register_custom_datasets(cfg)
    return cfg


def killed():
    raise Killed


def train(output, *options, sign=1.0, kill_at=0):
    Rising.sign, Rising.evaluations = sign, 0
    os.makedirs(output, exist_ok=True)
    cfg = cfg_of(output, *options)
    with open(f"{output}/config.yaml", "w") as file:
        file.write(cfg.dump())
    torch.manual_seed(0)  # of the weights
    trainer = Rising(cfg)
    head = trainer.checkpointer.model.proposal_generator.fcos_head
    torch.nn.init.constant_(head.bbox_pred.bias, 2.8)  # boxes of some 32 pixels, as the objects
    trainer.resume_or_load(resume=True)
    if kill_at:
        trainer.register_hooks([Breaks(kill_at, killed)])
    trainer.train()
    return trainer


def stored(path):
    return thresholds_in(read_checkpoint(path), path)


def of_results(file):
    return thresholds_of_results(file, "tiny_val", 100, square_root=True)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A folder with two trainings, ``last`` and ``first``, whose best evaluation is that one."""
    from tests.tiny import write_project

    root = tmp_path_factory.mktemp("thresholds")
    write_project(root, number=14)
    before = os.getcwd()
    os.chdir(root)
    try:
        train("last")
        train("first", sign=-1.0)
    finally:
        os.chdir(before)
    return root


@pytest.fixture
def root(done, monkeypatch):
    monkeypatch.chdir(done)
    return done


# ---- in a training -----------------------------------------------------------------------------


def test_each_checkpoint_has_those_of_its_own_evaluation(root):
    assert stored("last/model_final.pth") == of_results("last/results3.json")
    assert stored("last/model_best.pth") == of_results("last/results3.json")
    assert stored("first/model_final.pth") == of_results("first/results3.json")
    assert stored("first/model_best.pth") == of_results("first/results1.json")
    first, last = (of_results(f"first/results{number}.json") for number in (1, 3))
    assert first != last and not first.is_empty and not last.is_empty
    assert first.rule == "best F1" and first.dataset == "tiny_val"
    # Between evaluations, weights have none.
    assert stored("last/model_0000001.pth") is None is stored("last/model_0000003.pth")


def test_they_are_those_of_a_loop_over_all_scores(root):
    with open("last/results3.json") as file:
        found = json.load(file)
    for class_, of in enumerate(stored("last/model_final.pth").classes):
        scores = sorted({d["score"] for d in found if d["category_id"] == class_ + 1})
        best = max(f1_at(score, class_ + 1, found) for score in scores)
        assert f1_at(of.score, class_ + 1, found) == best > 0
        assert 2 * of.precision * of.recall / (of.precision + of.recall) == pytest.approx(best)


def f1_at(score, category, found):
    """F1 of one class in a data set with one object in each image, at most."""
    with open("datasets/tiny/val.json") as file:
        objects = {a["image_id"]: a for a in json.load(file)["annotations"]}
    objects = {i: a["bbox"] for i, a in objects.items() if a["category_id"] == category}
    kept = [d for d in found if d["score"] >= score and d["category_id"] == category]
    right = {
        d["image_id"]
        for d in kept
        if d["image_id"] in objects and iou(d["bbox"], objects[d["image_id"]]) >= 0.5
    }
    return 2 * len(right) / (len(kept) + len(objects))


def iou(a, b):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    both = max(0, width) * max(0, height)
    return both / (a[2] * a[3] + b[2] * b[3] - both)


def test_nothing_else_in_the_checkpoints_changes(root, monkeypatch):
    monkeypatch.setattr(parts, "note_thresholds", lambda *_: None)
    train("without")
    for name in ("model_0000003", "model_best", "model_final"):
        without = read_checkpoint(f"without/{name}.pth")
        content = read_checkpoint(f"last/{name}.pth")
        assert ("score_thresholds" in content) == (name != "model_0000003")
        content.pop("score_thresholds", None)
        assert plain(content) == plain(without)


def test_a_resumed_training_ends_with_the_same(root):
    with pytest.raises(Killed):
        train("parts", kill_at=5)
    train("parts")
    whole, parts = (read_checkpoint(f"{folder}/model_final.pth") for folder in ("last", "parts"))
    assert plain(parts["model"]) == plain(whole["model"])
    assert stored("parts/model_final.pth") == stored("last/model_final.pth")
    # Stopped before they were written: the evaluation alone is run again.
    wanted = plain(parts)
    content = torch.load("parts/model_final.pth", weights_only=True)
    del content["score_thresholds"]
    torch.save(content, "parts/model_final.pth")
    train("parts")
    assert plain(read_checkpoint("parts/model_final.pth")) == wanted


def test_averaged_weights_have_their_own(root, caplog):
    with caplog.at_level(logging.INFO):
        train("average", "SOLVER.EMA_DECAY", 0.9)
    # Said of the files that have them, not of every evaluation.
    said = [text for text in caplog.messages if "has the scores to cut at, by best F1" in text]
    assert [text.split()[0] for text in said] == [
        "average/model_final.pth",
        "average/model_final_ema.pth",
    ]
    found = of_results("average/inference_EMA/coco_instances_results.json")
    assert stored("average/model_final_ema.pth") == stored("average/model_best_ema.pth") == found
    assert not found.is_empty and found != stored("average/model_final.pth")


def test_two_processes(root):
    run_in_two(train_in_two, "two")
    found = stored("two/model_final.pth")
    assert found == of_results("two/inference/coco_instances_results.json") and not found.is_empty


def train_in_two(output):
    train(output, "TEST.BEST_METRIC", "bbox/AP")


def test_where_nothing_is_right_there_are_none(root, caplog):
    train("none", "MODEL.FCOS.SCORE_THRESH_TEST", 0.99)
    assert stored("none/model_final.pth") is None


def test_another_evaluator_has_none(root, monkeypatch):
    monkeypatch.delattr(FastCOCOEvaluator, "score_thresholds")
    trainer = train("other")
    assert stored("other/model_final.pth") is stored("other/model_best.pth") is None
    assert thresholds_entry(trainer.model) == {}


# ---- fcos checkpoint thresholds ------------------------------------------------------------------


@pytest.fixture
def run(root, capsys, tmp_path):
    """Run the command on a copy of a training; return its exit code, output and errors."""

    def run(*words, output=str(tmp_path / "new.pth")):
        code = main(["thresholds", *words, "--output", output])
        return code, *capsys.readouterr()

    run.output = str(tmp_path / "new.pth")
    return run


def test_every_file_of_the_training_carries_its_config(root):
    files = [name for name in os.listdir("first") if name.endswith(".pth")]
    assert {"model_best.pth", "model_final.pth"} < set(files)
    for name in files:
        cfg = cfg_in(read_checkpoint(os.path.join("first", name)), name)
        assert cfg.MODEL.FCOS.NUM_CLASSES == 2 and list(cfg.DATASETS.TEST) == ["tiny_val"]


def test_evaluating_gives_what_the_training_gave(run):
    code, out, _ = run("first")  # its best checkpoint
    assert code == 0 and stored(run.output) == stored("first/model_best.pth")
    table = stored(run.output).table(["dark", "bright"])
    assert out.endswith(f"{table}\nWritten to {run.output}.\n")
    code, _, _ = run("first/model_final.pth")
    assert code == 0 and stored(run.output) == stored("first/model_final.pth")
    assert not os.path.exists("first/inference/tiny_val_coco_format.json")


def test_results_in_place_of_an_evaluation(run, monkeypatch):
    monkeypatch.setattr("fcos.engine.calibration.Trainer", None)
    code, _, _ = run("first", "--results", "first/results1.json")
    assert code == 0 and stored(run.output) == stored("first/model_best.pth")
    code, _, _ = run("first", "--results", "first/results1.json", "--recall", "0.5")
    found = stored(run.output)
    assert found.rule == "a recall of at least 0.5"
    assert all(class_.recall >= 0.5 for class_ in found.classes if class_.score is not None)
    opts = ["--opts", "TEST.AUG.ENABLED", "True", "MODEL.FCOS.SQRT_SCORE", "False"]
    code = main(["thresholds", "first", "--results", "first/results1.json", *opts])
    found = stored("first/model_best.pth")
    assert code == 0 and found.augmented and not found.square_root
    original = of_results("first/results1.json")
    again = dataclasses.replace(found, augmented=False, square_root=True)
    assert again == original
    main(["thresholds", "first", "--results", "first/results1.json"])
    assert stored("first/model_best.pth") == original


def test_an_older_checkpoint(run, tmp_path):
    content = torch.load("first/model_best.pth", weights_only=True)
    kept = content.pop("score_thresholds")
    del content["fcos_config"]
    old = str(tmp_path / "old.pth")
    torch.save(content, old)
    assert f"Error: {old} carries no config: give --config-file, the one that" in run(old)[2]
    assert run(old, "--config-file", "first/config.yaml", output=f"{old}.pth")[0] == 0
    assert read_checkpoint(f"{old}.pth")["score_thresholds"] == kept


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gone.pth"], "The weights file gone.pth does not exist"),
        (["datasets"], "datasets is a folder with neither model_best.pth nor model_final.pth: na"),
        (["first", "--opts", "DATASETS.TEST", "()"], "DATASETS.TEST is empty, so there is nothing"),
        (["first", "--results", "gone.json"], "The results gone.json do not exist."),
        (["first", "--opts", "TEST.AUG.ENABLED", "True"], "TEST.AUG.ENABLED is True: for its sco"),
        (["first", "--opts", "MODEL.FCOS.SCORE_THRESH_TEST", "0.99"], "On tiny_val, nothing was"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(root, words, message, tmp_path, capsys):
    output = str(tmp_path / "new.pth")
    assert main(["thresholds", words[0], "--output", output, *words[1:]]) == 1
    assert f"Error: {message}" in capsys.readouterr().err and not os.path.exists(output)


def test_a_precision_that_no_class_reaches(root, capsys, tmp_path):
    with open("first/results1.json") as file:
        found = [dict(d, bbox=[0, 0, 1, 1]) for d in json.load(file)]
    (tmp_path / "wrong.json").write_text(json.dumps(found))
    words = ["first", "--results", str(tmp_path / "wrong.json"), "--precision", "0.5"]
    assert main(["thresholds", *words]) == 1
    said = "Error: On tiny_val, no class has a score by a precision of at least 0.5: nothing was w"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("value", ["0", "1.5", "x", "nan"])
def test_no_precision(value, capsys):
    with pytest.raises(SystemExit):
        main(["thresholds", "a.pth", "--precision", value])
    assert f"'{value}' is not a number above 0 and up to 1" in capsys.readouterr().err
