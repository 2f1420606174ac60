"""Labels are written in the documented forms, and `fcos data import` reads the same again."""

import json
import os

import numpy as np
import pytest
import yaml
from pycocotools import mask as mask_api

from fcos.data.importing.labels import LabelledImage, LabelledObject
from fcos.data.label_files import LABEL_FORMATS, check_label_names, write_labels
from fcos.utils.errors import UserError
from tests.data.importing.making import annotations, contents, make_image, objects, run

CLASSES = ["cat & <dog>", 'b"ird', "cow"]
NOTE = "Detections with a score of at least 0.5"


@pytest.fixture
def images(tmp_path):
    """Five images of 100x80, one of them empty, two of one name in different folders."""
    found = []
    for i, name in enumerate(["a.png", "sub/a.png", "b é.png", "c.d.png", "empty.png"]):
        path = str(make_image(tmp_path / "shots" / name, seed=i))
        left, top = 10 + i / 3, 20 + i / 7
        boxes = [(left, top, left + 30.125, top + 40.5), (0.0, 0.0, 100.0, 80.0)]
        things = [LabelledObject(CLASSES[(i + j) % 2], box) for j, box in enumerate(boxes)]
        found.append(LabelledImage(path, "", things if i < 4 else [], 100, 80))
    return found


@pytest.mark.parametrize(
    "kind, precision",
    # Half a unit for each edge: pixels, millionths of 100 pixels, hundredths and thousandths of a
    # pixel; and half a thousandth, to which an import rounds.
    [("voc", 1.0005), ("yolo", 0.0007), ("cvat", 0.0106), ("coco", 0.0011)],
)
def test_what_is_written_is_read_again(kind, precision, images, tmp_path):
    assert set(LABEL_FORMATS) == {"voc", "yolo", "cvat", "coco"}
    write_labels(kind, str(tmp_path / "labels"), images, CLASSES, NOTE)
    said = run(tmp_path / "labels", tmp_path / "out", images=str(tmp_path / "shots"))
    assert "Left out" not in said
    files = {
        os.path.join(tmp_path, "shots", image["file_name"]): image["id"]
        for content in contents(tmp_path / "out").values()
        for image in content["images"]
    }
    assert sorted(files) == sorted(image.path for image in images)
    for content in contents(tmp_path / "out").values():
        names = {c["id"]: c["name"] for c in content["categories"]}
        for record in content["images"]:
            path = os.path.join(tmp_path, "shots", record["file_name"])
            (image,) = [image for image in images if image.path == path]
            found = [a for a in content["annotations"] if a["image_id"] == record["id"]]
            assert [names[a["category_id"]] for a in found] == [o.name for o in image.objects]
            got = np.array([a["bbox"] for a in found]).reshape(-1, 4)
            want = np.array([o.xyxy for o in image.objects]).reshape(-1, 4)
            want[:, 2:] -= want[:, :2]
            np.testing.assert_allclose(got, want, rtol=0, atol=precision)


def test_yolo_by_hand(images, tmp_path):
    box = LabelledObject("cow", (10.0, 20.0, 40.0, 60.0))
    write_labels("yolo", str(tmp_path / "out"), [LabelledImage(images[0].path, "", [box], 100, 80)],
                 CLASSES, NOTE)  # fmt: skip
    # The middle (25, 40) of 100x80, the size 30x40. No score: tools refuse a sixth number.
    assert (tmp_path / "out/labels/a.txt").read_text() == "2 0.250000 0.500000 0.300000 0.500000\n"
    data = (tmp_path / "out/data.yaml").read_text()
    assert data.startswith(f"# {NOTE}\n")
    assert yaml.safe_load(data) == {
        "path": ".",
        "train": "train.txt",
        "names": {0: "cat & <dog>", 1: 'b"ird', 2: "cow"},
    }
    assert (tmp_path / "out/train.txt").read_text() == "images/a.png\n"
    assert (tmp_path / "out/classes.txt").read_text() == 'cat & <dog>\nb"ird\ncow\n'


def test_voc_by_hand(images, tmp_path):
    things = [
        LabelledObject("cat & <dog>", (10.4, 20.6, 40.0, 60.0)),
        LabelledObject("cow", (99.9, 3.2, 100.0, 3.4)),
    ]
    image = LabelledImage(images[1].path, "", things, 100, 80)
    write_labels("voc", str(tmp_path / "out"), [image, images[0]], CLASSES, NOTE)
    text = (tmp_path / "out/Annotations/sub/a.xml").read_text()
    assert "<filename>sub/a.png</filename>" in text and f"<annotation>{NOTE}</annotation>" in text
    assert "<width>100</width><height>80</height><depth>3</depth>" in text
    assert "<name>cat &amp; &lt;dog&gt;</name>" in text
    corners = "<xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax>"
    assert corners.format(10, 21, 40, 60) in text
    assert corners.format(99, 3, 100, 4) in text  # one pixel at least, and inside


def test_cvat_by_hand(images, tmp_path):
    pixels = np.zeros((80, 100), np.uint8)
    pixels[20, 31:33] = pixels[21, 30:32] = 1
    runs = mask_api.encode(np.asfortranarray(pixels))
    things = [
        LabelledObject('b"ird', (1.0, 2.0, 3.456, 4.0)),
        LabelledObject("cow", (30.0, 20.0, 33.0, 22.0), runs, area=4),
        LabelledObject("cow", (5.0, 5.0, 5.2, 5.2), mask_api.encode(np.asfortranarray(pixels * 0))),
    ]
    image = LabelledImage(images[0].path, "", things, 100, 80)
    write_labels("cvat", str(tmp_path / "out"), [image], CLASSES, NOTE)
    text = (tmp_path / "out/annotations.xml").read_text()
    assert '<image id="0" name="a.png" width="100" height="80">' in text
    common = 'source="auto" occluded="0" z_order="0"'
    assert f'<box label=\'b"ird\' {common} xtl="1.00" ytl="2.00" xbr="3.46" ybr="4.00"/>' in text
    # Rows of 3 pixels: 0 1 1 and 1 1 0.
    place = 'left="30" top="20" width="3" height="2"'
    assert f'<mask label="cow" {common} rle="1, 4, 1" {place}/>' in text
    assert f'<box label="cow" {common} xtl="5.00"' in text  # not a pixel of a mask
    assert "<task><name>" + NOTE in text and "<label><name>cow</name></label>" in text


def test_masks_are_read_again(images, tmp_path):
    pixels = np.zeros((80, 100), np.uint8)
    pixels[20:40, 30:60] = pixels[40:50, 30:40] = 1
    runs = mask_api.encode(np.asfortranarray(pixels))
    runs["counts"] = runs["counts"].decode()
    for image in images[:4]:
        image.objects = [LabelledObject("cow", (30.0, 20.0, 60.0, 50.0), runs, area=700.0)]
    for kind in ("cvat", "coco"):
        write_labels(kind, str(tmp_path / kind), images, CLASSES, NOTE)
        out = tmp_path / f"{kind}_out"
        run(tmp_path / kind, out, images=str(tmp_path / "shots"), masks=True)
        assert len(annotations(out)) == 4
        for annotation in annotations(out):
            assert annotation["bbox"] == [30, 20, 30, 30] and annotation["area"] == 700
            found = annotation["segmentation"]
            if isinstance(found["counts"], list):
                found = mask_api.frPyObjects(found, *found["size"])
            assert (mask_api.decode(found) == pixels).all()


def test_coco_numbers_the_classes_from_1(images, tmp_path):
    write_labels("coco", str(tmp_path / "out"), images, CLASSES, NOTE)
    content = json.loads((tmp_path / "out/annotations.json").read_text())
    assert content["info"] == {"description": NOTE}
    assert content["categories"] == [{"id": i, "name": n} for i, n in enumerate(CLASSES, start=1)]
    assert [image["file_name"] for image in content["images"]][:2] == ["a.png", "sub/a.png"]


def test_a_folder_with_other_content_stays(images, tmp_path):
    folder = tmp_path / "labels"
    write_labels("yolo", str(folder), images, CLASSES, NOTE)
    write_labels("yolo", str(folder), images, CLASSES, NOTE)  # the same again
    corrected = folder / "labels" / "sub" / "a.txt"
    corrected.write_text("0 0.5 0.5 0.1 0.1\n")
    with pytest.raises(UserError, match=r"other content \(labels/sub/a\.txt\), perhaps corrected"):
        write_labels("yolo", str(folder), images, CLASSES, NOTE)
    assert corrected.read_text() == "0 0.5 0.5 0.1 0.1\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels", "shots"]
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is there already with other content"):
        write_labels("yolo", str(tmp_path / "file"), images, CLASSES, NOTE)


def test_two_images_of_one_label_file():
    for kind in ("coco", "cvat"):
        check_label_names(kind, ["in/a.jpg", "in/a.png"])
    check_label_names("voc", ["in/a.jpg", "in/sub/a.jpg"])
    with pytest.raises(UserError, match=r"--labels yolo: in/a\.jpg and in/a\.png would have the"):
        check_label_names("yolo", ["in/a.jpg", "in/a.png"])


def test_a_full_disk(images, tmp_path):
    (tmp_path / "shots" / "labels").touch()
    with pytest.raises(UserError, match=r"shots/labels/x cannot be written: Not a directory\."):
        write_labels("yolo", str(tmp_path / "shots/labels/x"), images, CLASSES, NOTE)
    assert (tmp_path / "shots" / "labels").is_file()


def test_the_empty_image_has_an_empty_label(images, tmp_path):
    write_labels("yolo", str(tmp_path / "out"), images, CLASSES, NOTE)
    assert (tmp_path / "out/labels/empty.txt").read_text() == ""
    run(tmp_path / "out", tmp_path / "data", images=str(tmp_path / "shots"))
    assert objects(tmp_path / "data")["empty.png"] == []
