"""A data set and a detector so small that a whole training takes seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]

CONFIG = """\
MODEL:
  META_ARCHITECTURE: OneStageDetector
  DEVICE: cpu
  BACKBONE: {NAME: build_fcos_resnet_fpn_backbone, FREEZE_AT: 0}
  RESNETS:
    DEPTH: 50
    NORM: BN
    STEM_OUT_CHANNELS: 8
    RES2_OUT_CHANNELS: 16
    WIDTH_PER_GROUP: 4
    OUT_FEATURES: [res3, res4, res5]
  FPN: {IN_FEATURES: [res3, res4, res5], OUT_CHANNELS: 32}
  PROPOSAL_GENERATOR: {NAME: FCOS}
  FCOS: {NUM_CLASSES: 2, NUM_STACKED_CONVS: 1}
DATASETS:
  TRAIN: [tiny_train]
  TEST: [tiny_val]
  CUSTOM:
    tiny_train: {JSON: tiny/train.json, IMAGES: tiny/images}
    tiny_val: {JSON: tiny/val.json, IMAGES: tiny/images}
INPUT: {MIN_SIZE_TRAIN: [64], MIN_SIZE_TEST: 64, MAX_SIZE_TRAIN: 64, MAX_SIZE_TEST: 64}
DATALOADER: {NUM_WORKERS: 0}
SOLVER:
  IMS_PER_BATCH: 4
  BASE_LR: 0.01
  STEPS: []
  WARMUP_ITERS: 3
  MAX_ITER: 8
  CHECKPOINT_PERIOD: 4
SEED: 5
OUTPUT_DIR: output
VERSION: 2
"""

# The detector with masks. It trains them on all that it detects, good or not.
MASK_OPTIONS = [
    *("MODEL.META_ARCHITECTURE", "GeneralizedRCNN"),
    *("MODEL.MASK_ON", "True"),
    *("MODEL.ROI_HEADS.NAME", "FCOSMaskROIHeads"),
    *("MODEL.ROI_HEADS.NUM_CLASSES", "2"),
    *("MODEL.ROI_HEADS.IN_FEATURES", "['p3','p4','p5']"),
    *("MODEL.ROI_HEADS.IOU_THRESHOLDS", "[0.001]"),
    *("MODEL.ROI_MASK_HEAD.NUM_CONV", "1"),
    *("MODEL.ROI_MASK_HEAD.CONV_DIM", "16"),
    *("MODEL.FCOS.SCORE_THRESH_TRAIN", "0.0"),
]


def write_dataset(root: Path, number: int = 12, empty: tuple[int, ...] = ()) -> None:
    """``root/datasets/tiny``: images of 64x64 with a dark or bright rectangle in each, outlined.

    Args:
        root: a folder; the program is run there.
        number: of training images; three of them are for validation as well.
        empty: indices of images without objects.
    """
    folder = root / "datasets" / "tiny"
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(number):
        picture = rng.integers(100, 156, (64, 64, 3)).astype(np.uint8)
        x, y, w, h = (int(v) for v in rng.integers([0, 0, 20, 20], [30, 30, 34, 34]))
        label = i % 2
        if i not in empty:
            picture[y : y + h, x : x + w] = 255 * label
            annotations.append(
                {"id": i + 1, "image_id": i + 1, "category_id": label + 1, "bbox": [x, y, w, h]}
                | {"area": w * h, "iscrowd": 0}
                | {"segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]]}
            )
        Image.fromarray(picture).save(folder / "images" / f"{i}.png")
        images.append({"id": i + 1, "file_name": f"{i}.png", "width": 64, "height": 64})
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "dark"}, {"id": 2, "name": "bright"}],
    }
    (folder / "train.json").write_text(json.dumps(content))
    content["images"] = images[:3]
    content["annotations"] = [a for a in annotations if a["image_id"] <= 3]
    (folder / "val.json").write_text(json.dumps(content))


def write_project(root: Path, **dataset) -> Path:
    """The data set and ``root/tiny.yaml``; returns the path of the latter."""
    write_dataset(root, **dataset)
    config = root / "tiny.yaml"
    config.write_text(CONFIG)
    return config


def start(root: Path, *arguments: str, **options) -> subprocess.Popen:
    """Start ``train_net.py --config-file tiny.yaml <arguments>`` in ``root``."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train_net.py"), "--config-file", "tiny.yaml", *arguments],
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1", "DETECTRON2_DATASETS": "datasets"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def train_net(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run ``train_net.py`` to its end."""
    process = start(root, *arguments)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
