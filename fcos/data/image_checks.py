"""Whether the images of data sets can be used, found out by decoding them."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any, NamedTuple

from tqdm import tqdm

from fcos.data.images import MAX_PIXELS, DecodedImage, decode_image
from fcos.data.records import DatasetRecords, ImageRecord
from fcos.data.resize import Resize
from fcos.utils.errors import UserError
from fcos.utils.values import NAMED, listed

__all__ = ["ADVICE", "CheckedImages", "ImageUse", "check_images", "image_problem"]

logger = logging.getLogger(__name__)

SECONDS = 60.0  # if decoding all images takes longer, only a sample is decoded
SAMPLED_IMAGES = 100  # of each data set
MOST_LOGGED = 100  # problems
LITTLE = 64  # of 256 values

ADVICE = (
    "Replace the file, or take it out of the annotations; or set DATALOADER.SKIP_UNREADABLE True, "
    "which leaves such images out."
)


@dataclasses.dataclass(frozen=True)
class ImageUse:
    """The images of a data set, and what is to be done with them.

    Attributes:
        name: of the data set.
        records: all of its images.
        for_training: else they are to be evaluated on.
        resize: how they are resized; ``None``: not at all.
        stretch_range: whether the range of images of 16 bits is stretched.
        max_pixels: of an image that is read.
    """

    name: str
    records: DatasetRecords
    for_training: bool = True
    resize: Resize | None = None
    stretch_range: bool = False
    max_pixels: int = MAX_PIXELS


@dataclasses.dataclass(frozen=True)
class CheckedImages:
    """What was found out about the images of a use.

    Attributes:
        num_decoded: how many of them were decoded.
        unreadable: file names of those that cannot be used, as in the records.
        notes: what there is to say, in sentences.
    """

    num_decoded: int
    unreadable: tuple[str, ...]
    notes: tuple[str, ...]


def image_problem(
    record: dict[str, Any], resize: Resize | None = None, max_pixels: int = MAX_PIXELS
) -> str | None:
    """Say in a sentence why the image of ``record`` cannot be used; None if it can. Decodes it.

    Args:
        record: "file_name" and, if the data set gives them, "width" and "height" of the image.
        resize: what is to be done to it; ``None``: it stays as it is.
        max_pixels: an image of more cannot be used.
    """
    try:
        image = decode_image(record["file_name"], max_pixels=max_pixels)
    except UserError as error:
        return str(error)
    return _problem_of_size(image, record, resize)


def check_images(
    uses: Sequence[ImageUse],
    *,
    all_images: bool = False,
    skip_unreadable: bool = False,
    seconds: float | None = None,
) -> list[CheckedImages]:
    """Decode the images of data sets: all if that takes little time, or else a sample of each.

    Args:
        uses: of the data sets. An image that comes in several is decoded once.
        all_images: decode all, however long it takes.
        skip_unreadable: return images that cannot be used, which is no error then. Decodes all.
        seconds: what little time is; by default a minute.

    Returns:
        for each use, what was found.

    Raises:
        UserError: there are images that cannot be used.
    """
    if all_images or skip_unreadable:
        seconds = math.inf
    keys = [[_Key.of(use, image) for image in use.records.images] for use in uses]
    found = _decode(keys, SECONDS if seconds is None else seconds)
    return [
        _checked(use, [found.get(key) for key in of_use], skip_unreadable)
        for use, of_use in zip(uses, keys, strict=True)
    ]


# ---- one image -----------------------------------------------------------------------------------


class _Key(NamedTuple):
    """All that the result of a check depends on."""

    path: str
    width: float
    height: float
    resize: Resize | None
    stretch_range: bool
    max_pixels: int

    @classmethod
    def of(cls, use: ImageUse, image: ImageRecord) -> _Key:
        path, reading = use.records.path_of(image), (use.stretch_range, use.max_pixels)
        return cls(path, image.width, image.height, use.resize, *reading)


class _Found(NamedTuple):
    problem: str | None = None
    uses_little: bool = False  # of the range of 16 bits


def _look(key: _Key) -> _Found:
    record: dict[str, Any] = {"file_name": key.path}
    if math.isfinite(key.width + key.height):
        record.update(width=key.width, height=key.height)
    try:
        image = decode_image(key.path, key.stretch_range, key.max_pixels)
    except UserError as error:
        return _Found(str(error))
    is_dark = image.has_16_bits and not key.stretch_range
    uses_little = is_dark and int(image.bgr.max()) - int(image.bgr.min()) < LITTLE
    return _Found(_problem_of_size(image, record, key.resize), uses_little)


def _problem_of_size(
    image: DecodedImage, record: dict[str, Any], resize: Resize | None
) -> str | None:
    height, width = image.bgr.shape[:2]
    given = record.get("width", width), record.get("height", height)
    start = f"Image {record['file_name']} is {width}x{height} pixels"
    if given == (height, width) != (width, height) and image.orientation >= 5:  # a quarter turn
        return (
            f"{start} when turned upright by its EXIF orientation ({image.orientation}), but the "
            f"annotations say {given[0]}x{given[1]}, as it is stored: annotate the upright image, "
            "or remove the orientation from the file."
        )
    if given != (width, height):
        return f"{start}, but the annotations say {given[0]}x{given[1]}."
    setting = resize.vanishes_by(height, width) if resize is not None else ""
    if setting:
        return (
            f"{start}, and {setting} leaves nothing of its shorter side: raise it if the image is "
            "to stay."
        )
    return None


# ---- many images ---------------------------------------------------------------------------------


def _decode(keys: Sequence[Sequence[_Key]], seconds: float) -> dict[_Key, _Found]:
    """Look at a sample, and at all others if all would take fewer seconds than these."""
    sample = dict.fromkeys(key for of_use in keys for key in _sample(of_use))
    rest = dict.fromkeys(key for of_use in keys for key in of_use if key not in sample)
    found: dict[_Key, _Found] = {}
    pool = ThreadPoolExecutor()  # decoders run outside Python's lock
    try:
        start = perf_counter()
        found.update(zip(sample, pool.map(_look, sample), strict=True))
        taken = perf_counter() - start
        if taken * (len(sample) + len(rest)) > seconds * len(sample):
            return found
        # Shown in terminals only, after two seconds.
        with tqdm(total=len(rest), desc="Decoding", unit="image", delay=2, disable=None) as bar:
            for key, result in zip(rest, pool.map(_look, rest), strict=True):
                found[key] = result
                bar.update()
                # The sample may have been in memory, and the rest on a slow disk.
                if perf_counter() - start > 2 * seconds:
                    break
    finally:
        pool.shutdown(cancel_futures=True)
    return found


def _sample(keys: Sequence[_Key]) -> list[_Key]:
    step = max(1, len(keys) / SAMPLED_IMAGES)
    return [keys[int(i * step)] for i in range(min(len(keys), SAMPLED_IMAGES))]


def _checked(use: ImageUse, found: Sequence[_Found | None], skip_unreadable: bool) -> CheckedImages:
    images = use.records.images
    decoded = [(i, one) for i, one in zip(images, found, strict=True) if one is not None]
    problems = {image.file_name: one.problem for image, one in decoded if one.problem}
    dark = [image.file_name for image, one in decoded if one.uses_little and not one.problem]
    if problems and not skip_unreadable:
        raise UserError(_refusal(use, list(problems.values()), len(decoded)))
    number = f"{len(decoded)} of {len(images)} images were decoded"
    all_of_them = "" if len(decoded) == len(images) else "; --check-all-images decodes all of them"
    notes = [f"{number}{all_of_them}."]
    if dark:
        notes.append(
            f"{len(dark)} of them have 16 bits and use less than a quarter of that range, so they "
            f"are dark or of little contrast (INPUT.STRETCH_RANGE True stretches the range of each "
            f"image): {listed(dark)}."
        )
    if problems:
        notes.append(_note_on_left_out(use, list(problems)))
        for problem in list(problems.values())[:MOST_LOGGED]:
            logger.warning(f"Left out of {use.name!r}: {problem}")
    return CheckedImages(len(decoded), tuple(problems), tuple(notes))


def _refusal(use: ImageUse, problems: Sequence[str], num_decoded: int) -> str:
    more = f" ... and {len(problems) - NAMED} more." if len(problems) > NAMED else ""
    return (
        f"Data set {use.name!r}: {len(problems)} of {num_decoded} images cannot be used. "
        f"{' '.join(problems[:NAMED])}{more} {ADVICE}"
    )


def _note_on_left_out(use: ImageUse, names: Sequence[str]) -> str:
    number, total = len(names), len(use.records.images)
    fate = "left out of training"
    if not use.for_training:
        fate = f"left out with their objects: the evaluation is of the other {total - number}"
    return (
        f"{number} of {total} images cannot be used ({listed(names)}) and are {fate} "
        "(DATALOADER.SKIP_UNREADABLE True)."
    )
