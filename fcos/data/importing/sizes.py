"""Image files compared with their labels: sizes, EXIF orientation, and boxes that reach outside."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from fcos.data.images import MAX_PIXELS, ImageSize, ImageTooLarge, read_size
from fcos.data.importing.files import Folder
from fcos.data.importing.labels import LabelledImage, Labels, Problems
from fcos.data.orientation import SIDEWAYS
from fcos.utils.errors import UserError

__all__ = ["fit_to_images"]

_TOO_FAR = 1.0  # pixels that a box may reach outside by rounding


def fit_to_images(labels: Labels, folder: Folder, problems: Problems) -> None:
    """Make the sizes of ``labels`` those of the image files, and its boxes lie inside, in place.

    Images that cannot be opened, or are of another size than their labels say, are left out.

    Raises:
        UserError: coordinates are fractions where pixels are expected.
    """
    with ThreadPoolExecutor() as pool:
        sizes = list(pool.map(_size_of, [image.path for image in labels.images]))
    kept, turned = [], 0
    for image, size in zip(labels.images, sizes, strict=True):
        where = f"{folder.relative(image.path)}"
        if isinstance(size, str):
            problems.add(size, where)
            continue
        reason = _mismatch(image, size)
        if reason:
            said = f"{image.width}x{image.height}, not {size.width}x{size.height}"
            problems.add(reason, f"{where} ({said})")
            continue
        turned += size.orientation != 1
        image.width, image.height = size.width, size.height
        kept.append(image)
    labels.images = kept
    if turned:
        labels.notes.append(
            f"{turned} images are turned upright by their EXIF orientation; labels are taken to be "
            "of the upright image."
        )
    _check_unit(labels)
    _clip(labels, problems)


def _size_of(path: str) -> ImageSize | str:
    """Return the size of an image, or what is wrong with it."""
    try:
        return read_size(path)
    except ImageTooLarge:
        return f"images of more than {MAX_PIXELS:,} pixels"
    except UserError as error:
        cause = error.__cause__
        if isinstance(cause, FileNotFoundError):
            return "images that do not exist"
        if isinstance(cause, OSError) and cause.strerror:
            return f"images that cannot be read ({cause.strerror})"
        return "files that are not images, or are broken"


def _mismatch(image: LabelledImage, size: ImageSize) -> str:
    """Return why the labels cannot be those of an image of this size, "" if they can."""
    if not (image.width and image.height) or image.is_relative:
        return ""
    if (image.width, image.height) == (size.width, size.height):
        return ""
    is_stored = (image.width, image.height) == (size.height, size.width)
    if is_stored and size.orientation in SIDEWAYS:
        return (
            "images labelled as they are stored, but shown a quarter turned because of their EXIF "
            "orientation (turn the pixels, or label them again in a tool that turns them)"
        )
    return "images of another size than their labels say"


def _check_unit(labels: Labels) -> None:
    corners = [
        max(labelled.xyxy)
        for image in labels.images
        if not image.is_relative
        for labelled in image.objects
    ]
    if corners and max(corners) <= 1:
        raise UserError(
            "No box reaches further than 1 pixel: the numbers seem to be fractions of the images' "
            "width and height, but this format has pixels."
        )


def _clip(labels: Labels, problems: Problems) -> None:
    reaching = 0
    for image in labels.images:
        if image.is_relative:
            _to_pixels(image)
        kept = []
        for labelled in image.objects:
            left, top, right, bottom = labelled.xyxy
            outside = max(-left, -top, right - image.width, bottom - image.height)
            left, top = max(left, 0.0), max(top, 0.0)
            right, bottom = min(right, float(image.width)), min(bottom, float(image.height))
            if right <= left or bottom <= top:
                name = os.path.basename(image.path)
                where = image.where if name in image.where else f"{image.where} ({name})"
                problems.add("boxes without size inside their image", where)
                continue
            reaching += outside > _TOO_FAR
            labelled.xyxy = left, top, right, bottom
            kept.append(labelled)
        image.objects = kept
    if reaching:
        labels.notes.append(f"{reaching} boxes reached outside their image, and are cut there.")


def _to_pixels(image: LabelledImage) -> None:
    """Multiply fractions by the width and height."""
    size = image.width, image.height
    for labelled in image.objects:
        left, top, right, bottom = labelled.xyxy
        labelled.xyxy = left * size[0], top * size[1], right * size[0], bottom * size[1]
        if labelled.segmentation:
            labelled.segmentation = [_scaled(part, size) for part in labelled.segmentation]
    image.is_relative = False


def _scaled(corners: list[float], size: tuple[int, int]) -> list[float]:
    return [number * size[index % 2] for index, number in enumerate(corners)]
