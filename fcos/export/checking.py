"""Compare what a file computes with what the detector computes.

Letters: N images, M detections of all images together, S rows and columns of a mask.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fcos.export.graph import RawGraph
from fcos.export.torch_files import Runnable

__all__ = ["Differences", "check", "differences", "two_batches"]

# Two detections of one class are the same if this sum is at most 1: the largest distance between
# their sides in pixels, plus a thousand times the difference of their scores. Scores are needed
# because boxes that are clipped to a small image are often equal. Rounding causes far less than 1.
_SCORE_WEIGHT = 1000


@dataclasses.dataclass
class Differences:
    """The largest differences between a file and the detector.

    Attributes:
        expected: number of detections of the detector.
        unmatched: number of detections that only the file or only the detector has.
        boxes: in pixels.
        scores: of probabilities.
        masks: of probabilities; ``None`` without masks.
        raw: of the outputs of the head, x, divided by 1 + |x|; ``None`` for detections.
    """

    expected: int = 0
    unmatched: int = 0
    boxes: float = 0.0
    scores: float = 0.0
    masks: float | None = None
    raw: float | None = None

    @property
    def is_small(self) -> bool:
        """Say whether rounding explains the differences.

        Rounding can move a score or an overlap across its threshold: in 100 detections, two may be
        missing or new; in fewer than 50, none.
        """
        few = self.unmatched <= 0.02 * self.expected
        close = self.boxes < 0.1 and max(self.scores, self.raw or 0) < 1e-3
        return few and close and (self.masks or 0) < 0.05

    def __str__(self) -> str:
        if self.raw is not None:
            return f"the outputs differ by at most {self.raw:.1g} of 1 + |output|"
        text = f"{self.expected} detections"
        if self.unmatched:
            text += f", {self.unmatched} without a counterpart"
        text += f"; boxes differ by at most {self.boxes:.1g} px, scores by {self.scores:.1g}"
        return text + (f", masks by {self.masks:.1g}" if self.masks is not None else "")


@torch.no_grad()
def check(
    run: Runnable, model: Any, graph: Any, batches: Sequence[Sequence[Tensor]]
) -> Differences:
    """Run a file and the detector on the same images.

    Args:
        run: the file.
        model: the detector, in evaluation mode.
        graph: the graph in the file.
        batches: images (3, H, W) with the type and the device of the file's input. If the file
            takes no sizes, all images of a batch have the same size.

    Returns:
        The largest differences over all images.
    """
    total = Differences()
    for images in batches:
        outputs = run(*_inputs(images))
        if isinstance(graph, RawGraph):
            for got, want in zip(outputs, _raw_outputs(model, images), strict=False):
                error = (got - want).abs() / (1 + want.abs())
                total.raw = max(total.raw or 0.0, float(error.max()))
            continue
        for index, want in enumerate(_detections(model, images)):
            of_image = outputs[3] == index
            differences(want, [x[of_image].cpu() for x in outputs if x is not outputs[3]], total)
    return total


def differences(want: Any, got: Sequence[Tensor], total: Differences) -> None:
    """Add the differences in one image.

    Args:
        want: ``pred_boxes``, ``scores``, ``pred_classes`` and perhaps ``pred_masks`` (M, 1, S, S).
        got: boxes (M, 4), scores (M,), classes (M,) and perhaps masks (M, S, S).
        total: the differences so far, which are changed.
    """
    boxes, scores, classes = got[:3]
    total.expected += len(want)
    if len(want) == 0 or len(boxes) == 0:
        total.unmatched += len(want) + len(boxes)
        return
    sides = (want.pred_boxes.tensor[:, None] - boxes[None]).abs().amax(2)
    apart = sides + _SCORE_WEIGHT * (want.scores[:, None] - scores[None]).abs()
    apart[want.pred_classes[:, None] != classes[None]] = torch.inf
    distance, nearest = apart.min(1)
    is_same = distance <= 1
    nearest = nearest[is_same]
    total.unmatched += int((~is_same).sum()) + len(boxes) - len(nearest.unique())
    if len(nearest) == 0:
        return
    total.boxes = max(total.boxes, float(sides[is_same, nearest].max()))
    apart = (want.scores[is_same] - scores[nearest]).abs()
    total.scores = max(total.scores, float(apart.max()))
    if len(got) > 3:
        apart = (want.pred_masks[is_same, 0] - got[3][nearest]).abs()
        total.masks = max(total.masks or 0.0, float(apart.max()))


def two_batches(image: Tensor, with_sizes: bool) -> Iterator[list[Tensor]]:
    """Yield a batch of one image, and a batch of two parts of it.

    Args:
        image: (3, H, W).
        with_sizes: the parts may be of different sizes.
    """
    height, width = image.shape[1:]
    yield [image]
    part = image[:, : max(1, 2 * height // 3), : max(1, 3 * width // 4)]
    other = image[:, -part.shape[1] :, -part.shape[2] :]
    yield [part, other[:, ::2, ::2] if with_sizes else other]


def _inputs(images: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Pad images on the right and below to one size; return the batch and the sizes."""
    sizes = torch.tensor([image.shape[1:] for image in images])
    height, width = sizes.amax(0).tolist()
    padded = [F.pad(x, (0, width - x.shape[2], 0, height - x.shape[1])) for x in images]
    return torch.stack(padded), sizes.to(images[0].device)


def _detections(model: Any, images: Sequence[Tensor]) -> list[Any]:
    """Detect, with masks on the grids of their boxes."""
    inputs = [{"image": image} for image in images]
    if hasattr(model, "roi_heads"):
        return [found.to("cpu") for found in model.inference(inputs, do_postprocess=False)]
    return [output["instances"].to("cpu") for output in model(inputs)]


def _raw_outputs(model: Any, images: Sequence[Tensor]) -> list[Tensor]:
    """Compute class logits, distances in pixels and centerness logits, as :class:`RawGraph`."""
    generator = model.proposal_generator
    batch = model.preprocess_image([{"image": image} for image in images]).tensor
    features = model.backbone(batch)
    cls_logits, ltrb, ctr_logits = generator.fcos_head([features[n] for n in generator.in_features])
    if generator.normalize_reg_targets:
        ltrb = [level * stride for level, stride in zip(ltrb, generator.strides, strict=True)]
    flat = (
        torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)
        for levels in (cls_logits, ltrb, ctr_logits)
    )
    cls_flat, ltrb_flat, ctr_flat = flat
    return [cls_flat, ltrb_flat, ctr_flat[..., 0]]
