"""Small labelled sets, and what an import made of them."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from fcos.data.importing import Options, Request, import_labels

SIZE = 100, 80  # width and height of every image


def make_image(
    path: Path, size: tuple[int, int] = SIZE, seed: int | None = None, **options
) -> Path:
    """Write an image of noise, another one for each name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(path.name.encode()) if seed is None else seed)
    pixels = rng.integers(0, 256, (size[1] // 10, size[0] // 10, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST).save(path, **options)
    return path


def write(path: Path, content) -> Path:
    """Write a text, or anything else as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def voc_xml(name: str, *objects: tuple, size: tuple[int, int] = SIZE) -> str:
    """Return VOC's XML; an object is its class and four corners. One line for each tag."""
    lines = ["<annotation>", f"<filename>{name}</filename>"]
    lines += ["<size>", f"<width>{size[0]}</width>", f"<height>{size[1]}</height>", "</size>"]
    for label, *corners in objects:
        lines += ["<object>", f"<name>{label}</name>", "<bndbox>"]
        tags = ("xmin", "ymin", "xmax", "ymax")
        lines += [f"<{tag}>{n}</{tag}>" for tag, n in zip(tags, corners, strict=True)]
        lines += ["</bndbox>", "</object>"]
    return "\n".join([*lines, "</annotation>"])


def make_voc(root: Path, number: int = 4, label: str = "cat") -> Path:
    """Write ``number`` images with a box each, labelled as VOC does."""
    for i in range(number):
        make_image(root / "JPEGImages" / f"{i}.png")
        write(root / "Annotations" / f"{i}.xml", voc_xml(f"{i}.png", (label, 10, 20, 40, 60)))
    return root


BOX = (10, 20, 40, 60)  # left, top, right, bottom
_CORNERS = [[10, 20], [40, 20], [40, 60], [10, 60]]


def _make_voc(root: Path, names: list[str]) -> None:
    for name in names:
        write(root / f"{name}.xml", voc_xml(f"{name}.png", ("cat", *BOX), ("dog", 0, 0, 50, 40)))


def _make_yolo(root: Path, names: list[str], polygons: bool = False) -> None:
    cat = "0 0.25 0.5 0.3 0.5\n"
    if polygons:
        cat = "0 " + " ".join(f"{x / SIZE[0]} {y / SIZE[1]}" for x, y in _CORNERS) + "\n"
    for name in names:
        write(root / f"{name}.txt", f"{cat}1 0.25 0.25 0.5 0.5\n")
    write(root / "data.yaml", "train: .\nnc: 2\nnames: [cat, dog]\n")


def _make_cvat(root: Path, names: list[str]) -> None:
    shapes = (
        '<box label="cat" occluded="0" xtl="10" ytl="20" xbr="40" ybr="60" z_order="0"/>'
        '<polygon label="dog" occluded="0" points="0,0;50,0;50,40;0,40" z_order="0"/>'
    )
    images = "".join(
        f'<image id="{i}" name="{name}.png" width="100" height="80">{shapes}</image>'
        for i, name in enumerate(names)
    )
    write(root / "annotations.xml", f"<annotations><version>1.1</version>{images}</annotations>")


def _make_labelme(root: Path, names: list[str]) -> None:
    cat = {"label": "cat", "shape_type": "polygon", "points": _CORNERS, "group_id": None}
    dog = {"label": "dog", "shape_type": "rectangle", "points": [[0, 0], [50, 40]]}
    for name in names:
        content = {"version": "5.0.1", "shapes": [cat, dog], "imagePath": f"{name}.png"}
        write(root / f"{name}.json", content | {"imageHeight": 80, "imageWidth": 100})


def _make_via(root: Path, names: list[str]) -> None:
    cat = {"name": "rect", "x": 10, "y": 20, "width": 30, "height": 40}
    dog = {"name": "polygon", "all_points_x": [0, 50, 50], "all_points_y": [0, 0, 40]}
    regions = [
        {"shape_attributes": shape, "region_attributes": {"class": label}}
        for label, shape in (("cat", cat), ("dog", dog))
    ]
    images = {f"{n}1": {"filename": f"{n}.png", "size": 1, "regions": regions} for n in names}
    write(root / "via.json", {"_via_settings": {}, "_via_img_metadata": images})


def _make_open_images(root: Path, names: list[str]) -> None:
    rows = ["ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsGroupOf"]
    for name in names:
        rows += [f"{name},x,/m/1,1,0.1,0.4,0.25,0.75,0", f"{name},x,/m/2,1,0,0.5,0,0.5,0"]
    write(root / "boxes.csv", "\n".join(rows))
    write(root / "class-descriptions-boxable.csv", "/m/1,cat\n/m/2,dog\n")


def _make_csv(root: Path, names: list[str]) -> None:
    rows = ["filename,width,height,class,xmin,ymin,xmax,ymax"]
    for name in names:
        rows += [f"{name}.png,100,80,cat,10,20,40,60", f"{name}.png,100,80,dog,0,0,50,40"]
    write(root / "boxes.csv", "\n".join(rows))


def _make_roboflow(root: Path, names: list[str]) -> None:
    labels = ((1, [10, 20, 30, 40]), (2, [0, 0, 50, 40]))
    images = [
        {"id": i, "file_name": f"{name}.png", "width": 100, "height": 80}
        for i, name in enumerate(names)
    ]
    boxes = [(i, category, bbox) for i in range(len(names)) for category, bbox in labels]
    keys = ("image_id", "category_id", "bbox")
    annotations = [
        {"id": number, **dict(zip(keys, box, strict=True)), "area": 1200, "iscrowd": 0}
        for number, box in enumerate(boxes)
    ]
    categories = [
        {"id": 0, "name": "pets", "supercategory": "none"},
        {"id": 1, "name": "cat", "supercategory": "pets"},
        {"id": 2, "name": "dog", "supercategory": "pets"},
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write(root / "_annotations.coco.json", {"info": {"year": "2021"}, **content})


# Labels of images of SIZE, in the form that each format documents, beside the images: a cat in
# BOX, and a dog in the left upper quarter.
MAKERS = {
    "voc": _make_voc,
    "yolo": _make_yolo,
    "yolo polygons": lambda root, names: _make_yolo(root, names, polygons=True),
    "cvat": _make_cvat,
    "labelme": _make_labelme,
    "via": _make_via,
    "open images": _make_open_images,
    "csv": _make_csv,
    "roboflow": _make_roboflow,
}


def run(source: Path, output: Path, options: Options | None = None, **fields) -> str:
    """Import; returns what is printed."""
    request = Request(str(source), str(output), options=options or Options(), **fields)
    return import_labels(request)


def contents(output: Path, *splits: str) -> dict:
    """Return the written annotation files by split."""
    found = {path.stem: json.loads(path.read_text()) for path in output.glob("annotations/*.json")}
    assert not splits or sorted(found) == sorted(splits)
    return found


def objects(output: Path) -> dict[str, list[tuple]]:
    """Return class and bbox of all objects by the file name of their image, over all splits."""
    found: dict[str, list[tuple]] = {}
    for content in contents(output).values():
        classes = {category["id"]: category["name"] for category in content["categories"]}
        names = {image["id"]: Path(image["file_name"]).name for image in content["images"]}
        found |= {name: [] for name in names.values()}
        for annotation in content["annotations"]:
            label = classes[annotation["category_id"]]
            found[names[annotation["image_id"]]].append((label, annotation["bbox"]))
    return found


def annotations(output: Path) -> list[dict]:
    """Return all annotations of all splits."""
    return [a for content in contents(output).values() for a in content["annotations"]]
