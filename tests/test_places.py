"""Nothing is read or written outside of the folders that were named, and nothing is fetched."""

import json
import os
import re
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detectron2.data import DatasetCatalog, MetadataCatalog
from fcos.config import get_cfg
from fcos.data import register_custom_datasets, require_dataset
from fcos.data.image_names import image_path
from fcos.data.importing import Request, import_labels
from fcos.data.records import DatasetRecords, ImageRecord
from fcos.engine.logs import MetricsFile
from fcos.engine.startup import check_output_dir
from fcos.evaluation.comparing import run_comparison
from fcos.predict.inputs import read_list
from fcos.predict.many.folder import DetectionFolder
from fcos.predict.sinks import ImageFiles
from fcos.utils.errors import UserError

pytestmark = pytest.mark.cpu

ROOT = Path(__file__).parent.parent
PIXELS = np.zeros((64, 64, 3), np.uint8)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "images").mkdir(parents=True)
    for path in ("secret.png", "data/images/a.png", "data/images-of-others.png"):
        Image.fromarray(PIXELS).save(tmp_path / path)
    return tmp_path


class Server:
    """Counts those who want something from it."""

    def __init__(self):
        self.asked = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.asked += 1
            connection.close()

    def close(self):
        self._socket.close()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


# ---- images --------------------------------------------------------------------------------------

OUTSIDE = [
    "../../secret.png",
    "../images-of-others.png",
    "a/../../../secret.png",
    "../images/../../secret.png",
    "..",
    "/etc/hostname",
    "{place}/secret.png",
    "{place}/data/images/../../secret.png",
    "link/../secret.png",
]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("root", ["data/images", "data/../data/images", "{place}/data/images"])
def test_images_outside_of_their_folder_are_refused(place, root, name):
    os.symlink(place / "data", place / "data" / "images" / "link")
    root, name = root.format(place=place), name.format(place=place)
    with pytest.raises(UserError, match="lies outside of the folder of the images"):
        image_path(root, name)
    records = DatasetRecords([ImageRecord(1, name, 64, 64)], ["x"], [1], root)
    with pytest.raises(UserError, match="lies outside"):
        records.dicts()


@pytest.mark.parametrize(
    "name",
    ["a.png", "a..b.png", "..a.png", "b/../a.png", "{place}/data/images/a.png", "link/secret.png"],
)
@pytest.mark.parametrize("root", ["data/images", "chosen"])
def test_images_in_their_folder(place, root, name):
    os.symlink("data/images", "chosen")  # the folder itself may be a link
    os.symlink(place, place / "data" / "images" / "link")  # one in it was made by the user
    os.mkdir("data/images/b")
    name = name.format(place=place)
    assert image_path(root, name) == os.path.join(root, name)


def test_without_a_folder(server):
    assert image_path("", "/any/a.png") == "/any/a.png"
    with pytest.raises(UserError, match="is an address, which is not fetched"):
        image_path("", f"{server.address}/a.png")


def test_no_other_code_joins_names_to_the_folder():
    for path in sorted((ROOT / "fcos").rglob("*.py")):
        if path.name != "image_names.py":
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"join\([^)]*(image_root|IMAGES\b)", text), path


@pytest.mark.parametrize("name", ["a.png", "../../secret.png"])
def test_a_page_does_not_show_them(place, name):
    box = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 30, 30]}
    content = {
        "images": [{"id": 1, "file_name": name, "width": 64, "height": 64}],
        "categories": [{"id": 1, "name": "x"}],
        "annotations": [{"id": 1, "area": 900, **box}],
    }
    (place / "truth.json").write_text(json.dumps(content))
    for run, found in (("a", box), ("b", {**box, "bbox": [40, 40, 9, 9]})):
        (place / run).mkdir()
        results = json.dumps([{**found, "score": 0.5}])
        (place / run / "coco_instances_results.json").write_text(results)
    try:
        run_comparison(["a", "b"], "page", annotations="truth.json", images="data/images")
    except UserError as error:
        text = str(error)
    else:
        text = Path("page/comparison.html").read_text()
    assert ("data:image/jpeg" in text) == (name == "a.png")
    assert ("lies outside" in text) == (name != "a.png")


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("kind", ["csv", "coco", "yolo"])
def test_labels_do_not_import_them(place, kind, copy):
    labels = place / "labels"
    labels.mkdir()
    for number in range(10):
        Image.fromarray(PIXELS + number).save(labels / f"{number}.png")
    names = [*(f"{number}.png" for number in range(10)), "../secret.png"]
    if kind == "csv":
        rows = [f"{name},1,1,20,20,x\n" for name in names]
        (labels / "boxes.csv").write_text("filename,xmin,ymin,xmax,ymax,class\n" + "".join(rows))
    elif kind == "coco":
        images = [
            {"id": i, "file_name": name, "width": 64, "height": 64} for i, name in enumerate(names)
        ]
        things = [
            {"id": i, "image_id": i, "category_id": 1, "bbox": [1, 1, 9, 9]} for i in range(11)
        ]
        content = {"images": images, "annotations": things, "categories": [{"id": 1, "name": "x"}]}
        (labels / "boxes.json").write_text(json.dumps(content))
    else:
        (place / "secret.txt").write_text("0 0.5 0.5 0.2 0.2\n")
        for number in range(10):
            (labels / f"{number}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
        (labels / "all.txt").write_text("\n".join(names))
        (labels / "data.yaml").write_text("train: [all.txt, ../]\nval: all.txt\nnames: [x]\n")
    import_labels(Request(source="labels", output="out", copy_images=copy))
    written = "".join(path.read_text() for path in (place / "out").rglob("*.json"))
    assert "9.png" in written
    assert "secret" not in written
    assert not list((place / "out").rglob("secret*"))


# ---- what is fetched -----------------------------------------------------------------------------


def test_a_base_that_is_an_address(place, server):
    (place / "a.yaml").write_text(f"_BASE_: {server.address}/b.yaml\n")
    with pytest.raises(UserError, match=r"_BASE_ http://.*/b\.yaml is an address, which is not"):
        get_cfg().merge_from_file("a.yaml")
    assert server.asked == 0
    (place / "a.yaml").write_text("_BASE_: detectron2://b.yaml\n")
    with pytest.raises(UserError, match=r"_BASE_ detectron2://b\.yaml is an address, which is not"):
        get_cfg().merge_from_file("a.yaml")


def test_what_is_named_as_a_file_and_is_an_address(server, monkeypatch):
    with pytest.raises(UserError, match=r"http://.*/a\.yaml is an address, which is not fetched"):
        get_cfg().merge_from_file(f"{server.address}/a.yaml")
    monkeypatch.setenv("DETECTRON2_DATASETS", server.address)
    cfg = get_cfg()
    cfg.merge_from_list(["DATASETS.CUSTOM", "{elsewhere: {JSON: a.json, IMAGES: a}}"])
    register_custom_datasets(cfg)
    with pytest.raises(UserError, match=r"http://.*/a\.json is an address, which is not fetched"):
        require_dataset("elsewhere")
    DatasetCatalog.remove("elsewhere")
    MetadataCatalog.remove("elsewhere")
    assert server.asked == 0


def test_a_list_with_addresses(place, server):
    address = f"{server.address}/a.png"
    (place / "list").write_text(f"{address}\nsecret.png\n")
    paths = read_list("list")
    assert paths == [f"./{address}", "secret.png"]
    from fcos.data.images import read_bgr, read_size

    for read in (read_bgr, read_size):
        with pytest.raises(UserError, match=r"Image \./http://.* does not exist"):
            read(paths[0])
    assert server.asked == 0


# ---- planted links -------------------------------------------------------------------------------


def test_an_output_folder_that_is_a_link(place):
    os.mkdir("disk")
    os.symlink("disk", "output")
    check_output_dir("output", may_have_checkpoints=False)
    with DetectionFolder("output") as folder:
        folder.lock()


@pytest.mark.parametrize("name", ["log.txt", "log.txt.rank1", "config.yaml", "inference"])
def test_links_in_the_output_folder_of_a_training(place, name):
    os.mkdir("output")
    os.symlink("../secret.png", f"output/{name}")
    with pytest.raises(
        UserError, match=rf"output/{name} is a link, so that a training would write"
    ):
        check_output_dir("output", may_have_checkpoints=True)


def test_links_in_other_output_folders(place):
    os.mkdir("output")
    os.mkdir("elsewhere")
    for name in ("shards", "b", "annotations"):
        os.symlink("../elsewhere", f"output/{name}")
    with pytest.raises(UserError, match="output/shards is a link"), DetectionFolder("output") as f:
        f.lock()
    with pytest.raises(UserError, match="output/b is a link"):
        ImageFiles("output", ["a/b/1.png", "a/c/1.png"])
    os.symlink("../secret.png", "output/metrics.json")
    with pytest.raises(UserError, match="it is a link"):
        MetricsFile("output/metrics.json")
    assert os.listdir("elsewhere") == []
