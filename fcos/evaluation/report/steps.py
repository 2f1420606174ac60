"""The steps of the paper on one image: the pictures of the report's first section."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detectron2.data.transforms import ResizeShortestEdge
from detectron2.structures import Boxes, Instances
from fcos.config import CfgNode, get_cfg
from fcos.data.image_names import image_path
from fcos.evaluation.pictures import jpeg_of, svg_of
from fcos.evaluation.report.examples import choose_spread
from fcos.evaluation.report.loss_shapes import draw_loss_shapes
from fcos.evaluation.report.measured import Measured
from fcos.evaluation.report.study import Study
from fcos.evaluation.teaching import (
    RawOutputs,
    detection_steps,
    draw_detection_steps,
    draw_learnt,
    draw_locations,
    draw_maps,
    learnt_boxes,
    raw_outputs,
    score_maps,
    target_maps,
)
from fcos.evaluation.training.charts import draw_panels
from fcos.evaluation.training.history import read_history
from fcos.evaluation.training.panels import choose_panels
from fcos.evaluation.truth import Truth
from fcos.modeling import FCOS
from fcos.predict import Predictor, resized
from fcos.utils.errors import UserError

__all__ = ["Level", "Picture", "Steps", "show_steps"]


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture and what it shows.

    Attributes:
        kind: "jpeg" or "svg+xml".
        data: the file.
        text: below it.
    """

    kind: str
    data: bytes
    text: str


@dataclasses.dataclass(frozen=True)
class Level:
    """A level of the pyramid on the image, with the number of locations that learn a box."""

    name: str
    stride: int
    rows: int
    columns: int
    learning: int


@dataclasses.dataclass(frozen=True)
class Steps:
    """The steps on one image.

    Attributes:
        file_name: of the image.
        label: of the run whose detector it is.
        size: height and width in the network.
        levels: of the pyramid, finest first.
        parameters: of the detector.
        head_parameters: of its head.
        pictures: "head", "targets", "losses", "training" and "inference" to pictures.
    """

    file_name: str
    label: str
    size: tuple[int, int]
    levels: list[Level]
    parameters: int
    head_parameters: int
    pictures: dict[str, list[Picture]]


@dataclasses.dataclass(frozen=True)
class _Shown:
    """What all pictures are of.

    Attributes:
        fcos: the detector.
        image: (H, W, 3) uint8, blue, green, red, as large as the network input.
        truth: ``gt_boxes`` and ``gt_classes`` of its objects, in pixels of it.
        names: of the classes.
        outputs: of the head.
    """

    fcos: FCOS
    image: np.ndarray
    truth: Instances
    names: list[str]
    outputs: RawOutputs


def show_steps(study: Study) -> tuple[Steps | None, str]:
    """Run the detector with the best AP on the image in the middle of the order by F1.

    Args:
        study: of the runs.

    Returns:
        The steps; or None and the sentence that says why there are none.
    """
    run, pair = study.subject, study.explained
    if run is None or pair is None or pair.comparison is None:
        return None, "No FCOS with detections was run, so the steps have no pictures."
    chosen = choose_spread([scored.counts for scored in pair.comparison.runs], 3)
    if not chosen:
        return None, f"No image of {study.truth.name} has an object, so the steps have no pictures."
    try:
        cfg = _cfg_of(run)
        predictor = Predictor(cfg)
        shown = _show(cfg, predictor, study.truth, chosen[len(chosen) // 2].image_id)
    except UserError as error:
        return None, f"The steps have no pictures: {error}"
    image = study.truth.coco.imgs[chosen[len(chosen) // 2].image_id]
    return Steps(
        file_name=image["file_name"],
        label=run.label,
        size=shown.outputs.image_size,
        levels=_levels(shown),
        parameters=_number(predictor.model),
        head_parameters=_number(shown.fcos.fcos_head),
        pictures={
            "head": [_locations(shown)],
            "targets": _targets(shown),
            "losses": [_loss_shapes(cfg)],
            "training": _training(run),
            "inference": _inference(shown),
        },
    ), ""


def _cfg_of(run: Measured) -> CfgNode:
    cfg = get_cfg()
    cfg.merge_from_file(f"{run.folder.path}/config.yaml")
    cfg.MODEL.WEIGHTS = run.weights
    return cfg


def _show(cfg: CfgNode, predictor: Predictor, truth: Truth, image_id: Any) -> _Shown:
    """Read an image and its objects, and run the detector on it."""
    name = truth.coco.imgs[image_id]["file_name"]
    original = predictor.read(image_path(truth.image_root, name))
    sides = cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST
    image = resized(original, ResizeShortestEdge([sides[0]] * 2, sides[1]))
    pixels = image[:, :, ::-1] if cfg.INPUT.FORMAT == "RGB" else image
    tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float()
    scale = [new / old for new, old in zip(image.shape[:2], original.shape[:2], strict=True)]
    objects = [a for a in truth.coco.imgToAnns[image_id] if not a.get("iscrowd")]
    boxes = torch.tensor([a["bbox"] for a in objects], dtype=torch.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    places = {category: place for place, category in enumerate(truth.category_ids)}
    instances = Instances(
        image.shape[:2],
        gt_boxes=Boxes(boxes * torch.tensor([*scale[::-1]] * 2)),
        gt_classes=torch.tensor([places[a["category_id"]] for a in objects]),
    )
    outputs = raw_outputs(predictor.model, tensor)
    return _Shown(predictor.model.proposal_generator, image, instances, truth.class_names, outputs)


def _learning(shown: _Shown) -> list[int]:
    """Count the locations of each level that learn a box."""
    boxes, sizes = shown.truth.gt_boxes.tensor, shown.outputs.feature_sizes
    learnt = learnt_boxes(boxes, shown.fcos.targets, sizes).box < len(boxes)
    return [int(part.sum()) for part in learnt.split([rows * columns for rows, columns in sizes])]


def _busiest(shown: _Shown) -> int:
    """Return the level on which most locations learn a box."""
    counts = _learning(shown)
    return counts.index(max(counts))


def _levels(shown: _Shown) -> list[Level]:
    fcos = shown.fcos
    parts = zip(
        fcos.in_features, fcos.strides, shown.outputs.feature_sizes, _learning(shown), strict=True
    )
    return [
        Level(name, stride, rows, columns, learning)
        for name, stride, (rows, columns), learning in parts
    ]


def _locations(shown: _Shown) -> Picture:
    figure = draw_locations(shown.image, shown.fcos.targets, shown.outputs.feature_sizes)
    text = "The locations of each level: where the head looks, and the cells they stand for."
    return Picture("jpeg", jpeg_of(figure), text)


def _targets(shown: _Shown) -> list[Picture]:
    targets, sizes, level = shown.fcos.targets, shown.outputs.feature_sizes, _busiest(shown)
    boxes = shown.truth.gt_boxes.tensor
    names = [shown.names[i] for i in shown.truth.gt_classes.tolist()]
    learnt = draw_learnt(shown.image, boxes, names, targets, sizes)
    maps = draw_maps(
        shown.image, target_maps(targets, sizes, shown.truth, level), targets.strides[level]
    )
    name = shown.fcos.in_features[level]
    return [
        Picture(
            "jpeg",
            jpeg_of(learnt),
            "Which location learns which box: its number, in the colour of the box.",
        ),
        Picture(
            "jpeg",
            jpeg_of(maps),
            f"What the locations of {name} have to predict: the distances to the four sides, and "
            "centerness. Where nothing is drawn, the target is background.",
        ),
    ]


def _loss_shapes(cfg: CfgNode) -> Picture:
    fcos = cfg.MODEL.FCOS
    text = (
        "Left: what a location costs whose class has a given probability. Right: what a box costs "
        "that is moved to the right and as far down, by a share of its side."
    )
    drawn = draw_loss_shapes(fcos.LOSS_ALPHA, fcos.LOSS_GAMMA, fcos.LOC_LOSS_TYPE)
    return Picture("svg+xml", svg_of(drawn), text)


def _training(run: Measured) -> list[Picture]:
    """Draw the losses that the training of a run logged."""
    try:
        history = read_history(dataclasses.replace(run.folder, path=run.trained_in))
    except UserError:  # it left no log
        return []
    panels = choose_panels([history]).get("Losses and learning rate", [])[:4]
    files = draw_panels(panels, [history.resumed], history.done)
    return [
        Picture("svg+xml", file, f"{panel.title} over iterations")
        for panel, file in zip(panels, files, strict=True)
    ]


def _inference(shown: _Shown) -> list[Picture]:
    level, rules = _busiest(shown), shown.fcos.rules
    maps = draw_maps(
        shown.image, score_maps(shown.outputs, rules, level), shown.fcos.strides[level]
    )
    steps = detection_steps(shown.fcos, shown.outputs)
    return [
        Picture(
            "jpeg",
            jpeg_of(maps),
            f"Scores on {shown.fcos.in_features[level]}, of the best class of each location, "
            "before and after centerness.",
        ),
        Picture(
            "jpeg",
            jpeg_of(draw_detection_steps(shown.image, steps, shown.names)),
            "What each rule keeps (full lines) and takes away (dotted).",
        ),
    ]


def _number(module: torch.nn.Module) -> int:
    parameters: list[Tensor] = list(module.parameters())
    return sum(parameter.numel() for parameter in parameters)
