"""A trained detector that is called on images."""

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
from fcos.checkpoint import AdetCheckpointer, detector_cfg, thresholds_in, weights_file
from fcos.config.keys import check_keys
from fcos.config.model_classes import num_detected_classes
from fcos.data.images import read_bgr
from fcos.modeling import OneStageDetectorWithTTA
from fcos.modeling.optimize import optimize_for_inference
from fcos.predict.lowest import lowest_scores
from fcos.utils.device import check_device
from fcos.utils.errors import UserError, config_errors
from fcos.utils.memory import keep_freed_memory

__all__ = ["Predictor", "resized"]


class Predictor:
    """The model of a config with its weights, to be called on images.

    With ``TEST.AUG.ENABLED`` it detects in several views of each image.

    Attributes:
        model: on ``MODEL.DEVICE``, in evaluation mode.
        batch_size: ``TEST.IMS_PER_BATCH``, how many images to detect in at once.
        class_names: as stored with the weights; ``None`` if they were stored without.
        lowest: the scores from which detections are kept.
    """

    def __init__(
        self,
        cfg: CfgNode | None = None,
        optimize: str | None = None,
        compile: bool = False,
        *,
        weights: str | None = None,
        threshold: float | None = None,
        default: float = 0.0,
    ) -> None:
        """Build the model and load its weights.

        Args:
            cfg: the config; ``None``: that of the weights (:func:`fcos.checkpoint.detector_cfg`).
            optimize: a precision for :func:`fcos.modeling.optimize.optimize_for_inference`, such as
                "auto"; ``None`` runs the model as it was trained.
            compile: with ``optimize``, compile it as well.
            weights: a file, an address, a name of ``fcos zoo`` or the OUTPUT_DIR of a training;
                ``None``: ``MODEL.WEIGHTS``.
            threshold: score in [0, 1] that a detection must have at least. ``None``: that of its
                class in the file of the weights, which trainings write there.
            default: the same for a file that has none. 0 keeps all that
                the config lets through.

        Raises:
            UserError: the config cannot be used, the weights are missing or do not cover the
                model, or the device is missing or does not support the precision.
        """
        cfg = _with_weights(cfg, weights)
        check_keys(cfg)
        num_detected_classes(cfg)
        self._is_rgb = cfg.INPUT.FORMAT == "RGB"
        self._reading = cfg.INPUT.STRETCH_RANGE, cfg.INPUT.MAX_PIXELS
        is_augmented = cfg.TEST.AUG.ENABLED
        # The views are made from the original image: 0 means no resizing.
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
        with _errors_alone(checkpointer.logger):  # require_all below says the same in one sentence
            extra = checkpointer.load(cfg.MODEL.WEIGHTS)
        checkpointer.coverage.require_all("Detection")
        if optimize is not None:
            self.model = optimize_for_inference(self.model, optimize, compile)
        self.batch_size = cfg.TEST.IMS_PER_BATCH
        self._detector = OneStageDetectorWithTTA(cfg, self.model) if is_augmented else self.model
        self.class_names: list[str] | None = extra.get("class_names")
        stored = thresholds_in(extra, cfg.MODEL.WEIGHTS) if threshold is None else None
        self.lowest = lowest_scores(cfg, threshold, stored, default)

    def read(self, path: str) -> np.ndarray:
        """Read an image file as :func:`fcos.data.read_bgr` does, by the keys of INPUT."""
        return read_bgr(path, *self._reading)

    def __call__(self, image: np.ndarray) -> Instances:
        """Detect the objects in one image; see :meth:`detect_batch`."""
        return self.detect_batch([image])[0]

    def detect_batch(self, images: Sequence[np.ndarray]) -> list[Instances]:
        """Detect the objects in several images at once.

        The images are padded to one size. This changes scores and boxes a little if the model has
        group normalization, whose statistics then include the padding.

        Args:
            images: each (H, W, 3) uint8, blue, green, red, of any size.

        Returns:
            For each image, on the CPU, highest score first, in pixels of the image: ``pred_boxes``
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
            found = [output["instances"].to("cpu") for output in self._detector(inputs)]
        return [self.lowest.keep(instances) for instances in found]

    def _input_of(self, image: np.ndarray) -> dict[str, Any]:
        """Make the input of the model from an image."""
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
    """Resize an image, (H, W, C) uint8, by ``augmentation``, but keep each side at 1 pixel or more.

    INPUT.MAX_SIZE_TEST can shrink the shorter side of a very long image to 0 pixels.
    """
    resize = augmentation.get_transform(image)
    if isinstance(resize, ResizeTransform):
        size = max(1, resize.new_h), max(1, resize.new_w)
        resize = ResizeTransform(*image.shape[:2], *size)
    return resize.apply_image(image)


def _with_weights(cfg: CfgNode | None, weights: str | None) -> CfgNode:
    if cfg is None:
        return detector_cfg(weights or "")
    if weights:
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.WEIGHTS = weights_file(weights)
    return cfg


@contextlib.contextmanager
def _errors_alone(logger: logging.Logger) -> Iterator[None]:
    """Let a logger log errors only."""
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
