"""What a user can get wrong: each has its sentence."""

import json
import os

import pytest

from fcos.data.importing import Options
from fcos.data.importing.files import Folder
from fcos.utils.errors import UserError
from tests.data.importing.making import make_image, make_voc, objects, run, voc_xml, write
from tests.data.importing.test_readers import coco, labelme, region, via

TWO = ("a.png", "b.png")


@pytest.fixture
def source(tmp_path):
    return tmp_path / "source"


@pytest.fixture
def output(tmp_path):
    return tmp_path / "my_data"


@pytest.fixture
def refused(source, output):
    """Imports, and returns the sentence of the refusal. Nothing may have been written."""

    def import_it(path=None, options=None, **fields):
        with pytest.raises(UserError) as error:
            run(path or source, output, options, **fields)
        assert not list(output.glob("**/*.*"))
        return str(error.value)

    return import_it


# ---- the source ------------------------------------------------------------------------------


def test_no_such_source(refused, source):
    assert refused() == f"{source} does not exist."


def test_no_labels(refused, source):
    make_image(source / "a.png")
    write(source / "notes.txt", "Nothing here.")
    write(source / "package.json", {"name": "x"})
    (source / "labels.zip").touch()
    message = refused()
    assert message.startswith(f"{source} has no labels that can be read: looked for Pascal VOC")
    assert "CSV tables with a header such as filename,xmin,ymin,xmax,ymax,class" in message
    assert message.endswith("Unpack labels.zip first.")
    assert refused(source / "notes.txt").startswith(f"{source}/notes.txt has no labels")


def test_labels_without_images(refused, source, tmp_path, output):
    make_voc(source, 2)
    (source / "JPEGImages").rename(tmp_path / "elsewhere")
    message = refused()
    assert message.startswith(f"Pascal VOC XML in {source}: no image with an object is left. Left")
    assert (
        "labels whose image file was not found (2): Annotations/0.xml, Annotations/1.xml."
        in message
    )
    assert message.endswith("No images are there: name their folder by --images.")
    said = run(source, output, images=str(tmp_path / "elsewhere"))
    assert f"Images: {tmp_path}/elsewhere\n" in said


def test_images_that_are_no_folder(refused, source):
    make_voc(source)
    assert refused(images="nowhere").endswith("/nowhere is not a folder.")


def test_several_formats(refused, source, output):
    make_voc(source)
    write(source / "boxes.csv", "0.png,1,2,3,4,dog\n1.png,1,2,3,4,dog\n")
    assert refused(format="yolo") == (
        f"--format yolo: {source} has no such labels, but Pascal VOC XML, CSV of boxes."
    )
    said = run(source, output)
    assert "There are also labels as CSV of boxes (--format csv): not read." in said
    run(source, output, format="csv", overwrite=True)
    assert objects(output) == {name: [("dog", [1, 2, 2, 2])] for name in ("0.png", "1.png")}


def test_one_image(refused, source):
    make_voc(source, 1)
    message = "There is only one labelled image: training and validation need one each."
    assert refused() == message
    write(source / "Annotations" / "bad.xml", "<annotation>")
    found = "files that are not XML (no element found) (1): Annotations/bad.xml:1."
    assert refused() == f"{message} Left out: {found}"


def test_a_given_split_without_objects(refused, source):
    make_voc(source / "train", 2)
    make_image(source / "val" / "a.png")
    write(source / "val" / "a.xml", "<annotation></annotation>")
    assert refused() == (
        "The val split has 1 images and no object: label more images, or change --val-fraction."
    )


def test_links_in_a_circle(source, output):
    make_voc(source)
    (source / "JPEGImages" / "again").symlink_to(source / "JPEGImages")
    assert "4 images, 4 objects" in run(source, output)


def test_a_folder_that_cannot_be_read(refused, source, monkeypatch):
    """Its labels would be missing without a word."""
    make_voc(source)
    real = os.scandir

    def scandir(path):
        if str(path).endswith("JPEGImages"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert refused() == (
        f"The folder {source}/JPEGImages cannot be read: Permission denied. Make it readable, or "
        "name a folder without it."
    )


@pytest.mark.parametrize("ending", [".xml", ".json", ".txt", ".csv", ".yaml"])
def test_labels_that_cannot_be_read(refused, source, ending):
    make_voc(source)
    pipe = source / f"other{ending}"
    os.mkfifo(pipe)
    assert refused() == (
        f"{pipe} cannot be read (it is a named pipe, not a file), so it is not known whether it "
        "has labels: make it readable, or take it out of the folder."
    )


def test_an_image_that_cannot_be_read(source, output):
    make_voc(source)
    image = min(source.glob("JPEGImages/*"))
    image.unlink()
    os.mkfifo(image)
    said = "images that cannot be read (it is a named pipe, not a file) (1)"
    assert said in run(source, output)


def test_several_data_yaml(refused, source):
    for name in ("one", "two"):
        write(source / name / "data.yaml", "train: images\nnames: [cat]\n")
    message = refused()
    assert (
        message
        == "There are several data sets, one/data.yaml, two/data.yaml: give one of these files."
    )


def test_a_data_yaml_that_leads_nowhere(refused, source):
    write(source / "data.yaml", "train: gone/train\nval: gone/val\nnames: [cat]\n")
    message = refused()
    assert (
        "folders that are not below the one that was named (--images names another) (2): data.yaml "
        "(train: gone/train), data.yaml (val:"
    ) in message


# ---- the output ------------------------------------------------------------------------------


def test_an_earlier_import_stays(source, output):
    make_voc(source)
    run(source, output)
    config = output / "config.yaml"
    config.write_text("# changed by hand\n")
    with pytest.raises(UserError, match="is there already: add --overwrite to replace it"):
        run(source, output)
    assert config.read_text() == "# changed by hand\n"
    run(source, output, overwrite=True)
    assert config.read_text() != "# changed by hand\n"


def test_a_split_of_an_earlier_import_goes(source, output):
    make_voc(source)
    stale = write(output / "annotations" / "test.json", {})
    run(source, output)
    assert not stale.exists()


def test_an_output_inside_of_the_source_is_not_read(source):
    make_voc(source)
    output = source / "my_data"
    run(source, output, copy_images=True)
    first = (output / "annotations" / "train.json").read_text()
    said = run(source, output, overwrite=True, copy_images=True)
    assert "There are also" not in said
    assert (output / "annotations" / "train.json").read_text() == first


def test_an_output_that_cannot_be_written(source, tmp_path):
    make_voc(source)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Nothing can be written to"):
        run(source, tmp_path / "file" / "my_data")


# ---- classes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"drop": ["cta"]}, "--drop: there is no class 'cta', only cat. Did you mean 'cat'?"),
        ({"rename": ["Cat=x"]}, "--rename: there is no class 'Cat', only cat. Did you mean 'cat'?"),
        ({"rename": ["cat"]}, "--rename 'cat': expected OLD=NEW."),
        ({"rename": ["cat=a", "cat=b"]}, "--rename gives 'cat' two names: 'a' and 'b'."),
        ({"drop": ["cat"], "rename": ["cat=a"]}, "'cat' cannot be both dropped and renamed."),
        ({"drop": ["cat"]}, "--drop leaves no class."),
        ({"masks": True}, "--masks: 4 of 4 objects have a box and no outline."),
    ],
)
def test_classes_that_do_not_fit(refused, source, fields, message):
    make_voc(source)
    assert refused(**fields).startswith(message)


def test_via_whose_class_is_not_clear(refused, source):
    for name in TWO:
        make_image(source / name)
    rect = {"name": "rect", "x": 5, "y": 6, "width": 20, "height": 30}
    regions = [region(rect, breed="tabby", mood="calm")]
    write(source / "via.json", via("a.png", regions) | via("b.png", regions))
    assert refused() == (
        "Regions have the attributes breed, mood: say which one is the class, such as "
        "--via-class breed."
    )
    assert refused(options=Options(via_class="bred")) == (
        "--via-class: no region has the attribute 'bred', only breed, mood. Did you mean 'breed'?"
    )


# ---- what is left out, and named -------------------------------------------------------------


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "<annotation><object>",
            "files that are not XML (no element found) (1): Annotations/bad.xml:1.",
        ),
        (
            '<!DOCTYPE a [<!ENTITY b "b">]>\n<annotation>&b;</annotation>',
            "XML files that declare entities (1): Annotations/bad.xml:1.",
        ),
        (
            voc_xml("0.png", ("cat", 40, 20, 10, 60)),
            "boxes whose right or bottom side comes before the other one (1): "
            "Annotations/bad.xml:9.",
        ),
        (
            voc_xml("0.png", ("cat", 1, 2, 3, "x")),
            "boxes without four numbers (1): Annotations/bad.xml:9.",
        ),
        (
            voc_xml("0.png", ("cat", 1, 2, 3, "nan")),
            "boxes without four finite numbers (1): Annotations/bad.xml:9.",
        ),
        (
            voc_xml("0.png", ("", 1, 2, 3, 4)),
            "objects without a <name> (1): Annotations/bad.xml:7.",
        ),
        (
            voc_xml("0.png", ("cat", 1, 2, 3, 4)).replace("bndbox", "box"),
            "objects without a <bndbox> (1): Annotations/bad.xml:7.",
        ),
        (
            voc_xml("0.png", ("cat", 200, 20, 300, 60)),
            "boxes without size inside their image (1): Annotations/bad.xml (bad.png).",
        ),
        (
            voc_xml("0.png", ("cat", 1, 2, 3, 4), size=(50, 40)),
            "images of another size than their labels say (1): "
            "JPEGImages/bad.png (50x40, not 100x80).",
        ),
        ("<annotation></annotation>", None),  # an image without objects
    ],
)
def test_voc_that_is_not_sound(source, output, text, message):
    make_voc(source)
    make_image(source / "JPEGImages" / "bad.png")
    write(source / "Annotations" / "bad.xml", text)
    said = run(source, output)
    assert f"\nLeft out: {message}\n" in said if message else "Left out" not in said
    assert sum(map(len, objects(output).values())) == 4


@pytest.mark.parametrize(
    "row, message",
    [
        ("0 0.5 0.5 0.2 x", "rows with something else than numbers"),
        ("0 0.5 0.5 0.2", "rows without 4 numbers, or 3 and more corners, after the class"),
        ("0 50 20 20 40", "rows with numbers outside 0 to 1, of which YOLO's are fractions"),
        ("0 nan 0.5 0.1 0.1", "rows with numbers outside 0 to 1, of which YOLO's are fractions"),
        ("nan 0.5 0.5 0.1 0.1", "rows whose class number is none of 0 to 1"),
        ("2 0.5 0.5 0.1 0.1", "rows whose class number is none of 0 to 1"),
        ("0.5 0.5 0.5 0.1 0.1", "rows whose class number is none of 0 to 1"),
    ],
)
def test_yolo_rows_that_are_not_sound(source, output, row, message):
    for name in TWO:
        make_image(source / name)
        write(source / name.replace("png", "txt"), f"1 0.5 0.25 0.2 0.5\n{row}\n")
    write(source / "stray.txt", "1 0.5 0.25 0.2 0.5\n")
    write(source / "obj.names", "cat\ndog\n")
    said = run(source, output)
    assert f"\nLeft out: {message} (2): a.txt:2, b.txt:2.\n" in said
    assert "\nLeft out: label files whose image was not found (1): stray.txt.\n" in said
    assert objects(output) == {name: [("dog", [40, 0, 20, 40])] for name in TWO}


@pytest.mark.parametrize(
    "row, message",
    [
        ("a.png,1,2,3,x,cat", "boxes without four numbers (1): boxes.csv:4."),
        ("a.png,1,2,,4,cat", "boxes without four numbers (1): boxes.csv:4."),
        ("a.png,1,2,3,4,", "rows without a class (1): boxes.csv:4."),
        (
            "gone.png,1,2,3,4,cat",
            "labels whose image file was not found (1): boxes.csv:4 (gone.png).",
        ),
    ],
)
def test_csv_rows_that_are_not_sound(source, output, row, message):
    for name in TWO:
        make_image(source / name)
    head = "filename,xmin,ymin,xmax,ymax,class\na.png,1,2,3,4,cat\nb.png,1,2,3,4,cat\n"
    write(source / "boxes.csv", f"{head}{row}\n")
    assert f"\nLeft out: {message}\n" in run(source, output)
    assert sum(map(len, objects(output).values())) == 2


@pytest.mark.parametrize(
    "annotation, message",
    [
        (
            {"category_id": 7, "bbox": [1, 2, 3, 4]},
            "annotations of a category that the file has not",
        ),
        ({"category_id": 5, "bbox": [1, 2, 3]}, "annotations without a bbox of four numbers"),
        ({"category_id": 5, "bbox": "1 2 3 4"}, "annotations without a bbox of four numbers"),
        ({"category_id": 5}, "annotations without a bbox of four numbers"),
        (
            {"category_id": 5, "bbox": [1, 2, -3, 4]},
            "boxes whose right or bottom side comes before the other one",
        ),
        (
            {"category_id": 5, "bbox": [1, 2, 3, 4], "image_id": 77},
            "annotations of an image that the file has not",
        ),
    ],
)
def test_coco_that_is_not_sound(source, output, annotation, message):
    for name in TWO:
        make_image(source / name)
    sound = {"category_id": 5, "bbox": [1, 2, 3, 4]}
    write(source / "train.json", coco("a.png", sound, annotation))
    write(source / "val.json", coco("b.png", sound))
    assert f"\nLeft out: {message} (1): train.json (annotation 1).\n" in run(source, output)
    assert sum(map(len, objects(output).values())) == 2


def test_an_image_is_named_once(source, output):
    make_image(source / "a.png")
    outside = {"category_id": 5, "bbox": [900, 900, 5, 5]}
    write(source / "train.json", coco("a.png", {"category_id": 5, "bbox": [1, 2, 3, 4]}, outside))
    make_image(source / "b.png")
    write(source / "val.json", coco("b.png", {"category_id": 5, "bbox": [1, 2, 3, 4]}))
    reason = "boxes without size inside their image (1)"
    assert f"\nLeft out: {reason}: train.json (image 9, a.png).\n" in run(source, output)


def test_json_that_breaks_off(source, output):
    for name in (*TWO, "c.png"):
        make_image(source / name)
        shapes = ("cat", "rectangle", [[1, 2], [3, 4]], None)
        write(source / name.replace("png", "json"), labelme(name, shapes))
    broken = json.dumps(labelme("c.png"), indent=0)
    write(source / "c.json", broken[:-10])
    said = run(source, output)
    assert f"(1): c.json:{broken[:-10].count(chr(10)) + 1}.\n" in said
    assert "Left out: files that are not JSON" in said


def test_many_of_a_kind_are_counted_and_five_named(source, output):
    make_voc(source, 9)
    for i in range(7):
        (source / "JPEGImages" / f"{i}.png").write_bytes(b"no image")
    said = run(source, output)
    assert "Left out: files that are not images, or are broken (7): JPEGImages/0.png, " in said
    assert "JPEGImages/4.png, ...\n" in said


def test_boxes_in_fractions_where_pixels_belong(refused, source):
    for name in TWO:
        make_image(source / name)
    annotation = {"category_id": 5, "bbox": [0.1, 0.2, 0.3, 0.4]}
    write(source / "train.json", coco("a.png", annotation))
    write(source / "val.json", coco("b.png", annotation))
    assert refused().startswith("No box reaches further than 1 pixel: the numbers seem to be frac")


def test_images_that_exif_turns(source, output):
    """A stored image of 100x80 that is shown as 80x100: labels of either are told apart."""
    from PIL import Image

    turn = Image.Exif()
    turn[0x0112] = 6
    make_voc(source, 2)
    for name, size in (("shown", (80, 100)), ("stored", (100, 80))):
        make_image(source / "JPEGImages" / f"{name}.jpg", exif=turn)
        text = voc_xml(f"{name}.jpg", ("cat", 10, 20, 70, 90), size=size)
        write(source / "Annotations" / f"{name}.xml", text)
    said = run(source, output)
    assert (
        "images labelled as they are stored, but shown a quarter turned because of their EXIF"
        in said
    )
    assert "in a tool that turns them) (1): JPEGImages/stored.jpg (100x80, not 80x100).\n" in said
    assert "1 images are turned upright by their EXIF orientation" in said
    assert objects(output)["shown.jpg"] == [("cat", [10, 20, 60, 70])]
    assert "stored.jpg" not in objects(output)


def test_images_of_one_name(source, output):
    for split in ("train", "val"):
        make_image(source / "images" / split / "0.png", seed=len(split))
        write(source / "labels" / split / "0.xml", voc_xml("0.png", ("cat", 10, 20, 40, 60)))
    run(source, output)
    found = Folder(str(source))
    assert found.image(["0"], str(source / "labels" / "val" / "0.xml")).endswith("images/val/0.png")
    (source / "labels" / "val" / "0.xml").rename(source / "labels" / "0.xml")
    with pytest.raises(UserError, match=r"could be several files of that name \(1\): labels/0.xml"):
        (source / "labels" / "train" / "0.xml").unlink()
        run(source, output, overwrite=True)


def test_two_files_of_labels_for_one_image(source, output):
    make_voc(source)
    write(source / "Other" / "0.xml", voc_xml("0.png", ("cat", 1, 2, 3, 4)))
    said = run(source, output)
    assert "Left out: labels of an image that has others already (1): Other/0.xml.\n" in said
