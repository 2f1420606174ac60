"""A moving average of the weights, kept beside them in a training."""

from __future__ import annotations

import logging
from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from detectron2.engine import HookBase
from fcos.checkpoint import AdetCheckpointer
from fcos.utils.agree import in_all

__all__ = ["SUFFIX", "WeightAverage", "decay_at"]

logger = logging.getLogger(__name__)

# Ends the names of the average's results and, in small letters, of its files.
SUFFIX = "_EMA"


def decay_at(update: int, most: float) -> float:
    """Return how much of the average an update keeps.

    A short training has no time to forget its first weights at the full decay, so the decay grows:
    2/11, 3/12, 4/13, ... up to ``most``.

    Args:
        update: its number, from 1.
        most: SOLVER.EMA_DECAY, in (0, 1).
    """
    return min(most, (1 + update) / (10 + update))


class WeightAverage(HookBase):
    """Average the weights after every iteration, and write ``model_final_ema.pth`` at the end.

    The average begins with the weights that the training starts from. Buffers, such as the running
    statistics of batch normalisation, are those of the weights in training. Checkpoints keep the
    average with the state of the trainer. Register it before the hook that writes them.

    Args:
        model: the detector in training, not inside DistributedDataParallel.
        decay: how much an update keeps at most, in (0, 1); see :func:`decay_at`.
        checkpointer: of the training; says where files are written, the names of the classes and
            the config.

    Attributes:
        model: a detector with the averaged weights.
        checkpointer: writes files of these.
    """

    def __init__(self, model: nn.Module, decay: float, checkpointer: AdetCheckpointer) -> None:
        self._source, self._decay = model, decay
        self._averaged = AveragedModel(model)
        self._averaged.requires_grad_(False)
        self.model: nn.Module = self._averaged.module
        self.checkpointer = AdetCheckpointer(self.model, checkpointer.save_dir)
        self.checkpointer.class_names = checkpointer.class_names
        self.checkpointer.config = checkpointer.config

    def before_train(self) -> None:
        if self._averaged.n_averaged == 0:
            if self.trainer.start_iter > 0:
                logger.info("The checkpoint has no average of weights: it begins with its weights.")
            self._averaged.update_parameters(self._source)  # the first one copies them

    def after_step(self) -> None:
        decay = decay_at(int(self._averaged.n_averaged), self._decay)
        self._averaged.multi_avg_fn = get_ema_multi_avg_fn(decay)
        self._averaged.update_parameters(self._source)
        if self.trainer.iter + 1 >= self.trainer.max_iter:
            self.save_final()

    def save_final(self) -> None:
        """Write ``model_final_ema.pth``; every process calls this."""
        name, iteration = f"model_final{SUFFIX.lower()}", self.trainer.iter
        in_all(lambda: self.checkpointer.save(name, tag=False, iteration=iteration))

    def state_dict(self) -> dict[str, Any]:
        return self._averaged.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned."""
        self._averaged.load_state_dict(state_dict)
