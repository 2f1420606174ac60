"""What a run measured, from its files."""

import json
import math
import os

import pytest
import yaml

from fcos.evaluation.report.measured import measure
from fcos.evaluation.report.tables import spread_of, table3_lines
from fcos.evaluation.runs import open_folder
from fcos.evaluation.truth import read_truth
from fcos.utils.errors import UserError
from tests.evaluation.report.standin import (
    config_of,
    figures,
    leave_checkpoint,
    leave_evaluation,
    leave_run,
)


def measured(data, path):
    truth = read_truth("pets", str(data.json_file), str(data.image_root))
    return measure(open_folder(path), truth, "pets")


def test_figures_are_those_of_the_last_evaluation(data):
    run = measured(data, leave_run(data, "a", "3_nms", ap=31.25, seed=4))
    assert run.kind == "3_nms" and run.seed == 4 and run.note == ""
    assert run.figures == {"box": figures(31.25)}
    assert run.source == f"{run.folder.path}/metrics.json"
    assert run.budget.iterations == 40 and run.budget.images_per_batch == 3
    assert run.seconds == 0.5 and run.weights.endswith("a/model_final.pth")


def test_a_run_that_is_not_finished_has_no_figures(data):
    run = measured(data, leave_run(data, "a", "3_nms", done=30))
    assert run.figures == {} and run.note == "a is not finished: 30 of 40 iterations."


def test_an_earlier_evaluation_is_not_that_of_the_last_iteration(data):
    path = leave_run(data, "a", "3_nms")
    lines = [{"iteration": 19, "bbox/AP": 12.0}, {"iteration": 39, "lr": 0.1}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (data.root / "a" / "metrics.json").write_text(text)
    run = measured(data, path)
    assert run.figures == {}
    assert run.note == "a is trained, but was not evaluated after its last iteration."


def test_an_evaluation_alone_is_computed_from_its_detections(data):
    path, want = leave_evaluation(data, "a", "8_normalization", "elsewhere.pth")
    run = measured(data, path)
    for task, name in (("box", "bbox"), ("mask", "segm")):
        got = {key: run.figures[task][key] for key in figures(0)}
        assert got == pytest.approx({key: want[name][key] for key in got}, abs=1e-9)
    assert run.note == "a was only evaluated: how it was trained is not known."
    assert run.budget.iterations is None and run.weights == "elsewhere.pth" and run.seed is None


def test_an_evaluation_of_weights_of_another_run_has_its_budget(data):
    trained = leave_run(data, "trained", "3_nms", seed=7)
    path, _ = leave_evaluation(data, "again", "2_p5", f"{trained}/model_final.pth")
    run = measured(data, path)
    assert (run.kind, run.seed, run.note) == ("2_p5", 7, "")
    assert run.trained_in == trained and run.budget.iterations == 40


def test_an_evaluation_after_the_training_counts_with_its_own_settings(data):
    path = leave_run(data, "a", "3_nms", seed=7)
    config = config_of(data, data.root / "a", "2_p5", seed=7, weights=f"{path}/model_final.pth")
    file = data.root / "a" / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    os.utime(file, (2**31, 2**31))
    run = measured(data, path)
    assert (run.kind, run.seed, run.note) == ("2_p5", 7, "")
    assert run.source.endswith("inference/coco_instances_results.json")
    assert run.figures["box"] != figures(30.0) and run.budget.iterations == 40


def test_other_weights_than_the_last_have_their_own_iterations(data):
    trained = data.root / "trained"
    leave_run(data, "trained", "3_nms", seed=7)
    leave_checkpoint(data, trained / "model_best.pth", "3_nms", seed=7, done=20)
    path, _ = leave_evaluation(data, "best", "3_nms", trained / "model_best.pth")
    run = measured(data, path)
    assert run.weights == f"{trained}/model_best.pth" and run.trained_in == str(trained)
    assert run.budget.iterations == 20 and run.seed == 7
    assert run.note == "best is of model_best.pth, the weights after 20 of 40 iterations."


def test_a_relative_path_of_weights_begins_where_the_evaluation_was_started(
    data, monkeypatch, tmp_path
):
    (data.root / "output").mkdir()
    leave_run(data, "output/trained", "3_nms", seed=7)
    path, _ = leave_evaluation(data, "output/again", "3_nms", "output/trained/model_final.pth")
    file = data.root / "output" / "again" / "config.yaml"
    config = {**yaml.safe_load(file.read_text()), "OUTPUT_DIR": "output/again/"}
    file.write_text(yaml.safe_dump(config))
    # Another file of that name where the report is written, and none.
    decoy = tmp_path / "elsewhere" / "output" / "trained" / "model_final.pth"
    decoy.parent.mkdir(parents=True)
    decoy.write_bytes(b"other weights")
    (tmp_path / "empty").mkdir()
    for place, weights in (
        (data.root, "output/trained/model_final.pth"),
        (tmp_path / "elsewhere", f"{data.root}/output/trained/model_final.pth"),
        (tmp_path / "empty", f"{data.root}/output/trained/model_final.pth"),
    ):
        monkeypatch.chdir(place)
        run = measured(data, path)
        assert (run.weights, run.seed, run.budget.iterations) == (weights, 7, 40)


@pytest.mark.parametrize("done", [None, 40])
def test_weights_without_a_training_beside_them(data, done):
    weights = data.root / "lone.pth"
    if done:
        leave_checkpoint(data, weights, "3_nms", seed=7, done=done)
    path, _ = leave_evaluation(data, "a", "3_nms", weights)
    run = measured(data, path)
    assert run.budget.iterations == done and run.seed == (7 if done else None)
    assert ("how it was trained is not known" in run.note) != bool(done)
    assert run.budget.images_per_batch == (3 if done else None)


@pytest.mark.parametrize("age", [1, 2**31])
def test_an_evaluation_does_not_replace_seed_and_start_of_the_training(data, age):
    """Whatever the ages of the files are, which copies of a folder do not keep."""
    path = leave_run(data, "a", "3_nms", seed=7)
    leave_checkpoint(data, f"{path}/model_final.pth", "3_nms", seed=7)
    os.utime(data.root / "a" / "config.yaml", (age, age))
    assert measured(data, path).source.endswith("metrics.json")
    config = config_of(data, data.root / "a", "3_nms", -1, weights=f"{path}/model_final.pth")
    file = data.root / "a" / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    os.utime(file, (age, age))
    run = measured(data, path)
    assert run.source.endswith("inference/coco_instances_results.json")
    assert (run.seed, run.note) == (7, "") and run.budget.iterations == 40
    assert run.budget.weights == ""  # it began at random


def test_an_evaluation_without_detections_has_no_ap(data):
    path, _ = leave_evaluation(data, "a", "3_nms", "elsewhere.pth")
    (data.root / "a" / "inference" / "coco_instances_results.json").write_text("[]")
    run = measured(data, path)
    assert math.isnan(run.figures["box"]["AP"]) and "mask" not in run.figures
    assert not run.found_something
    masks, _ = leave_evaluation(data, "b", "fcos_masks", "elsewhere.pth")
    (data.root / "b" / "inference" / "coco_instances_results.json").write_text("[]")
    assert math.isnan(measured(data, masks).figures["mask"]["AP"])


def test_figures_of_another_data_set_are_not_taken(data):
    path = leave_run(data, "a", "3_nms")
    truth = read_truth("pets", str(data.json_file), str(data.image_root))
    run = measure(open_folder(path), truth, "dogs")
    assert run.figures == {} and run.note == "a is trained, but was not evaluated on dogs."
    config = yaml.safe_load((data.root / "a" / "config.yaml").read_text())
    config["DATASETS"]["TEST"] = ["dogs", "pets"]
    (data.root / "a" / "config.yaml").write_text(yaml.safe_dump(config))
    lines = [{"iteration": 39, "lr": 0.1}, {"iteration": 40, "dogs/bbox/AP": 7.0, "bbox/AP": 1.0}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (data.root / "a" / "metrics.json").write_text(text)
    os.utime(data.root / "a" / "model_final.pth", (2**31, 2**31))  # no evaluation after it
    assert measure(open_folder(path), truth, "dogs").figures["box"]["AP"] == 7.0
    assert measure(open_folder(path), truth, "pets").figures == {}


def test_proposals_have_no_ap(data):
    path = leave_run(data, "a", "3_nms")
    last = {"iteration": 40, "box_proposals/AR@100": 50.0}
    text = json.dumps({"iteration": 39, "lr": 0.1}) + "\n" + json.dumps(last) + "\n"
    (data.root / "a" / "metrics.json").write_text(text)
    assert measured(data, path).note == "a proposes regions: it has recalls, and no AP."


def test_a_run_that_found_nothing_says_so(data):
    path = leave_run(data, "a", "3_nms")
    file = data.root / "a" / "metrics.json"
    last = {"iteration": 40, **{f"bbox/{key}": math.nan for key in figures(0)}}
    file.write_text(json.dumps({"iteration": 39, "lr": 0.1}) + "\n" + json.dumps(last) + "\n")
    run = measured(data, path)
    assert math.isnan(run.figures["box"]["AP"]) and run.note == "a found nothing, so it has no AP."


def test_a_folder_without_anything_is_refused(data):
    (data.root / "empty").mkdir()
    with pytest.raises(UserError, match="has no results"):
        measured(data, str(data.root / "empty"))


def test_spread():
    spread = spread_of([1.0, 2.0, 4.0])
    assert spread.mean == pytest.approx(7 / 3)
    # deviations -4/3, -1/3, 5/3: (16 + 1 + 25) / 9 / (3 - 1)
    assert spread.deviation == pytest.approx(math.sqrt(42 / 9 / 2))
    assert spread_of([5.0]).mean == 5.0 and math.isnan(spread_of([5.0]).deviation)
    assert math.isnan(spread_of([]).mean)
    assert math.isnan(spread_of([1.0, math.nan]).mean)


def test_lines_have_the_runs_of_their_row_in_the_order_of_seeds(data):
    paths = [leave_run(data, f"s{seed}", "4_gn", ap=30 + seed, seed=seed) for seed in (2, 3, 1)]
    paths.append(leave_run(data, "stopped", "4_gn", done=20, seed=4))
    lines = {line.name: line for line in table3_lines([measured(data, p) for p in paths])}
    assert len(lines) == 9
    line = lines["4_gn"]
    assert [run.label for run in line.runs] == ["s1", "s2", "s3"] and line.seeds == "1, 2, 3"
    assert line.spreads["box"]["AP"].each == (31, 32, 33)
    assert line.unfinished == ("stopped is not finished: 20 of 40 iterations.",)
    assert lines["3_nms"].runs == () and lines["3_nms"].spreads == {}


def test_a_mean_is_of_runs_that_differ_in_their_seeds_alone(data):
    names = {"a": 1, "b": 2, "again": 1, "slow": 3, "unknown": -1}
    paths = [leave_run(data, name, "4_gn", seed=seed) for name, seed in names.items()]
    file = data.root / "slow" / "config.yaml"
    file.write_text(file.read_text().replace("IMS_PER_BATCH: 3", "IMS_PER_BATCH: 4"))
    lines = [x for x in table3_lines([measured(data, p) for p in paths]) if x.name == "4_gn"]
    assert [[run.label for run in line.runs] for line in lines] == [
        *(["a", "b"], ["again"], ["slow"], ["unknown"])
    ]
    assert [line.title for line in lines][:2] == [
        "+ GN in the towers (a, b)",
        "+ GN in the towers (again)",
    ]


def test_pictures_are_of_a_run_that_found_something(data):
    paths = [leave_run(data, f"s{seed}", "4_gn", seed=seed) for seed in (1, 2)]
    last = {"iteration": 40, **{f"bbox/{key}": math.nan for key in figures(0)}}
    text = json.dumps({"iteration": 39, "lr": 0.1}) + "\n" + json.dumps(last) + "\n"
    (data.root / "s1" / "metrics.json").write_text(text)
    (line,) = (x for x in table3_lines([measured(data, p) for p in paths]) if x.runs)
    assert line.seeds == "1, 2" and line.first.label == "s2"
