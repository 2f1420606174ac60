"""Sizes of images as they are shown; those of PNG without decoding them."""

import struct
import zlib

import PIL.Image
import PIL.PngImagePlugin
import pytest

from fcos.data.images import read_size


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", [None, 1, 3, 6, 8, 9])
def test_orientations(tmp_path, ending, orientation):
    exif = PIL.Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    path = tmp_path / f"a.{ending}"
    PIL.Image.new("RGB", (30, 20)).save(path, exif=exif)
    turned = orientation if orientation in (3, 6, 8) else 1
    size = (30, 20) if orientation in (6, 8) else (20, 30)
    assert read_size(str(path)) == (*size, turned)


def test_exif_that_follows_the_pixels(tmp_path):
    path = tmp_path / "a.png"
    PIL.Image.new("RGB", (30, 20)).save(path)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    body = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    content = path.read_bytes()
    path.write_bytes(content[:-12] + chunk + content[-12:])
    assert read_size(str(path)) == (30, 20, 6)


def test_a_png_is_not_decoded(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    PIL.Image.new("RGB", (30, 20)).save(path)
    monkeypatch.setattr(PIL.PngImagePlugin.PngImageFile, "load", None)
    assert read_size(str(path)) == (20, 30, 1)
