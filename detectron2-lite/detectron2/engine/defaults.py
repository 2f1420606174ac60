"""What most trainings and demos do the same way: set-up, ``DefaultTrainer``, ``DefaultPredictor``.

Everything here follows the config and is meant to be overridden piece by piece.
"""

from __future__ import annotations

import logging
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.data import (
    MetadataCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
)
from detectron2.data import transforms as T
from detectron2.engine import hooks
from detectron2.engine._setup import (
    create_ddp_model,
    default_argument_parser,
    default_setup,
    default_writers,
)
from detectron2.engine.train_loop import AMPTrainer, HookBase, SimpleTrainer, TrainerBase
from detectron2.evaluation import (
    DatasetEvaluator,
    inference_on_dataset,
    print_csv_format,
    verify_results,
)
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler, build_optimizer
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from detectron2.utils.logger import setup_logger

__all__ = [
    "DefaultPredictor",
    "DefaultTrainer",
    "create_ddp_model",
    "default_argument_parser",
    "default_setup",
    "default_writers",
]


class DefaultPredictor:
    """A model for one image at a time, on one device, all by the config.

    Loads ``cfg.MODEL.WEIGHTS``, resizes by ``cfg.INPUT.{MIN,MAX}_SIZE_TEST``, converts to
    ``cfg.INPUT.FORMAT``.

    Attributes:
        cfg: a copy of the config.
        model: in evaluation mode.
        metadata: of the first dataset in ``cfg.DATASETS.TEST``; absent if there is none.
        aug: the resizing.
        input_format: ``"BGR"`` or ``"RGB"``.
    """

    def __init__(self, cfg: CfgNode) -> None:
        if cfg.INPUT.FORMAT not in ("BGR", "RGB"):
            raise ValueError(
                f"DefaultPredictor: INPUT.FORMAT is {cfg.INPUT.FORMAT!r}, not 'BGR' or 'RGB'"
            )
        self.cfg = cfg.clone()
        self.input_format = cfg.INPUT.FORMAT
        self.model = build_model(self.cfg).eval()
        if cfg.DATASETS.TEST:
            self.metadata = MetadataCatalog.get(cfg.DATASETS.TEST[0])
        DetectionCheckpointer(self.model).load(cfg.MODEL.WEIGHTS)
        size = cfg.INPUT.MIN_SIZE_TEST
        self.aug = T.ResizeShortestEdge([size, size], cfg.INPUT.MAX_SIZE_TEST)

    def __call__(self, original_image: np.ndarray) -> dict[str, Any]:
        """What the model finds in an image.

        Args:
            original_image: (H, W, 3) in BGR order, values 0 to 255.

        Returns:
            The model's output for this image, such as ``{"instances": Instances}``, in pixels of
            ``original_image``.

        Raises:
            ValueError: it is not such an array.
        """
        if getattr(original_image, "ndim", 0) != 3 or original_image.shape[2] != 3:
            shape = getattr(original_image, "shape", original_image)
            raise ValueError(f"DefaultPredictor: expected an image of shape (H, W, 3), got {shape}")
        image = original_image
        if self.input_format == "RGB":
            image = image[:, :, ::-1]
        height, width = image.shape[:2]
        image = self.aug.get_transform(image).apply_image(image)
        chw = torch.from_numpy(image.astype(np.float32).transpose(2, 0, 1))
        inputs = {"image": chw.to(self.cfg.MODEL.DEVICE), "height": height, "width": width}
        with torch.no_grad():
            return self.model([inputs])[0]


class DefaultTrainer(TrainerBase):
    """A training as the config describes it: model, data, optimizer, schedule, hooks.

    Example::

        trainer = DefaultTrainer(cfg)
        trainer.resume_or_load(resume=args.resume)
        trainer.train()

    The ``build_*`` methods and ``test`` are there to be overridden.

    Attributes:
        cfg: the config, scaled by ``auto_scale_workers``.
        scheduler: the learning rate schedule.
        checkpointer: a ``DetectionCheckpointer`` of the model and of this trainer.
    """

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        if not logging.getLogger("detectron2").isEnabledFor(logging.INFO):
            setup_logger()  # default_setup() was not called
        cfg = self.auto_scale_workers(cfg, comm.get_world_size())

        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        data_loader = self.build_train_loader(cfg)
        model = create_ddp_model(model, broadcast_buffers=False)
        trainer_class = AMPTrainer if cfg.SOLVER.AMP.ENABLED else SimpleTrainer
        self._trainer = trainer_class(model, data_loader, optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        # By a weak reference: see TrainerBase.register_hooks.
        self.checkpointer = DetectionCheckpointer(
            model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self)
        )
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.cfg = cfg
        self._last_eval_results: dict[str, Any] | None = None
        self.register_hooks(self.build_hooks())

    def resume_or_load(self, resume: bool = True) -> None:
        """Load where to start from.

        Args:
            resume: if ``cfg.OUTPUT_DIR`` has a last checkpoint, load all of it and go on with the
                iteration after it; ``cfg.MODEL.WEIGHTS`` is not used then.  If it has none, or if
                this is False, load just the weights from ``cfg.MODEL.WEIGHTS`` and start at 0.
        """
        self.checkpointer.resume_or_load(self.cfg.MODEL.WEIGHTS, resume=resume)
        if resume and self.checkpointer.has_checkpoint():
            # The checkpoint has the iteration that was completed.
            self.start_iter = self.iter + 1

    def build_hooks(self) -> list[HookBase | None]:
        """The default hooks: timing, learning rate, precise BN, checkpoints, evaluation, writing.

        ``PreciseBN`` is ``None`` where it is off; the main process alone saves and writes.
        """
        cfg = self.cfg
        precise_bn = None
        if cfg.TEST.PRECISE_BN.ENABLED:
            loader_cfg = cfg.clone()
            loader_cfg.defrost()
            loader_cfg.DATALOADER.NUM_WORKERS = 0  # workers would take memory and time to start
            precise_bn = hooks.PreciseBN(
                cfg.TEST.EVAL_PERIOD,
                self.model,
                self.build_train_loader(loader_cfg),
                cfg.TEST.PRECISE_BN.NUM_ITER,
            )

        def evaluate() -> dict:
            self._last_eval_results = self.test(self.cfg, self.model)
            return self._last_eval_results

        built: list[HookBase | None] = [hooks.IterationTimer(), hooks.LRScheduler(), precise_bn]
        # Before the evaluation: if that fails, the checkpoint is there.  After precise BN, which
        # changes the model.
        if comm.is_main_process():
            period = cfg.SOLVER.CHECKPOINT_PERIOD
            built.append(hooks.PeriodicCheckpointer(self.checkpointer, period))
        built.append(hooks.EvalHook(cfg.TEST.EVAL_PERIOD, evaluate))
        if comm.is_main_process():
            built.append(hooks.PeriodicWriter(self.build_writers(), period=20))
        return built

    def build_writers(self) -> list[EventWriter]:
        """Where metrics are written to: ``default_writers``."""
        return default_writers(self.cfg.OUTPUT_DIR, self.max_iter)

    def train(self) -> dict[str, Any] | None:  # type: ignore[override]  # as in detectron2
        """Train from ``start_iter`` to ``max_iter``.

        Returns:
            The last evaluation's results if ``cfg.TEST.EXPECTED_RESULTS`` says what to expect, in
            the main process; results other than expected exit the program.
        """
        super().train(self.start_iter, self.max_iter)
        if not self.cfg.TEST.EXPECTED_RESULTS or not comm.is_main_process():
            return None
        if self._last_eval_results is None:
            raise RuntimeError("TEST.EXPECTED_RESULTS is set, but there was no evaluation")
        verify_results(self.cfg, self._last_eval_results)
        return self._last_eval_results

    def run_step(self) -> None:
        self._trainer.iter = self.iter
        self._trainer.run_step()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "_trainer": self._trainer.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._trainer.load_state_dict(state_dict["_trainer"])

    @property
    def model(self) -> nn.Module:
        """The model in training, wrapped for several processes if there are several."""
        return self._trainer.model

    @model.setter
    def model(self, model: nn.Module) -> None:
        self._trainer.model = model

    @property
    def data_loader(self) -> Iterable:
        return self._trainer.data_loader

    @data_loader.setter
    def data_loader(self, data_loader: Iterable) -> None:
        self._trainer.data_loader = data_loader

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self._trainer.optimizer

    @optimizer.setter
    def optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        self._trainer.optimizer = optimizer

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """``detectron2.modeling.build_model``; logs the model."""
        model = build_model(cfg)
        logging.getLogger(__name__).info("Model:\n%s", model)
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """``detectron2.solver.build_optimizer``."""
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(
        cls, cfg: CfgNode, optimizer: torch.optim.Optimizer
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """``detectron2.solver.build_lr_scheduler``."""
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Iterable:
        """``detectron2.data.build_detection_train_loader``."""
        return build_detection_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable:
        """``detectron2.data.build_detection_test_loader``."""
        return build_detection_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """Make the evaluator of a dataset; to be defined by a subclass."""
        raise NotImplementedError(
            f"{cls.__name__} does not define build_evaluator(cfg, dataset_name), which evaluation "
            "during training needs: let it return a DatasetEvaluator such as COCOEvaluator, "
            "or set DATASETS.TEST to () and evaluate by yourself"
        )

    @classmethod
    def test(
        cls,
        cfg: CfgNode,
        model: nn.Module,
        evaluators: Sequence[DatasetEvaluator] | DatasetEvaluator | None = None,
    ) -> dict[str, Any]:
        """Evaluate a model on every dataset of ``cfg.DATASETS.TEST``.

        Args:
            cfg: the config.  ``TEST.AUG`` is for scripts; this does not augment.
            model: with the weights to evaluate.
            evaluators: one per dataset; those of ``build_evaluator`` by default.

        Returns:
            The results, by dataset; with one dataset only, its results themselves.
        """
        logger = logging.getLogger(__name__)
        if isinstance(evaluators, DatasetEvaluator):
            evaluators = [evaluators]
        names = cfg.DATASETS.TEST
        if evaluators is not None and len(evaluators) != len(names):
            raise ValueError(
                f"test: {len(evaluators)} evaluators for {len(names)} datasets in DATASETS.TEST"
            )
        results: OrderedDict[str, Any] = OrderedDict()
        for index, name in enumerate(names):
            try:
                evaluator = evaluators[index] if evaluators else cls.build_evaluator(cfg, name)
            except NotImplementedError as error:
                logger.warning("%s is not evaluated: %s", name, error)
                results[name] = {}
                continue
            data_loader = cls.build_test_loader(cfg, name)
            results[name] = inference_on_dataset(model, data_loader, evaluator)
            if comm.is_main_process():
                logger.info("Evaluation results for %s in csv format:", name)
                print_csv_format(results[name])
        return next(iter(results.values())) if len(results) == 1 else results

    @staticmethod
    def auto_scale_workers(cfg: CfgNode, num_workers: int) -> CfgNode:
        """Adapt a config to another number of processes than it was written for.

        The batch per process stays as it is with ``cfg.SOLVER.REFERENCE_WORLD_SIZE`` processes.
        The batch in all and the learning rate grow with the number of processes, the numbers of
        iterations (``MAX_ITER``, ``STEPS``, ``WARMUP_ITERS``, ``CHECKPOINT_PERIOD``,
        ``EVAL_PERIOD``) shrink with it.

        Returns:
            A new config, or ``cfg`` itself if the reference is 0 or equals ``num_workers``.
        """
        reference = cfg.SOLVER.REFERENCE_WORLD_SIZE
        if reference in (0, num_workers):
            return cfg
        if cfg.SOLVER.IMS_PER_BATCH % reference != 0:
            raise ValueError(
                f"SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH} is not a multiple of "
                f"SOLVER.REFERENCE_WORLD_SIZE {reference}"
            )
        factor = num_workers / reference
        scaled = cfg.clone()
        scaled.defrost()
        solver = scaled.SOLVER
        solver.REFERENCE_WORLD_SIZE = num_workers
        solver.IMS_PER_BATCH = round(solver.IMS_PER_BATCH * factor)
        solver.BASE_LR *= factor
        solver.STEPS = tuple(round(step / factor) for step in solver.STEPS)
        for key in ("MAX_ITER", "WARMUP_ITERS", "CHECKPOINT_PERIOD"):
            solver[key] = round(solver[key] / factor)
        scaled.TEST.EVAL_PERIOD = round(scaled.TEST.EVAL_PERIOD / factor)
        logging.getLogger(__name__).info(
            "Auto-scaling the config to batch_size=%d, learning_rate=%g, max_iter=%d, warmup=%d.",
            *(solver.IMS_PER_BATCH, solver.BASE_LR, solver.MAX_ITER, solver.WARMUP_ITERS),
        )
        if cfg.is_frozen():
            scaled.freeze()
        return scaled
