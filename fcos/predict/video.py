"""Frames of a video file or a webcam."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import numpy as np

from fcos.utils.errors import UserError

logger = logging.getLogger(__name__)

__all__ = ["Video"]

_USUAL_FPS = 25.0
_MOST_WEBCAMS = 100


class Video:
    """An opened video file or webcam.

    Attributes:
        name: the path of the file, or "webcam 0" for that number.
        fps: frames per second; 25, with a warning, if the source does not say.
        num_frames: as the file says; ``None`` for a webcam, or if the file does not say.
    """

    def __init__(self, source: str | int) -> None:
        """Open the file or webcam.

        Args:
            source: a file, or the number of a webcam (0 is the first).

        Raises:
            UserError: it is missing, or OpenCV cannot open it.
        """
        import cv2

        is_webcam = isinstance(source, int)
        # OpenCV may end the process for others.
        if isinstance(source, int) and not 0 <= source < _MOST_WEBCAMS:
            raise UserError(f"There is no webcam {source}: the first has the number 0.")
        self.name = f"webcam {source}" if is_webcam else str(source)
        if not is_webcam and not os.path.isfile(source):
            raise UserError(f"The video {source} does not exist.")
        self._capture = cv2.VideoCapture(source)
        if not self._capture.isOpened():
            why = "damaged, or in a format that OpenCV cannot decode"
            if is_webcam:
                why = "no such camera, or another program uses it"
            raise UserError(f"The video {self.name} cannot be opened: {why}.")
        count = 0 if is_webcam else int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.num_frames = count if count > 0 else None
        self.fps = self._capture.get(cv2.CAP_PROP_FPS)
        if not self.fps > 0:  # true for NaN, too
            self.fps = _USUAL_FPS
            logger.warning(f"{self.name} does not say its frame rate: {self.fps:g} is assumed.")

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield frames, (H, W, 3) uint8, blue, green, red, until the video ends.

        Raises:
            UserError: not one frame can be decoded.
        """
        number = 0
        while True:
            is_read, frame = self._capture.read()
            if not is_read:
                break
            number += 1
            yield frame
        if number == 0:
            raise UserError(f"No frame of the video {self.name} can be decoded.")
        if self.num_frames is not None and number < self.num_frames:
            logger.warning(
                f"{self.name} declares {self.num_frames} frames, but only {number} can be read."
            )

    def close(self) -> None:
        """Release the file or camera."""
        self._capture.release()
