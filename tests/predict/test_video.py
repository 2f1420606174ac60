"""Frames of videos and webcams."""

import logging

import cv2
import numpy as np
import pytest

from fcos.predict.video import Video
from fcos.utils.errors import UserError


def write_clip(folder, num_frames):
    """32x48 at 5 frames per second, the n-th of brightness 20 * n, modulo 200."""
    file = str(folder / "clip.avi")
    writer = cv2.VideoWriter(file, cv2.VideoWriter.fourcc(*"MJPG"), 5.0, (48, 32))
    for number in range(num_frames):
        writer.write(np.full((32, 48, 3), 20 * number % 200, np.uint8))
    writer.release()
    return file


def test_all_frames_in_order(tmp_path):
    clip = write_clip(tmp_path, 10)
    video = Video(clip)
    assert (video.name, video.fps, video.num_frames) == (clip, 5.0, 10)
    frames = list(video)
    video.close()
    assert [frame.shape for frame in frames] == [(32, 48, 3)] * 10
    assert [round(frame.mean() / 20) for frame in frames] == list(range(10))


def test_a_truncated_video_is_logged(tmp_path, caplog):
    clip = write_clip(tmp_path, 60)
    with open(clip, "r+b") as stream:
        stream.truncate(stream.seek(0, 2) // 2)
    with caplog.at_level(logging.WARNING):
        frames = list(Video(clip))
    assert 0 < len(frames) < 60
    assert f"declares 60 frames, but only {len(frames)} can be read" in caplog.text


@pytest.mark.parametrize(
    "content, message",
    [
        (None, r"The video .*clip does not exist\."),
        (b"no video", r"clip cannot be opened: damaged"),
    ],
)
def test_what_is_no_video(tmp_path, content, message):
    file = tmp_path / "clip"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=message):
        Video(str(file))


class Camera:
    """Stands for cv2.VideoCapture on a webcam that gives two frames and no frame rate."""

    def __init__(self, source, is_there=True, frames=2):
        self.source, self.is_there, self.frames = source, is_there, frames

    def isOpened(self):
        return self.is_there

    def get(self, which):
        return 0.0

    def read(self):
        self.frames -= 1
        return (True, np.zeros((4, 4, 3), np.uint8)) if self.frames >= 0 else (False, None)

    def release(self):
        self.is_there = False


def test_a_webcam(monkeypatch, caplog):
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    with caplog.at_level(logging.WARNING):
        webcam = Video(2)
    assert (webcam.name, webcam.num_frames, webcam.fps) == ("webcam 2", None, 25.0)
    assert "webcam 2 does not say its frame rate: 25 is assumed" in caplog.text
    assert len(list(webcam)) == 2


def test_a_webcam_that_is_not_there(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", lambda source: Camera(source, is_there=False))
    with pytest.raises(UserError, match=r"webcam 0 cannot be opened: no such camera, or another"):
        Video(0)


def test_a_video_without_one_frame(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", lambda source: Camera(source, frames=0))
    with pytest.raises(UserError, match=r"No frame of the video webcam 0 can be decoded\."):
        list(Video(0))


@pytest.mark.parametrize("number", [-1, -(10**12), 100, 10**20])
def test_no_such_webcam(number):
    """With some of these numbers OpenCV ends the process."""
    with pytest.raises(UserError, match=rf"^There is no webcam {number}: the first has"):
        Video(number)
