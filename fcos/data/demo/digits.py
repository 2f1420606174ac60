"""The demo data set, which ``python -m fcos.data.digits --root datasets/digits`` writes.

Handwritten digits from scikit-learn on photographs from scikit-image, 256x320 and 320x256 pixels,
as a COCO data set with boxes and outlines (`digit_scenes` says what is in them):

    <root>/annotations/train.json  val.json
    <root>/train/00000.jpg ...
    <root>/val/00000.jpg ...

The same arguments and package versions write the same bytes. Train and val share neither a
photograph nor a form filled in by a writer.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fcos.data.demo.digit_scenes import Digit, load_digits, load_photographs, make_scene
from fcos.utils.errors import UserError
from fcos.utils.files import write_text, write_whole
from fcos.utils.folders import made_folder
from fcos.utils.reading import ANNOTATIONS, IMAGE, open_file, read_bytes

__all__ = ["CLASS_NAMES", "write_digits"]

CLASS_NAMES = tuple("0123456789")
_END_OF_JPEG = b"\xff\xd9"
RECIPE_VERSION = 2  # one more with every change to what is written


def write_digits(
    root: str | os.PathLike[str], *, seed: int = 0, train: int = 1000, val: int = 200
) -> bool:
    """Writes the data set into ``root``, unless it is there already, made the same way.

    ``root`` is complete at every moment, or absent: the pictures are first written beside it.

    Args:
        root: folder to make. One made by an earlier call with other arguments is replaced.
        seed: chooses everything: crops, digits, places, sizes, colours.
        train, val: numbers of pictures, at least 1 each. The first n are the same for every number.

    Returns:
        False if the data set was there already.

    Raises:
        UserError: ``root`` holds something else, or scikit-learn or scikit-image is missing.
        ValueError: a number is out of range.
    """
    if min(train, val) < 1 or seed < 0:
        raise ValueError(f"expected train, val >= 1 and seed >= 0, got {train}, {val}, {seed}")
    root = Path(root).resolve()  # the folder may be a link
    recipe = {"version": RECIPE_VERSION, "seed": seed, "train": train, "val": val}
    if _check_folder(root) == recipe and _is_whole(root):
        return False
    _check_packages()
    with made_folder(str(root), replace=True) as folder:
        partial = Path(folder)
        (partial / "annotations").mkdir()
        for number, (split, size) in enumerate({"train": train, "val": val}.items()):
            contents = _write_split(partial / split, split, size, [seed, number])
            contents["info"]["recipe"] = recipe
            text = json.dumps(contents, separators=(",", ":"))
            write_text(str(partial / "annotations" / f"{split}.json"), [text])
    return True


def _check_folder(root: Path) -> dict[str, Any] | None:
    """The recipe of the data set in ``root``; None if there is no or an empty folder."""
    entries = {entry.name for entry in root.iterdir()} if root.is_dir() else set()
    if not entries and (root.is_dir() or not root.exists()):
        return None
    try:
        if entries != {"annotations", "train", "val"}:
            raise ValueError
        contents = _annotations(root, "val")
        return dict(contents["info"]["recipe"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UserError(
            f"{root} exists and is not a demo data set made by fcos.data.demo.digits: "
            "choose another --root, or move it away."
        ) from None


def _is_whole(root: Path) -> bool:
    """Whether every picture ends as a JPEG does, and none is missing."""
    try:
        for split in ("train", "val"):
            for image in _annotations(root, split)["images"]:
                with open_file(str(root / split / image["file_name"]), IMAGE) as file:
                    file.seek(-len(_END_OF_JPEG), os.SEEK_END)
                    if file.read() != _END_OF_JPEG:
                        return False
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
    return True


def _annotations(root: Path, split: str) -> Any:
    path = str(root / "annotations" / f"{split}.json")
    return json.loads(read_bytes(path, ANNOTATIONS, as_text=True))


def _check_packages() -> None:
    needed = {"sklearn": "scikit-learn", "skimage": "scikit-image"}
    missing = [name for module, name in needed.items() if not importlib.util.find_spec(module)]
    if missing:
        raise UserError(
            f"The demo data set is made from {' and '.join(missing)}, not installed here: "
            "pip install -e '.[demo]'"
        )


def _write_split(folder: Path, split: str, size: int, seed: list[int]) -> dict[str, Any]:
    """Writes the pictures of one side and returns its COCO annotations."""
    from PIL import Image

    folder.mkdir()
    (scans, labels), photographs = load_digits(split), load_photographs(split)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in tqdm(range(size), desc=split, unit="picture", disable=None):
        rng = np.random.default_rng([*seed, index])
        picture, digits = make_scene(rng, scans, labels, photographs)
        name = f"{index:05d}.jpg"
        # Full colour resolution: a small digit may differ from its surroundings in hue alone.
        image = Image.fromarray(picture)
        write = functools.partial(image.save, format="JPEG", quality=95, subsampling=0)
        write_whole(str(folder / name), write, survives_power_loss=False)
        height, width = picture.shape[:2]
        images.append({"id": index + 1, "file_name": name, "height": height, "width": width})
        for digit in digits:
            annotations.append(_annotation(len(annotations) + 1, index + 1, digit))
    return {
        "info": {"description": "Digits of scikit-learn on photographs of scikit-image"},
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASS_NAMES, start=1)],
        "images": images,
        "annotations": annotations,
    }


def _annotation(annotation_id: int, image_id: int, digit: Digit) -> dict[str, Any]:
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": digit.label + 1,
        "bbox": list(digit.box),
        "area": int(digit.mask.sum()),
        "segmentation": digit.polygons,
        "iscrowd": 0,
    }
