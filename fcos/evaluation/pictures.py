"""Draw the pictures of a comparison: curves, and detections beside ground truth."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from detectron2.structures import Boxes, BoxMode, Instances
from fcos.data.image_names import image_path
from fcos.data.images import read_bgr
from fcos.evaluation.figures import CURVES
from fcos.evaluation.truth import Truth
from fcos.predict import class_colors, draw_instances, ground_truth_instances
from fcos.utils.errors import UserError

__all__ = [
    "COLORS",
    "WRONG",
    "Detection",
    "Drawer",
    "draw_curves",
    "figure_style",
    "jpeg",
    "jpeg_of",
    "svg_of",
]

# Okabe and Ito's colours, which can be told apart with any colour vision and in print.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
WRONG = "\N{BALLOT X}"  # before the class of a detection without an object
Detection = tuple[dict[str, Any], bool]  # in COCO's results format; whether it is wrong
_LINES = ("-", "--", "-.", ":")
_JPEG_QUALITY = 90


def draw_curves(curves: Mapping[str, Mapping[str, np.ndarray]], colors: Sequence[str]) -> bytes:
    """Draw a panel for each of CURVES, with one line per run.

    Args:
        curves: run to what :func:`fcos.evaluation.figures.curves` returns.
        colors: of the runs.

    Returns:
        An SVG file. The same curves give the same bytes.
    """
    from matplotlib.figure import Figure  # without pyplot, which keeps figures and opens windows

    recall = np.linspace(0, 1, 101)
    with figure_style():
        figure = Figure(figsize=(11, 3.1 + 0.2 * len(curves)), layout="constrained")
        panels = figure.subplots(1, len(CURVES), sharey=True)
        for panel, name in zip(panels, CURVES, strict=True):
            for index, (label, of_run) in enumerate(curves.items()):
                area = f"{100 * np.mean(of_run[name]):.1f}"
                # To matplotlib, "$" begins a formula.
                text = f"{label} ({area})".replace("$", r"\$")
                line = _LINES[index % len(_LINES)]
                panel.plot(
                    recall, of_run[name], line, color=colors[index], label=text, linewidth=1.6
                )
            panel.set(title=name, xlabel="recall", xlim=(0, 1), ylim=(0, 1.02))
            panel.grid(color="#dddddd", linewidth=0.6)
            panel.spines[["top", "right"]].set_visible(False)
            # Below the panel: curves of good and bad detectors together leave no corner free.
            panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), frameon=False)
        panels[0].set_ylabel("precision")
        return svg_of(figure)


def figure_style() -> Any:
    """Return a context in which matplotlib draws figures in the style of these pages."""
    import matplotlib

    return matplotlib.rc_context(
        {"svg.hashsalt": "fcos", "font.family": "DejaVu Sans", "font.size": 9}
    )


def svg_of(figure: Any) -> bytes:
    """Return a figure of matplotlib as an SVG file; the same figure gives the same bytes."""
    stream = io.BytesIO()
    with figure_style():  # which names the parts of the file
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def jpeg_of(figure: Any, dpi: int = 135, quality: int = _JPEG_QUALITY) -> bytes:
    """Return a figure of matplotlib as a JPEG file, with so many pixels to an inch."""
    stream = io.BytesIO()
    figure.savefig(stream, format="jpeg", dpi=dpi, pil_kwargs={"quality": quality})
    return stream.getvalue()


class Drawer:
    """Draw the ground truth and the detections of images of one data set."""

    def __init__(self, truth: Truth, with_masks: bool) -> None:
        """
        Args:
            truth: the data set.
            with_masks: draw the ground truth with masks.
        """
        self._truth = truth
        self._with_masks = with_masks
        self._class_of = {category: i for i, category in enumerate(truth.category_ids)}

    def draw(self, image_id: Any, runs: Sequence[Sequence[Detection]]) -> list[bytes]:
        """Draw the ground truth, then the detections of each run.

        Args:
            image_id: of the image.
            runs: the detections of each run to draw on that image. WRONG stands before the class of
                those without an object.

        Returns:
            JPEG files, one more than there are runs.

        Raises:
            UserError: the image is missing, damaged, or has another size than the annotations say.
        """
        record = self._truth.coco.imgs[image_id]
        path = image_path(self._truth.image_root, record["file_name"])
        image = read_bgr(path)
        size = record["height"], record["width"]
        if image.shape[:2] != size:
            raise UserError(
                f"{path} has {image.shape[1]}x{image.shape[0]} pixels, but {size[1]}x{size[0]} in "
                f"{self._truth.json_file}."
            )
        drawn = [self._ground_truth(image_id, size)]
        drawn += [self._detections(results, size) for results in runs]
        # A wrong cat is drawn as a class of its own, in the colour of cats.
        names = self._truth.class_names
        colors = class_colors(len(names)) * 2
        names = names + [f"{WRONG} {name}" for name in names]
        return [jpeg(draw_instances(image, instances, names, colors)) for instances in drawn]

    def _ground_truth(self, image_id: Any, size: tuple[int, int]) -> Instances:
        objects = [a for a in self._truth.coco.imgToAnns[image_id] if not a["iscrowd"]]
        annotations = [
            {
                "bbox": a["bbox"],
                "bbox_mode": BoxMode.XYWH_ABS,
                "category_id": self._class_of[a["category_id"]],
            }
            for a in objects
        ]
        instances = ground_truth_instances(annotations, *size)
        if self._with_masks and objects:
            instances.pred_masks = self._masks(objects)
        return instances

    def _detections(self, detections: Sequence[Detection], size: tuple[int, int]) -> Instances:
        results = [result for result, _ in detections]
        boxes = np.array([r["bbox"] for r in results], dtype=np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        num_classes = len(self._class_of)
        classes = [
            self._class_of[r["category_id"]] + wrong * num_classes for r, wrong in detections
        ]
        instances = Instances(
            size,
            pred_boxes=Boxes(torch.from_numpy(boxes)),
            pred_classes=torch.tensor(classes, dtype=torch.int64),
            scores=torch.tensor([float(r["score"]) for r in results]),
        )
        if results and "segmentation" in results[0]:
            instances.pred_masks = self._masks(results)
        return instances

    def _masks(self, things: Sequence[dict[str, Any]]) -> torch.Tensor:
        masks = np.stack([self._truth.coco.annToMask(thing) for thing in things])
        return torch.from_numpy(masks.astype(bool))


def jpeg(picture: np.ndarray, quality: int = _JPEG_QUALITY) -> bytes:
    """Return a picture, (H, W, 3) uint8 in blue, green, red, as a JPEG file."""
    import cv2

    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return bytes(data)
