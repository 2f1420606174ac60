"""Result folders: where results are found, and what is said when they cannot be used."""

import os
import shutil

import pytest

from fcos.evaluation.runs import RESULTS, common_dataset, open_folders, read_run
from fcos.utils.errors import UserError

ONE = [{"image_id": 10, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5}]


def folders(*paths):
    """Opened, with a second folder where a test has only one."""
    paths = [str(path) for path in paths]
    return open_folders(paths if len(paths) > 1 else [*paths, f"other={paths[0]}"])


def read(path, dataset="pets"):
    return read_run(folders(path)[0], dataset)


def refused(path, dataset="pets"):
    with pytest.raises(UserError) as error:
        read(path, dataset)
    return str(error.value)


def write(data, name, test=("pets",), subfolders=()):
    """A folder with DATASETS.TEST in its config, and its results in one file or in subfolders."""
    folder = data.write_results(name, ONE)
    (folder / "config.yaml").write_text(f"DATASETS: {{TEST: [{', '.join(test)}]}}\n")
    for place in subfolders:
        (folder / "inference" / place).mkdir()
        shutil.copy(folder / "inference" / RESULTS, folder / "inference" / place)
    if subfolders:
        (folder / "inference" / RESULTS).unlink()
    return folder


def test_no_folder():
    with pytest.raises(UserError, match=r"No result folder is given: fcos compare"):
        open_folders([])


def test_labels_are_given_or_the_last_part_of_the_folder(data):
    a, b = data.write_results("a", ONE), data.write_results("lr=0.01", ONE)
    got = folders(f"Mask R-CNN={a}", b, f"{a}/inference/")
    assert [folder.label for folder in got] == ["Mask R-CNN", "lr=0.01", "a"]
    assert [folder.path for folder in got] == [str(a), str(b), str(a)]


def test_a_folder_with_an_equals_sign_in_its_name(data, monkeypatch):
    data.write_results("lr=0.01", ONE)
    monkeypatch.chdir(data.root)
    got = folders("lr=0.01", "b=lr=0.01", "lr=0.01/inference/coco_instances_results.json")
    assert [(f.label, f.path) for f in got[:2]] == [("lr=0.01", "lr=0.01"), ("b", "lr=0.01")]
    assert got[2].label == "coco_instances_results"


def test_a_label_twice(data):
    a, b = data.write_results("x/output", ONE), data.write_results("y/output", ONE)
    with pytest.raises(UserError, match=r"Two results are called 'output'.*before=.* after="):
        folders(a, b)


@pytest.mark.parametrize("argument", ["label=", "=folder"])
def test_half_a_label(argument):
    with pytest.raises(UserError, match=r"expected label=folder"):
        open_folders([argument, "other"])


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(UserError, match=r"The result folder .*nowhere does not exist"):
        open_folders([str(tmp_path / "nowhere"), str(tmp_path)])


def test_a_folder_without_results_says_which_file_and_how_to_make_it(tmp_path):
    message = refused(tmp_path)
    assert f"{tmp_path} has no results: expected" in message
    assert os.path.join("inference", "coco_instances_results.json") in message
    assert "train_net.py --eval-only --config-file CONFIG MODEL.WEIGHTS WEIGHTS" in message
    assert f"OUTPUT_DIR {tmp_path} writes" in message


def test_a_folder_of_proposals_says_that_it_has_recalls(tmp_path):
    (tmp_path / "config.yaml").write_text("MODEL: {META_ARCHITECTURE: ProposalNetwork}\n")
    message = refused(tmp_path)
    assert message.startswith(f"{tmp_path} has no detections: a ProposalNetwork makes proposals")
    assert "recall (AR)" in message and "--eval-only" not in message


def test_results_are_found_in_every_usual_place(data):
    flat, named = write(data, "flat"), write(data, "named", ("seals", "pets"), subfolders=["pets"])
    assert read(flat).results_file == str(flat / "inference" / RESULTS)
    assert read(named).results_file == str(named / "inference" / "pets" / RESULTS)
    assert read(named, dataset=None).results_file == str(named / "inference" / "pets" / RESULTS)
    assert read(flat / "inference" / RESULTS).results == ONE
    (named / "inference" / "pets" / RESULTS).rename(named / RESULTS)
    (named / "config.yaml").unlink()
    assert read(named).results_file == str(named / RESULTS)


def test_one_file_holds_the_last_of_several_data_sets(data):
    folder = write(data, "two", ("pets", "seals"))
    assert folders(folder)[0].evaluated_datasets == ["seals"]
    message = refused(folder, "pets")
    assert "holds the detections on seals, not on pets" in message
    assert "DATASETS.TEST \"('pets',)\"" in message
    assert read(folder, "seals").results == read(folder, None).results == ONE


def test_several_data_sets_and_no_name(data):
    folder = write(data, "two", subfolders=["pets", "seals"])
    assert "has results on several data sets" in refused(folder, None)


def test_the_common_data_set(data):
    on_both, on_pets = (
        write(data, "both", ("pets", "seals"), subfolders=["pets"]),
        write(data, "one"),
    )
    bare = write(data, "bare")
    (bare / "config.yaml").unlink()
    assert common_dataset(folders(on_both, on_pets, bare)) == "pets"
    with pytest.raises(UserError, match=r"No config.yaml says which data set.*--dataset.*--anno"):
        common_dataset(folders(bare))
    (bare / "inference" / RESULTS).unlink()
    with pytest.raises(UserError, match=r"bare has no results: expected .*, which train_net\.py"):
        common_dataset(folders(bare))
    on_seals = write(data, "seals", ("seals",))
    with pytest.raises(UserError, match=r"different data sets \(one on pets; seals on seals\)"):
        common_dataset(folders(on_pets, on_seals))
    on_both = write(data, "again", ("pets", "seals"), subfolders=["pets", "seals"])
    with pytest.raises(UserError, match=r"results on pets, seals: choose one of these with --da"):
        common_dataset(folders(on_both))


def test_a_config_that_is_not_yaml_or_would_run_code(data):
    folder = write(data, "run")
    for text in ("a: [", "a: !!python/object/apply:os.getcwd []"):
        (folder / "config.yaml").write_text(text)
        with pytest.raises(UserError, match=r"config.yaml cannot be read.*name the file coco_inst"):
            folders(folder)
    for text in ("", "3", "DATASETS: 5", "DATASETS: {TEST: }"):
        (folder / "config.yaml").write_text(text)
        assert folders(folder)[0].test_datasets == []


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "is empty: evaluate again with train_net.py --eval-only"),
        ('[{"image_id": 10, "cat', r"is not complete JSON \(.*\): evaluate again"),
        ('{"images": []}', "is not a list of detections in COCO's results format but a JSON obj"),
        ("null", "is not a list of detections.* but a JSON value"),
        ("[]", "has no detection: the model found nothing"),
        ("[3]", "detection 0 is 3, expected an object"),
        ('[{"image_id": 10, "bbox": [1, 2, 3, 4]}]', "0 has no category_id and no score"),
        (
            '[{"image_id": 1, "category_id": 1, "bbox": [1, 2, NaN, 4], "score": 1}]',
            r"detection 0 has the bbox \[1, 2, nan, 4\] and the score 1; expected 4 finite",
        ),
        (
            '[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3], "score": 1}]',
            "detection 0 has the bbox",
        ),
        (
            '[{"image_id": [1], "category_id": 1, "bbox": [1, 2, 3, 4], "score": 1}]',
            r"detection 0 has the image_id \[1\]; expected a number or a text\.$",
        ),
        (
            f'[{{"image_id": 1, "category_id": 1, "bbox": "{"1" * 9999}", "score": []}}]',
            r"has the bbox '1{12}\.\.\.1{13}' and the score \[\]; expected 4 finite numbers",
        ),
        (
            '[{"image_id": 1, "category_id": null, "bbox": [1, 2, 3, 4], "score": 1}]',
            r"detection 0 has the category_id None; expected a number or a text\.$",
        ),
    ],
)
def test_damaged_results(data, text, message):
    with pytest.raises(UserError, match=message):
        read(data.write_results("run", text))


def test_masks_in_a_part_of_the_detections(data):
    folder = data.write_results("run", [ONE[0], ONE[0] | {"segmentation": {}}])
    assert "1 of 2 detections have a segmentation; all or none must" in refused(folder)


def test_results_that_cannot_be_read(data):
    folder = data.write_results("run", ONE)
    (folder / "inference" / RESULTS).write_bytes(b"\xff\xfe[]")
    assert "is UTF-16 text: save it as UTF-8." in refused(folder)
