"""A data set for the page: small images, whose objects a test gives, and a config of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from detectron2.data import DatasetCatalog, MetadataCatalog

CONFIG = """
MODEL:
  META_ARCHITECTURE: OneStageDetector
  DEVICE: cpu
  BACKBONE: {NAME: build_fcos_resnet_fpn_backbone, FREEZE_AT: 0}
  RESNETS: {DEPTH: 18, RES2_OUT_CHANNELS: 64, NORM: BN, OUT_FEATURES: [res3, res4, res5]}
  FPN: {IN_FEATURES: [res3, res4, res5], OUT_CHANNELS: 32}
  PROPOSAL_GENERATOR: {NAME: FCOS}
  FCOS: {NUM_CLASSES: 2, NUM_STACKED_CONVS: 1}
INPUT: {MIN_SIZE_TRAIN: [96], MAX_SIZE_TRAIN: 128, MIN_SIZE_TEST: 96, MAX_SIZE_TEST: 128}
SOLVER: {IMS_PER_BATCH: 4}
SEED: 3
VERSION: 2
"""


class Project:
    """Data sets ``cells_train`` and ``cells_val`` of 128x96 images, and ``cells.yaml``."""

    names = ["red", "blue"]

    def __init__(self, root):
        self.root = root
        self.config = root / "cells.yaml"
        self.output = root / "out" / "page.html"
        splits = ("train", "val")
        custom = {
            f"cells_{s}": {"JSON": str(root / f"{s}.json"), "IMAGES": str(root / s)} for s in splits
        }
        datasets = {"CUSTOM": custom, "TRAIN": ["cells_train"], "TEST": ["cells_val"]}
        self.config.write_text(yaml.safe_dump(yaml.safe_load(CONFIG) | {"DATASETS": datasets}))

    def write(self, split, scenes, with_images=True, masks=False):
        """``scenes``: per image a list of (x, y, width, height, class)."""
        (self.root / split).mkdir(exist_ok=True)
        images, annotations = [], []
        rng = np.random.default_rng(len(split))
        for number, scene in enumerate(scenes):
            name = f"{split}{number}.png"
            image = {"id": number, "file_name": name, "width": 128, "height": 96}
            images.append(image)
            pixels = rng.integers(60, 200, (6, 8, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
            for x, y, w, h, label in scene:
                annotation = {"id": len(annotations) + 1, "image_id": number, "iscrowd": 0}
                annotation |= {"category_id": label + 1, "bbox": [x, y, w, h], "area": w * h}
                if masks:
                    annotation["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
                annotations.append(annotation)
                rows, columns = slice(int(y), int(y + h)), slice(int(x), int(x + w))
                pixels[rows, columns] = (255, 0, 0) if label == 0 else (0, 0, 255)
            if with_images:
                Image.fromarray(pixels).save(self.root / split / name)
        categories = [{"id": i + 1, "name": name} for i, name in enumerate(self.names)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (self.root / f"{split}.json").write_text(json.dumps(content))


def scenes(number, low, high, seed=0, objects=5):
    """Objects of ``low`` to ``high`` pixels, of both classes."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(number):
        sides = rng.uniform(low, high, (objects, 2)).round(1)
        corners = (rng.uniform(0, 1, (objects, 2)) * ([128, 96] - sides)).round(1)
        labels = rng.integers(0, 2, objects)
        rows = np.column_stack([corners, sides]).tolist()
        found.append([(*row, int(label)) for row, label in zip(rows, labels, strict=True)])
    return found


@pytest.fixture
def project(tmp_path):
    before = set(DatasetCatalog.list())
    yield Project(tmp_path)
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
