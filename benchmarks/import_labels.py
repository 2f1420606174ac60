"""Seconds and memory that an import of a large data set takes; by default one as large as COCO's.

python -m benchmarks.import_labels coco yolo voc --folder output/large
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

PICTURES = 50  # different ones; all others are links to them
GRAIN = 8  # pixels of a spot; with noise, a JPEG file is as large as COCO's on average (160 kB)
NOISE = 10  # gray levels, standard deviation
SIZE = 640, 480
CLASSES = 80

Boxes = Iterator[tuple[str, str, "np.ndarray", "np.ndarray"]]


def objects(images: int, boxes: int) -> Boxes:
    """Yield split, name, classes and corners in whole pixels, (G, 4), of each image."""
    rng = np.random.default_rng(0)
    counts = np.bincount(rng.integers(0, images, boxes), minlength=images)
    for number, count in enumerate(counts.tolist()):
        corners = rng.integers(0, [[SIZE[0] - 20, SIZE[1] - 20]], (count, 2))
        ends = np.minimum(corners + rng.integers(8, 200, (count, 2)), SIZE)
        split = "val" if number % 20 == 0 else "train"
        yield split, f"{number:06}", rng.integers(0, CLASSES, count), np.hstack([corners, ends])


def make_pictures(folder: Path, images: int) -> None:
    """Write images; those of one number modulo PICTURES are one file."""
    rng = np.random.default_rng(0)
    kinds = []
    for number in range(min(PICTURES, images)):
        path = folder / "kinds" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        spots = rng.integers(0, 256, (SIZE[1] // GRAIN, SIZE[0] // GRAIN, 3), dtype=np.uint8)
        pixels = np.asarray(Image.fromarray(spots).resize(SIZE, Image.Resampling.BICUBIC))
        noise = rng.normal(0, NOISE, (SIZE[1], SIZE[0], 1))
        noisy = (pixels + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(path, quality=92)
        kinds.append(path)
    for split in ("train", "val"):
        (folder / "images" / split).mkdir(parents=True, exist_ok=True)
    for number in range(images):
        split = "val" if number % 20 == 0 else "train"
        os.link(kinds[number % len(kinds)], folder / "images" / split / f"{number:06}.jpg")


def make_voc(folder: Path, found: Boxes) -> None:
    """Write an XML file for each image, as LabelImg does."""
    for split, name, classes, corners in found:
        things = "".join(
            f"\t<object>\n\t\t<name>class{c}</name>\n\t\t<pose>Unspecified</pose>\n"
            "\t\t<truncated>0</truncated>\n\t\t<difficult>0</difficult>\n\t\t<bndbox>\n"
            f"\t\t\t<xmin>{x1}</xmin>\n\t\t\t<ymin>{y1}</ymin>\n\t\t\t<xmax>{x2}</xmax>\n"
            f"\t\t\t<ymax>{y2}</ymax>\n\t\t</bndbox>\n\t</object>\n"
            for c, (x1, y1, x2, y2) in zip(classes.tolist(), corners.tolist(), strict=True)
        )
        path = folder / "annotations" / split / f"{name}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"<annotation>\n\t<folder>{split}</folder>\n\t<filename>{name}.jpg</filename>\n"
            "\t<source>\n\t\t<database>Unknown</database>\n\t</source>\n"
            f"\t<size>\n\t\t<width>{SIZE[0]}</width>\n\t\t<height>{SIZE[1]}</height>\n"
            f"\t\t<depth>3</depth>\n\t</size>\n\t<segmented>0</segmented>\n{things}</annotation>\n"
        )


def make_yolo(folder: Path, found: Boxes) -> None:
    """Write a text file for each image, and data.yaml."""
    for split, name, classes, corners in found:
        middles = (corners[:, :2] + corners[:, 2:]) / 2 / SIZE
        sizes = (corners[:, 2:] - corners[:, :2]) / SIZE
        rows = zip(classes.tolist(), np.hstack([middles, sizes]).tolist(), strict=True)
        path = folder / "labels" / split / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            "".join(f"{c} {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n" for c, (x, y, w, h) in rows)
        )
    names = [f"class{number}" for number in range(CLASSES)]
    (folder / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames: {names}\n")


def make_coco(folder: Path, found: Boxes) -> None:
    """Write a JSON file for each split."""
    contents: dict[str, dict[str, list]] = {}
    categories = [{"id": number, "name": f"class{number}"} for number in range(CLASSES)]
    for image_id, (split, name, classes, corners) in enumerate(found):
        content = contents.setdefault(split, {"images": [], "annotations": []})
        size = {"width": SIZE[0], "height": SIZE[1]}
        content["images"].append({"id": image_id, "file_name": f"{name}.jpg", **size})
        for label, (x1, y1, x2, y2) in zip(classes.tolist(), corners.tolist(), strict=True):
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
            number = len(content["annotations"])
            content["annotations"].append(
                {"id": number, "image_id": image_id, "category_id": label, **box}
            )
    for split, content in contents.items():
        path = folder / "annotations" / f"instances_{split}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**content, "categories": categories}))


def make_unsplit(folder: Path, found: Boxes) -> None:
    """Put all in one folder: the import splits them, and looks for near-duplicates to do so."""
    for path in (folder / "images" / "val").iterdir():
        path.rename(folder / "images" / "train" / path.name)
    (folder / "images" / "val").rmdir()
    (folder / "images" / "train").rename(folder / "images" / "all")
    make_coco(folder, (("all", name, classes, corners) for _, name, classes, corners in found))


MAKERS = {"coco": make_coco, "unsplit": make_unsplit, "yolo": make_yolo, "voc": make_voc}
FORMATS = {"unsplit": "coco"}  # of the others: the same word


def measure(kind: str, folder: Path) -> str:
    """Import in a process of its own; return its seconds and its peak of memory."""
    command = [sys.executable, "-m", "fcos.data.importing", str(folder)]
    command += ["--format", FORMATS.get(kind, kind)]
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*command, "--output", str(folder / "out"), "--overwrite"], check=True)
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    # The peak is the largest of all children so far: one kind for each start of this program.
    return f"{kind}: {wall:.0f} s ({cpu:.0f} s of CPU), {after.ru_maxrss / 2**20:.2f} GiB"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.import_labels")
    parser.add_argument("kinds", nargs="+", choices=MAKERS)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--images", type=int, default=118_000)
    parser.add_argument("--boxes", type=int, default=860_000)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Make the data sets that are not there, import them, and print a line for each."""
    args = parse_args(argv)
    lines = []
    for kind in args.kinds:
        folder = args.folder / f"{kind}_{args.images}"
        if not folder.exists():
            unfinished = args.folder / "unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            make_pictures(unfinished, args.images)
            MAKERS[kind](unfinished, objects(args.images, args.boxes))
            unfinished.rename(folder)
        lines.append(measure(kind, folder))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
