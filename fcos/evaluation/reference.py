"""Recorded detections that a weights file has to reproduce: their file, and matching them.

The file is an NPZ archive of numpy without pickles, so any program that has numpy can write one:

=================  ==============================================================================
``format``         the text "fcos reference 1"
``image``          (H, W, 3) uint8, red, green, blue: the image as the network gets it, neither
                   resized nor padded
``boxes``          (K, 4) float, x1, y1, x2, y2 in pixels of the image, (0, 0) being its corner
``scores``         (K,) float in [0, 1]
``classes``        (K,) int in [0, C)
``config``         text: the config file, such as "configs/published/adelaidet/R_50_1x.yaml"
``options``        (2n,) texts: keys and values that change the config; may be missing
``config_text``    text: in place of a file (``config`` is ""), the whole config as YAML; may be
                   missing
``source``         text: what computed the detections
``tolerance_px``   float: how far a side of a box may be from the recorded one; may be missing
``tolerance``      float: the same for a score; may be missing
=================  ==============================================================================

The order of the detections does not matter.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from fcos.utils.errors import UserError
from fcos.utils.files import write_whole
from fcos.utils.reading import REFERENCE, open_file

__all__ = [
    "Reference",
    "ReferenceMatch",
    "built_in_image",
    "match_reference",
    "read_reference",
    "write_reference",
]

_FORMAT = "fcos reference 1"
_MOST_BYTES = 2**29  # of the arrays, uncompressed: an image of 178 megapixels


@dataclass(frozen=True)
class Reference:
    """Detections in one image, and the config that leads to them; see the module for the fields.

    Raises:
        ValueError: a field has another shape or type.
    """

    image: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    config: str
    options: tuple[str, ...] = ()
    source: str = "nobody says"
    tolerance_px: float = 0.01
    tolerance: float = 1e-5
    config_text: str = ""

    def __post_init__(self) -> None:
        number = len(self.scores) if self.scores.ndim else -1
        expected: dict[str, tuple[str, bool, str]] = {
            "image": ("(H, W, 3)", self.image.ndim == 3 and self.image.shape[2] == 3, "u"),
            "scores": ("(K,)", self.scores.ndim == 1, "f"),
            "boxes": (f"({number}, 4)", self.boxes.shape == (number, 4), "f"),
            "classes": (f"({number},)", self.classes.shape == (number,), "iu"),
        }
        for name, (shape, is_right, kinds) in expected.items():
            value = getattr(self, name)
            if not is_right or value.dtype.kind not in kinds or value.dtype == np.uint64:
                raise ValueError(f"{name}: expected {shape}, got {value.shape} of {value.dtype}")
        if bool(self.config) == bool(self.config_text):
            raise ValueError("config, config_text: expected one of them")
        if not (self.tolerance_px >= 0 and self.tolerance >= 0):
            raise ValueError("tolerance_px, tolerance: expected numbers of at least 0")


@dataclass(frozen=True)
class ReferenceMatch:
    """How far detections are from recorded ones.

    Attributes:
        pairs: number of pairs of a recorded and a found detection of one class.
        only_recorded: number of recorded detections without a partner.
        only_found: number of found detections without a partner.
        beyond: number of pairs that differ by more than is allowed.
        box_px: largest difference of a side within a pair, in pixels; 0 without pairs.
        score: largest difference of scores within a pair; 0 without pairs.
    """

    pairs: int
    only_recorded: int
    only_found: int
    beyond: int
    box_px: float
    score: float

    @property
    def is_equal(self) -> bool:
        """Whether all have partners within the tolerances."""
        return self.only_recorded + self.only_found + self.beyond == 0


def match_reference(
    reference: Reference, boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray
) -> ReferenceMatch:
    """Pair recorded detections with found ones of their class, the closest first.

    Args:
        reference: the recorded ones, and what may differ.
        boxes: (M, 4) float, x1, y1, x2, y2 in pixels of the image.
        scores: (M,) float.
        classes: (M,) int.
    """
    far_px = abs(reference.boxes[:, None].astype(float) - boxes[None]).max(axis=2)
    far = abs(reference.scores[:, None].astype(float) - scores[None])
    tiny = 1e-200  # with a tolerance of 0, equal values have cost 0
    cost = np.maximum(
        far_px / max(reference.tolerance_px, tiny), far / max(reference.tolerance, tiny)
    )
    cost[reference.classes[:, None] != classes[None]] = np.inf
    pairs = []
    while cost.size and cost.min() < np.inf:
        i, j = np.unravel_index(cost.argmin(), cost.shape)
        pairs.append((i, j, cost[i, j]))
        cost[i], cost[:, j] = np.inf, np.inf
    return ReferenceMatch(
        pairs=len(pairs),
        only_recorded=len(reference.scores) - len(pairs),
        only_found=len(scores) - len(pairs),
        beyond=sum(1 for _, _, c in pairs if c > 1),
        box_px=max((float(far_px[i, j]) for i, j, _ in pairs), default=0.0),
        score=max((float(far[i, j]) for i, j, _ in pairs), default=0.0),
    )


def write_reference(path: str, reference: Reference) -> None:
    """Write a reference file.

    Raises:
        UserError: it cannot be written.
    """
    fields: dict[str, Any] = {"format": _FORMAT, **vars(reference)}
    fields["options"] = np.array(reference.options, dtype=np.str_)
    write_whole(path, lambda file: np.savez_compressed(file, **fields), "Choose another place.")


def read_reference(path: str) -> Reference:
    """Read a reference file; nothing in it is executed.

    Raises:
        UserError: it cannot be read, is no such file, or a field is missing or of another shape.
    """
    try:
        with open_file(path, REFERENCE) as file:
            fields = _fields(path, file)
    except OSError as error:
        raise UserError(
            f"The reference {path} cannot be read: {error.strerror or error}."
        ) from None
    except UserError:
        raise
    except Exception as error:  # damaged archives raise a dozen kinds, some of zlib
        # numpy's own message advises to load a file that is no archive "unsafely".
        raise UserError(
            f"{path} is damaged or no NPZ archive of plain arrays, as 'python -m fcos.checkpoint "
            "record' writes it."
        ) from error
    if str(fields.pop("format", "")) != _FORMAT:
        raise UserError(
            f"{path} is no record of detections: its entry 'format' is not {_FORMAT!r}; "
            "'python -m fcos.checkpoint record' writes one."
        )
    known = Reference.__dataclass_fields__
    missing = [n for n in ("image", "boxes", "scores", "classes", "config") if n not in fields]
    if missing:
        raise UserError(f"The reference {path} lacks {', '.join(missing)}.")
    values = {name: fields[name] for name in known if name in fields}
    for name in ("config", "config_text", "source"):
        if name in values:
            values[name] = str(values[name])
    values["options"] = tuple(str(text) for text in np.atleast_1d(values.get("options", ())))
    try:
        for name in ("tolerance_px", "tolerance"):
            if name in values:
                values[name] = float(values[name])
        return Reference(**values)
    except (TypeError, ValueError) as error:
        raise UserError(f"The reference {path}: {error}.") from None


def _is_sound(value: Any) -> bool:
    """Whether a member of an archive is an array; numpy makes no texts of numbers that are none."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "U" or not value.dtype.itemsize:
        return isinstance(value, np.ndarray)
    codes = np.frombuffer(value.tobytes(), np.dtype(np.uint32).newbyteorder(value.dtype.byteorder))
    return bool((codes < 0x110000).all())


def _fields(path: str, file: BinaryIO) -> dict[str, Any]:
    """Read the known arrays of an archive, unless they would fill the memory."""
    known = {"format", *Reference.__dataclass_fields__}
    with zipfile.ZipFile(file) as archive:
        sizes = {m.filename: m.file_size for m in archive.infolist()}
    size = sum(bytes_ for name, bytes_ in sizes.items() if name.removesuffix(".npy") in known)
    if size > _MOST_BYTES:
        raise UserError(
            f"The arrays of the reference {path} have {size:,} bytes, and none with more than "
            f"{_MOST_BYTES:,} is read."
        )
    file.seek(0)
    with np.load(file, allow_pickle=False) as archive:
        fields = {name: archive[name] for name in archive.files if name in known}
    if not all(map(_is_sound, fields.values())):
        raise ValueError("a member that is no array, or a text that is none")
    return fields


def built_in_image(height: int = 192, width: int = 256) -> np.ndarray:
    """Draw an image that is the same everywhere: stripes under disks and rectangles.

    Args:
        height, width: its size in pixels.

    Returns:
        (height, width, 3) uint8.
    """
    y, x = np.indices((height, width))
    image = np.stack([7 * x + 3 * y, 5 * y + (x // 16) * 40, 11 * x ^ 13 * y], axis=2) % 256
    for k in range(8):
        top, left, side = (37 * k) % height, (71 * k) % width, 16 + 9 * k
        inside = (y >= top) & (y < top + side) & (x >= left) & (x < left + 2 * side // (1 + k % 3))
        if k % 2:
            inside = (y - top) ** 2 + (x - left) ** 2 < side**2 // 2
        image[inside] = (29 * k % 256, 255 - 31 * k, 53 * k % 256)
    return image.astype(np.uint8)
