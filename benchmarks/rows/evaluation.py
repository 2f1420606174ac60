"""COCO evaluation: detections in, average precision out."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.agreement import agree_numbers
from benchmarks.fresh import Fresh
from benchmarks.scenes import NUM_CLASSES, truths
from benchmarks.settings import Settings
from benchmarks.work import Agreement, Match, Row

__all__ = ["ROW"]

SIZE, OBJECTS, DETECTIONS, NAME = (480, 640), 7, 100, "benchmark_val"
HERE = "benchmarks.rows.evaluation"
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def matches(settings: Settings, work: str) -> Iterator[Match]:
    images = settings.sizes.evaluated
    title = (
        f"COCO evaluation, {images:,} images with {OBJECTS} objects and {DETECTIONS} detections "
        "each, from Instances to average precision"
    )
    own = Fresh("fcos", f"{HERE}:ours", settings)
    peer = Fresh("pycocotools", f"{HERE}:pycocotools", settings)
    remark = "Both convert detections to COCO's form, which for the peer is detectron2's function."
    yield Match(work, title, own, peer, _agree, images, remark)


def _agree(a: dict[str, float], b: dict[str, float]) -> Agreement:
    return agree_numbers(a, b, 1e-9, "figures (COCO's twelve, AP of each class)")


def ours(settings: Settings) -> Callable[[], dict[str, float]]:
    """The evaluator that train_net.py uses."""
    from detectron2.data import DatasetCatalog
    from detectron2.data.datasets import register_coco_instances
    from fcos.config import get_cfg
    from fcos.engine import Trainer

    folder = tempfile.TemporaryDirectory()
    content = ground_truth(settings)
    path = Path(folder.name, "val.json")
    path.write_text(json.dumps(content))
    register_coco_instances(NAME, {}, str(path), folder.name)
    DatasetCatalog.get(NAME)  # as the test loader does, which makes the classes known
    evaluator = Trainer.build_evaluator(get_cfg(), NAME, folder.name)
    pairs = detections(settings)

    def run() -> dict[str, float]:
        with folder:
            evaluator.reset()
            for image_id, instances in pairs:
                evaluator.process([{"image_id": image_id}], [{"instances": instances}])
            with _listening() as said:
                figures = evaluator.evaluate()["bbox"]
        return {**{name: float(v) for name, v in figures.items()}, **summary(said.getvalue())}

    return run


def pycocotools(settings: Settings) -> Callable[[], dict[str, float]]:
    """COCO's own code, on detections that detectron2's function brings into its form."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    from detectron2.evaluation.coco_evaluation import instances_to_coco_json

    truth = COCO()
    truth.dataset = ground_truth(settings)
    truth.createIndex()
    pairs = detections(settings)

    def run() -> dict[str, float]:
        results = []
        for image_id, instances in pairs:
            results += instances_to_coco_json(instances, image_id)
        for result in results:
            result["category_id"] += 1
        with _listening() as said:
            evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return {**figures_of(evaluation), **summary(said.getvalue())}

    return run


@contextlib.contextmanager
def _listening() -> Iterator[io.StringIO]:
    """What is printed or logged, which is where evaluators put COCO's twelve figures."""
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    loggers = [logging.getLogger(name) for name in ("fcos", "detectron2")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        with contextlib.redirect_stdout(said):
            yield said
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)


def summary(said: str) -> dict[str, float]:
    """The twelve figures of COCO's summary, with the three digits that it prints."""
    lines = re.findall(r"Average (Precision|Recall) .*= +(-?[0-9.]+) *$", said, re.MULTILINE)
    return {f"{kind} ({n} of the summary)": float(v) for n, (kind, v) in enumerate(lines, start=1)}


def figures_of(evaluation: Any) -> dict[str, float]:
    """What detectron2 reports of a COCOeval: six figures, and AP of each class, in per cent."""
    figures = {name: 100 * float(v) for name, v in zip(METRICS, evaluation.stats, strict=False)}
    precision = evaluation.eval["precision"]  # threshold, recall, class, area, most detections
    for index, name in enumerate(map(str, range(NUM_CLASSES))):
        of_class = precision[:, :, index, 0, -1]
        of_class = of_class[of_class > -1]
        figures[f"AP-{name}"] = 100 * float(of_class.mean()) if of_class.size else float("nan")
    return {name: value if value >= 0 else float("nan") for name, value in figures.items()}


def ground_truth(settings: Settings) -> dict[str, list]:
    """A COCO file."""
    content: dict[str, list] = {"images": [], "annotations": []}
    content["categories"] = [{"id": i + 1, "name": str(i)} for i in range(NUM_CLASSES)]
    for number, truth in enumerate(truths(settings.sizes.evaluated, OBJECTS, SIZE), start=1):
        name = {"id": number, "file_name": f"{number}.jpg"}
        content["images"].append({**name, "height": SIZE[0], "width": SIZE[1]})
        for box, class_ in zip(truth.boxes.tolist(), truth.classes.tolist(), strict=True):
            wide, high = box[2] - box[0], box[3] - box[1]
            entry: dict[str, Any]
            entry = {"id": len(content["annotations"]) + 1, "image_id": number, "iscrowd": 0}
            entry |= {"category_id": class_ + 1, "bbox": [box[0], box[1], wide, high]}
            content["annotations"].append({**entry, "area": wide * high})
    return content


def detections(settings: Settings) -> list[tuple[int, Any]]:
    """Image id and Instances: each object up to three times, roughly, and chance for the rest."""
    from detectron2.structures import Boxes, Instances

    generator = torch.Generator().manual_seed(1)
    made = []
    for number, truth in enumerate(truths(settings.sizes.evaluated, OBJECTS, SIZE), start=1):
        near = truth.boxes.repeat(3, 1)
        wide = (near[:, 2:] - near[:, :2]).repeat(1, 2)
        near = near + 0.08 * wide * torch.randn(near.shape, generator=generator)
        rest = torch.rand(DETECTIONS - len(near), 4, generator=generator) * 200
        rest[:, 2:] += rest[:, :2] + 4
        classes = torch.randint(NUM_CLASSES, (len(rest),), generator=generator)
        scores = torch.rand(DETECTIONS, generator=generator)
        scores[len(near) :] *= 0.6
        instances = Instances(SIZE, pred_boxes=Boxes(torch.cat((near, rest))), scores=scores)
        instances.pred_classes = torch.cat((truth.classes.repeat(3), classes))
        made.append((number, instances))
    return made


ROW = Row("COCO evaluation beside pycocotools", lambda _: ["evaluation"], matches)
