"""How large the work is, and what it runs on."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import torch

from fcos.utils.device import usable_cores
from fcos.utils.errors import UserError

__all__ = ["Settings", "Sizes"]

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How large the work is.

    Attributes:
        head_image: height and width, in pixels, of the images that targets, losses and
            post-processing are measured for.
        model_image: the same for whole models.
        boxes: numbers of boxes per image that targets are assigned for.
        batches: images at once in post-processing and inference.
        train_batch: images in a training step.
        processes_image: as ``model_image``, for training in two processes.
        loader_images: images that a loader reads in one run.
        loader_image: height and width of these, as they are on disk.
        evaluated: images of an evaluation.
        depth: of the ResNet.
        seconds: after which no further repeat of a row begins.
    """

    head_image: tuple[int, int] = (800, 1333)
    model_image: tuple[int, int] = (800, 1067)
    boxes: tuple[int, ...] = (7, 100, 1000)
    batches: tuple[int, ...] = (1, 8)
    train_batch: int = 2
    processes_image: tuple[int, int] = (480, 640)
    loader_images: int = 64
    loader_image: tuple[int, int] = (480, 640)
    evaluated: int = 5000
    depth: int = 50
    seconds: float = 12.0


FULL = Sizes()
QUICK = Sizes(
    model_image=(320, 427),
    batches=(1, 4),
    processes_image=(256, 320),
    loader_images=24,
    evaluated=500,
    seconds=4.0,
)
SMOKE = Sizes(
    head_image=(96, 128),
    model_image=(96, 128),
    boxes=(3, 20),
    batches=(1, 2),
    processes_image=(96, 128),
    loader_images=4,
    loader_image=(48, 64),
    evaluated=4,
    depth=18,
    seconds=0.5,
)
SIZES = {"full": FULL, "quick": QUICK, "smoke": SMOKE}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the command line chooses.

    Args:
        device: "cpu", "cuda" or "cuda:N".
        dtype: a name in ``DTYPES``; below float32, models run under autocast.
        batch: images at once, in the place of those of ``sizes``.
        repeats: samples of each contestant; None lets time decide.
        threads: threads of torch in one process.
        size: a name in ``SIZES``.

    Raises:
        UserError: one of them cannot be.
    """

    device: str = "cpu"
    dtype: str = "float32"
    batch: int | None = None
    repeats: int | None = None
    threads: int = 1
    size: str = "full"

    def __post_init__(self) -> None:
        _check_device(self.device)
        if self.dtype not in DTYPES:
            raise UserError(f"--dtype is {self.dtype}: expected one of {', '.join(DTYPES)}.")
        for name in ("batch", "repeats", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"--{name} is {value}: expected at least 1.")

    @property
    def sizes(self) -> Sizes:
        return SIZES[self.size]

    @property
    def batches(self) -> tuple[int, ...]:
        """Numbers of images at once that inference is measured for."""
        return self.sizes.batches if self.batch is None else (self.batch,)

    @property
    def train_batch(self) -> int:
        return self.sizes.train_batch if self.batch is None else self.batch

    @property
    def torch_dtype(self) -> torch.dtype:
        return DTYPES[self.dtype]

    def autocast(self) -> torch.autocast:
        """What a model of ``dtype`` runs in."""
        kind = torch.device(self.device).type
        return torch.autocast(kind, self.torch_dtype, enabled=self.dtype != "float32")

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def default_threads() -> int:
    """OMP_NUM_THREADS, else one for each core that this process may use."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) else usable_cores()


def _check_device(name: str) -> None:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(
            f"--device is {name!r}: expected cpu, cuda or cuda:0, cuda:1, ..."
        ) from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"--device is {name}: only cpu and cuda are measured.")
    number = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= number:
        raise UserError(f"--device is {name}, but torch finds {number or 'no'} GPU(s) here.")
