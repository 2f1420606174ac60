"""Reading images, and carrying annotations through transforms into ``Instances``."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from fvcore.transforms.transform import Transform, TransformList
from PIL import Image, UnidentifiedImageError

from detectron2._missing import missing, missing_names
from detectron2.data import transforms as T
from detectron2.data.catalog import MetadataCatalog
from detectron2.structures import BitMasks, Boxes, BoxMode, Instances, PolygonMasks
from detectron2.structures.masks import polygons_to_bitmask
from detectron2.utils.file_io import PathManager

__all__ = [
    "SizeMismatchError",
    "annotations_to_instances",
    "build_augmentation",
    "check_image_size",
    "check_metadata_consistency",
    "convert_image_to_rgb",
    "filter_empty_instances",
    "read_image",
    "transform_instance_annotations",
]

__getattr__ = missing_names(__name__)

logger = logging.getLogger(__name__)

# BT.601 for values in [0, 1]: Y in [0, 1], U and V around 0.
_RGB_TO_YUV = np.array(
    [[0.299, 0.587, 0.114], [-0.14713, -0.28886, 0.436], [0.615, -0.51499, -0.10001]]
)
_YUV_TO_RGB = np.array([[1.0, 0.0, 1.13983], [1.0, -0.39465, -0.58060], [1.0, 2.03211, 0.0]])

_EXIF_ORIENTATION = 0x0112
# How to turn an image upright, by its EXIF orientation.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class SizeMismatchError(ValueError):
    """An image file is not as large as its dataset says."""


def read_image(file_name: str, format: str | None = None) -> np.ndarray:
    """Read an image file, turned upright as its EXIF data says.

    Args:
        file_name: path, or anything that ``PathManager`` opens.
        format: "BGR", "YUV-BT.601" or one of Pillow's modes ("RGB", "L", ...). None keeps the
            mode of the file.

    Returns:
        (H, W, C), with C = 1 for "L"; uint8 in [0, 255], or float with Y in [0, 1] for YUV.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: the file cannot be read as an image, or is cut off.
        ValueError: a ``format`` that does not exist.
    """
    if format not in (None, "BGR", "YUV-BT.601") and format not in Image.MODES:
        raise ValueError(f"image format '{format}': expected BGR, YUV-BT.601 or a mode of Pillow")
    with _open(file_name) as file:
        try:
            picture = _turned_upright(Image.open(file), file_name)
            picture.load()
        # Pillow's decoders raise errors of many types.
        except Exception as error:
            unknown = isinstance(error, UnidentifiedImageError)
            reason = "it is in no format that Pillow knows" if unknown else error
            raise OSError(f"Image file '{file_name}' cannot be read: {reason}") from error
    if format is None:
        return np.asarray(picture)
    if format == "BGR":
        return np.asarray(picture.convert("RGB"))[:, :, ::-1]
    if format == "YUV-BT.601":
        return np.asarray(picture.convert("RGB")) / 255.0 @ _RGB_TO_YUV.T
    image = np.asarray(picture.convert(format))
    return image[:, :, None] if format == "L" else image


def _open(file_name: str) -> Any:
    try:
        return PathManager.open(file_name, "rb")
    except FileNotFoundError as error:
        path = os.path.abspath(file_name)
        folder = "" if os.path.isdir(os.path.dirname(path)) else ", nor does its folder"
        raise FileNotFoundError(f"Image file '{path}' does not exist{folder}") from error


def _turned_upright(picture: Image.Image, file_name: str) -> Image.Image:
    try:
        orientation = picture.getexif().get(_EXIF_ORIENTATION)
    # Ignore EXIF data that cannot be parsed; the image itself may be intact.
    except Exception:
        logger.warning("Ignored the EXIF data of '%s', which cannot be read", file_name)
        return picture
    return picture.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else picture


def convert_image_to_rgb(image: np.ndarray | torch.Tensor, format: str) -> np.ndarray:
    """Convert an image that ``read_image`` read as ``format``.

    Args:
        image: (H, W, C), array or tensor.
        format: as in ``read_image``, not None.

    Returns:
        (H, W, 3) RGB in [0, 255]; floating point for YUV, of the type of ``image`` for BGR, and
        uint8 for all others.
    """
    if isinstance(image, torch.Tensor):
        image = image.cpu().numpy()
    if format == "BGR":
        return image[:, :, ::-1]
    if format == "YUV-BT.601":
        return image @ _YUV_TO_RGB.T * 255.0
    height, width = image.shape[:2]
    picture = Image.frombytes(format, (width, height), image.astype(np.uint8).tobytes())
    return np.asarray(picture.convert("RGB"))


def check_image_size(dataset_dict: dict[str, Any], image: np.ndarray) -> None:
    """Compare the size of an image with the one its dataset gives, and note it if there is none.

    Args:
        dataset_dict: one image of a dataset. "width" and "height" are added where missing.
        image: (H, W, ...).

    Raises:
        SizeMismatchError: the two differ.
    """
    height, width = image.shape[:2]
    if "width" in dataset_dict or "height" in dataset_dict:
        expected = dataset_dict["width"], dataset_dict["height"]
        if expected != (width, height):
            name = dataset_dict.get("file_name", "")
            raise SizeMismatchError(
                f"Image {name + ' ' if name else ''}is {width} x {height} pixels (width x height), "
                f"but its dataset says {expected[0]} x {expected[1]}: correct the annotation file"
            )
    dataset_dict.setdefault("width", width)
    dataset_dict.setdefault("height", height)


def transform_instance_annotations(
    annotation: dict[str, Any],
    transforms: Transform | Sequence[Transform],
    image_size: tuple[int, int],
    *,
    keypoint_hflip_indices: np.ndarray | None = None,
) -> dict[str, Any]:
    """Carry the box and the segmentation of one object along with its image.

    Args:
        annotation: in detectron2's dataset format; changed in place.
        transforms: what was applied to the image.
        image_size: (H, W) of the image after that.
        keypoint_hflip_indices: keypoints are not part of detectron2-lite; not read.

    Returns:
        ``annotation``: "bbox" as an array x1, y1, x2, y2 clipped to the image, "bbox_mode"
        accordingly; polygons as a list of flat arrays x, y, x, y, ...; a run-length encoded mask
        as a (H, W) uint8 array.

    Raises:
        NotImplementedError: the annotation has keypoints.
        ValueError: the segmentation is neither polygons nor run-length encoded.
    """
    if "keypoints" in annotation:
        raise missing("transforming keypoints")
    if isinstance(transforms, Sequence):
        transforms = TransformList(list(transforms))
    box = BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)
    height, width = image_size
    box = transforms.apply_box(np.array([box]))[0].clip(min=0)
    annotation["bbox"] = np.minimum(box, [width, height, width, height])
    annotation["bbox_mode"] = BoxMode.XYXY_ABS
    if "segmentation" in annotation:
        annotation["segmentation"] = _transform_segmentation(
            annotation["segmentation"], transforms, image_size
        )
    return annotation


def _transform_segmentation(
    segmentation: Any, transforms: Transform, image_size: tuple[int, int]
) -> list[np.ndarray] | np.ndarray:
    if isinstance(segmentation, list):
        polygons = [np.asarray(polygon).reshape(-1, 2) for polygon in segmentation]
        try:
            polygons = transforms.apply_polygons(polygons)
        except ModuleNotFoundError as error:  # fvcore imports it where it is used
            raise ModuleNotFoundError(
                f"Cropping polygons needs the package {error.name}: pip install {error.name}",
                name=error.name,
            ) from error
        return [polygon.reshape(-1) for polygon in polygons]
    if not isinstance(segmentation, dict):
        raise ValueError(
            "segmentation: expected a list of polygons or a dict with run-length encoding, "
            f"got a {type(segmentation).__name__}"
        )
    mask = transforms.apply_segmentation(_decoded(segmentation))
    if mask.shape[:2] != tuple(image_size):
        raise AssertionError(
            f"segmentation: the mask is {mask.shape[:2]} after the transforms, "
            f"its image {tuple(image_size)}"
        )
    return mask


def annotations_to_instances(
    annos: Sequence[dict[str, Any]], image_size: tuple[int, int], mask_format: str = "polygon"
) -> Instances:
    """The objects of one image, as models take them.

    Args:
        annos: one dict per object, in detectron2's dataset format.
        image_size: (H, W) of their image.
        mask_format: "polygon" for ``PolygonMasks``, which are exact, or "bitmask" for
            ``BitMasks``, which any segmentation can become.

    Returns:
        ``gt_boxes`` (N boxes, float32), ``gt_classes`` (N,) int64, and ``gt_masks`` if the objects
        have a "segmentation".

    Raises:
        NotImplementedError: an annotation has keypoints.
        ValueError: some objects have a segmentation and some have none, or one cannot be turned
            into ``mask_format``.
    """
    if any("keypoints" in anno for anno in annos):
        raise missing("annotations_to_instances with 'keypoints'")
    boxes = [BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS) for a in annos]
    instances = Instances(image_size)
    # An array first: from a list of arrays torch would copy number by number.
    instances.gt_boxes = Boxes(torch.as_tensor(np.array(boxes)))
    instances.gt_classes = torch.tensor([a["category_id"] for a in annos], dtype=torch.int64)
    segmentations = [anno["segmentation"] for anno in annos if "segmentation" in anno]
    if segmentations:
        if len(segmentations) < len(annos):
            raise ValueError(
                f"Of {len(annos)} objects of one image, {len(annos) - len(segmentations)} have no "
                "'segmentation': either all of them must have one, or none"
            )
        instances.gt_masks = _masks(segmentations, image_size, mask_format)
    return instances


def _masks(
    segmentations: Sequence[Any], image_size: tuple[int, int], mask_format: str
) -> PolygonMasks | BitMasks:
    if mask_format == "bitmask":
        masks = [_bitmask(one, image_size) for one in segmentations]
        if len(shapes := {mask.shape for mask in masks}) > 1:
            raise ValueError(f"The masks of one image differ in size: {sorted(shapes)}")
        return BitMasks(np.stack(masks))
    if mask_format != "polygon":
        raise ValueError(
            f"mask_format (INPUT.MASK_FORMAT): expected 'polygon' or 'bitmask', got '{mask_format}'"
        )
    for segmentation in segmentations:
        if not isinstance(segmentation, list):
            raise ValueError(
                "mask_format (INPUT.MASK_FORMAT) is 'polygon', but a segmentation is a "
                f"{type(segmentation).__name__}, not a list of polygons: 'bitmask' takes masks, too"
            )
    return PolygonMasks(segmentations)


def _bitmask(segmentation: Any, image_size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool mask of polygons, a run-length encoding, or a mask."""
    if isinstance(segmentation, list):
        return polygons_to_bitmask(segmentation, *image_size)
    mask = _decoded(segmentation) if isinstance(segmentation, dict) else segmentation
    if not isinstance(mask, np.ndarray):
        raise ValueError(
            "segmentation: expected a list of polygons, a dict with run-length encoding or an "
            f"(H, W) array, got a {type(mask).__name__}"
        )
    if mask.ndim != 2:
        raise ValueError(f"segmentation: expected an (H, W) mask, got one of shape {mask.shape}")
    return mask.astype(bool)


def _decoded(rle: dict[str, Any]) -> np.ndarray:
    """(H, W) uint8 mask of COCO's run-length encoding, compressed or not."""
    from pycocotools import mask as mask_api

    if isinstance(rle["counts"], list):
        rle = mask_api.frPyObjects(rle, *rle["size"])
    return mask_api.decode(rle)


def filter_empty_instances(
    instances: Instances,
    by_box: bool = True,
    by_mask: bool = True,
    box_threshold: float = 1e-5,
    return_mask: bool = False,
) -> Instances | tuple[Instances, torch.Tensor]:
    """Leave out the objects that augmentation has cut away.

    Args:
        instances: N objects with ``gt_boxes`` and perhaps ``gt_masks``.
        by_box: leave out those whose box is not wider and higher than ``box_threshold`` pixels.
        by_mask: leave out those without a single pixel in their mask.
        box_threshold: see above.
        return_mask: also return which ones were kept.

    Returns:
        The objects that are left, and (N,) bool if ``return_mask``.
    """
    if not by_box and not by_mask:
        raise AssertionError("filter_empty_instances needs by_box or by_mask, or both")
    kept = torch.ones(len(instances), dtype=torch.bool)
    if by_box:
        kept &= instances.gt_boxes.nonempty(threshold=box_threshold)
    if by_mask and instances.has("gt_masks"):
        kept &= instances.gt_masks.nonempty()
    return (instances[kept], kept) if return_mask else instances[kept]


def check_metadata_consistency(key: str, dataset_names: Sequence[str]) -> None:
    """Check that datasets used together agree in one entry of their metadata.

    Raises:
        AttributeError: one of them has no such entry.
        ValueError: they differ.
    """
    first, *others = dataset_names
    expected = getattr(MetadataCatalog.get(first), key)
    for name in others:
        found = getattr(MetadataCatalog.get(name), key)
        if found != expected:
            raise ValueError(
                f"Datasets that are used together must have the same '{key}', "
                f"but {first} has {expected} and {name} has {found}"
            )


def build_augmentation(cfg: Any, is_train: bool) -> list[T.Augmentation]:
    """Resizing and, in training, flipping, by the keys under INPUT.

    Args:
        cfg: reads INPUT.MIN_SIZE_*, MAX_SIZE_*, MIN_SIZE_TRAIN_SAMPLING and RANDOM_FLIP.
        is_train: use the _TRAIN keys, or else the _TEST ones.
    """
    if not is_train:
        size, longest = cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST
        return [T.ResizeShortestEdge(size, longest, "choice")]
    size, longest = cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN
    augmentations: list[T.Augmentation]
    augmentations = [T.ResizeShortestEdge(size, longest, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING)]
    flip = cfg.INPUT.RANDOM_FLIP
    if flip != "none":
        is_horizontal, is_vertical = flip == "horizontal", flip == "vertical"
        if not (is_horizontal or is_vertical):
            raise ValueError(
                f"INPUT.RANDOM_FLIP: expected 'horizontal', 'vertical' or 'none', got '{flip}'"
            )
        augmentations.append(T.RandomFlip(horizontal=is_horizontal, vertical=is_vertical))
    return augmentations
