"""The training of a detector from a config: detectron2's DefaultTrainer, made to resume exactly."""

from __future__ import annotations

import functools
import logging
import weakref
from typing import Any

import torch
from torch import nn

from detectron2.engine import TrainerBase, create_ddp_model, hooks
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from fcos.checkpoint import AdetCheckpointer, stored_text
from fcos.config import CfgNode
from fcos.config.evaluation_checks import check_evaluations
from fcos.config.keys import check_keys
from fcos.config.training_checks import check_accumulation
from fcos.data import TrainStream
from fcos.engine.acceleration import accelerate
from fcos.engine.accumulation import AccumulatingLoop
from fcos.engine.averaging import WeightAverage
from fcos.engine.displays import add_displays
from fcos.engine.evaluating import evaluation_hooks
from fcos.engine.hooks import Checkpoints, IterationSeed, LossGuard, StopOnSignal
from fcos.engine.logs import strict_writers, traceback_for_bugs_only
from fcos.engine.loop import TrainingLoop, amp_dtype
from fcos.engine.parts import TrainerParts
from fcos.engine.resuming import (
    require_same_optimizer,
    settings_kept,
    solver_settings,
    without_average,
)
from fcos.engine.startup import class_names, start_without_file
from fcos.engine.watch import LossWatch, OutputWatch
from fcos.engine.watch_steps import ClippingWatch, DataWatch
from fcos.utils.errors import UserError, config_errors

__all__ = ["Trainer"]

logger = logging.getLogger(__name__)


class Trainer(TrainerParts):
    """detectron2's trainer, with these differences:

    - A resumed training ends with the same weights, bit for bit, as one without interruption.
      (On a GPU only as far as its operations are deterministic.) Where the config has changed, it
      goes on with the rate, momentum, ... of the new one.
    - SIGTERM and Ctrl-C stop it after a checkpoint. A loss that is not finite stops it before the
      weights change.
    - ``model_best.pth`` is kept beside the last checkpoint when ``TEST.EVAL_PERIOD`` is not 0.
    - With ``SOLVER.EMA_DECAY``, an average of the weights is evaluated and saved beside them.
    - It trains on the CPU in several processes too.
    - With ``SOLVER.AMP.ENABLED``, ``SOLVER.AMP.PRECISION`` chooses between float16 with a gradient
      scaler, as in detectron2, on a GPU, and bfloat16 on any device.
    - It says when it learns nothing (:mod:`fcos.engine.watch`).

    Args:
        cfg: from :func:`fcos.config.get_cfg`. ``SOLVER.REFERENCE_WORLD_SIZE`` is applied to it.

    Attributes:
        loop: the SimpleTrainer that runs one iteration.
        head_is_new: whether the head started at random, in this process.
        writers: of the log; none but in the main process.
    """

    head_is_new = True

    def __init__(self, cfg: CfgNode) -> None:
        # DefaultTrainer.__init__ always passes a GPU to DistributedDataParallel, which fails on the
        # CPU, so only its base class is initialised.
        TrainerBase.__init__(self)
        check_keys(cfg)
        self.cfg = cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        check_evaluations(cfg)
        check_accumulation(cfg, comm.get_world_size())
        model = self.build_model(cfg)
        accelerate(model, cfg)
        with config_errors():
            optimizer = self.build_optimizer(cfg, model)
            self.scheduler = self.build_lr_scheduler(cfg, optimizer)
            train_loader = self.build_train_loader(cfg)
        device = torch.device(cfg.MODEL.DEVICE).type
        on_cpu = {"device_ids": None} if device == "cpu" else {}
        model = create_ddp_model(model, broadcast_buffers=False, **on_cpu)
        steps, parts = cfg.SOLVER.ACCUMULATION_STEPS, (model, train_loader, optimizer)
        loop = functools.partial(AccumulatingLoop, steps) if steps > 1 else TrainingLoop
        self.loop: TrainingLoop = loop(*parts, device, amp_dtype(cfg))

        self.start_iter, self.max_iter = 0, cfg.SOLVER.MAX_ITER
        self._last_iter: int | None = None  # where the training ends early
        self.checkpointer = AdetCheckpointer(model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self))
        self.checkpointer.class_names, self.checkpointer.config = class_names(cfg), stored_text(cfg)
        self.loop.register_hooks([LossGuard(self.checkpointer), ClippingWatch(cfg)])
        self.writers: list[EventWriter] = []
        self.register_hooks(self.build_hooks())
        if comm.is_main_process():
            add_displays(self, self.loop, cfg, self.checkpointer.class_names)

    @property
    def model(self) -> nn.Module:
        """The detector, inside DistributedDataParallel when there are several processes."""
        return self.loop.model

    @model.setter
    def model(self, model: nn.Module) -> None:
        self.loop.model = model

    @property
    def data_loader(self) -> TrainStream:
        """The endless stream of this process's batches."""
        return self.loop.data_loader

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self.loop.optimizer

    @property
    def seed(self) -> int:
        """The seed of the order of images and of all augmentation; checkpoints keep it."""
        return self.data_loader.seed

    def build_hooks(self) -> list[hooks.HookBase | None]:
        """Make detectron2's hooks, with this trainer's own for checkpoints and signals."""
        cfg = self.cfg
        built = [h for h in super().build_hooks() if not isinstance(h, hooks.PeriodicCheckpointer)]
        at = next(i for i, hook in enumerate(built) if isinstance(hook, hooks.EvalHook))
        if cfg.TEST.AUG.ENABLED:  # many times slower: only after the last iteration
            augmented = hooks.EvalHook(0, lambda: self.test_with_TTA(self.cfg, self.model))
            built.insert(at + 1, augmented)
        average = None
        if cfg.SOLVER.EMA_DECAY > 0:
            average = WeightAverage(
                self.checkpointer.model, cfg.SOLVER.EMA_DECAY, self.checkpointer
            )
        built[at : at + 1] = evaluation_hooks(self, built[at], average)
        # Before the evaluation: no checkpoint is lost if that fails or is interrupted.
        checkpoints = Checkpoints(self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD)
        built[at:at] = [average, checkpoints, StopOnSignal(self.checkpointer)]
        watches = [
            OutputWatch(cfg),
            LossWatch(cfg.SOLVER.WARMUP_ITERS + 200),
            DataWatch(cfg.DATALOADER.NUM_WORKERS),
        ]
        return [IterationSeed(), *built, *watches]

    def build_writers(self) -> list[EventWriter]:
        """Make detectron2's writers of the log, with numbers that every parser of JSON reads."""
        self.writers = strict_writers(super().build_writers(), self.cfg.OUTPUT_DIR)
        return self.writers

    def resume_or_load(self, resume: bool = True) -> None:
        """Go on from the last checkpoint in OUTPUT_DIR, or start from MODEL.WEIGHTS.

        Args:
            resume: go on if there is a checkpoint.

        Raises:
            UserError: the file cannot be used, or does not fit the model.
        """
        is_there = comm.all_gather(resume and self.checkpointer.has_checkpoint())
        if all(is_there):
            self._resume()
        elif any(is_there):
            raise UserError(
                f"Some processes see a checkpoint in OUTPUT_DIR {self.cfg.OUTPUT_DIR} and others "
                "do not; put it on a disk that all machines share."
            )
        else:
            if resume:
                logger.info(f"No checkpoint in {self.cfg.OUTPUT_DIR} yet: this is a new start.")
            logger.info(self._start())
            self.data_loader.start(0, self.seed)

    def _resume(self) -> None:
        self._resumed: dict[str, Any] = {}
        self.checkpointer.resume_or_load("", resume=True)
        if not self._resumed:
            raise UserError(
                f"{self.checkpointer.coverage.path} has weights, but not the state of a training "
                "by this program; start a new one from it: MODEL.WEIGHTS and another OUTPUT_DIR, "
                "without --resume."
            )
        self.head_is_new = False
        self.start_iter = self.iter + 1
        self.data_loader.start(self.start_iter, self._resumed["seed"])
        logger.info(f"Resumed after iteration {self.iter}; {self.max_iter} are to be done in all.")
        for key, value in self._place().items():
            # Files of earlier versions lack some of them.
            if value != self._resumed.get(key, value):
                logger.warning(
                    f"{key} is {value}, but was {self._resumed[key]} before: the training goes on, "
                    "but not as it would have without the interruption."
                )

    def _start(self) -> str:
        """Load MODEL.WEIGHTS; return sentences on what starts from it and what at random."""
        model = self.checkpointer.model
        if not self.cfg.MODEL.WEIGHTS:
            return start_without_file(model)
        self.checkpointer.load(self.cfg.MODEL.WEIGHTS, checkpointables=[])
        coverage = self.checkpointer.coverage
        self.head_is_new = not any(name.endswith("bbox_pred.weight") for name in coverage.loaded)
        return coverage.require_start(model, self.cfg.MODEL.FCOS.REINIT_CLS_LOGITS)

    def train(self) -> Any:
        """Train up to ``SOLVER.MAX_ITER``.

        Returns:
            The results of the last evaluation where ``TEST.EXPECTED_RESULTS`` is set, else None.

        Raises:
            UserError: the loss is not finite, or a checkpoint cannot be written.
            TrainingStopped: a signal came, and a checkpoint was written.
        """
        if self.start_iter >= self.max_iter:
            logger.info(f"All {self.max_iter} iterations are done; only the evaluation is run.")
        with traceback_for_bugs_only():
            try:
                return super().train()
            except OSError as error:
                # On a full disk, closing the log fails as well. Raise the first error.
                if isinstance(error.__context__, UserError):
                    raise error.__context__ from None
                raise

    def end_after(self, iteration: int) -> None:
        """Make this the last iteration; detectron2's loop goes on, but nothing happens in it."""
        self._last_iter = iteration

    def before_step(self) -> None:
        if self._last_iter is None:
            super().before_step()

    def run_step(self) -> None:
        if self._last_iter is None:
            self.loop.iter = self.iter
            self.loop.run_step()

    def after_step(self) -> None:
        if self._last_iter is None:
            super().after_step()

    def after_train(self) -> None:
        if self._last_iter is not None:
            self.iter = self.max_iter = self._last_iter + 1
        super().after_train()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of hooks, schedule, optimizer and scaler, and what decides the data."""
        return {
            **TrainerBase.state_dict(self),
            "loop": self.loop.state_dict(),
            "seed": self.seed,
            "place": self._place(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned; ignore the state of another trainer.

        Raises:
            UserError: it is the state of another model, or of other trained parameters.
        """
        if not {"loop", "seed", "place"} <= state_dict.keys():
            return
        self.checkpointer.coverage.require_all("Resuming")  # the optimizer's state needs the same
        path = self.checkpointer.coverage.path
        require_same_optimizer(self.cfg, state_dict["place"], path)
        state_dict = without_average(state_dict, self.cfg)
        self._resumed = {"seed": state_dict["seed"], **state_dict["place"]}
        try:
            with settings_kept(self.optimizer, self.scheduler):
                TrainerBase.load_state_dict(self, state_dict)
                self.loop.load_state_dict(state_dict["loop"])
        except ValueError as error:  # torch's, when other parameters were trained
            raise UserError(
                f"The training of {path} was of other parameters than "
                f"this config's, or some had another rate or decay than the rest ({error}); resume "
                "it with the config that it was begun with, or start a new one from it: "
                "MODEL.WEIGHTS and another OUTPUT_DIR, without --resume."
            ) from error

    def _place(self) -> dict[str, Any]:
        return {
            "SOLVER.IMS_PER_BATCH": self.cfg.SOLVER.IMS_PER_BATCH,
            **solver_settings(self.cfg),
            "The number of processes": comm.get_world_size(),
            "DATASETS.TRAIN": list(self.cfg.DATASETS.TRAIN),
            # Not every loader that a subclass builds says it.
            "The number of images": getattr(self.data_loader, "num_images", None),
            "The precision": str(self.loop.precision or torch.float32).removeprefix("torch."),
        }
