"""One step of the optimizer from several passes: the gradients of a batch that memory cannot hold.

The gradients of the parts of a batch are added up. For that to give those of the batch, each part
is padded to the size of the batch, and what FCOS divides its losses by is counted in all parts
before the first one, which needs the ground truth only.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectron2.structures import Boxes, ImageList
from detectron2.utils import comm
from fcos.engine.loop import HostCopy, TrainingLoop, losses_and_verdict
from fcos.layers import mean_over_processes
from fcos.modeling.fcos import FCOS, feature_sizes
from fcos.utils.device import upload

__all__ = ["AccumulatingLoop", "as_one_batch", "divided_by", "padded_size"]

Records = Sequence[dict[str, Any]]


class AccumulatingLoop(TrainingLoop):
    """Compute the gradients of each batch in parts.

    Losses of FCOS are those of the whole batch. Those of other heads, such as a mask head, are the
    averages of the parts' losses.

    Args:
        steps: number of parts; the images of a process must be a multiple of it.
        args, kwargs: of :class:`TrainingLoop`.
    """

    def __init__(self, steps: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.steps = steps

    def compute_gradients(self) -> tuple[list[str], HostCopy]:
        size = len(self.batch) // self.steps
        parts = [self.batch[at : at + size] for at in range(0, len(self.batch), size)]
        values = []
        self.optimizer.zero_grad()
        detector: Any = getattr(self.model, "module", self.model)
        with as_one_batch(detector, parts):
            for number, part in enumerate(parts, start=1):
                with self._exchanging(number == len(parts)):
                    losses = self.forward(part)
                    total: Any = sum(losses.values())
                    self.grad_scaler.scale(total / len(parts)).backward()
                values.append(torch.stack([loss.detach().float() for loss in losses.values()]))
        means = torch.stack(values).mean(dim=0)
        return list(losses), HostCopy(losses_and_verdict(list(means)))

    def _exchanging(self, is_last: bool) -> contextlib.AbstractContextManager:
        """Let the processes exchange the sum of the gradients only, in the last part."""
        several = comm.get_world_size() > 1 and not is_last
        return self.model.no_sync() if several else contextlib.nullcontext()


@contextlib.contextmanager
def as_one_batch(model: nn.Module, parts: Sequence[Records]) -> Iterator[None]:
    """Within it, let a detector's losses of parts of a batch average to those of the batch.

    Every process calls this; the parts are of its share of the batch.

    Args:
        model: the detector, not inside DistributedDataParallel.
        parts: their records, with ``image`` and ``instances``; as many in each process.
    """
    device = next(model.parameters()).device
    with contextlib.ExitStack() as stack:
        size = padded_size(model, [record for part in parts for record in part])
        stack.enter_context(_padded_to(model, size))
        for generator in model.modules():
            if isinstance(generator, FCOS):
                divisors = _divisors(generator, parts, size, device)
                stack.enter_context(divided_by(generator, functools.partial(_given, divisors)))
        yield


def _given(divisors: Tensor, counts: Tensor) -> Tensor:
    """Return ``divisors``, whatever the counts of a part are."""
    return divisors


@contextlib.contextmanager
def divided_by(generator: FCOS, divide: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within it, let ``divide`` choose what the sums of FCOS's losses are divided by.

    Args:
        generator: whose ``losses.divide`` it becomes.
        divide: see :class:`fcos.modeling.fcos.FCOSLosses`.
    """
    generator.losses.divide = divide
    try:
        yield
    finally:
        generator.losses.divide = None


@torch.no_grad()
def _divisors(
    generator: FCOS, parts: Sequence[Records], size: tuple[int, int], device: torch.device
) -> Tensor:
    """Return what FCOS divides the losses of each part by."""
    sizes = feature_sizes(size, generator.strides)
    counts = []
    for part in parts:
        objects = [_objects(record["instances"], device) for record in part]
        labels, ltrb_targets = generator.targets.fcos_target(sizes, objects)
        num_classes = generator.targets.num_classes
        counts.append(generator.losses.counts(labels, ltrb_targets, num_classes))
    mean = mean_over_processes(torch.stack(counts).mean(dim=0))
    return generator.losses.divisors(mean, comm.get_world_size() * len(parts))


def _objects(instances: Any, device: torch.device) -> SimpleNamespace:
    """Bring to the device what targets are made of, and no masks."""
    return SimpleNamespace(
        gt_boxes=Boxes(upload(instances.gt_boxes.tensor, device)),
        gt_classes=upload(instances.gt_classes, device),
    )


def padded_size(model: Any, records: Records) -> tuple[int, int]:
    """Return height and width of the tensor that a detector makes of images, without making it."""
    images = [torch.empty(record["image"].shape, device="meta") for record in records]
    backbone = model.backbone
    padded = ImageList.from_tensors(
        images, backbone.size_divisibility, padding_constraints=backbone.padding_constraints
    )
    height, width = padded.tensor.shape[-2:]
    return height, width


@contextlib.contextmanager
def _padded_to(model: Any, size: tuple[int, int]) -> Iterator[None]:
    preprocess_image = model.preprocess_image

    def padded(batched_inputs: Records) -> ImageList:
        images = preprocess_image(batched_inputs)
        height, width = images.tensor.shape[-2:]
        tensor = F.pad(images.tensor, (0, size[1] - width, 0, size[0] - height))
        return ImageList(tensor, images.image_sizes)

    model.preprocess_image = padded
    try:
        yield
    finally:
        del model.preprocess_image
