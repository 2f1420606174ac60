"""DATASETS.CUSTOM that names labels in another format than COCO's."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from detectron2.data import DatasetCatalog, MetadataCatalog
from fcos.config import get_cfg
from fcos.data import get_class_names, register_custom_datasets, require_dataset
from fcos.data import sources as sources_module
from fcos.data.importing import recognise
from fcos.data.register import load_dataset
from fcos.utils.errors import UserError
from tests.data.importing.making import make_image, make_voc, voc_xml, write


@pytest.fixture
def register(tmp_path, monkeypatch):
    """Registers data sets as a command line does; forgets them afterwards."""
    known = set(DatasetCatalog.list())
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    monkeypatch.setattr(sources_module, "_registered", {})

    def register(custom, output="out"):
        cfg = get_cfg()
        options = ["DATASETS.CUSTOM", custom, "OUTPUT_DIR", str(tmp_path / output)]
        cfg.merge_from_list(options)
        register_custom_datasets(cfg)

    yield register
    for name in set(DatasetCatalog.list()) - known:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture
def reads(monkeypatch):
    """How often labels were read."""
    seen = []
    voc = recognise.FORMATS["voc"]

    def read(*arguments):
        seen.append(1)
        return voc.read(*arguments)

    monkeypatch.setitem(recognise.FORMATS, "voc", voc._replace(read=read))
    return seen


def boxes(name):
    records = load_dataset(name)
    return {
        os.path.relpath(records.path_of(image), records.image_root): [
            (records.class_names[records.class_of[o.category_id]], o.box) for o in image.objects
        ]
        for image in records.images
    }


def test_the_keys_are_the_formats_of_the_import():
    assert list(sources_module.SOURCE_KEYS.values()) == list(recognise.FORMATS)


def test_voc(register, tmp_path, reads):
    make_voc(tmp_path / "pets", 2)
    register("{pets: {VOC: pets}}")
    assert not (tmp_path / "out").exists()  # nothing is read yet
    assert get_class_names("pets") == ["cat"]
    want = {f"JPEGImages/{i}.png": [("cat", [10, 20, 30, 40])] for i in range(2)}
    assert boxes("pets") == want
    assert len(reads) == 1
    assert len(DatasetCatalog.get("pets")) == 2


def test_the_parts_of_one_source_are_read_once(register, tmp_path, reads):
    source = make_voc(tmp_path / "pets", 4)
    make_image(source / "JPEGImages" / "4.png")
    write(source / "Annotations" / "4.xml", voc_xml("4.png", ("ant", 10, 20, 40, 60)))
    write(source / "ImageSets" / "Main" / "train.txt", "0\n1\n")
    write(source / "ImageSets" / "Main" / "val.txt", "4\n")
    register("{a: {VOC: pets, SPLIT: train}, b: {VOC: pets, SPLIT: val}, c: {VOC: pets}}")
    require_dataset("b")
    assert sorted(boxes("a")) == ["JPEGImages/0.png", "JPEGImages/1.png"]
    assert sorted(boxes("b")) == ["JPEGImages/4.png"]
    assert len(boxes("c")) == 5
    # Whatever classes a part has, the numbers are the same.
    assert [get_class_names(name) for name in "abc"] == [["ant", "cat"]] * 3
    assert len(reads) == 1


def test_a_split_is_made_as_the_import_makes_it(register, tmp_path):
    from tests.data.importing.making import contents, run

    make_voc(tmp_path / "pets", 10)
    register("{a: {VOC: pets, SPLIT: train}, b: {VOC: pets, SPLIT: val}}")
    run(tmp_path / "pets", tmp_path / "imported")
    for name, split in (("a", "train"), ("b", "val")):
        want = {i["file_name"] for i in contents(tmp_path / "imported")[split]["images"]}
        assert {os.path.basename(path) for path in boxes(name)} == want


def test_images_elsewhere_and_classes_in_an_order(register, tmp_path):
    for i in range(2):
        make_image(tmp_path / "shots" / f"{i}.png")
        write(tmp_path / "labels" / f"{i}.txt", f"{i} 0.5 0.5 0.2 0.5\n")
    write(tmp_path / "labels" / "classes.txt", "cat\ndog\n")
    register("{a: {YOLO: labels, IMAGES: shots, CLASSES: [dog, cow, cat]}}")
    assert get_class_names("a") == ["dog", "cow", "cat"]
    assert boxes("a") == {
        "0.png": [("cat", [40, 20, 20, 40])],
        "1.png": [("dog", [40, 20, 20, 40])],
    }


def test_a_file_as_source(register, tmp_path):
    make_image(tmp_path / "set" / "a.png")
    write(tmp_path / "set" / "boxes.csv", "a.png,1,2,11,22,cat\n")
    write(tmp_path / "set" / "other.csv", "a.png,5,6,7,8,dog\n")
    register("{a: {CSV: set/boxes.csv}}")
    assert boxes("a") == {"a.png": [("cat", [1, 2, 10, 20])]}


def test_labels_that_have_changed_are_read_again(register, tmp_path, reads):
    source = make_voc(tmp_path / "pets", 2)
    register("{pets: {VOC: pets}}")
    require_dataset("pets")
    file = tmp_path / "out" / "datasets" / "pets.json"
    first = file.stat()
    register("{pets: {VOC: pets}}")
    require_dataset("pets")
    assert (file.stat().st_mtime_ns, len(reads)) == (first.st_mtime_ns, 1)
    write(source / "Annotations" / "1.xml", voc_xml("1.png", ("cat", 1, 2, 30, 40)))
    register("{pets: {VOC: pets}}")
    assert boxes("pets")["JPEGImages/1.png"] == [("cat", [1, 2, 29, 38])]
    assert len(reads) == 2


def test_what_is_left_out_is_said_in_each_process(register, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("fcos"), "propagate", True)
    source = make_voc(tmp_path / "pets", 2)
    write(source / "Annotations" / "9.xml", voc_xml("9.png", ("cat", 1, 2, 30, 40)))
    for _ in range(2):
        caplog.clear()
        register("{pets: {VOC: pets}}")
        require_dataset("pets")
        said = "pets: left out: labels whose image file was not found (1): Annotations/9.xml."
        assert said in caplog.messages


@pytest.mark.parametrize(
    "custom, message",
    [
        ("{a: {VOC: gone}}", r"DATASETS\.CUSTOM\.a: .*gone does not exist\."),
        ("{a: {CSV: pets}}", r"CUSTOM\.a: --format csv: .* has no such labels, but Pascal VOC"),
        ("{a: {VOC: pets, SPLIT: test}}", r"a: Pascal VOC XML in .*pets has no images in .* test"),
        ("{a: {VOC: pets, CLASSES: [dog]}}", r"CUSTOM\.a: CLASSES lacks 'cat', which the labels"),
    ],
)
def test_sources_that_cannot_be_read(register, tmp_path, custom, message):
    make_voc(tmp_path / "pets", 4)
    register(custom)
    with pytest.raises(UserError, match=message):
        require_dataset("a")


@pytest.mark.parametrize(
    "custom, message",
    [
        ("{a: {VOC: pets, YOLO: pets}}", r"DATASETS\.CUSTOM\.a: expected .* got {'VOC'"),
        ("{a: {VOC: pets, MASKS: x}}", "expected the two paths .* or {FORMAT: path}"),
        ("{a: {VOC: 3}}", "expected the two paths"),
        ("{a: {voc: pets}}", "a FORMAT of COCO, CVAT, VIA, LABELME, VOC"),
        ("{a: {VOC: pets, SPLIT: dev}}", r"a\.SPLIT is 'dev': expected train, val, test\."),
        ("{a: {VOC: pets, CLASSES: cat}}", r"a\.CLASSES is 'cat': expected a list of names\."),
    ],
)
def test_declarations_of_another_form(register, custom, message):
    with pytest.raises(UserError, match=message):
        register(custom)


def test_a_name_that_is_taken(register, tmp_path):
    make_voc(tmp_path / "pets", 4)
    register("{a: {VOC: pets}}")
    register("{a: {VOC: pets}}", output="elsewhere")
    require_dataset("a")
    assert (tmp_path / "out/datasets/a.json").exists() and not (tmp_path / "elsewhere").exists()
    for other in ("{a: {VOC: pets, SPLIT: train}}", "{a: {JSON: pets, IMAGES: pets}}"):
        with pytest.raises(UserError, match="a data set of this name is registered already"):
            register(other)


def test_the_output_may_lie_among_the_labels(register, tmp_path):
    make_voc(tmp_path / "pets", 2)
    register("{pets: {VOC: pets}}", output="pets/out")
    require_dataset("pets")
    first = (tmp_path / "pets/out/datasets/pets.json").read_text()
    write(tmp_path / "pets/out/Annotations/9.xml", voc_xml("0.png", ("dog", 1, 2, 3, 4)))
    register("{pets: {VOC: pets}}", output="pets/out")
    require_dataset("pets")
    assert (tmp_path / "pets/out/datasets/pets.json").read_text() == first


def test_an_unfinished_or_foreign_file_is_replaced(register, tmp_path):
    make_voc(tmp_path / "pets", 2)
    for text in ("", "[1]\n", '{"info": {}}\n', '{"info": 3,\n'):
        write(tmp_path / "out/datasets/pets.json", text)
        register("{pets: {VOC: pets}}")
        assert len(boxes("pets")) == 2


PROCESS = """
import sys
from fcos.config import get_cfg
from fcos.data import register_custom_datasets, require_dataset
from fcos.data.importing import recognise
voc = recognise.FORMATS["voc"]
def read(*arguments):
    print("read")
    return voc.read(*arguments)
recognise.FORMATS["voc"] = voc._replace(read=read)
cfg = get_cfg()
custom = "{a: {VOC: pets, SPLIT: train}, b: {VOC: pets, SPLIT: val}}"
cfg.merge_from_list(["DATASETS.CUSTOM", custom, "OUTPUT_DIR", "out"])
register_custom_datasets(cfg)
require_dataset(sys.argv[1])
"""


def test_processes_side_by_side_read_once(tmp_path):
    make_voc(tmp_path / "pets", 20)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DETECTRON2_DATASETS": "."}
    command = [sys.executable, "-c", PROCESS]
    processes = [
        subprocess.Popen([*command, name], cwd=tmp_path, env=environment, stdout=subprocess.PIPE)
        for name in "ab"
    ]
    out = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(out) == [b"", b"read\n"]
    files = [json.loads(Path(tmp_path, f"out/datasets/{name}.json").read_text()) for name in "ab"]
    assert [len(file["images"]) for file in files] == [16, 4]
