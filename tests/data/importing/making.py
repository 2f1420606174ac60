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
