"""Where drawn pictures go: to image files, a video file or a window."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from fcos.predict.inputs import IMAGE_SUFFIXES
from fcos.utils.errors import UserError
from fcos.utils.files import write_by_name, write_whole
from fcos.utils.folders import subfolder

__all__ = ["ImageFiles", "Sink", "VideoFile", "Window"]

# Suffix of a video file and its codec. OpenCV's wheels have both encoders, but none for H.264.
_CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}


class Sink(Protocol):
    """Takes drawn pictures one by one."""

    def show(self, picture: np.ndarray, name: str) -> bool:
        """Take a picture, (H, W, 3) uint8, blue, green, red; return False to end the show."""
        ...

    def close(self) -> None:
        """Finish; called once, also after an error."""
        ...


class ImageFiles:
    """An image file for each input: in a folder, under the name of the input, or one given file."""

    def __init__(self, output: str, inputs: Sequence[str]) -> None:
        """Choose the file of every input and check that it can be written.

        Args:
            output: for a single input an image file; or a folder, made if missing. If two inputs
                have the same name, their subfolders are kept.
            inputs: paths of the inputs; none of them is overwritten.

        Raises:
            UserError: ``output`` is a file but there are several inputs, has an unknown suffix,
                cannot be written, or would overwrite an input.
        """
        if _is_folder(output, IMAGE_SUFFIXES):
            files = [os.path.join(output, name) for name in _file_names(inputs)]
        elif len(inputs) > 1:
            raise UserError(
                f"--output {output} is one image file, but there are {len(inputs)} inputs: "
                "name a folder."
            )
        else:
            files, output = [output], os.path.dirname(output)
        self._file_of = dict(zip(inputs, files, strict=True))
        _check_targets(files, inputs, output)

    def show(self, picture: np.ndarray, name: str) -> bool:
        """Write the picture of the input ``name``.

        Raises:
            UserError: the file cannot be written.
        """
        import cv2

        file = self._file_of[name]
        try:
            is_encoded, data = cv2.imencode(os.path.splitext(file)[1], picture)
        except cv2.error:  # some versions raise instead
            is_encoded = False
        if not is_encoded:
            raise UserError(f"{file}: this format cannot hold {picture.shape[1]}x{len(picture)}.")
        write_whole(file, lambda stream: stream.write(data.tobytes()), survives_power_loss=False)
        return True

    def close(self) -> None:
        """Do nothing: no file is open between two pictures."""


class VideoFile:
    """A video file, opened when the first frame gives the size."""

    def __init__(self, output: str, source: str, fps: float) -> None:
        """Choose the file and check that its folder can be written.

        Args:
            output: a video file; or a folder, in which the file has the name of ``source`` with
                the suffix .mp4.
            source: path of the input, which is not overwritten, or the name of a webcam.
            fps: frames per second of the file.

        Raises:
            UserError: the suffix is unknown, the folder cannot be written, or the file would
                overwrite ``source``.
        """
        if _is_folder(output, tuple(_CODECS)):
            stem = os.path.splitext(os.path.basename(source))[0].replace(" ", "_")
            output = os.path.join(output, stem + ".mp4")
        self._file = output
        self._fps = fps
        self._writer: Any = None
        self._number = 0
        self._place = contextlib.ExitStack()
        _check_targets([output], [source], os.path.dirname(output))

    def show(self, picture: np.ndarray, name: str) -> bool:
        """Append a frame; all must have the size of the first one.

        Raises:
            UserError: OpenCV cannot encode the file.
        """
        if self._writer is None:
            self._writer = self._open(picture.shape[1], picture.shape[0])
        self._writer.write(picture)
        self._number += 1
        return True

    def _open(self, width: int, height: int) -> Any:
        import cv2

        codec = _CODECS[os.path.splitext(self._file)[1].lower()]
        self._unfinished = self._place.enter_context(write_by_name(self._file))
        writer = cv2.VideoWriter(
            self._unfinished, cv2.VideoWriter.fourcc(*codec), self._fps, (width, height)
        )
        if not writer.isOpened():
            raise UserError(
                f"OpenCV cannot write {self._file}: its codec {codec} is missing in this build. "
                f"Try another suffix: {', '.join(_CODECS)}."
            )
        return writer

    def close(self) -> None:
        """Write the index, which players need, and give the file its name.

        Raises:
            UserError: it is not whole, such as on a full disk.
        """
        with self._place:
            if self._writer is not None:
                self._writer.release()
                _check_video(self._unfinished, self._file, self._number)


def _check_video(path: str, name: str, number: int) -> None:
    """Check that a video has so many frames; OpenCV does not say what could not be written."""
    import cv2

    video = cv2.VideoCapture(path)
    try:
        found = int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
        video.set(cv2.CAP_PROP_POS_FRAMES, max(0, number - 1))
        if found < number or not video.read()[0]:
            raise UserError(
                f"{name} cannot be written: only {max(0, found)} of {number} frames are in it, "
                "perhaps because the disk is full. Choose another place."
            )
    finally:
        video.release()


class Window:
    """A window on the screen. Q, Esc or closing it ends the show."""

    TITLE = "FCOS detections (any key: next, Q: leave)"
    _LEAVE = (ord("q"), ord("Q"), 27)

    def __init__(self, wait_ms: int) -> None:
        """Open the window.

        Args:
            wait_ms: how long a picture is shown, in milliseconds; 0: until a key is pressed.

        Raises:
            UserError: there is no display.
        """
        if not _has_display():
            raise UserError(
                "There is no display to open a window on: name a file or folder with --output "
                "(or only --json for the detections alone)."
            )
        self._wait_ms = wait_ms

    def show(self, picture: np.ndarray, name: str) -> bool:
        """Show the picture; return False if the user wants to leave."""
        import cv2

        cv2.imshow(self.TITLE, picture)
        while True:
            # Short waits: closing the window does not end an unlimited wait.
            key = cv2.waitKey(self._wait_ms or 50)
            is_open = cv2.getWindowProperty(self.TITLE, cv2.WND_PROP_VISIBLE) >= 1
            if not is_open or key in self._LEAVE:
                return False
            if self._wait_ms or key != -1:
                return True

    def close(self) -> None:
        """Close the window."""
        import cv2

        cv2.destroyAllWindows()


def _is_folder(output: str, suffixes: Sequence[str]) -> bool:
    """Say whether ``output`` is a folder or has no suffix; refuse other unknown suffixes."""
    suffix = os.path.splitext(output)[1].lower()  # "" for "v1.0/"
    if os.path.isdir(output) or not suffix:
        return True
    if suffix not in suffixes:
        raise UserError(
            f"--output {output}: files ending in {suffix} cannot be written, only "
            f"{', '.join(suffixes)}. For a folder of that name, end it with {os.sep}."
        )
    return False


def _file_names(paths: Sequence[str]) -> list[str]:
    """Choose different names for the pictures of ``paths``: the base names if they differ."""
    names = [os.path.basename(path) for path in paths]
    if len(set(names)) < len(names):
        whole = [os.path.realpath(path) for path in paths]
        common = os.path.commonpath([os.path.dirname(path) for path in whole])
        names = [os.path.relpath(path, common) for path in whole]
    return [name if name.lower().endswith(IMAGE_SUFFIXES) else name + ".png" for name in names]


def _check_targets(files: Sequence[str], inputs: Sequence[str], root: str) -> None:
    inputs_behind_links = {os.path.realpath(path) for path in inputs}
    for file in files:
        if os.path.realpath(file) in inputs_behind_links:
            raise UserError(f"--output would overwrite the input {file}: name another place.")
    for folder in sorted({os.path.dirname(file) for file in files}):
        inner = os.path.relpath(folder or os.curdir, root or os.curdir)
        subfolder(root, *(() if inner == os.curdir else inner.split(os.sep)))


def _has_display() -> bool:
    """Try to open a window, in another process: without a display, some builds of OpenCV abort."""
    attempt = "import cv2; cv2.namedWindow('test'); cv2.destroyAllWindows()"
    return subprocess.run([sys.executable, "-c", attempt], capture_output=True).returncode == 0
