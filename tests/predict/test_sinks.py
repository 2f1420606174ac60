"""Where pictures go, and what is refused."""

import os

import cv2
import numpy as np
import pytest

from fcos.predict import sinks
from fcos.predict.sinks import ImageFiles, VideoFile, Window
from fcos.utils.errors import UserError
from fcos.utils.files import check_writable, write_text

PICTURE = np.full((32, 48, 3), (10, 120, 240), np.uint8)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names):
    for name in names:
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
        open(name, "w").close()
    return names


@pytest.mark.parametrize("output", ["out", "out/", "new/folder", "v1.0/"])
def test_a_folder_is_made_and_keeps_names(place, output):
    inputs = touch("photos/a.png", "photos/b.JPG")
    sink = ImageFiles(output, inputs)
    assert all(sink.show(PICTURE, name) for name in inputs)
    sink.close()
    assert sorted(os.listdir(output)) == ["a.png", "b.JPG"]
    assert np.array_equal(cv2.imread(os.path.join(output, "a.png")), PICTURE)


def test_an_existing_folder_with_a_suffix_is_a_folder(place):
    os.mkdir("out.png")
    ImageFiles("out.png", ["a.png"]).show(PICTURE, "a.png")
    assert os.listdir("out.png") == ["a.png"]


def test_one_input_may_have_a_file(place):
    ImageFiles("made/result.png", ["a.jpg"]).show(PICTURE, "a.jpg")
    assert np.array_equal(cv2.imread("made/result.png"), PICTURE)


def test_equal_names_keep_their_folders(place):
    inputs = touch("x/one/a.png", "x/two/a.png", "x/b.png")
    sink = ImageFiles("out", inputs)
    for name in inputs:
        sink.show(PICTURE, name)
    assert os.path.isfile("out/one/a.png") and os.path.isfile("out/two/a.png")
    assert os.path.isfile("out/b.png")


def test_an_input_without_a_known_suffix_becomes_a_png(place):
    ImageFiles("out", ["scan.gif"]).show(PICTURE, "scan.gif")
    assert np.array_equal(cv2.imread("out/scan.gif.png"), PICTURE)


def test_earlier_pictures_are_replaced(place):
    touch("out/a.png")
    ImageFiles("out", ["a.png"]).show(PICTURE, "a.png")
    assert np.array_equal(cv2.imread("out/a.png"), PICTURE)


@pytest.mark.parametrize(
    "output, inputs, message",
    [
        ("out.png", ["a.png", "b.png"], r"--output out\.png is one image file, but .* 2 inputs"),
        ("out.gif", ["a.png"], r"files ending in \.gif cannot be written, only \.jpg, .*end it"),
        (".", ["a.png"], r"--output would overwrite the input \./a\.png"),
        ("a.png", ["a.png"], r"--output would overwrite the input a\.png"),
        ("link/", ["real/a.png"], r"--output would overwrite the input link/a\.png"),
        ("a.png/out", ["b.png"], r"Nothing can be written to a\.png/out: Not a directory\."),
        ("plain", ["b.png"], r"Nothing can be written to plain: File exists\."),
    ],
)
def test_refused_outputs(place, output, inputs, message):
    touch("a.png", "b.png", "real/a.png", "plain")
    os.symlink("real", "link")
    with pytest.raises(UserError, match=message):
        ImageFiles(output, inputs)


def test_a_folder_that_cannot_be_written(place, monkeypatch):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    # root may write everywhere
    monkeypatch.setattr("fcos.utils.files.tempfile.TemporaryFile", refuse)
    with pytest.raises(UserError, match=r"Nothing can be written to out: Permission denied\."):
        check_writable("out")


def test_a_picture_that_cannot_be_written(place):
    sink = ImageFiles("out", ["a.png"])
    os.rmdir("out")
    with pytest.raises(UserError, match=r"out/a\.png cannot be written: No such file"):
        sink.show(PICTURE, "a.png")


def test_a_picture_too_large_for_its_format(place):
    sink = ImageFiles("out", ["a.jpg"])
    with pytest.raises(UserError, match=r"out/a\.jpg: this format cannot hold 70000x1\."):
        sink.show(np.zeros((1, 70000, 3), np.uint8), "a.jpg")


@pytest.mark.parametrize("output", ["out/clip.mp4", "clip.avi", "clip.mkv", "clip.mov"])
def test_video_files_can_be_read_again(place, output):
    sink = VideoFile(output, "source.mp4", fps=10.0)
    for _ in range(5):
        assert sink.show(PICTURE, "source.mp4")
    sink.close()
    capture = cv2.VideoCapture(output)
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(10)
    frames = []
    while (frame := capture.read())[0]:
        frames.append(frame[1])
    assert len(frames) == 5 and frames[0].shape == PICTURE.shape
    assert np.abs(frames[0].astype(int) - PICTURE).mean() < 10


@pytest.mark.parametrize(
    "source, name", [("dir/clip.webm", "clip.mp4"), ("webcam 0", "webcam_0.mp4")]
)
def test_a_video_in_a_folder_gets_the_name_of_its_source(place, source, name):
    sink = VideoFile("out", source, fps=10.0)
    sink.show(PICTURE, source)
    sink.close()
    assert os.listdir("out") == [name]


def test_a_video_without_frames_leaves_no_file(place):
    VideoFile("clip.mp4", "webcam 0", fps=10.0).close()
    assert not os.path.exists("clip.mp4")


@pytest.mark.parametrize(
    "output, message",
    [
        ("clip.webm", r"files ending in \.webm cannot be written, only \.mp4, \.mov, \.mkv, \.avi"),
        ("source.mp4", r"--output would overwrite the input source\.mp4"),
        (".", r"--output would overwrite the input \./source\.mp4"),
    ],
)
def test_refused_video_outputs(place, output, message):
    touch("source.mp4")
    with pytest.raises(UserError, match=message):
        VideoFile(output, "source.mp4", fps=10.0)


def test_a_missing_codec_is_named(place, monkeypatch):
    monkeypatch.setitem(sinks._CODECS, ".avi", "????")
    with pytest.raises(UserError, match=r"cannot write clip\.avi: its codec \?\?\?\? is missing"):
        VideoFile("clip.avi", "source.mp4", fps=10.0).show(PICTURE, "source.mp4")


class Screen:
    """Stands for OpenCV's window functions."""

    def __init__(self, monkeypatch, keys, visible=True):
        self.shown, self.waits, self.keys, self.is_closed = [], [], list(keys), False
        monkeypatch.setattr(sinks, "_has_display", lambda: True)
        monkeypatch.setattr(cv2, "imshow", lambda title, picture: self.shown.append(picture))
        monkeypatch.setattr(cv2, "waitKey", self._wait)
        monkeypatch.setattr(cv2, "getWindowProperty", lambda title, which: float(visible))
        monkeypatch.setattr(cv2, "destroyAllWindows", lambda: setattr(self, "is_closed", True))

    def _wait(self, milliseconds):
        self.waits.append(milliseconds)
        return self.keys.pop(0)


@pytest.mark.parametrize("key, goes_on", [(ord(" "), True), (ord("q"), False), (27, False)])
def test_a_window_waits_for_a_key(monkeypatch, key, goes_on):
    screen = Screen(monkeypatch, keys=[-1, -1, key])
    window = Window(wait_ms=0)
    assert window.show(PICTURE, "a.png") is goes_on
    assert len(screen.shown) == 1 and screen.keys == [] and 0 not in screen.waits
    window.close()
    assert screen.is_closed


@pytest.mark.parametrize("key, goes_on", [(-1, True), (ord("Q"), False)])
def test_a_window_with_a_video_does_not_wait(monkeypatch, key, goes_on):
    screen = Screen(monkeypatch, keys=[key])
    assert Window(wait_ms=1).show(PICTURE, "clip.mp4") is goes_on
    assert screen.waits == [1]


def test_closing_the_window_leaves(monkeypatch):
    Screen(monkeypatch, keys=[-1], visible=False)
    assert Window(wait_ms=0).show(PICTURE, "a.png") is False


def test_no_display(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(UserError, match=r"There is no display .* name a file or folder with --out"):
        Window(wait_ms=0)


def test_a_text_is_written_whole_or_not_at_all(tmp_path):
    file = tmp_path / "a.json"
    write_text(str(file), ["[", "1", "]"])
    assert file.read_text() == "[1]"

    def breaks():
        yield "[2"
        raise OSError(28, "No space left on device")

    with pytest.raises(
        UserError, match=r"a\.json cannot be written: No space left on device\. Choose"
    ):
        write_text(str(file), breaks())
    assert file.read_text() == "[1]"
    with pytest.raises(UserError, match="new/a.json cannot be written: No such file"):
        write_text(str(tmp_path / "new" / "a.json"), [])
