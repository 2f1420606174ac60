"""Which runs a report needs, and which of them are finished."""

import json
import os
from pathlib import Path

import pytest

from fcos.evaluation.report import PROFILES, plan_runs
from fcos.evaluation.report.plan import Profile
from fcos.evaluation.report.rows import kind_of
from fcos.utils.errors import UserError
from fcos_cli import report_runs

CONFIGS = Path(__file__).parents[3] / "configs"


def planned(tmp_path, profile="quick", options=(), masks=True):
    names = {"0_retinanet": "digits_retinanet", "fcos_masks": "digits_mask"} if masks else {}
    files = {name: str(CONFIGS / f"{file}.yaml") for name, file in names.items()}
    if isinstance(profile, str):
        profile = PROFILES[profile]
    return plan_runs(profile, str(tmp_path), str(CONFIGS / "digits.yaml"), files, options)


def finish(run):
    """Leave the files of a finished run."""
    folder = Path(run.folder)
    (folder / "inference").mkdir(parents=True)
    (folder / "config.yaml").write_text(run.cfg.dump())
    (folder / "inference" / "coco_instances_results.json").write_text("[]")
    if not run.weights:
        end = run.cfg.SOLVER.MAX_ITER
        lines = [{"iteration": end - 1, "lr": 0.1}, {"iteration": end, "bbox/AP": 30.0}]
        (folder / "metrics.json").write_text("".join(json.dumps(x) + "\n" for x in lines))
        (folder / "model_final.pth").write_bytes(b"")


def test_the_quick_profile_is_four_trainings_at_most_and_short(tmp_path):
    runs = planned(tmp_path)
    assert [run.name for run in runs] == [
        *("3_nms-seed1", "8_normalization-seed1", "2_p5-seed1", "fcos_masks-seed1")
    ]
    for run in runs:
        solver = run.cfg.SOLVER
        assert (solver.MAX_ITER, solver.STEPS, solver.WARMUP_ITERS) == (300, (245, 286), 75)
        assert f"{kind_of(run.cfg)}-seed{run.cfg.SEED}" == run.name
    assert runs[2].weights == f"{runs[0].folder}/model_final.pth" == runs[2].cfg.MODEL.WEIGHTS
    assert [run.weights for run in runs if run is not runs[2]] == [""] * 3


def test_the_full_profile_has_every_row_with_three_seeds(tmp_path):
    runs = planned(tmp_path, "full")
    seeds = [run.cfg.SEED for run in runs]
    assert len(runs) == 3 * 10 and seeds == [1] * 10 + [2] * 10 + [3] * 10
    assert {kind_of(run.cfg) for run in runs} == {
        "0_retinanet",
        *("1_c5", "2_p5", "3_nms", "4_gn", "5_ctr_on_reg", "6_ctr_sampling", "7_giou"),
        *("8_normalization", "fcos_masks"),
    }
    assert sum(bool(run.weights) for run in runs) == 3
    schedules = {(run.cfg.SOLVER.MAX_ITER, run.cfg.SOLVER.STEPS) for run in runs}
    assert schedules == {(400, (327, 382))}


def test_the_rows_keep_data_and_schedule_of_the_config(tmp_path):
    runs = planned(tmp_path, options=["SOLVER.BASE_LR", "0.02"])
    assert {run.cfg.SOLVER.BASE_LR for run in runs} == {0.02}
    assert {run.cfg.DATASETS.TEST for run in runs} == {("digits_val",)}
    assert {run.cfg.MODEL.FPN.OUT_CHANNELS for run in runs} == {128}


@pytest.mark.parametrize("key", ["SEED", "OUTPUT_DIR", "MODEL.FCOS.NORM"])
def test_what_the_plan_sets_itself_is_refused(tmp_path, key):
    with pytest.raises(UserError, match=f"^{key}.* leave it out"):
        planned(tmp_path, options=["SOLVER.BASE_LR", "0.02", key, "GN"])


def test_iterations_that_are_asked_for_are_those_of_every_run(tmp_path):
    runs = planned(tmp_path, options=["SOLVER.MAX_ITER", "5000"])
    assert {run.cfg.SOLVER.MAX_ITER for run in runs} == {5000}


def test_what_is_finished(tmp_path):
    runs = planned(tmp_path, masks=False)
    trained, _, evaluated = runs
    assert not any(run.is_finished() for run in runs) and trained.done() == 0
    finish(trained)
    finish(evaluated)
    assert trained.is_finished() and evaluated.is_finished() and trained.done() == 300
    # Weights that are newer than their evaluation.
    weights = Path(trained.folder) / "model_final.pth"
    os.utime(weights, (2**31, 2**31))
    assert trained.is_finished() and not evaluated.is_finished()
    # Trained to its end, but stopped in the evaluation.
    Path(trained.folder, "metrics.json").write_text('{"iteration": 299, "lr": 0.1}\n')
    assert not trained.is_finished() and trained.done() == 300


def test_a_run_with_other_settings_is_not_gone_on_with(tmp_path):
    run = planned(tmp_path)[0]
    finish(run)
    other = planned(tmp_path, options=["SOLVER.BASE_LR", "0.02"])[0]
    with pytest.raises(UserError, match=r"SOLVER.BASE_LR is 0.05 there and would be 0.02"):
        other.is_finished()


def test_the_list_says_what_is_to_be_done(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(PROFILES, "quick", Profile(("2_p5", "3_nms"), (1,), 50))
    words = ["--config-file", str(CONFIGS / "digits.yaml"), "--masks", "", "--mask-rcnn", ""]
    words += ["--output", str(tmp_path), "--list"]
    assert report_runs.main(words) == 0
    assert capsys.readouterr().out == (
        "3_nms-seed1: 0 of 50 iterations\n"
        f"2_p5-seed1: to evaluate, with {tmp_path}/3_nms-seed1/model_final.pth\n"
    )


def test_what_the_program_repeats_is_what_the_package_has():
    assert set(PROFILES) == set(report_runs.PROFILES)


def test_other_data_have_no_detectors_of_the_digits():
    args = report_runs.parse_args([])
    assert args.masks == "configs/digits_mask.yaml" and args.output == "output/report/quick"
    args = report_runs.parse_args(["--config-file", "mine.yaml", "--mask-rcnn", "rcnn.yaml"])
    assert (args.masks, args.retinanet, args.mask_rcnn) == ("", "", "rcnn.yaml")
