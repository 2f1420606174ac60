"""Images in, their detections out."""

from __future__ import annotations

import contextlib
import logging
import reprlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from detectron2.config import CfgNode
from detectron2.data.transforms import ResizeShortestEdge, ResizeTransform
from detectron2.modeling import build_model
from detectron2.structures import Instances
from fcos.checkpoint import AdetCheckpointer
from fcos.config.checks import check_images_per_batch, check_pixels
from fcos.modeling import OneStageDetectorWithTTA
from fcos.modeling.optimize import optimize_for_inference
from fcos.utils.device import check_device
from fcos.utils.errors import UserError, config_errors
from fcos.utils.memory import keep_freed_memory

__all__ = ["Predictor", "resized"]


class Predictor:
    """The model of a config with its weights, ready to be called on images.

    With ``TEST.AUG.ENABLED`` it looks at several views of each image.

    Attributes:
        model: on ``MODEL.DEVICE``, in evaluation mode.
        batch_size: ``TEST.IMS_PER_BATCH``, the number of images that are best given together.
        class_names: as stored with the weights; ``None`` when they were stored without.
    """

    def __init__(self, cfg: CfgNode, optimize: str | None = None, compile: bool = False) -> None:
        """Build the model and load ``MODEL.WEIGHTS``.

        Args:
            cfg: the config.
            optimize: a precision for :func:`fcos.modeling.optimize.optimize_for_inference`, such as
                "auto"; ``None`` runs the model as it was trained.
            compile: with ``optimize``, compile it as well.

        Raises:
            UserError: the config is of no detector, there are no weights, they do not cover the
                model, the device is missing or does not compute in that precision, or TEST.AUG
                cannot be used.
        """
        check_pixels(cfg)
        check_images_per_batch(cfg)
        self._is_rgb = cfg.INPUT.FORMAT == "RGB"
        is_augmented = cfg.TEST.AUG.ENABLED
        # The views are made from the image as it is: 0 does not resize.
        short = 0 if is_augmented else cfg.INPUT.MIN_SIZE_TEST
        self._resize = ResizeShortestEdge([short] * 2, cfg.INPUT.MAX_SIZE_TEST)
        if not cfg.MODEL.WEIGHTS:
            raise UserError(
                "MODEL.WEIGHTS is empty, so there is no trained model to detect with: "
                "append MODEL.WEIGHTS <file> to --opts."
            )
        check_device(cfg.MODEL.DEVICE)
        keep_freed_memory()
        with config_errors():
            self.model = build_model(cfg).eval()
        checkpointer = AdetCheckpointer(self.model)
        with _errors_alone(checkpointer.logger):  # one sentence below, not one per parameter
            extra = checkpointer.load(cfg.MODEL.WEIGHTS)
        checkpointer.coverage.require_all("Detection")
        if optimize is not None:
            self.model = optimize_for_inference(self.model, optimize, compile)
        self.batch_size = cfg.TEST.IMS_PER_BATCH
        self._detector = OneStageDetectorWithTTA(cfg, self.model) if is_augmented else self.model
        self.class_names: list[str] | None = extra.get("class_names")

    def __call__(self, image: np.ndarray) -> Instances:
        """Detect the objects of one image; see :meth:`detect_batch`."""
        return self.detect_batch([image])[0]

    def detect_batch(self, images: Sequence[np.ndarray]) -> list[Instances]:
        """Detect the objects of some images at once.

        The images are padded to one size. That moves scores and boxes a little where the model
        has group normalization, whose statistics are of the padding too.

        Args:
            images: each (H, W, 3) uint8, blue, green, red, of any size.

        Returns:
            Of each image, on the CPU, highest score first, in pixels of the image: ``pred_boxes``
            (K boxes, x1, y1, x2, y2), ``scores`` (K,) in [0, 1], ``pred_classes`` (K,) in [0, C)
            and, from a mask head, ``pred_masks`` (K, H, W) bool.

        Raises:
            TypeError: an image is no array.
            ValueError: an image has another shape or type, or no pixels.
        """
        inputs = [self._input_of(image) for image in images]
        if not inputs:
            return []
        with torch.no_grad():
            return [output["instances"].to("cpu") for output in self._detector(inputs)]

    def _input_of(self, image: np.ndarray) -> dict[str, Any]:
        """What the model takes."""
        if not isinstance(image, np.ndarray):
            raise TypeError(
                "image: expected an array, (H, W, 3) uint8, as fcos.data.read_bgr returns "
                f"it, got {reprlib.repr(image)} of type {type(image).__name__}"
            )
        if image.ndim != 3 or image.shape[2] != 3 or image.size == 0 or image.dtype != np.uint8:
            raise ValueError(
                f"image: expected (H, W, 3) uint8, got {tuple(image.shape)} {image.dtype}"
            )
        height, width = image.shape[:2]
        pixels = image[:, :, ::-1] if self._is_rgb else image
        pixels = resized(np.ascontiguousarray(pixels), self._resize)
        tensor = torch.as_tensor(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        return {"image": tensor, "height": height, "width": width}


def resized(image: np.ndarray, augmentation: ResizeShortestEdge) -> np.ndarray:
    """An image, (H, W, C) uint8, as ``augmentation`` would have it, but no side is 0 pixels.

    INPUT.MAX_SIZE_TEST can leave nothing of the shorter side of a very long image.
    """
    resize = augmentation.get_transform(image)
    if isinstance(resize, ResizeTransform):
        size = max(1, resize.new_h), max(1, resize.new_w)
        resize = ResizeTransform(*image.shape[:2], *size)
    return resize.apply_image(image)


@contextlib.contextmanager
def _errors_alone(logger: logging.Logger) -> Iterator[None]:
    """A logger that keeps its warnings to itself."""
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
