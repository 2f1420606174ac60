"""Where an image lies that an annotation file names: below the folder of the images."""

from __future__ import annotations

import os

from fcos.utils.errors import UserError
from fcos.utils.places import is_below

__all__ = ["image_path", "is_address"]


def image_path(root: str, name: str) -> str:
    """Return the path of an image.

    An annotation file may come from anyone, so no image outside of the folder is read: neither by
    "..", nor by an absolute path, nor from an address. A link inside of the folder is followed.

    Args:
        root: the folder of the images; "" where none is named: then names are paths of files.
        name: of the image, in the annotation file.

    Raises:
        UserError: the image lies elsewhere.
    """
    path = os.path.join(root, name)
    if root and not os.path.isabs(name) and os.pardir not in name:  # almost always
        return path
    if not root and is_address(name):
        raise UserError(f"The image {name} is an address, which is not fetched: download it.")
    if root and not is_below(os.path.join(os.path.abspath(root), name), os.path.abspath(root)):
        raise UserError(
            f"The image {name} lies outside of the folder of the images, {root}: move it there, or "
            "let IMAGES (or --images) name a folder that all images are in."
        )
    return path


def is_address(name: str) -> bool:
    """Return whether a name would be fetched, such as https://... or detectron2://..."""
    return "://" in name
