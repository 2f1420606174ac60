"""Each kind of image file gives the picture that a person sees; its pixels are worked out here."""

import io
import struct
import subprocess
import sys
import warnings
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from fcos.data.images import decode_image, read_bgr, read_size
from fcos.utils.errors import UserError

RED, GREEN, BLUE, WHITE, BLACK = (
    [0, 0, 255],
    [0, 255, 0],
    [255, 0, 0],
    [255, 255, 255],
    [0, 0, 0],
)  # as they are read: blue, green, red


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(values, *, bits, colour, transparent=b"", exif=b""):
    """A PNG of one row, by its specification; ``colour`` 0: gray, 2: RGB, 4 and 6: with alpha."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    row = struct.pack(f">{len(values)}{'H' if bits == 16 else 'B'}", *values)
    header = struct.pack(">IIBBBBB", len(values) // channels, 1, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(b"tRNS", transparent) if transparent else b"")
        + (chunk(b"eXIf", exif) if exif else b"")
        + chunk(b"IDAT", zlib.compress(b"\0" + row))
        + chunk(b"IEND", b"")
    )


def tiff(values, tags):
    """A TIFF, by its specification; ``tags`` without those of size and layout."""
    height, width, channels = values.shape
    data = values.astype("<u2").tobytes()
    entries = {256: width, 257: height, 258: 16, 259: 1, 273: 8, 277: channels, 278: height}
    entries |= {279: len(data), **tags}
    start = struct.pack("<2sHI", b"II", 42, 8 + len(data))
    body = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items())]
    return start + data + struct.pack("<H", len(body)) + b"".join(body) + bytes(4)


@pytest.fixture
def read(tmp_path):
    """Writes an image or the bytes of a file, and reads it."""

    def read(content, suffix=".png", stretch_range=False, **options):
        path = tmp_path / f"image{suffix}"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content.save(path, **options)
        return read_bgr(str(path), stretch_range)

    return read


def refused(read, content, message, **options):
    with pytest.raises(UserError, match=message):
        read(content, **options)


def image_of(mode, *pixels):
    """An image of one row."""
    made = Image.new(mode, (len(pixels), 1))
    for x, pixel in enumerate(pixels):
        made.putpixel((x, 0), pixel)
    return made


# ---- 8 bits and fewer ----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp", ".gif"])
def test_colours(read, suffix):
    lossless = {"lossless": True} if suffix == ".webp" else {}
    image = image_of("RGB", (255, 0, 0), (0, 0, 255), (10, 20, 30))
    assert read(image, suffix, **lossless).tolist() == [[RED, BLUE, [30, 20, 10]]]


def test_one_bit(read):
    assert read(image_of("1", 0, 1, 0)).tolist() == [[BLACK, WHITE, BLACK]]
    assert read(image_of("1", 0, 1, 0), ".tif").tolist() == [[BLACK, WHITE, BLACK]]


def test_gray(read):
    assert read(image_of("L", 0, 7, 255)).tolist() == [[BLACK, [7, 7, 7], WHITE]]


def test_gray_of_a_tiff_in_which_0_is_white(read):
    image = read(image_of("L", 0, 7, 255), ".tif", tiffinfo={262: 0})  # Pillow inverts on writing
    assert image.tolist() == [[BLACK, [7, 7, 7], WHITE]]


def palette_image():
    image = image_of("P", 0, 1, 2)
    image.putpalette([255, 0, 0, 0, 0, 255, 10, 20, 30])
    return image


def test_palette(read):
    assert read(palette_image()).tolist() == [[RED, BLUE, [30, 20, 10]]]


@pytest.mark.parametrize("suffix", [".png", ".gif"])
def test_a_transparent_colour_of_a_palette_is_white(read, suffix):
    assert read(palette_image(), suffix, transparency=1).tolist() == [[RED, WHITE, [30, 20, 10]]]


def test_a_palette_with_alpha(read):
    """Opaque, half transparent and fully: 128 / 255 of blue's 0 and 127 / 255 of white's 255."""
    image = read(palette_image(), transparency=bytes([255, 128, 0]))
    assert image.tolist() == [[RED, [255, 127, 127], WHITE]]


def test_alpha_is_shown_on_white(read):
    """Of (200, 100, 0): 200 * 128 / 255 + 255 * 127 / 255 = 227.4, then 177.2 and 127."""
    pixels = (200, 100, 0, 255), (200, 100, 0, 128), (200, 100, 0, 0)
    image = read(image_of("RGBA", *pixels))
    assert image.tolist() == [[[0, 100, 200], [127, 177, 227], WHITE]]
    gray = read(image_of("LA", (100, 255), (100, 128), (100, 0)))
    assert gray.tolist() == [[[100] * 3, [177] * 3, WHITE]]


def test_a_transparent_colour_is_white(read):
    row = read(
        png([1, 2, 3, 200, 100, 0], bits=8, colour=2, transparent=struct.pack(">3H", 1, 2, 3))
    )
    assert row.tolist() == [[WHITE, [0, 100, 200]]]


def test_alpha_that_is_opaque_changes_nothing(read):
    pixels = np.arange(256 * 3, dtype=np.uint8).reshape(16, 16, 3)
    opaque = np.concatenate([pixels, np.full((16, 16, 1), 255, np.uint8)], axis=2)
    assert (read(Image.fromarray(opaque)) == pixels[:, :, ::-1]).all()


CMYK = [(255, 0, 0, 0), (0, 0, 0, 255), (0, 0, 0, 0), (0, 255, 255, 0), (0, 0, 0, 128)]
CMYK_AS_BGR = [[255, 255, 0], BLACK, WHITE, RED, [127] * 3]  # cyan takes red away, and so on


def test_cmyk(read):
    assert read(image_of("CMYK", *CMYK), ".tif").tolist() == [CMYK_AS_BGR]


def test_cmyk_of_a_jpeg_is_stored_inverted(tmp_path):
    """Adobe's programs do so, and everyone else since then: 0 in the file is full ink."""
    for number, (pixel, want) in enumerate(zip(CMYK, CMYK_AS_BGR, strict=True)):
        path = tmp_path / f"{number}.jpg"
        Image.new("CMYK", (8, 8), pixel).save(path, quality=100)
        assert b"Adobe" in path.read_bytes()
        assert abs(read_bgr(str(path)).astype(int) - want).max() <= 1
        # OpenCV's own conversion rounds otherwise, and is inverted as well.
        assert abs(cv2.imread(str(path)).astype(int) - want).max() <= 2


def test_ycbcr_of_a_tiff(read):
    """The middle of both colour differences is gray: (Y, Y, Y)."""
    saved, content = image_of("YCbCr", (90, 128, 128), (255, 128, 128)), io.BytesIO()
    saved.save(content, "TIFF")
    try:
        Image.open(content).load()
    except OSError:
        pytest.skip("this Pillow cannot read such a file of its own")
    image = read(saved, ".tif")
    assert image.tolist() == [[[90] * 3, WHITE]]


@pytest.mark.parametrize("suffix", [".gif", ".png", ".tif", ".webp"])
def test_the_first_of_several_frames(read, suffix):
    first, second = Image.new("RGB", (4, 4), (255, 0, 0)), Image.new("RGB", (4, 4), (0, 0, 255))
    lossless = {"lossless": True} if suffix == ".webp" else {}
    read_first = read(first, suffix, save_all=True, append_images=[second], **lossless)
    assert (read_first == RED).all()


def test_ordinary_jpegs_are_decoded_as_ever(read):
    pixels = np.random.default_rng(0).integers(0, 256, (33, 47, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=90)
    want = np.asarray(Image.open(file).convert("RGB"))[:, :, ::-1]
    assert (read(file.getvalue(), ".jpg") == want).all()


# ---- orientation ---------------------------------------------------------------------------------

# Of an image of two rows, 1 2 3 and 4 5 6, upright by each orientation of the EXIF standard: which
# side of the picture the first row and the first column of the file are.
UPRIGHT = {
    1: [[1, 2, 3], [4, 5, 6]],  # top, left
    2: [[3, 2, 1], [6, 5, 4]],  # top, right
    3: [[6, 5, 4], [3, 2, 1]],  # bottom, right
    4: [[4, 5, 6], [1, 2, 3]],  # bottom, left
    5: [[1, 4], [2, 5], [3, 6]],  # left, top
    6: [[4, 1], [5, 2], [6, 3]],  # right, top
    7: [[6, 3], [5, 2], [4, 1]],  # right, bottom
    8: [[3, 6], [2, 5], [1, 4]],  # left, bottom
}


def write_turned(path, dtype, orientation):
    image = Image.fromarray(np.array([[1, 2, 3], [4, 5, 6]], dtype))
    if path.suffix == ".tif":
        image.save(path, tiffinfo={274: orientation})
        return
    exif = Image.Exif()
    exif[274] = orientation
    image.save(path, exif=exif)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_orientation(tmp_path, orientation, suffix):
    path = tmp_path / f"turned{suffix}"
    write_turned(path, np.uint8, orientation)
    decoded = decode_image(str(path))
    assert decoded.bgr[:, :, 0].tolist() == UPRIGHT[orientation]
    assert decoded.orientation == orientation
    assert read_size(str(path)) == (*decoded.bgr.shape[:2], orientation)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_orientation_of_16_bits(tmp_path, orientation, suffix):
    """Stretched, 1 to 6 become 0, 51, 102, 153, 204 and 255."""
    path = tmp_path / f"turned{suffix}"
    write_turned(path, np.uint16, orientation)
    read = read_bgr(str(path), stretch_range=True)[:, :, 0]
    assert (read // 51 + 1).tolist() == UPRIGHT[orientation]
    assert (read % 51 == 0).all()


def test_orientation_of_colours_of_16_bits(read):
    exif = Image.Exif()
    exif[274] = 3  # upside down
    row = png([1, 2, 3, 4, 5, 6], bits=16, colour=2, exif=exif.tobytes()[6:])
    assert read(row, stretch_range=True).tolist() == [[[255, 204, 153], [102, 51, 0]]]
    values = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint16)
    upside_down = tiff(values, {262: 2, 274: 3})
    assert read(upside_down, ".tif", True).tolist() == [[[255, 204, 153], [102, 51, 0]]]
    turned = tiff(values, {262: 2, 274: 6})
    assert read(turned, ".tif").shape == (2, 1, 3)
    try:
        found = read(turned, ".tif", True).tolist()
    except UserError as error:  # most versions of OpenCV
        assert "has RGB of 16 bits in a form of which OpenCV cannot read all" in str(error)
    else:
        assert found == [[[102, 51, 0]], [[255, 204, 153]]]


def test_exif_that_cannot_be_parsed_is_ignored(tmp_path):
    path = tmp_path / "image.jpg"
    Image.new("RGB", (8, 8), (255, 255, 255)).save(path, exif=b"Exif\0\0nonsense")
    assert (read_bgr(str(path)) == 255).all()


# ---- 16 bits -------------------------------------------------------------------------------------

# The upper eight bits: v // 256.
DEEP = [0, 255, 256, 511, 4095, 32768, 65279, 65280, 65535]
IN_8_BITS = [0, 0, 1, 1, 15, 128, 254, 255, 255]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_gray_of_16_bits(tmp_path, suffix):
    path = str(tmp_path / f"deep{suffix}")
    cv2.imwrite(path, np.array([DEEP], np.uint16))
    decoded = decode_image(path)
    assert decoded.has_16_bits
    assert decoded.bgr[0].T.tolist() == [IN_8_BITS] * 3
    assert (decoded.bgr == cv2.imread(path)).all()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_colours_of_16_bits(tmp_path, suffix):
    path = str(tmp_path / f"deep{suffix}")
    cv2.imwrite(path, np.stack([[DEEP], [DEEP[::-1]], [[4096] * 9]], axis=2).astype(np.uint16))
    decoded = decode_image(path)
    assert decoded.has_16_bits
    assert decoded.bgr[0].T.tolist() == [IN_8_BITS, IN_8_BITS[::-1], [16] * 9]
    # OpenCV rounds in colours of a TIFF: 255 / 257 is 0.99.
    assert abs(decoded.bgr.astype(int) - cv2.imread(path)).max() <= (suffix == ".tif")


def test_gray_of_16_bits_in_which_0_is_white(read):
    values = Image.fromarray(np.array([[0, 255, 65535 - 256, 65535]], np.uint16))
    image = read(values, ".tif", tiffinfo={262: 0})
    assert image[0, :, 0].tolist() == [255, 255, 1, 0]  # 65535, 65280, 256 and 0


def test_gray_of_12_bits(read):
    """Two values in three bytes, 0xFFF and 0x800, whose upper eight bits are 255 and 128."""
    start = tiff(np.zeros((1, 2, 1)), {258: 12, 262: 1, 279: 3})
    assert read(start[:8] + b"\xff\xf8\x00" + start[11:], ".tif").tolist() == [[WHITE, [128] * 3]]


def test_colours_of_16_bits_of_a_ppm(read):
    """With a largest value of 1023, as of a camera of 10 bits: 255 * v / 1023, rounded."""
    ppm = b"P6 2 1 1023\n" + struct.pack(">6H", 0, 512, 1023, 2, 3, 1021)
    assert read(ppm, ".ppm").tolist() == [[[255, 128, 0], [255, 1, 0]]]  # 0.5 and 254.5: 0 and 255


def test_alpha_of_16_bits(read):
    """Upper bits first: 40000 // 256 = 156, with 128 / 255 of it on white: 205.3."""
    row = [40000, 65535, 40000, 32768, 40000, 0]
    assert read(png(row, bits=16, colour=4))[0, :, 0].tolist() == [156, 205, 255]
    row = [*[40000] * 3, 65535, *[40000] * 3, 32768]
    assert read(png(row, bits=16, colour=6))[0, :, 0].tolist() == [156, 205]


def test_transparent_values_of_16_bits(read):
    gray = png([1000, 1001], bits=16, colour=0, transparent=struct.pack(">H", 1000))
    assert read(gray).tolist() == [[WHITE, [3, 3, 3]]]
    colour = struct.pack(">3H", 1000, 2000, 3000)
    row = png([1000, 2000, 3000, 40000, 1, 2], bits=16, colour=2, transparent=colour)
    assert read(row).tolist() == [[WHITE, [0, 0, 156]]]


# ---- the range of 16 bits, stretched -------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_the_range_of_gray_is_stretched(tmp_path, suffix):
    """From 100 to 1100, a step of the result is 3.92: 255 * 250 / 1000 = 63.75."""
    path = str(tmp_path / f"deep{suffix}")
    cv2.imwrite(path, np.array([[100, 350, 1098, 1100]], np.uint16))
    assert read_bgr(path, stretch_range=True)[0].tolist() == [[v] * 3 for v in (0, 64, 254, 255)]
    assert read_bgr(path)[0, :, 0].tolist() == [0, 1, 4, 4]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".ppm"])
def test_the_range_of_colours_is_stretched_together(tmp_path, suffix):
    """One range for all three, from 0 to 1020 here, so that a colour keeps its hue."""
    path = str(tmp_path / f"deep{suffix}")
    cv2.imwrite(path, np.array([[[0, 400, 1020], [1020, 4, 8]]], np.uint16))
    assert read_bgr(path, stretch_range=True).tolist() == [[[0, 100, 255], [255, 1, 2]]]


def test_the_range_of_alpha_is_not_stretched(read):
    row = [*[0] * 3, 65535, *[1020] * 3, 65535, *[0] * 3, 32768]
    assert read(png(row, bits=16, colour=6), stretch_range=True)[0, :, 0].tolist() == [0, 255, 127]


def test_one_value_alone_has_no_range(read):
    assert read(png([512, 512], bits=16, colour=0), stretch_range=True)[0, 0].tolist() == [2, 2, 2]


def test_8_bits_are_not_stretched(read):
    assert read(image_of("L", 10, 20), stretch_range=True)[0, :, 0].tolist() == [10, 20]


def test_cmyk_of_16_bits_is_not_stretched(read):
    red = tiff(np.array([[[0, 65535, 65535, 0]]], np.uint16), {262: 5})
    assert read(red, ".tif").tolist() == [[RED]]
    message = (
        r"image\.tif has CMYK of 16 bits in a form of which OpenCV cannot read all bits, to "
        r"stretch the range \(INPUT\.STRETCH_RANGE\): convert it to PNG\.$"
    )
    refused(read, red, message, suffix=".tif", stretch_range=True)


# ---- refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pixels", "kind"),
    [
        (np.zeros((2, 2), np.float32), "floating-point pixels"),
        (np.zeros((2, 2), np.int32), "pixels of 32-bit or signed integers"),
        (Image.new("LAB", (2, 2)), "pixels in CIELAB"),
    ],
)
def test_kinds_without_an_agreed_conversion(read, pixels, kind):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    message = (
        rf"image\.tif has {kind}, for which there is no agreed conversion to 8 bits: convert it to "
        r"gray or colours of 8 or 16 bits\.$"
    )
    refused(read, image, message, suffix=".tif")


@pytest.mark.parametrize(
    ("dtype", "channels", "kind"),
    [
        (np.float32, 3, r"3 x 32 bits \(floating point\)"),
        (np.float64, 1, r"1 x 64 bits \(floating point\)"),
        (np.int16, 3, r"3 x 16 bits \(signed integers\)"),
    ],
)
def test_kinds_of_tiff_that_pillow_does_not_know(tmp_path, dtype, channels, kind):
    path = str(tmp_path / "image.tif")
    cv2.imwrite(path, np.ones((2, 2, channels), dtype), [cv2.IMWRITE_TIFF_COMPRESSION, 1])
    with pytest.raises(UserError, match=f"has pixels of {kind}, for which there is no agreed"):
        read_bgr(path)


def test_a_large_image_is_read(tmp_path):
    """181 megapixels, which Pillow warns of unless it is told otherwise."""
    path = tmp_path / "large.png"
    image = Image.new("1", (13454, 13454))
    image.putpixel((13453, 13452), 1)
    image.save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = read_bgr(str(path), max_pixels=2 * 10**8)
    assert read.shape == (13454, 13454, 3)
    assert read[-2:, -2:, 0].tolist() == [[0, 255], [0, 0]]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("side", "pixels"),
    [(13378, "178,970,884"), (32768, "1,073,741,824"), (65000, "more than 2,147,483,648")],
)
def test_an_image_that_would_fill_the_memory(read, side, pixels):
    content = png([0], bits=8, colour=0)
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    content = content[:8] + chunk(b"IHDR", header) + content[33:]
    refused(
        read,
        content,
        rf"has {pixels} pixels, and none of more than 178,956,970 is read "
        r"\(INPUT\.MAX_PIXELS\), so that no file can fill the memory: make it smaller, or cut it "
        r"into tiles\.$",
    )


def test_the_limit_of_pixels_is_chosen(tmp_path):
    path = str(tmp_path / "a.png")
    Image.new("L", (4, 3)).save(path)
    assert read_bgr(path, max_pixels=12).shape == (3, 4, 3)
    with pytest.raises(UserError, match=r"has 12 pixels, and none of more than 11 is read \(INPUT"):
        read_bgr(path, max_pixels=11)


MEMORY = """
import resource, sys
from fcos.data.images import read_bgr
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    image = read_bgr(path)
    taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    print(taken / (image.size / 3))
    del image
"""


def test_the_memory_that_a_large_image_takes(tmp_path):
    paths = []
    for mode in ("I;16", "P", "RGB"):
        paths.append(str(tmp_path / f"{len(paths)}.png"))
        image = Image.new(mode, (5000, 6000))
        image.save(paths[-1], compress_level=1, **({"transparency": 0} if mode == "P" else {}))
    ran = subprocess.run([sys.executable, "-c", MEMORY, *paths], capture_output=True, text=True)
    assert max(map(float, ran.stdout.split())) < 8.5, ran.stderr


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["RGB", "RGBA", "P", "I;16"])
def test_strips_make_the_same_image(tmp_path, monkeypatch, kind, orientation):
    values = np.random.default_rng(0).integers(0, 256, (5, 7, 4), np.uint8)
    exif, path = Image.Exif(), str(tmp_path / "a.png")
    exif[0x0112] = orientation
    options = {"transparency": 3} if kind == "P" else {}
    if kind == "I;16":
        image = Image.fromarray(values[:, :, 0].astype(np.uint16) * 200 + 1000)
    else:
        image = Image.fromarray(values).convert(kind)
    image.save(path, exif=exif, **options)
    whole = read_bgr(path, stretch_range=True)
    monkeypatch.setattr("fcos.data.pixels.AT_ONCE", 14)  # two rows
    strips = read_bgr(path, stretch_range=True)
    assert whole.shape == ((7, 5, 3) if orientation > 4 else (5, 7, 3))
    np.testing.assert_array_equal(strips, whole)


def test_files_that_cannot_be_opened(tmp_path):
    with pytest.raises(UserError, match=r"cannot be opened \(Is a directory\)\.$"):
        read_bgr(str(tmp_path))
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(UserError, match=r"is broken or not an image \(it is in no format that"):
        read_bgr(str(tmp_path / "text.png"))
