"""What is fuzzed: for each kind of file some that are sound, and what reads them.

A reader returns, or raises a ``UserError``; anything else is a mistake of ours. It may not take
longer, or more memory, than :mod:`tests.fuzzing.running` allows.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image
import torch

from fcos.checkpoint import read_checkpoint
from fcos.checkpoint.thresholds import ClassThreshold, ScoreThresholds, thresholds_in
from fcos.config import get_cfg
from fcos.config.keys import check_keys
from fcos.data.annotations import forget_annotations, read_annotations
from fcos.data.images import decode_image, read_size
from fcos.data.importing.annotations import coco_pieces
from fcos.data.importing.classes import choose_classes
from fcos.data.importing.labels import Problems
from fcos.data.importing.source import read_source
from fcos.evaluation.reference import Reference, read_reference, write_reference
from fcos.evaluation.runs import open_folder, read_run
from fcos.evaluation.training.history import read_history
from fcos.predict.inputs import read_list
from fcos.predict.many.folder import DetectionFolder
from fcos.predict.many.labels import FoundLabels
from fcos.predict.many.shards import FinishedImages, problem_line, result_line
from fcos.utils.errors import UserError

__all__ = ["READERS", "Reader"]


class Reader(NamedTuple):
    """Sound files, and a function that reads one; it gets an empty folder."""

    sources: Callable[[], list[bytes]]
    read: Callable[[bytes, Path], object]


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


# ---- annotations, results, logs ------------------------------------------------------------------

_RUNS = {"size": [8, 8], "counts": [60, 4]}
_DATA = {
    "info": {},
    "images": [
        {"id": 1, "file_name": "a.jpg", "width": 8, "height": 8},
        {"id": 2, "file_name": "b.jpg", "width": 9.0, "height": 7},
    ],
    "categories": [{"id": 3, "name": "cat"}, {"id": 1, "name": "dog"}],
    "annotations": [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 3,
            "bbox": [1, 2, 3, 4.5],
            "area": 13.5,
            "iscrowd": 0,
            "segmentation": [[1, 2, 4, 2, 4, 6]],
            "keypoints": [1, 2, 2],
        },
        {
            "id": 2,
            "image_id": 1,
            "category_id": 1,
            "bbox": [0, 0, 8, 8],
            "iscrowd": 1,
            "segmentation": _RUNS,
            "area": 4,
        },
        {
            "id": 3,
            "image_id": 1,
            "category_id": 1,
            "bbox": [0, 0, 8, 8],
            "segmentation": {"size": [8, 8], "counts": "l14"},
            "area": 4,
        },
    ],
}
_RESULT = {"image_id": 0, "category_id": 1, "bbox": [1.0, 2.0, 3.0, 4.5], "score": 0.5}


def _read_annotations(content: bytes, folder: Path) -> object:
    path = str(folder / "a.json")
    Path(path).write_bytes(content)
    for with_masks in (True, False):
        try:
            records = read_annotations(path, with_masks)
            assert isinstance(records.problem, str)
            for for_training in (True, False):
                records.dicts(for_training, filter_empty=for_training)
            json.dumps(records.as_coco(), default=lambda counts: counts.decode())
        finally:
            forget_annotations(path)


def _read_results(content: bytes, folder: Path) -> object:
    (folder / "inference").mkdir()
    (folder / "inference" / "coco_instances_results.json").write_bytes(content)
    return read_run(open_folder(str(folder)), None)


def _read_metrics(content: bytes, folder: Path) -> object:
    log, _, metrics = content.partition(b"----\n")
    (folder / "metrics.json").write_bytes(metrics)
    (folder / "log.txt").write_bytes(log)
    return read_history(open_folder(str(folder)))


_LOG = b"""Starting training from iteration 0
[11/29 10:00:00 d2.utils.events]:  eta: 0:00:00  iter: 19  total_loss: 2.1  max_mem: 100M
----
{"iteration": 19, "total_loss": 2.5, "lr": 0.01}
{"iteration": 39, "total_loss": null, "lr": 0.01, "bbox/AP": 3}
"""

# ---- configs -------------------------------------------------------------------------------------

_CONFIGS = [
    b"_BASE_: Base-FCOS.yaml\nMODEL: {FCOS: {NUM_CLASSES: 4, NORM: GN}}\nSEED: 5\n",
    b'INPUT:\n  MIN_SIZE_TRAIN: (640, 800)\n  FORMAT: "BGR"\nSOLVER:\n  STEPS: [1, 2]\n',
    b"DATASETS:\n  CUSTOM:\n    pets: &a {VOC: pets, SPLIT: train}\n    more: *a\nVERSION: 2\n",
    b"names: {0: a, 1: b}\ntrain: ../images\nval: &x\n- images\n- 2024-01-31\npath: .\n",
    b"a: &a [1, 2]\nb: {<<: {c: 1}, d: *a}\nf: 1:30\ng: !!binary aGk=\nh: ~\ni: |\n  x\n",
]


def _read_config(content: bytes, folder: Path) -> object:
    path = folder / "config.yaml"
    path.write_bytes(content)
    open_folder(str(folder)).test_datasets  # noqa: B018, as fcos compare reads it
    cfg = get_cfg()
    cfg.merge_from_file(str(path))
    check_keys(cfg)
    return cfg.dump()


# ---- weights -------------------------------------------------------------------------------------


def _weights() -> dict[str, object]:
    scores = ScoreThresholds("best F1", "pets", False, False, (ClassThreshold(0.5, 1.0),))
    model = OrderedDict([("a.b", torch.arange(6.0).view(2, 3)), ("c.d", torch.ones(2).half())])
    return {"model": model, "iteration": 3, "lr": np.float64(0.1), **scores.entry()}


def _saved(**options: object) -> bytes:
    file = io.BytesIO()
    torch.save(_weights(), file, **options)
    return file.getvalue()


def _weights_files() -> list[bytes]:
    import safetensors.torch

    arrays = {"model": {"a.b": np.arange(6, dtype=np.float32), "c.d": np.ones((2, 2))}}
    blobs = {"blobs": {"conv1_w": np.ones(3, np.float32), "fc_b": np.zeros(2, ">f4")}}
    return [
        _saved(),
        _saved(_use_new_zipfile_serialization=False),
        safetensors.torch.save({"a.b": torch.ones(2, 3), "c.d": torch.zeros(1)}),
        *(pickle.dumps(value, protocol=p) for value in (arrays, blobs) for p in range(6)),
    ]


def _read_weights(content: bytes, folder: Path) -> object:
    path = folder / "weights.pth"
    path.write_bytes(content)
    checkpoint = read_checkpoint(str(path))
    for value in checkpoint["model"].values():
        torch.as_tensor(
            np.asarray(value) if isinstance(value, np.ndarray) else value
        ).double().sum()
    return thresholds_in(checkpoint, str(path))


def _lists_of_weights() -> list[bytes]:
    with zipfile.ZipFile(io.BytesIO(_saved())) as archive:
        return [archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")]


def _read_list_of_weights(content: bytes, folder: Path) -> object:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(_saved())) as sound, zipfile.ZipFile(file, "w") as archive:
        for name in sound.namelist():
            archive.writestr(name, content if name.endswith("data.pkl") else sound.read(name))
    return _read_weights(file.getvalue(), folder)


# ---- references ----------------------------------------------------------------------------------


def _references() -> list[bytes]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a.npz")
        image, boxes = np.zeros((2, 3, 3), np.uint8), np.zeros((1, 4), np.float32)
        scores, classes = np.ones(1, np.float32), np.zeros(1, int)
        write_reference(path, Reference(image, boxes, scores, classes, "a.yaml", ("A", "1")))
        return [Path(path).read_bytes()]


def _read_reference(content: bytes, folder: Path) -> object:
    path = folder / "a.npz"
    path.write_bytes(content)
    return read_reference(str(path))


def _arrays() -> list[bytes]:
    with zipfile.ZipFile(io.BytesIO(_references()[0])) as archive:
        return [archive.read(name) for name in archive.namelist()]


def _read_array(content: bytes, folder: Path) -> object:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(_references()[0])) as sound, zipfile.ZipFile(file, "w") as new:
        names = sound.namelist()
        damaged = names[len(content) % len(names)]
        for name in names:
            new.writestr(name, content if name == damaged else sound.read(name))
    return _read_reference(file.getvalue(), folder)


# ---- shards --------------------------------------------------------------------------------------

_PATHS = ["a.png", "b.png"]
_SHARDS = ("part-00000-00000.jsonl", "run.json", "images.jsonl", "sizes.npy")


def _shard_files() -> list[bytes]:
    sizes = io.BytesIO()
    np.save(sizes, np.array([[5, 6], [0, 0]], np.int32))
    masked = {**_RESULT, "segmentation": {"size": [5, 6], "counts": "n0"}}
    lines = result_line(0, (5, 6), [_RESULT, masked]) + problem_line(1, "No image.")
    return [
        b"0" + lines,
        b"1" + _json({"token": "1f", "settings": {"weights": "2e", "batch_size": 8}}),
        b"2" + b"".join(_json(path) + b"\n" for path in _PATHS),
        b"3" + sizes.getvalue(),
    ]


def _read_shards(content: bytes, folder: Path) -> object:
    sound = _shard_files()
    number = content[0] % len(sound) if content else 0
    (folder / "shards").mkdir()
    for index, name in enumerate(_SHARDS):
        part = content if index == number else sound[index]
        (folder / "shards" / name).write_bytes(part[1:])
    with DetectionFolder(str(folder)) as run:
        run.lock()
        token = run.begin({"weights": "2e", "batch_size": 8}, lambda: _PATHS, fresh=False)
        run.check_token(token)
        paths = run.paths()
        run.sizes(len(paths))
        finished = FinishedImages(len(paths))
        for shard in run.shards():
            finished.add(shard)
        run.new_shards(2)
        categories = [{"id": 1, "name": "cat"}]
        try:
            run.write_results(finished, paths, categories)
            for name in ("detections.json", "images.json"):
                json.loads((folder / name).read_text())
            labels = FoundLabels("coco", run, finished, paths, categories, "0.5")
            labels.check(is_going_on=False, has_masks=True)
            labels.write()
        finally:
            finished.close()


# ---- labels of other formats ---------------------------------------------------------------------

_ENDINGS = (".json", ".xml", ".csv", ".txt", ".yaml")
_VIA = {
    "a.jpg1": {
        "filename": "a.jpg",
        "regions": [
            {
                "shape_attributes": {"name": "rect", "x": 1, "y": 1, "width": 4, "height": 3},
                "region_attributes": {"class": "cat"},
            },
            {
                "shape_attributes": {
                    "name": "polygon",
                    "all_points_x": [1, 5, 5],
                    "all_points_y": [1, 1, 6],
                },
                "region_attributes": {"class": {"dog": True}},
            },
            {
                "shape_attributes": {"name": "ellipse", "cx": 4, "cy": 4, "rx": 2, "ry": 1},
                "region_attributes": {"class": "dog"},
            },
        ],
    }
}
_MASK = (
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACAQAAAABazTCJAAAADElEQVR4nGNgYGAAAAAEAAGjPHj5AAAAAElFTkSuQmCC"
)
_LABELME = {
    "imagePath": "a.jpg",
    "imageWidth": 8,
    "imageHeight": 8,
    "shapes": [
        {"label": "cat", "points": [[1, 1], [5, 6]], "shape_type": "rectangle"},
        {"label": "cat", "points": [[1, 1], [5, 6], [2, 7]], "group_id": 1},
        {"label": "cat", "points": [[1, 1], [5, 6], [3, 7]], "group_id": 1},
        {"label": "cat", "points": [[4, 4], [5, 6]], "shape_type": "circle"},
        {"label": "cat", "points": [[1, 1], [2, 2]], "shape_type": "mask", "mask": _MASK},
    ],
}
_VOC = b"""<annotation><filename>a.jpg</filename><size><width>8</width><height>8</height></size>
<object><name>cat</name><difficult>1</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>5</xmax>
<ymax>6</ymax></bndbox></object></annotation>"""
_CVAT = b"""<annotations><meta><task><labels><label><name>cat</name></label></labels></task></meta>
<image name="a.jpg" width="8" height="8" subset="train"><box label="cat" xtl="1" ytl="2" xbr="5"
ybr="6" rotation="10"/><polygon label="cat" points="1,1;5,1;5,6"/><ellipse label="cat" cx="4" cy="4"
rx="2" ry="1"/><mask label="cat" rle="1, 2, 1" left="1" top="1" width="2" height="2"/></image>
</annotations>"""
_LABELS = [
    b"0" + _json(_DATA),
    b"0" + _json(_VIA),
    b"0" + _json({"_via_img_metadata": _VIA}),
    b"0" + _json(_LABELME),
    b"1" + _VOC,
    b"1" + _CVAT,
    b"2filename,xmin,ymin,xmax,ymax,class\na.jpg,1,2,5,6,cat\nb.jpg,,,,,\n",
    b"2filename;x;y;w;h;class;width\na.jpg;1;2;5;6;'c;at';8\n",
    b"2ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf\na,/m/01,0.1,0.5,0.2,0.6,1\n",
    b"30 0.5 0.5 0.25 0.25\n1 0.1 0.1 0.5 0.1 0.5 0.6\n",
    b"4names: [cat, dog]\ntrain: images\nval: [., a.jpg]\npath: .\n",
]


def _read_labels(content: bytes, folder: Path) -> object:
    number = content[0] % len(_ENDINGS) if content else 0
    for name in ("a.jpg", "b.jpg"):
        PIL.Image.new("RGB", (8, 8)).save(folder / name)
    if number == 4:
        (folder / "a.txt").write_bytes(b"0 0.5 0.5 0.25 0.25\n")
    (folder / f"a{_ENDINGS[number]}").write_bytes(content[1:])
    problems = Problems()
    title, _, labels = read_source(str(folder), problems)
    choose_classes(labels, (), {})
    pieces = coco_pieces(labels.images, labels.class_names, str(folder), description=title)
    (folder / "made.json").write_text("".join(pieces))
    read_annotations(str(folder / "made.json"))
    forget_annotations(str(folder / "made.json"))
    return problems.lines()


# ---- images and lists ----------------------------------------------------------------------------


def _images() -> list[bytes]:
    def saved(image: PIL.Image.Image, kind: str, **options: object) -> bytes:
        file = io.BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    colours = PIL.Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    deep = PIL.Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000)
    kinds = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "JPEG2000")
    return [
        *(saved(colours, kind) for kind in kinds),
        saved(colours, "JPEG", exif=exif, progressive=True),
        saved(colours.convert("P"), "PNG", transparency=3),
        saved(colours.convert("RGBA"), "TIFF", compression="tiff_lzw"),
        saved(colours.convert("CMYK"), "JPEG"),
        saved(deep, "PNG"),
        saved(deep, "TIFF"),
    ]


def _read_image(content: bytes, folder: Path) -> object:
    path = str(folder / "a.jpg")
    Path(path).write_bytes(content)
    with contextlib.suppress(UserError):
        read_size(path)
    decode_image(path, stretch_range=True)
    return decode_image(path)


def _read_list(content: bytes, folder: Path) -> object:
    path = folder / "list.txt"
    path.write_bytes(content)
    return read_list(str(path))


READERS = {
    "annotations": Reader(lambda: [_json(_DATA)], _read_annotations),
    "results": Reader(
        lambda: [_json([_RESULT]), _json([{**_RESULT, "segmentation": _RUNS}])], _read_results
    ),
    "logs": Reader(lambda: [_LOG], _read_metrics),
    "configs": Reader(lambda: _CONFIGS, _read_config),
    "weights": Reader(_weights_files, _read_weights),
    "lists of weights": Reader(_lists_of_weights, _read_list_of_weights),
    "references": Reader(_references, _read_reference),
    "arrays": Reader(_arrays, _read_array),
    "shards": Reader(_shard_files, _read_shards),
    "labels": Reader(lambda: _LABELS, _read_labels),
    "images": Reader(_images, _read_image),
    "lists": Reader(lambda: [b"a.jpg\n# b\n\nc/../d.png\r\n"], _read_list),
}
