"""From a record and its image to augmented ones, by the transforms of INPUT.AUGMENTATIONS."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional

from detectron2.config import CfgNode
from detectron2.structures import BoxMode
from fcos.data.augmentations import KEY, read_augmentations
from fcos.data.mosaic import LabelledImage, Mosaic
from fcos.data.transforms import moves_boxes
from fcos.utils.errors import UserError, one_line

__all__ = ["Augment", "augment_of"]

logger = logging.getLogger(__name__)

Record = dict[str, Any]  # one image and its annotations, in detectron2's form


def augment_of(cfg: CfgNode) -> Augment | None:
    """Return what INPUT.AUGMENTATIONS does to an image; None: nothing.

    Raises:
        UserError: something in the list is wrong.
    """
    transforms = read_augmentations(cfg)
    if not transforms:
        return None
    logger.info(f"Before the augmentations of detectron2: {list(cfg.INPUT.AUGMENTATIONS)}")
    return Augment(transforms, image_format=cfg.INPUT.FORMAT, with_masks=cfg.MODEL.MASK_ON)


class Augment:
    """Apply transforms to an image and the annotations of its record.

    The numbers that are drawn come from torch's generator on the CPU. The pixels depend on them
    and the input alone: all is computed in one thread, because the mean that changes contrast, for
    one, is another sum in several.

    Boxes end at the borders of their image. An object of which less than a pixel is left in width,
    height or mask is taken out, and so are crowds, from which nothing is learnt. With masks, a box
    is the smallest one around its mask. Transforms that do not move boxes leave annotations as
    they are.

    Attributes:
        records: the data set, from which a mosaic draws.
    """

    def __init__(
        self,
        transforms: Sequence[Any],
        *,
        image_format: str = "BGR",
        with_masks: bool = False,
        records: Sequence[Record] = (),
    ) -> None:
        """
        Args:
            transforms: as `read_augmentations` returns them.
            image_format: "BGR" or "RGB", the order of an image's channels.
            with_masks: carry the masks along; otherwise annotations lose them.
        """
        self.records = records
        self._transforms = list(transforms)
        self._mosaic: Mosaic | None = None
        if self._transforms and isinstance(self._transforms[0], Mosaic):
            self._mosaic = self._transforms.pop(0)
        self._moves_boxes = self._mosaic is not None or moves_boxes(transforms)
        self._is_bgr = image_format == "BGR"
        self._with_masks = with_masks

    def __call__(
        self, record: Record, image: np.ndarray, read: Callable[[Record], np.ndarray]
    ) -> tuple[np.ndarray, Record]:
        """Return the augmented image, and a copy of the record with annotations that fit it.

        Args:
            record: not changed.
            image: of it, (H, W, 3) uint8; not changed.
            read: gives the image of another record.

        Raises:
            UserError: a transform fails on this image.
        """
        with _one_thread():
            one = self._labelled(record, image)
            if self._mosaic is not None:
                one = _sanitized(self._mosaic(one, lambda: self._drawn(read)))
            for transform in self._transforms:
                one = _transformed(transform, one, record)
            if one.masks is not None:
                one = _with_tight_boxes(one, one.masks)
        if self._moves_boxes and "annotations" in record:
            record = {**record, "annotations": _annotations(one)}
        pixels = one.image.flip(0) if self._is_bgr else one.image
        return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()), record

    def _drawn(self, read: Callable[[Record], np.ndarray]) -> LabelledImage:
        record = self.records[int(torch.randint(len(self.records), ()))]
        return self._labelled(record, read(record))

    def _labelled(self, record: Record, image: np.ndarray) -> LabelledImage:
        rgb = image[:, :, ::-1] if self._is_bgr else image
        pixels = tv_tensors.Image(torch.from_numpy(np.array(rgb.transpose(2, 0, 1), order="C")))
        size = image.shape[:2]
        annotations = record.get("annotations", ()) if self._moves_boxes else ()
        annotations = [one for one in annotations if not one.get("iscrowd", 0)]
        corners = [
            BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS) for a in annotations
        ]
        boxes = tv_tensors.BoundingBoxes(
            torch.tensor(corners, dtype=torch.float32).view(-1, 4), format="XYXY", canvas_size=size
        )
        masks = None
        if self._with_masks and all("segmentation" in one for one in annotations):
            bits = [_bits(one["segmentation"], *size) for one in annotations]
            masks = tv_tensors.Mask(torch.from_numpy(np.array(bits, np.uint8).reshape(-1, *size)))
        return LabelledImage(pixels, functional.clamp_bounding_boxes(boxes), masks, annotations)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _transformed(transform: Any, one: LabelledImage, record: Record) -> LabelledImage:
    objects: dict[str, Tensor] = {"boxes": one.boxes}
    if one.masks is not None:
        objects["masks"] = one.masks
    try:
        image, objects = transform(one.image, objects)
    except Exception as error:  # of what kind, each transform decides
        height, width = one.size
        raise UserError(
            f"{KEY}: {type(transform).__name__} fails on image {record.get('file_name')}, there of "
            f"{width}x{height} pixels: {one_line(error)}"
        ) from error
    return _sanitized(LabelledImage(image, objects["boxes"], objects.get("masks"), one.annotations))


def _sanitized(one: LabelledImage) -> LabelledImage:
    """Without the objects of whose boxes too little is left."""
    boxes = functional.clamp_bounding_boxes(one.boxes)
    _, is_kept = functional.sanitize_bounding_boxes(boxes)
    return _chosen(dataclasses.replace(one, boxes=boxes), is_kept)


def _with_tight_boxes(one: LabelledImage, masks: tv_tensors.Mask) -> LabelledImage:
    """With the boxes around the masks, and without the objects whose masks are empty."""
    sides = []
    for pixels in (masks.amax(1).numpy(), masks.amax(2).numpy()):  # (G, W), then (G, H)
        sides.append((pixels.argmax(1), pixels.shape[1] - pixels[:, ::-1].argmax(1)))
    (left, right), (top, bottom) = sides
    boxes = torch.from_numpy(np.stack([left, top, right, bottom], axis=1)).float()
    boxes = tv_tensors.wrap(boxes, like=one.boxes)
    return _chosen(dataclasses.replace(one, boxes=boxes), masks.amax((1, 2)) > 0)


def _chosen(one: LabelledImage, is_kept: Tensor) -> LabelledImage:
    if is_kept.all():  # copying masks takes time
        return one
    return dataclasses.replace(
        one,
        boxes=tv_tensors.wrap(one.boxes[is_kept], like=one.boxes),
        masks=None if one.masks is None else tv_tensors.Mask(one.masks[is_kept]),
        annotations=[a for a, kept in zip(one.annotations, is_kept.tolist(), strict=True) if kept],
    )


def _annotations(one: LabelledImage) -> list[dict[str, Any]]:
    """The annotations of an image as they are now, in detectron2's form."""
    annotations = []
    for index, (before, box) in enumerate(zip(one.annotations, one.boxes.tolist(), strict=True)):
        now = {key: value for key, value in before.items() if key != "segmentation"}
        now.update(bbox=box, bbox_mode=BoxMode.XYXY_ABS)
        if one.masks is not None:
            now["segmentation"] = _run_lengths(one.masks[index].numpy())
        annotations.append(now)
    return annotations


def _bits(segmentation: Any, height: int, width: int) -> np.ndarray:
    """The (H, W) mask of polygons or run lengths."""
    from pycocotools import mask as mask_api

    if isinstance(segmentation, list):
        return mask_api.decode(mask_api.merge(mask_api.frPyObjects(segmentation, height, width)))
    if isinstance(segmentation["counts"], list):
        segmentation = mask_api.frPyObjects(segmentation, height, width)
    return mask_api.decode(segmentation)


def _run_lengths(mask: np.ndarray) -> dict[str, Any]:
    from pycocotools import mask as mask_api

    return mask_api.encode(np.asfortranarray(mask))
