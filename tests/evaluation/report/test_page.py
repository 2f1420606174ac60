"""The document: its figures are those of the runs' files, and it says what was not run."""

import dataclasses
import json
import os
import re
from pathlib import Path

import pytest
import yaml

from detectron2.data import DatasetCatalog, MetadataCatalog
from fcos.evaluation.report import page, summary_of_course, write_report
from fcos.evaluation.report.captions import caption_of
from fcos.evaluation.report.rows import ROWS
from fcos.utils.errors import UserError
from tests.evaluation.conftest import Data
from tests.evaluation.report.standin import figures, leave_run
from tests.evaluation.test_compare import Checker


@pytest.fixture
def runs(data):
    return leave_runs(data)


def leave_runs(data):
    """Baseline with two seeds, improvements with one, masks of both kinds; one stopped."""
    return [
        leave_run(data, "base-1", "3_nms", ap=30.0, seed=1, noise=0.12),
        leave_run(data, "base-2", "3_nms", ap=32.0, seed=2),
        leave_run(data, "all", "8_normalization", ap=41.0, noise=0.02),
        leave_run(data, "gn", "4_gn", done=20),
        leave_run(data, "masks", "fcos_masks", ap=43.0, mask_ap=21.0),
        leave_run(data, "rcnn", "mask_rcnn", ap=44.0, mask_ap=25.0),
    ]


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    """A report on these runs, written once: the study, the page, the JSON."""
    before = set(DatasetCatalog.list())
    data = Data(tmp_path_factory.mktemp("report"))
    data.name = "animals"  # registered longer than the "pets" of each test
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_MOST", "_FEWEST"):
            patch.setattr(f"fcos.evaluation.resampling.{name}", 60)
        yield written(data, leave_runs(data), num_images=3)
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def rows_of(text):
    """Texts of the cells of every row of every table, by table."""
    tables = re.findall(r"<table>.*?</table>", text, re.S)
    return [
        [
            [" ".join(re.sub("<.*?>", " ", cell).split()) for cell in cells]
            for row in re.findall(r"<tr.*?</tr>", table, re.S)
            if (cells := re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row, re.S))
        ]
        for table in tables
    ]


def written(data, runs, num_images=1):
    output = data.root / "report"
    study = write_report(runs, str(output), num_images=num_images)
    text = (output / "report.html").read_text(encoding="utf-8")
    return study, text, json.loads((output / "report.json").read_text(encoding="utf-8"))


def table_with(text, first):
    (found,) = [t for t in rows_of(text) if any(row[0] == first for row in t)]
    return {row[0]: row[1:] for row in found}


def test_the_figures_are_those_of_the_runs_own_files(document):
    _, text, numbers = document
    for run in numbers["runs"]:
        generator = "RPN" if run["kind"] == "mask_rcnn" else "FCOS"
        assert run["proposal_generator"] == generator
        text_of_run = Path(run["folder"], "metrics.json").read_text()
        lines = [json.loads(line) for line in text_of_run.splitlines()]
        for task, name in (("box", "bbox"), ("mask", "segm")):
            logged = {k: lines[-1].get(f"{name}/{k}") for k in figures(0)}
            assert run["figures"].get(task) == (None if None in logged.values() else logged)
    table = table_with(text, "+ GIoU loss")
    assert table[ROWS["3_nms"].title] == [
        *("36.5", "1, 2", "31.0 ± 1.4", "31.5", "32.0", "32.5", "33.0", "33.5"),
        "",  # the row before it was not run
    ]
    assert table["+ distances in strides"][1:] == "1 41.0 41.5 42.0 42.5 43.0 43.5".split() + [""]
    masks = table_with(text, "FCOS with masks, mask")
    assert masks["FCOS with masks, box"] == "\N{EN DASH} 1 43.0 43.5 44.0 44.5 45.0 45.5".split()
    assert masks["Mask R-CNN, mask"] == "35.2 1 25.0 25.5 26.0 26.5 27.0 27.5".split()
    (by_seed,) = (t for t in rows_of(text) if t[0][1:] == ["seed 1", "seed 2"])
    assert by_seed[1] == [ROWS["3_nms"].title, "30.0", "32.0"]


def test_what_was_not_run_is_empty_and_says_so(document):
    study, text, numbers = document
    table = table_with(text, "+ GIoU loss")
    assert table["+ GIoU loss"] == ["38.3", "not run", ""]
    assert table["+ GN in the towers"] == ["37.1", "not finished", ""]
    page = Checker(text)
    assert "gn is not finished: 20 of 40 iterations." in page.text
    (row,) = [row for row in numbers["table3"]["rows"] if row["name"] == "7_giou"]
    assert row["figures"] == {} and row["runs"] == []
    assert "Not run: RetinaNet, P6 from C5, NMS 0.5; FCOS, P6 from C5" in summary_of_course(study)
    assert "Not finished: + GN in the towers." in summary_of_course(study)


def test_captions_state_data_images_iterations_seeds_and_that_it_is_not_coco(document):
    _, text, _ = document
    captions = re.findall(r'<p class="caption"><b>(Table \d+\. .*?)</p>', text, re.S)
    assert [c[:8] for c in captions] == [f"Table {i}." for i in range(1, 6)]
    for caption in captions[:4]:
        assert "Trained on animals (6 images) for 40 iterations of 3 images, 120 in" in caption
        assert "(20.0 times each)" in caption and "shorter side 96" in caption
        assert "Evaluated on animals: 6 images, 20 objects." in caption
        assert "Seed" in caption and "This is not COCO" in caption
        assert ("COCO train2017" in caption) == (caption == captions[3])
        assert ("COCO trainval35k" in caption) == (caption != captions[3])
    assert "gn: Trained on" in captions[4]  # for fewer iterations than the others
    assert "Seeds: 1, 2; mean" in captions[1] and "Seed: 1; one run of each" in captions[3]


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        ("coco_2017_val", "which are the images of this evaluation"),
        ("coco_2014_minival", "which are the images of this evaluation"),
        ("coco_2017_val_100", "Published figures are of other images of COCO"),
        ("coco_2014_val", "Published figures are of other images of COCO"),
        ("pets", "This is not COCO."),
    ],
)
def test_what_is_coco_is_not_called_something_else(document, dataset, said):
    study = dataclasses.replace(document[0], dataset=dataset)
    last = caption_of(study, study.table3)[-1]
    assert said in last and ("not COCO" in last) == (dataset == "pets")


def test_it_stands_alone_and_shows_images_by_a_rule(document):
    _, text, numbers = document
    page = Checker(text)
    assert all(re.match(r"data:image/(jpeg|svg\+xml);base64,", s) for s in page.sources)
    assert "script" not in page.tags and "url(" not in text and "@import" not in text
    rule = numbers["boxes_compared"]["rule"]
    assert "sorted by the F1 of the baseline" in rule and "0 %, 50 % and 100 %" in rule
    assert rule in page.text
    shown = numbers["boxes_compared"]["comparison"]["images"]["shown"]
    f1 = [image["runs"]["the baseline"]["f1"] for image in shown]
    assert len(shown) == 3 and f1 == sorted(f1) and shown[0]["file_name"] in page.text
    interval = numbers["masks_compared"]["comparison"]["mask"]["interval_of_difference"]
    assert f"{interval['FCOS with masks']['AP']['upper']:.1f}" in page.text


def test_the_chosen_images_have_objects_and_are_spread(data):
    from fcos.evaluation.choice import Counts
    from fcos.evaluation.report.examples import choose_spread

    counts = {i: Counts(found=i, wrong=0, missed=9 - i) for i in range(9)}
    counts[20] = Counts()  # nothing to find
    assert [c.image_id for c in choose_spread([counts], 5)] == [0, 2, 4, 6, 8]
    assert [c.image_id for c in choose_spread([counts], 1)] == [0]
    assert len(choose_spread([counts], 50)) == 9
    assert choose_spread([{1: Counts()}], 3) == []


def test_different_budgets_are_named(data, runs):
    file = data.root / "all" / "config.yaml"
    file.write_text(file.read_text().replace("IMS_PER_BATCH: 3", "IMS_PER_BATCH: 4"))
    _, text, _ = written(data, runs, num_images=1)
    page = Checker(text)
    assert "+ distances in strides: Trained on pets (6 images) for 40 iterations of 4" in page.text
    assert "The budgets differ, so the lines can be compared only with care." in page.text
    table = table_with(text, "SOLVER.IMS_PER_BATCH")
    assert table["SOLVER.IMS_PER_BATCH"] == ["3 : 3_nms; 4 : 8_normalization"]


def test_every_run_says_where_its_figures_are_from(data, document):
    _, text, numbers = document
    assert table_with(text, "base-1")["gn"][-1] == ""  # not finished
    assert table_with(text, "base-1")["base-1"][-1] == "metrics.json"
    parent = Path(numbers["runs"][0]["folder"]).parent
    assert f"Each is in the folder of its name in {parent}." in Checker(text).text
    (data.root / "other").mkdir()
    paths = [leave_run(data, "base", "3_nms"), leave_run(data, "other/gn", "4_gn")]
    _, text, _ = written(data, paths)
    table = table_with(text, "base")
    assert "</b> Trained on pets" in text[text.index("Every run that was given") :]  # all the same
    assert [table[name][-1] for name in ("base", "gn")] == [f"{p}/metrics.json" for p in paths]
    assert "in the folder of its name" not in text


def test_without_any_row(data):
    _, text, numbers = written(data, [leave_run(data, "rcnn", "mask_rcnn", mask_ap=20.0)])
    assert "No FCOS of Table 3 has detections, so there is nothing to show." in Checker(text).text
    assert numbers["boxes_compared"] is None
    assert len(numbers["masks_compared"]["runs"]) == 1
    assert "The numbers in this section are the package's defaults." in Checker(text).text


def test_without_detections_there_are_no_pictures_but_a_sentence(data):
    path = leave_run(data, "base", "3_nms")
    (data.root / "base" / "inference" / "coco_instances_results.json").write_text("[]")
    _, text, numbers = written(data, [path])
    assert "has no detection: the model found nothing" in Checker(text).text
    assert numbers["boxes_compared"]["comparison"] == {}


def test_no_runs_are_refused(data):
    with pytest.raises(UserError, match="No result folder is given"):
        write_report([], str(data.root / "out"))


def test_what_the_text_does_not_tell_is_named(data):
    path = leave_run(data, "base", "3_nms")
    file = data.root / "base" / "config.yaml"
    text = file.read_text().replace("SQRT_SCORE: true", "SQRT_SCORE: false")
    file.write_text(text.replace("NUM_STACKED_CONVS: 4", "NUM_STACKED_CONVS: 3"))
    _, page, _ = written(data, [path])
    text = Checker(page).text
    assert "differs from it" in text and "MODEL.FCOS.SQRT_SCORE False ." in text
    assert "two towers of 3 convolutions" in text and "NUM_STACKED_CONVS" not in text


def test_every_key_that_is_told_stands_in_the_text():
    templates = Path(page.__file__).parents[1] / "templates"
    text = (templates / "report_steps.html").read_text()
    told_as_limits = {"SIZES_OF_INTEREST"}
    shown_by_the_levels = {"IN_FEATURES", "TOP_LEVELS", "TOP_IN_FEATURE"}
    only_of_beginnings = {"PRIOR_DISTANCE", "REINIT_CLS_LOGITS"}
    told = page._TOLD - shown_by_the_levels - only_of_beginnings - told_as_limits
    assert {key for key in told if f'"{key}"' not in text} == set()


def test_settings_of_the_detectors_with_masks_are_compared(data, runs):
    file = data.root / "rcnn" / "config.yaml"
    file.write_text(file.read_text().replace("IMS_PER_BATCH: 3", "IMS_PER_BATCH: 2"))
    _, text, _ = written(data, runs)
    table = table_with(text, "SOLVER.IMS_PER_BATCH")
    assert table["SOLVER.IMS_PER_BATCH"] == ["2 : mask_rcnn; 3 : fcos_masks"]


def test_a_run_that_found_nothing_takes_no_pictures_away(data):
    paths = [leave_run(data, "base", "3_nms"), leave_run(data, "all", "8_normalization")]
    last = {"iteration": 40, **{f"bbox/{key}": None for key in figures(0)}}
    lines = json.dumps({"iteration": 39, "lr": 0.1}) + "\n" + json.dumps(last) + "\n"
    (data.root / "base" / "metrics.json").write_text(lines)
    study, text, numbers = written(data, paths)
    assert numbers["boxes_compared"]["runs"] == ["all"]
    assert "Baseline: AP \N{EN DASH} (a run found nothing) here" in Checker(text).text
    assert "from the baseline" not in text
    assert "box AP none, a run found nothing (seeds 1)" in summary_of_course(study)


def test_figures_on_another_data_set_are_missing_not_unfinished(data, runs):
    config = yaml.safe_load((data.root / "all" / "config.yaml").read_text())
    config["DATASETS"]["TEST"] = ["dogs"]
    (data.root / "all" / "config.yaml").write_text(yaml.safe_dump(config))
    os.utime(data.root / "all" / "model_final.pth", (2**31, 2**31))  # no evaluation after it
    output = str(data.root / "report")
    study = write_report(runs, output, dataset=data.name, num_images=1)
    said = summary_of_course(study)
    assert "Not evaluated: + distances in strides." in said
    assert "all is trained, but was not evaluated on pets." in said


def test_changes_are_from_row_to_row_unless_one_has_several_lines(data):
    paths = [
        leave_run(data, "gn", "4_gn", ap=30.0),
        leave_run(data, "ctr", "5_ctr_on_reg", ap=33.5),
        leave_run(data, "sampling", "6_ctr_sampling", ap=33.0),
    ]
    _, text, _ = written(data, paths)
    assert table_with(text, "+ GIoU loss")["+ centerness from the box tower"][-1] == "+3.5"
    _, text, _ = written(data, [*paths, leave_run(data, "again", "5_ctr_on_reg", ap=31.0)])
    table = table_with(text, "+ GIoU loss")
    names = [name for name in table if name.startswith(("+ centerness", "+ center sampling"))]
    assert len(names) == 3 and [table[name][-1] for name in names] == ["", "", ""]
