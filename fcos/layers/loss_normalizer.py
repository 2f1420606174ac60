"""What losses are divided by, averaged over the processes of a training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LOSS_NORMALIZERS = ("fg", "moving_fg", "all")


def num_processes() -> int:
    """Return how many processes train together; 1 without torch.distributed."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_world_size()
    return 1


def mean_over_processes(values: Tensor) -> Tensor:
    """Average a tensor over all training processes.

    DistributedDataParallel averages gradients over processes. With normalisers averaged as well,
    k processes with 1/k of the batch each train as one process with all of it does. Every process
    makes this call in every step, objects or none: one that did not would block the others.

    Args:
        values: any shape, float; the same shape in every process. It is not changed.

    Returns:
        The mean, in the shape of ``values``; ``values`` itself when there is one process.
    """
    if num_processes() == 1:
        return values
    total = values.clone()
    torch.distributed.all_reduce(total)
    return total / num_processes()


class LossNormalizer(nn.Module):
    """What the class loss is divided by.

    * "fg": the number of positive locations (arXiv:1904.01355, Eq. 2);
    * "moving_fg": a moving average of it, which starts at 100 and keeps 0.9 of itself in each step
      of a training, so that a batch with few objects is not a batch of large gradients;
    * "all": the number of all locations.

    The latter two are AdelaiDet's. There, each process starts from 100; here, the average is of
    the whole batch and starts from 100 however many processes share it.

    Args:
        kind: one of ``LOSS_NORMALIZERS``.

    Raises:
        ValueError: ``kind`` is unknown.
    """

    moving_num_fg: Tensor

    def __init__(self, kind: str = "fg") -> None:
        super().__init__()
        if kind not in LOSS_NORMALIZERS:
            raise ValueError(f"kind: expected one of {LOSS_NORMALIZERS}, got {kind!r}")
        self.kind = kind
        if kind == "moving_fg":
            # In the state dict, so that a resumed training goes on with it.
            self.register_buffer("moving_num_fg", torch.tensor(100.0))

    def forward(
        self, num_positive: Tensor, num_locations: Tensor, shares: int | None = None
    ) -> Tensor:
        """Choose the divisor of this step.

        Args:
            num_positive: scalar above 0, the mean over all shares of the batch.
            num_locations: scalar, likewise, background included.
            shares: that the batch is in, by default one for each process.

        Returns:
            A scalar above 0. In training, "moving_fg" takes one step.
        """
        if self.kind == "all":
            return num_locations.clamp(min=1.0)
        if self.kind == "fg":
            return num_positive
        shares = shares or num_processes()
        if self.training:
            in_batch = num_positive.detach() * shares
            self.moving_num_fg.mul_(0.9).add_(in_batch, alpha=0.1)
        return self.moving_num_fg.to(num_positive.dtype) / shares

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        # Weights that were trained with another normaliser fit too; the average then starts anew.
        if self.kind == "moving_fg":
            state_dict.setdefault(f"{prefix}moving_num_fg", torch.tensor(100.0))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
