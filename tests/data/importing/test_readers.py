"""Each format in its documented form, to numbers worked out by hand.

Images are 100 pixels wide and 80 high.
"""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from fcos.data.importing import Options
from tests.data.importing.making import (
    annotations,
    contents,
    make_image,
    make_voc,
    objects,
    run,
    voc_xml,
    write,
)


@pytest.fixture
def source(tmp_path):
    return tmp_path / "source"


@pytest.fixture
def output(tmp_path):
    return tmp_path / "my_data"


# ---- Pascal VOC ------------------------------------------------------------------------------


def test_voc_is_read_as_0_based_edges(source, output):
    make_image(source / "JPEGImages" / "a.png")
    make_image(source / "JPEGImages" / "b.png")
    write(source / "Annotations" / "a.xml", voc_xml("a.png", ("cat", 0, 0, 100, 80)))
    write(
        source / "Annotations" / "b.xml",
        voc_xml("b.png", ("dog", 5, 6, 25.5, 36), ("cat", 1, 2, 3, 4)),
    )
    said = run(source, output)
    assert objects(output) == {
        "a.png": [("cat", [0, 0, 100, 80])],
        "b.png": [("dog", [5, 6, 20.5, 30]), ("cat", [1, 2, 2, 2])],
    }
    assert "Pascal VOC XML: 2 images, 3 objects, 2 classes (cat 2, dog 1)." in said
    assert "taken as 0-based, as most tools write them (1 boxes begin at 0, 1 at 1, 1 end" in said


def test_voc_as_1_based_pixels(source, output):
    make_image(source / "a.png")
    make_image(source / "b.png")
    write(source / "a.xml", voc_xml("a.png", ("cat", 1, 1, 100, 80)))  # the whole image
    write(source / "b.xml", voc_xml("b.png", ("cat", 11, 21, 40, 60)))
    said = run(source, output)
    assert "1 at 1, 1 end at the full width or height: if they are 1-based, add --voc-one-b" in said
    said = run(source, output, Options(voc_one_based=True), overwrite=True)
    assert objects(output) == {
        "a.png": [("cat", [0, 0, 100, 80])],
        "b.png": [("cat", [10, 20, 30, 40])],
    }
    assert "1-based, as in the official VOC: 1 is taken from xmin, ymin (0 boxes begin" in said


def test_voc_with_its_own_lists(source, output):
    make_voc(source, 6)
    lists = source / "ImageSets" / "Main"
    write(lists / "train.txt", "0\n1\n")
    write(lists / "val.txt", "2\n")
    write(lists / "trainval.txt", "0\n1\n2\n")
    write(lists / "test.txt", "3\n4\n")
    write(lists / "cat_train.txt", "0  1\n5 -1\n")
    said = run(source, output)
    found = contents(output, "train", "val", "test")
    names = {split: [i["file_name"] for i in found[split]["images"]] for split in found}
    assert names == {"train": ["0.png", "1.png"], "val": ["2.png"], "test": ["3.png", "4.png"]}
    assert "Left out: images in no split (1): Annotations/5.xml." in said


def test_voc_finds_the_image_by_the_name_of_its_file(source, output):
    make_voc(source, 2)
    wrong = voc_xml("1.png", ("cat", 1, 2, 3, 4))
    write(
        source / "Annotations" / "0.xml",
        wrong.replace("<object>", "<object><difficult>1</difficult>"),
    )
    said = run(source, output)
    assert objects(output)["0.png"] == [("cat", [1, 2, 2, 2])]
    assert "1 XML files have another image in <filename> than the one of their own name" in said
    assert "1 objects are marked as difficult, and kept as others." in said


# ---- YOLO ------------------------------------------------------------------------------------

# The middle at (0.5, 0.25) is (50, 20); a width of 0.2 is 20, a height of 0.5 is 40.
ROW, BOX = "1 0.5 0.25 0.2 0.5\n", [40, 0, 20, 40]


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("images/{}", "labels/{}"),
        ("{}/images", "{}/labels"),
        ("{}", "{}"),  # side by side
    ],
)
@pytest.mark.parametrize("with_yaml", [True, False])
def test_yolo_layouts(source, output, images, labels, with_yaml):
    for split in ("train", "val"):
        make_image(source / images.format(split) / f"{split}.png")
        write(source / labels.format(split) / f"{split}.txt", ROW)
    if with_yaml:
        paths = f"train: {images.format('train')}\nval: {images.format('val')}\n"
        write(source / "data.yaml", f"{paths}nc: 2\nnames: [cat, dog]\n")
    else:
        write(source / "classes.txt", "cat\ndog\n")
    said = run(source, output)
    found = contents(output, "train", "val")
    assert [i["file_name"].rsplit("/", 1)[-1] for i in found["train"]["images"]] == ["train.png"]
    assert objects(output) == {"train.png": [("dog", BOX)], "val.png": [("dog", BOX)]}
    assert [c["name"] for c in found["val"]["categories"]] == ["cat", "dog"]
    assert "Classes without an object (--drop leaves them out): cat." in said


def test_yolo_polygons_and_an_image_without_objects(source, output):
    for name in ("a", "b", "c"):
        make_image(source / "images" / f"{name}.png")
    # A triangle of (10, 8), (50, 8), (10, 48): area 40 * 40 / 2.
    write(source / "labels" / "a.txt", "0 0.1 0.1 0.5 0.1 0.1 0.6\n")
    write(source / "labels" / "b.txt", "0 0.1 0.1 0.5 0.1 0.1 0.6\n\n")
    said = run(source, output)
    triangles = annotations(output)
    assert [t["bbox"] for t in triangles] == [[10, 8, 40, 40]] * 2
    assert [t["segmentation"] for t in triangles] == [[[10, 8, 50, 8, 10, 48]]] * 2
    assert [t["area"] for t in triangles] == [800, 800]
    assert "3 images (1 without objects), 2 objects, 1 class (0 2)." in said
    assert "1 images have no label file: they count as without objects." in said
    assert "No file names the classes: they are called by their numbers" in said


@pytest.mark.parametrize(
    "entry", ["../first/images", "C:\\Users\\me\\set\\first\\images", "/gone/set/first/images"]
)
def test_yolo_paths_of_another_machine(source, output, entry):
    for split in ("first", "second", "third"):
        make_image(source / split / "images" / f"{split}.png")
        write(source / split / "labels" / f"{split}.txt", ROW)
    val = entry.replace("first", "second")
    write(source / "data.yaml", f"train: '{entry}'\nval: '{val}'\nnames: {{0: cat, 1: dog}}\n")
    said = run(source, output)
    found = contents(output, "train", "val")
    assert [i["file_name"] for i in found["train"]["images"]] == ["first/images/first.png"]
    assert "image was not found (1): third/labels/third.txt." in said


def test_yolo_lists_of_images_and_keypoints(source, output):
    for name in ("a", "b"):
        make_image(source / "obj" / f"{name}.png")
        write(source / "obj" / f"{name}.txt", ROW.strip() + " 0.5 0.5 2 0.1 0.1 0\n")
    write(source / "train.txt", "data/obj/a.png\n")
    write(source / "valid.txt", "data/obj/b.png\n")
    yaml = "train: train.txt\nval: valid.txt\nkpt_shape: [2, 3]\nnames: [cat, dog]\n"
    write(source / "data.yaml", yaml)
    run(source / "data.yaml", output)
    assert objects(output) == {"a.png": [("dog", BOX)], "b.png": [("dog", BOX)]}
    assert contents(output)["val"]["images"][0]["file_name"] == "b.png"


# ---- CVAT ------------------------------------------------------------------------------------

CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
<meta><task><labels><label><name>dog</name></label><label><name>cat</name></label></labels></task></meta>
<image id="0" name="a.png" subset="Train" width="100" height="80">
<box label="cat" xtl="1.5" ytl="2" xbr="11.5" ybr="22" occluded="0" z_order="0"/>
<box label="cat" xtl="40" ytl="30" xbr="60" ybr="40" rotation="90"/>
<points label="cat" points="1,2"/>
</image>
<image id="1" name="sub/b.png" subset="Validation" width="100" height="80">
<polygon label="dog" points="10,10;30,10;30,40;10,40"/>
<ellipse label="dog" cx="50" cy="40" rx="10" ry="20"/>
<mask label="dog" rle="6, 3, 21" left="3" top="4" width="5" height="6"/>
</image>
</annotations>
"""


def test_cvat(source, output):
    make_image(source / "images" / "a.png")
    make_image(source / "images" / "sub" / "b.png")
    write(source / "annotations.xml", CVAT)
    said = run(source, output)
    # 20 x 10 around (50, 35), turned by a quarter, is 10 x 20.
    assert objects(output) == {
        "a.png": [("cat", [1.5, 2, 10, 20]), ("cat", [45, 25, 10, 20])],
        "b.png": [("dog", [10, 10, 20, 30]), ("dog", [40, 20, 20, 40]), ("dog", [4, 5, 3, 1])],
    }
    found = contents(output, "train", "val")
    assert [c["name"] for c in found["train"]["categories"]] == ["dog", "cat"]
    assert found["val"]["annotations"][0]["segmentation"] == [[10, 10, 30, 10, 30, 40, 10, 40]]
    assert found["val"]["annotations"][0]["area"] == 600
    # Of rows of 5 pixels, the second one's middle: in row 5, columns 4 to 6, of 80 pixels each.
    counts = [4 * 80 + 5, 1, 79, 1, 79, 1, 8000 - 6 * 80 - 6]
    assert found["val"]["annotations"][2]["segmentation"] == {"size": [80, 100], "counts": counts}
    assert found["val"]["annotations"][2]["area"] == 3
    assert "Left out: <points> shapes, which are no boxes (1): annotations.xml:7." in said


# ---- LabelMe ---------------------------------------------------------------------------------


def labelme(name, *shapes):
    return {
        "version": "5.0.1",
        "shapes": [
            {"label": label, "shape_type": kind, "points": points, "group_id": group}
            for label, kind, points, group in shapes
        ],
        "imagePath": name,
        "imageData": None,
        "imageHeight": 80,
        "imageWidth": 100,
    }


def test_labelme(source, output):
    make_image(source / "a.png")
    make_image(source / "b.png")
    triangle = [[10, 10], [30, 10], [10, 40]]
    other = [[50, 50], [60, 50], [60, 70]]
    shapes = [
        ("cat", "rectangle", [[40, 50], [10, 20]], None),  # from the last corner to the first
        ("dog", "polygon", triangle, 7),
        ("dog", "polygon", other, 7),  # another part of the same dog
        ("dog", "polygon", other, None),
        ("cat", "line", [[1, 2], [3, 4]], None),
        ("__ignore__", "polygon", triangle, None),
    ]
    write(source / "a.json", labelme("..\\elsewhere\\a.png", *shapes))
    write(source / "b.json", labelme("b.png", ("cat", "circle", [[50, 40], [53, 44]], None)))
    said = run(source, output)
    assert objects(output) == {
        "a.png": [
            ("cat", [10, 20, 30, 30]),
            ("dog", [10, 10, 50, 60]),
            ("dog", [50, 50, 10, 20]),
        ],
        "b.png": [("cat", [45, 35, 10, 10])],
    }
    dog = next(a for a in annotations(output) if a["bbox"] == [10, 10, 50, 60])
    assert dog["area"] == 20 * 30 / 2 + 10 * 20 / 2
    assert "shapes of type line with 2 points, which are no boxes (1): a.json (shape 5)." in said
    assert "shapes labelled __ignore__ (1): a.json (shape 6)." in said


def test_labelme_masks(source, output):
    pixels = np.array([[0, 1, 1], [0, 0, 1]], np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    mask = base64.b64encode(file.getvalue()).decode()
    for name in ("a", "b"):
        make_image(source / f"{name}.png")
        # Of 3x2 pixels, the first and the last are named; both belong to it.
        content = labelme(f"{name}.png", *[("cat", "mask", [[10, 20], [12, 21]], None)] * 2)
        content["shapes"][0]["mask"] = mask
        content["shapes"][1]["mask"] = "not a PNG"
        write(source / f"{name}.json", content)
    said = run(source, output, masks=True)
    assert objects(output) == {
        "a.png": [("cat", [11, 20, 2, 2])],
        "b.png": [("cat", [11, 20, 2, 2])],
    }
    found = annotations(output)[0]
    assert found["area"] == 3
    # Column 11 has row 20, column 12 rows 20 and 21, of 80.
    counts = [11 * 80 + 20, 1, 79, 2, 8000 - 12 * 80 - 22]
    assert found["segmentation"] == {"size": [80, 100], "counts": counts}
    assert "masks that are no PNG image in base 64 (2): a.json (shape 2), b.json" in said
    cfg = (output / "config.yaml").read_text()
    assert "MASK_FORMAT: bitmask" in cfg


# ---- VIA -------------------------------------------------------------------------------------

POLYGON = {"name": "polygon", "all_points_x": [10, 30, 30], "all_points_y": [10, 10, 50]}
RECT = {"name": "rect", "x": 5, "y": 6, "width": 20, "height": 30}
CIRCLE = {"name": "circle", "cx": 50, "cy": 40, "r": 10}
ELLIPSE = {"name": "ellipse", "cx": 50, "cy": 40, "rx": 10, "ry": 20, "theta": 0}


def region(shape, **attributes):
    return {"shape_attributes": shape, "region_attributes": attributes}


def via(name, regions):
    return {f"{name}1234": {"filename": name, "size": 1234, "regions": regions}}


@pytest.mark.parametrize("version", [1, 2])
def test_via(source, output, version):
    make_image(source / "a.png")
    make_image(source / "b.png")
    first = [
        region(POLYGON, name="cat"),
        region(RECT, name="dog"),
        region({"name": "point"}, name="x"),
    ]
    second = [region(CIRCLE, name={"dog": True, "cat": False}), region(ELLIPSE, name="cat")]
    images = via("a.png", first) | via("b.png", second)
    if version == 1:
        for record in images.values():
            record["regions"] = {str(i): r for i, r in enumerate(record["regions"])}
        write(source / "via.json", images)
    else:
        write(source / "via.json", {"_via_settings": {}, "_via_img_metadata": images})
    said = run(source, output)
    assert objects(output) == {
        "a.png": [("cat", [10, 10, 20, 40]), ("dog", [5, 6, 20, 30])],
        "b.png": [("dog", [40, 30, 20, 20]), ("cat", [40, 20, 20, 40])],
    }
    assert "regions of shape point, which are no boxes (1): via.json (a.png, region 3)." in said


def test_via_without_attributes_in_folders_of_a_split(source, output):
    for split in ("train", "val"):
        make_image(source / split / f"{split}.png")
        write(source / split / "via_region_data.json", via(f"{split}.png", [region(RECT)]))
    said = run(source, output, rename=["object=balloon"])
    contents(output, "train", "val")
    assert objects(output)["val.png"] == [("balloon", [5, 6, 20, 30])]
    assert "Regions have no attributes: all are of one class, 'object'" in said


def test_via_with_several_attributes(source, output):
    for name in ("a.png", "b.png"):
        make_image(source / name)
    regions = [region(RECT, breed="tabby", mood="calm")]
    write(source / "via.json", via("a.png", regions) | via("b.png", regions))
    run(source, output, Options(via_class="breed"))
    assert objects(output)["a.png"] == [("tabby", [5, 6, 20, 30])]


# ---- tables ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header, row",
    [
        ("filename,xmin,ymin,xmax,ymax,class", "{},10,20,40,60,cat"),
        ("filename,width,height,class,xmin,ymin,xmax,ymax", "{},100,80,cat,10,20,40,60"),
        ("image_path;label;x1;y1;x2;y2", "img/{};cat;10;20;40;60"),
        ("Image,x,y,w,h,Label", "{},10,20,30,40,cat"),
        ("image_name,bbox_x,bbox_y,bbox_width,bbox_height,image_width,image_height,class_name",)
        + ("{},10,20,30,40,100,80,cat",),
        ("", "some/where/{},10,20,40,60,cat"),
        ("filename,xmin,ymin,xmax,ymax,class", "{},0.1,0.25,0.4,0.75,cat"),
    ],
)
def test_csv(source, output, header, row):
    for name in ("a.png", "b.png"):
        make_image(source / "img" / name)
    lines = [header] * bool(header) + [
        row.format("a.png"),
        row.format("b.png"),
        row.format("b.png"),
    ]
    write(source / "boxes.csv", "\n".join(lines) + "\n")
    run(source, output)
    box = ("cat", [10, 20, 30, 40])
    assert objects(output) == {"a.png": [box], "b.png": [box, box]}


def test_csv_of_a_split_and_an_image_without_objects(source, output):
    for name in ("a.png", "b.png", "c.png"):
        make_image(source / name)
    write(source / "train_labels.csv", "a.png,1,2,3,4,cat\nc.png,,,,,\n")
    write(source / "test_labels.csv", "b.png,1,2,3,4,cat\n")
    said = run(source, output)
    assert objects(output) == {"a.png": [("cat", [1, 2, 2, 2])], "c.png": []} | {
        "b.png": [("cat", [1, 2, 2, 2])]
    }
    assert "Split: 2 train, 1 val; split kept as it is (its test images are for validation" in said


def test_open_images(source, output):
    header = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsGroupOf\n"
    write(source / "class-descriptions-boxable.csv", "/m/01yrx,Cat\n/m/0bt9lr,Dog\n")
    rows = "{0},xclick,/m/01yrx,1,0.1,0.3,0.25,0.5,0,0\n{0},xclick,/m/0bt9lr,1,0,1,0,1,0,1\n"
    for split in ("train", "validation"):
        make_image(source / "img" / f"{split}0a1b.jpg")
        text = header + rows.format(f"{split}0a1b")
        write(source / f"{split}-annotations-bbox.csv", text)
    said = run(source, output)
    contents(output, "train", "val")
    # x from 0.1 to 0.3 of 100, y from 0.25 to 0.5 of 80.
    assert objects(output)["train0a1b.jpg"] == [("Cat", [10, 20, 20, 20]), ("Dog", [0, 0, 100, 80])]
    assert [a["iscrowd"] for a in annotations(output)] == [0, 1, 0, 1]
    assert "Open Images CSV: 2 images" in said


# ---- COCO ------------------------------------------------------------------------------------


def coco(name, *annotations, categories=({"id": 5, "name": "cat"}, {"id": 2, "name": "dog"})):
    return {
        "info": {"year": "2021"},
        "images": [{"id": 9, "file_name": name, "width": 100, "height": 80}],
        "annotations": [{"id": i, "image_id": 9, **a} for i, a in enumerate(annotations)],
        "categories": list(categories),
    }


def test_coco(source, output):
    run_lengths = {"size": [80, 100], "counts": [0, 8000]}
    objects_of = {
        "train": [
            {
                "category_id": 5,
                "bbox": [1, 2, 3, 4],
                "area": 7,
                "segmentation": [[1, 2, 4, 2, 4, 6]],
            },
            {"category_id": "2", "bbox": ["10", "20", "30", "40"]},
            {"category_id": 2, "bbox": [0, 0, 100, 80], "iscrowd": 1, "segmentation": run_lengths},
        ],
        "val": [{"category_id": 5, "bbox": [90, 70, 20, 20], "segmentation": [0, 0, 5, 0, 5, 5]}],
    }
    for split, found in objects_of.items():
        make_image(source / f"{split}2017" / "same.png", seed=len(split))
        write(source / "annotations" / f"instances_{split}2017.json", coco("same.png", *found))
    write(source / "annotations" / "captions_train2017.json", coco("same.png"))
    said = run(source, output)
    written = contents(output, "train", "val")
    assert written["train"]["images"][0]["file_name"] == "train2017/same.png"
    assert [c["name"] for c in written["train"]["categories"]] == ["dog", "cat"]
    first, second, third = written["train"]["annotations"]
    assert (first["area"], first["segmentation"]) == (7, [[1, 2, 4, 2, 4, 6]])
    assert (second["bbox"], second["area"]) == ([10, 20, 30, 40], 1200)
    assert (third["iscrowd"], third["segmentation"]) == (1, run_lengths)
    assert written["val"]["annotations"][0]["bbox"] == [90, 70, 10, 10]  # cut at the border
    assert "1 boxes reached outside their image, and are cut there." in said
    assert (
        "Not read, because the other files are those of boxes or splits: annotations/capt" in said
    )


def test_roboflows_empty_class(source, output):
    categories = [
        {"id": 0, "name": "Pets", "supercategory": "none"},
        {"id": 1, "name": "cat", "supercategory": "Pets"},
    ]
    for split in ("train", "valid"):
        name = f"{split}_jpg.rf.0123abcd.jpg"
        make_image(source / split / name)
        content = coco(name, {"category_id": 1, "bbox": [1, 2, 3, 4]}, categories=categories)
        write(source / split / "_annotations.coco.json", content)
    said = run(source, output)
    found = contents(output, "train", "val")
    assert found["train"]["categories"] == [{"id": 1, "name": "cat"}]
    assert "Roboflow's empty class of id 0, 'Pets', is left out." in said


def test_a_class_of_id_0_that_is_used_stays(source, output):
    categories = [
        {"id": 0, "name": "cat", "supercategory": "none"},
        {"id": 1, "name": "dog", "supercategory": "none"},
    ]
    for name in ("a.png", "b.png"):
        make_image(source / name)
        content = coco(name, {"category_id": 0, "bbox": [1, 2, 3, 4]}, categories=categories)
        write(source / ("train.json" if name == "a.png" else "val.json"), content)
    run(source, output)
    assert objects(output)["a.png"] == [("cat", [1, 2, 3, 4])]
    assert [c["name"] for c in contents(output)["train"]["categories"]] == ["cat", "dog"]
