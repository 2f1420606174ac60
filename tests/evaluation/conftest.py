"""A data set with boxes and masks in COCO's format, and result folders of made-up detectors."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.structures import Boxes, Instances

SIZE = 160  # of every image; objects are small, medium and large by COCO's areas
NAMES = ("cat", "dog", "elk")
IDS = (2, 3, 9)  # neither from 1 on nor without gaps


class Data:
    """Six images of 160x160; image 13 has no object, 14 a crowd, class 9 is in one image only."""

    name = "pets"

    def __init__(self, root):
        self.root = root
        self.json_file = root / "pets" / "val.json"
        self.image_root = root / "pets" / "images"
        self.image_root.mkdir(parents=True)
        rng = np.random.default_rng(0)
        self.images, self.annotations = [], []
        for image_id in range(10, 16):
            pixels = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(self.image_root / f"{image_id}.png")
            name = f"{image_id}.png"
            self.images.append({"id": image_id, "file_name": name, "width": SIZE, "height": SIZE})
            for number in range(0 if image_id == 13 else 4):
                side = (20, 60, 150)[number % 3]
                x, y = (int(v) for v in rng.integers(0, SIZE - side, 2))
                category = IDS[2] if image_id == 15 and number == 0 else IDS[number % 2]
                self._add(
                    image_id, category, [x, y, side, side - 4], image_id == 14 and number == 0
                )
        self.write()

    def _add(self, image_id, category, box, is_crowd):
        x, y, w, h = box
        # A diamond, so that boxes and masks have different overlaps.
        outline = [[x + w / 2, y, x + w, y + h / 2, x + w / 2, y + h, x, y + h / 2]]
        counts = [int(SIZE * x), int(SIZE * w), int(SIZE * (SIZE - x - w))]  # whole columns
        crowd = {"size": [SIZE, SIZE], "counts": counts}
        self.annotations.append(
            {"id": len(self.annotations) + 1, "image_id": image_id, "category_id": category}
            | {"bbox": box, "iscrowd": int(is_crowd)}
            | {"area": w * h / 2, "segmentation": crowd if is_crowd else outline}
        )

    def write(self):
        categories = [{"id": i, "name": n} for i, n in zip(IDS, NAMES, strict=True)]
        content = {"images": self.images, "annotations": self.annotations, "categories": categories}
        self.json_file.write_text(json.dumps(content))

    def detect(self, image_id, rng, noise, with_masks):
        """Shaken objects, some missing, some of another class, and some from nowhere."""
        objects = [a for a in self.annotations if a["image_id"] == image_id and rng.random() > 0.2]
        boxes = [np.array(a["bbox"], dtype=float) for a in objects]
        boxes = [b + rng.normal(0, noise, 4) * b[2] for b in boxes]
        boxes += [np.array([*rng.uniform(0, 80, 2), *rng.uniform(10, 70, 2)]) for _ in range(3)]
        boxes = torch.tensor(np.array(boxes), dtype=torch.float32)
        boxes[:, 2:] = boxes[:, 2:].clamp(min=2) + boxes[:, :2]
        classes = [IDS.index(a["category_id"]) for a in objects] + [0, 1, 2]
        instances = Instances(
            (SIZE, SIZE),
            pred_boxes=Boxes(boxes),
            pred_classes=torch.tensor(classes),
            scores=torch.from_numpy(rng.uniform(0.05, 1, len(boxes)).astype(np.float32)),
        )
        if with_masks:
            rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
            x1, y1, x2, y2 = boxes.T[:, :, None, None]
            across = (2 * columns - x1 - x2).abs() / (x2 - x1)
            instances.pred_masks = across + (2 * rows - y1 - y2).abs() / (y2 - y1) <= 1
        return instances

    def evaluate(self, folder, noise=0.05, with_masks=True, seed=0, config=(), **options):
        """Let detectron2's evaluator measure a made-up detector; returns what it returns."""
        from detectron2.evaluation import COCOEvaluator

        self.register()
        inference = folder / "inference"
        evaluator = COCOEvaluator(
            self.name, output_dir=str(inference), distributed=False, **options
        )
        evaluator.reset()
        rng = np.random.default_rng(seed)
        for image in self.images:
            instances = self.detect(image["id"], rng, noise, with_masks)
            evaluator.process([{"image_id": image["id"]}], [{"instances": instances}])
        folder.mkdir(exist_ok=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(self.config(folder) | dict(config)))
        return evaluator.evaluate()

    def config(self, folder):
        entry = {"JSON": str(self.json_file), "IMAGES": str(self.image_root)}
        datasets = {"TEST": [self.name], "CUSTOM": {self.name: entry}}
        return {"DATASETS": datasets, "OUTPUT_DIR": str(folder)}

    def register(self):
        if self.name not in DatasetCatalog.list():
            register_coco_instances(self.name, {}, str(self.json_file), str(self.image_root))
            DatasetCatalog.get(self.name)  # the class ids come with the first reading

    def detections(self, *found):
        """Results in COCO's form from (annotation id or box, score[, category id])."""
        results = []
        for what, score, *category in found:
            if isinstance(what, int):
                annotation = self.annotations[what - 1]
                image_id, box, own = (annotation[k] for k in ("image_id", "bbox", "category_id"))
            else:
                image_id, box, own = what[0], list(what[1:]), IDS[0]
            results.append({"image_id": image_id, "category_id": (category or [own])[0]})
            results[-1] |= {"bbox": box, "score": score}
        return results

    def write_results(self, name, results):
        """A result folder with the given contents of its results file; returns its path."""
        folder = self.root / name
        (folder / "inference").mkdir(parents=True)
        text = results if isinstance(results, str) else json.dumps(results)
        (folder / "inference" / "coco_instances_results.json").write_text(text)
        (folder / "config.yaml").write_text(yaml.safe_dump(self.config(folder)))
        return folder


@pytest.fixture(autouse=True)
def few_drawings(monkeypatch):
    """Intervals of 60 drawings, in a tenth of the time."""
    for name in ("_MOST", "_FEWEST"):
        monkeypatch.setattr(f"fcos.evaluation.resampling.{name}", 60)


@pytest.fixture
def data(tmp_path):
    before = set(DatasetCatalog.list())
    yield Data(tmp_path)
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
