"""Small data sets in COCO's format, written and registered for one test."""

import itertools
import json

import numpy as np
import pytest
from PIL import Image

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from fcos.config import get_cfg

SIZES = [(48, 32), (32, 48), (40, 40)]  # width and height, in turn


@pytest.fixture
def catalog():
    """Forgets what a test registers."""
    before = set(DatasetCatalog.list())
    yield
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


class SmallCoco:
    """A data set of images with a 10x10 box each, whose contents a test may alter."""

    def __init__(self, root, size=6):
        self.json_file = root / "small" / "annotations.json"
        self.image_root = root / "small" / "img"
        self.ids = itertools.count(100)
        self.image_root.mkdir(parents=True)
        self.images, self.annotations = [], []
        self.categories = [{"id": 7, "name": "seven"}, {"id": 3, "name": "three"}]
        rng = np.random.default_rng(0)
        for i in range(size):
            width, height = SIZES[i % 3]
            name = f"{i}.png"
            pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(self.image_root / name)
            self.images.append({"id": i, "file_name": name, "width": width, "height": height})
            self.add_box(i, [4, 5, 10, 10], category=7 if i % 2 else 3)

    def add_box(self, image, bbox, category=3, **fields):
        number = next(self.ids)
        common = {"id": number, "image_id": image, "category_id": category, "bbox": bbox}
        self.annotations.append({**common, "area": 1, "iscrowd": 0, **fields})
        return number

    def path(self, image):
        return self.image_root / self.images[image]["file_name"]

    def write(self):
        contents = {
            "images": self.images,
            "annotations": self.annotations,
            "categories": self.categories,
        }
        self.json_file.write_text(json.dumps(contents))

    def register(self, name="small"):
        self.write()
        register_coco_instances(name, {}, str(self.json_file), str(self.image_root))
        return name

    def config(self):
        """Of a training on "for_train" and an evaluation on "for_test", of the same images."""
        cfg = get_cfg()
        cfg.DATASETS.TRAIN = (self.register("for_train"),)
        cfg.DATASETS.TEST = (self.register("for_test"),)
        cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.FCOS.NUM_CLASSES = "OneStageDetector", 2
        return cfg


@pytest.fixture
def coco(tmp_path, catalog):
    return SmallCoco(tmp_path)
