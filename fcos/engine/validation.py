"""The loss of a data set, without a trace in the training."""

from __future__ import annotations

import contextlib
import logging
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from fcos.config import CfgNode
from fcos.data import build_validation_stream
from fcos.engine.accumulation import divided_by
from fcos.modeling.fcos import FCOS
from fcos.modeling.roi_heads import FCOSMaskROIHeads
from fcos.utils.agree import take_from_main

__all__ = ["validation_losses"]

logger = logging.getLogger(__name__)


def validation_losses(cfg: CfgNode, model: nn.Module) -> dict[str, Any]:
    """Compute the losses of DATASETS.TEST as if each were one batch of a training.

    Every process calls this and takes its part of the images. Sums over all images are divided by
    the counts of all images (positive locations, regions, ...), so that it does not matter how they
    are shared and batched. With the normaliser "moving_fg" the class loss is divided by the number
    of positive locations, of which that is an average. The model computes as in an evaluation (in
    float32, batch normalisation with its running statistics), and is as before afterwards.

    Args:
        cfg: the config.
        model: the detector, not inside DistributedDataParallel.

    Returns:
        ``{"validation": {name: loss}}`` with ``total_loss``, the sum of all; for several data sets,
        that for each of them by its name.
    """
    take_from_main(model.buffers())  # as in an evaluation
    results = {}
    for name in cfg.DATASETS.TEST:
        losses = _losses(cfg, model, name)
        losses["total_loss"] = sum(losses.values())
        said = ", ".join(f"{key} {value:.4g}" for key, value in losses.items())
        logger.info(f"Validation loss on {name}: {said}")
        results[name] = {"validation": losses}
    return next(iter(results.values())) if len(results) == 1 else results


@torch.no_grad()
def _losses(cfg: CfgNode, model: nn.Module, dataset_name: str) -> dict[str, float]:
    sums = _Sums(model)
    # What heads log is not of the training. (Not iteration 0, at which they may draw pictures.)
    with _giving_losses(model), sums.collecting(), EventStorage(1):
        for batch in build_validation_stream(cfg, dataset_name):
            sums.add(model(batch), len(batch))
    return sums.losses()


class _Sums:
    """Sums of losses over batches, and the counts to divide them by.

    While it is collecting, losses of FCOS and of its mask head come undivided. Losses of other
    heads are means over the images of a batch.
    """

    def __init__(self, model: nn.Module) -> None:
        self._generators = [part for part in model.modules() if isinstance(part, FCOS)]
        self._mask_heads = [part for part in model.modules() if isinstance(part, FCOSMaskROIHeads)]
        self._weights: dict[str, Tensor] = {}
        self._sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    @contextlib.contextmanager
    def collecting(self) -> Iterator[None]:
        before = [head.weight_of for head in self._mask_heads]
        with contextlib.ExitStack() as stack:
            for generator in self._generators:
                by_location = generator.losses.normalizer.kind == "all"
                divide = _Divide(self._weights, by_location)
                stack.enter_context(divided_by(generator, divide))
            for head in self._mask_heads:
                head.weight_of = self._note_regions
            try:
                yield
            finally:
                for head, weight_of in zip(self._mask_heads, before, strict=True):
                    head.weight_of = weight_of

    def _note_regions(self, number: Tensor) -> Tensor:
        self._weights["loss_mask"] = number
        return number

    def add(self, losses: dict[str, Tensor], images: int) -> None:
        for name, loss in losses.items():
            weight = self._weights.get(name)
            value, count = (loss * images, images) if weight is None else (loss, weight)
            total = self._sums[name]
            total[0] += float(value)
            total[1] += float(count)
        self._weights.clear()

    def losses(self) -> dict[str, float]:
        """Divide the sums of all processes, the same in each of them."""
        total: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for sums in comm.all_gather(dict(self._sums)):
            for name, (value, count) in sums.items():
                total[name][0] += value
                total[name][1] += count
        return {name: value / (count or 1.0) for name, (value, count) in total.items()}


class _Divide:
    """Divides nothing, and notes what the sums of FCOS are to be divided by."""

    def __init__(self, weights: dict[str, Tensor], by_location: bool) -> None:
        self._weights, self._by_location = weights, by_location

    def __call__(self, counts: Tensor) -> Tensor:
        positive, loc_weight, locations = counts
        self._weights["loss_fcos_cls"] = locations if self._by_location else positive
        self._weights["loss_fcos_loc"] = loc_weight
        self._weights["loss_fcos_ctr"] = self._weights["loss_fcos_iou"] = positive
        return torch.ones_like(counts)


@contextlib.contextmanager
def _giving_losses(model: nn.Module) -> Iterator[None]:
    """Within it, let a detector return losses, while its layers compute as in an evaluation.

    Whether it returns losses is decided by the detector, the proposal generator, the ROI heads and
    their own heads; batch normalisation and dropout are below these or in the backbone.
    """
    before = [(part, part.training) for part in model.modules()]
    model.eval()
    for name in ("proposal_generator", "roi_heads"):
        part = getattr(model, name, None)
        if part is not None:
            part.training = True
            for head in part.children() if name == "roi_heads" else ():
                head.training = True
    model.training = True
    try:
        yield
    finally:
        for part, was_training in before:
            part.training = was_training
