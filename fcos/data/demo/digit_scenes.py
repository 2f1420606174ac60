"""Scenes of handwritten digits on photographs: the pictures behind the demo data set.

Digits are scikit-learn's 8x8 scans, photographs those inside the scikit-image package. Nothing is
downloaded. One scene is a function of its random generator alone. Coordinates are pixels of the
finished picture with (0, 0) at the upper left corner of the upper left pixel.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

__all__ = ["PHOTOGRAPHS", "Digit", "draw_digit", "load_digits", "load_photographs", "make_scene"]

# Forms are runs of digits in the order of the scans (see `load_digits`); this one is the eleventh.
FIRST_VAL_SCAN = 1287

# The two sides share no photograph, so no crop of one can be a crop of the other.
PHOTOGRAPHS = {
    "train": (
        "astronaut",
        "brick",
        "camera",
        "coffee",
        "coins",
        "grass",
        "hubble_deep_field",
        "immunohistochemistry",
        "moon",
        "rocket",
    ),
    "val": ("chelsea", "gravel", "retina", "stereo_motorcycle"),
}

SCENE_SIDES = (256, 320)  # short and long side of every picture
DIGIT_SIDES = (20, 240)  # height of the scanned square, drawn log-uniformly
MOST_DIGITS = 9
STROKE_LEVEL = 0.43  # ink above this is stroke; higher breaks thin strokes, lower fills loops
BRIGHT, DARK = (150, 255), (0, 50)  # red, green and blue of a stroke, and of the rim around it
RIM = 0.02  # width of the rim, in sides of the stroke's box; at least a pixel


@dataclasses.dataclass(frozen=True)
class Digit:
    """One digit in a picture.

    Attributes:
        label: 0..9.
        box: x, y, width, height; tight around ``mask``, whole pixels.
        mask: (height, width) bool, the stroke inside ``box``.
        polygons: the outline of the stroke, one list x0, y0, x1, y1, ... for each separate part.
            A loop (as of a 6) is cut out by a slit of no width, since COCO polygons have no holes.
    """

    label: int
    box: tuple[int, int, int, int]
    mask: np.ndarray
    polygons: list[list[float]]


def load_digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Scans and labels of one side of the split between writers.

    scikit-learn ships the test part of UCI's "Optical Recognition of Handwritten Digits" and says
    that 13 people wrote it, but not who wrote which scan. The labels, however, come in 14 runs of
    124 to 131 that begin 0123456789 0123456789 0123456789 0956..., one for each filled-in form.
    Runs 1-10 (scans 0-1286) are for training, runs 11-14 for validation, so no form is on both
    sides. Two runs by one writer, which 14 runs of 13 people imply, may still be.

    Args:
        split: "train" or "val".

    Returns:
        (n, 8, 8) float ink in 0..1, and (n,) int labels.
    """
    from sklearn import datasets

    digits = datasets.load_digits()
    part = slice(None, FIRST_VAL_SCAN) if split == "train" else slice(FIRST_VAL_SCAN, None)
    return digits.images[part] / 16, digits.target[part]


def load_photographs(split: str) -> list[np.ndarray]:
    """(H, W, 3) uint8 RGB photographs of one side, "train" or "val", in a fixed order."""
    from skimage import data

    pictures = []
    for name in PHOTOGRAPHS[split]:
        picture = getattr(data, name)()
        if isinstance(picture, tuple):  # the motorcycle: left, right, disparity
            picture = picture[0]
        pictures.append(picture if picture.ndim == 3 else np.stack([picture] * 3, axis=-1))
    return pictures


def make_scene(
    rng: np.random.Generator, scans: np.ndarray, labels: np.ndarray, photographs: list[np.ndarray]
) -> tuple[np.ndarray, list[Digit]]:
    """A crop of one photograph with digits on it.

    Boxes of digits may overlap, or lie within one another; strokes never touch.

    Args:
        rng: the only source of chance.
        scans: (n, 8, 8) float ink in 0..1; labels: (n,) int.
        photographs: (H, W, 3) uint8 RGB each.

    Returns:
        (256, 320, 3) or (320, 256, 3) uint8 RGB, and its digits, larger ones first.
    """
    height, width = rng.permuted(SCENE_SIDES).tolist()
    canvas = _crop(rng, photographs[rng.integers(len(photographs))], height, width)
    is_taken = np.zeros((height, width), bool)
    digits = []
    smallest, largest = np.log(DIGIT_SIDES)
    sides = np.exp(rng.uniform(smallest, largest, size=int(rng.integers(3, MOST_DIGITS + 1))))
    for side in np.sort(sides)[::-1]:
        index = rng.integers(len(scans))
        coverage = draw_digit(rng, scans[index], side)
        corner = _find_room(rng, is_taken, coverage > 0.5)
        if corner is None:
            continue
        y, x = corner
        is_taken[y : y + coverage.shape[0], x : x + coverage.shape[1]] |= coverage > 0
        _paint(rng, canvas, coverage, x, y)
        digits.append(_describe(int(labels[index]), coverage, x, y))
    return canvas.round().astype(np.uint8), digits


def draw_digit(rng: np.random.Generator, scan: np.ndarray, side: float) -> np.ndarray:
    """One scan enlarged, turned by up to 12 degrees, slanted and stretched a little.

    Args:
        scan: (8, 8) float ink in 0..1.
        side: height in pixels that its 8 rows are enlarged to.

    Returns:
        (h, w) float coverage of each pixel by the stroke in 0..1, cut to the stroke.
    """
    from scipy import ndimage

    angle, slant = rng.uniform(-0.2, 0.2), rng.uniform(-0.15, 0.15)
    turn = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    stretch = np.diag([1, rng.uniform(0.85, 1.15)])
    cells_per_px = np.array(turn) @ [[1, 0], [slant, 1]] @ stretch * (8 / side)
    ink = np.pad(scan, 2)
    size = math.ceil(1.6 * side)  # room for the turned and slanted stroke
    offset = np.full(2, (len(ink) - 1) / 2) - cells_per_px @ np.full(2, (size - 1) / 2)
    ink = ndimage.affine_transform(ink, cells_per_px, offset, (size, size), order=3)
    # Ink falls by about 1 from a stroke's middle to its outside, over a good half cell.
    coverage = np.clip(0.5 + (ink - STROKE_LEVEL) * 1.5 * side / 8, 0, 1)
    parts, _ = ndimage.label(coverage > 0.5)
    areas = np.bincount(parts.ravel())[1:]
    is_speck = np.isin(parts, 1 + np.flatnonzero(areas < 0.03 * areas.sum()))
    coverage[ndimage.binary_dilation(is_speck)] = 0
    rows, columns = np.nonzero(coverage > 0.5)
    return coverage[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def _crop(rng: np.random.Generator, photo: np.ndarray, height: int, width: int) -> np.ndarray:
    """(height, width, 3) float: a random crop, enlarged at most 1.7 times, maybe mirrored."""
    from PIL import Image

    photo_height, photo_width = photo.shape[:2]
    largest = min(photo_height / height, photo_width / width)
    scale = rng.uniform(min(0.6, largest), min(largest, 2))
    left = rng.uniform(0, photo_width - scale * width)
    top = rng.uniform(0, photo_height - scale * height)
    box = (left, top, left + scale * width, top + scale * height)
    crop = Image.fromarray(photo).resize((width, height), Image.Resampling.BICUBIC, box=box)
    return np.asarray(crop, dtype=np.float64)[:, :: rng.choice([1, -1])].copy()


def _find_room(
    rng: np.random.Generator, is_taken: np.ndarray, stroke: np.ndarray, tries: int = 30
) -> tuple[int, int] | None:
    """Row and column for the stroke's corner such that it keeps 3 px from all others, or None."""
    import cv2

    rows, columns = np.array(is_taken.shape) - stroke.shape
    if min(rows, columns) < 0:
        return None
    is_near = cv2.dilate(is_taken.view(np.uint8), np.ones((7, 7), np.uint8)).view(bool)
    for _ in range(tries):
        y, x = int(rng.integers(rows + 1)), int(rng.integers(columns + 1))
        if not (is_near[y : y + stroke.shape[0], x : x + stroke.shape[1]] & stroke).any():
            return y, x
    return None


def _paint(
    rng: np.random.Generator, canvas: np.ndarray, coverage: np.ndarray, x: int, y: int
) -> None:
    """Blends a bright stroke with a dark rim into ``canvas`` (H, W, 3), in place, corner at x, y.

    The rim makes a digit legible on any photograph, and it is no part of the digit's mask.
    """
    import cv2

    rim = max(1, round(RIM * max(coverage.shape)))
    stroke = np.pad(coverage, rim)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * rim + 1, 2 * rim + 1))
    edge = cv2.dilate(stroke, disc)
    top, left = max(y - rim, 0), max(x - rim, 0)
    window = canvas[top : y - rim + edge.shape[0], left : x - rim + edge.shape[1]]
    part = (slice(top - y + rim, None), slice(left - x + rim, None))
    for weight, color in (
        (edge, rng.uniform(*DARK, size=3)),
        (stroke, rng.uniform(*BRIGHT, size=3)),
    ):
        weight = weight[part][: window.shape[0], : window.shape[1], None]
        window *= 1 - weight
        window += weight * color


def _describe(label: int, coverage: np.ndarray, x: int, y: int) -> Digit:
    polygons = [(part + (x, y)).round(2).ravel().tolist() for part in trace_outline(coverage)]
    height, width = coverage.shape
    return Digit(label, (x, y, width, height), coverage > 0.5, polygons)


def trace_outline(coverage: np.ndarray) -> list[np.ndarray]:
    """Polygons around the parts of the stroke, each with its loops cut out by slits.

    Args:
        coverage: (h, w) float in 0..1; the outline runs where it is 0.5.

    Returns:
        one (n, 2) float array of x, y for each part, within 0.25 px of the outline.
    """
    import cv2
    from skimage import measure

    contours = []
    for contour in measure.find_contours(np.pad(coverage, 1), 0.5):
        corners = cv2.approxPolyDP(contour[:-1].astype(np.float32), 0.25, closed=True)[:, 0]
        if len(corners) >= 3:
            contours.append(corners[:, ::-1] - 0.5)  # padding -1, middle of a pixel +0.5
    parts = [c for c in contours if _signed_area(c) > 0]
    for loop in (c for c in contours if _signed_area(c) < 0):
        around = [bool(measure.points_in_poly(loop[:1], part)[0]) for part in parts]
        parts[around.index(True)] = _cut_out(loop, parts[around.index(True)])
    return parts


def _signed_area(polygon: np.ndarray) -> float:
    x, y = polygon.T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def _cut_out(loop: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """Outline and loop as one polygon, joined there and back where they are closest."""
    distance = np.linalg.norm(outline[:, None] - loop[None], axis=-1)
    i, j = np.unravel_index(distance.argmin(), distance.shape)
    return np.concatenate(
        [outline[: i + 1], np.roll(loop, -j, axis=0), loop[j : j + 1], outline[i:]]
    )
