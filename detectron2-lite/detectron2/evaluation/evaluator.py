"""The interface of evaluators, and the loop that feeds them with a model's results."""

from __future__ import annotations

import contextlib
import datetime
import functools
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from detectron2._missing import missing_names
from detectron2.structures import Instances
from detectron2.utils.comm import get_world_size, is_main_process
from detectron2.utils.logger import log_every_n_seconds

__all__ = [
    "DatasetEvaluator",
    "DatasetEvaluators",
    "inference_context",
    "inference_on_dataset",
]

__getattr__ = missing_names(__name__)

logger = logging.getLogger(__name__)


class DatasetEvaluator:
    """Collects the results for the images of a dataset and computes metrics in the end."""

    def reset(self) -> None:
        """Forget everything; called before the first image."""

    def process(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Take the results of one batch.

        Args:
            inputs: what the model was given, one element per image.
            outputs: what it returned, in the same order.
        """

    def evaluate(self) -> dict[str, Any] | None:
        """Compute the metrics; called after the last image.

        Returns:
            Usually task ("bbox") to metric ("AP") to number. Only the main process's counts.
        """


class DatasetEvaluators(DatasetEvaluator):
    """Several evaluators as one."""

    def __init__(self, evaluators: Sequence[DatasetEvaluator]) -> None:
        """
        Args:
            evaluators: what gets all the calls.
        """
        self._evaluators = evaluators

    def reset(self) -> None:
        """Reset all of them."""
        for evaluator in self._evaluators:
            evaluator.reset()

    def process(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Hand the batch to all of them."""
        for evaluator in self._evaluators:
            evaluator.process(inputs, outputs)

    def evaluate(self) -> OrderedDict[str, Any]:
        """The results of all of them in one dict.

        Raises:
            AssertionError: two of them give the same task.
        """
        results: OrderedDict[str, Any] = OrderedDict()
        for evaluator in self._evaluators:
            result = evaluator.evaluate()
            if result is None or not is_main_process():
                continue
            if twice := results.keys() & result.keys():
                raise AssertionError(f"Two evaluators give results for {', '.join(sorted(twice))}")
            results.update(result)
        return results


class _Stopwatch:
    """Seconds spent per stage of the loop, from the end of a warm-up on."""

    def __init__(self, n_total: int) -> None:
        self.n_total = n_total
        self.n_warmup = max(0, min(5, n_total - 1))
        self.n_done = 0
        self._restart()

    def _restart(self) -> None:
        self.n_timed = 0
        self.seconds = {"Dataloading": 0.0, "Inference": 0.0, "Eval": 0.0}
        self.started = self.last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Count the time since the last call as that of ``stage``."""
        now = time.perf_counter()
        self.seconds[stage] += now - self.last
        self.last = now

    def next_batch(self) -> None:
        """One batch is done."""
        self.n_done += 1
        self.n_timed += 1
        if self.n_done == self.n_warmup:
            self._restart()

    def progress(self) -> str:
        """Seconds per batch so far, and the time left."""
        total = (time.perf_counter() - self.started) / self.n_timed
        eta = datetime.timedelta(seconds=int(total * (self.n_total - self.n_done)))
        stages = "".join(f"{k}: {s / self.n_timed:.4f} s/iter. " for k, s in self.seconds.items())
        return (
            f"Inference done {self.n_done}/{self.n_total}. {stages}Total: {total:.4f} s/iter. "
            f"ETA={eta}"
        )

    def log_summary(self) -> None:
        """Log the seconds altogether and per batch."""
        total = time.perf_counter() - self.started
        for name, seconds in (("time", total), ("pure compute time", self.seconds["Inference"])):
            logger.info(
                "Total inference %s: %s (%.6f s / iter per device, on %d devices)",
                name,
                datetime.timedelta(seconds=int(seconds)),
                seconds / max(self.n_timed, 1),
                get_world_size(),
            )


def inference_on_dataset(
    model: Callable[[Any], Any],
    data_loader: Iterable[Any],
    evaluator: DatasetEvaluator | Sequence[DatasetEvaluator] | None,
    callbacks: Mapping[str, Callable[[], Any]] | None = None,
) -> Any:
    """Run a model on all batches of a loader, without gradients, and evaluate the results.

    Every 5 seconds it logs the seconds per batch that loading, the model and the evaluator take,
    and the time left; the first 5 batches do not count.

    Args:
        model: from a batch to its results. A ``torch.nn.Module`` is in eval mode meanwhile.
        data_loader: yields batches and has a length.
        evaluator: one, several, or None to only measure the time.
        callbacks: functions to call under "on_start", "before_inference", "after_inference" (of
            each batch) and "on_end".

    Returns:
        What ``evaluator.evaluate()`` returns, an empty dict in place of None.
    """
    if evaluator is None:
        evaluator = []
    if not isinstance(evaluator, DatasetEvaluator):
        evaluator = DatasetEvaluators(evaluator)
    evaluator.reset()
    notify = functools.partial(_notify, callbacks or {})
    n_batches = len(data_loader)  # type: ignore[arg-type]
    logger.info("Start inference on %d batches", n_batches)
    with contextlib.ExitStack() as stack:
        if isinstance(model, nn.Module):
            stack.enter_context(inference_context(model))
        stack.enter_context(torch.no_grad())
        watch = _Stopwatch(n_batches)
        notify("on_start")
        for inputs in data_loader:
            watch.lap("Dataloading")
            notify("before_inference")
            outputs = model(inputs)
            if torch.cuda.is_available() and _is_on_gpu(outputs):
                torch.cuda.synchronize()  # the model only queues its work
            notify("after_inference")
            watch.lap("Inference")
            evaluator.process(inputs, outputs)
            watch.lap("Eval")
            watch.next_batch()
            if watch.n_timed:
                log_every_n_seconds(logging.INFO, watch.progress(), n=5, name=__name__)
        notify("on_end")
    watch.log_summary()
    results = evaluator.evaluate()
    return {} if results is None else results


def _is_on_gpu(value: Any) -> bool:
    """Whether something in a model's results, of any depth, says that it is on a GPU."""
    if isinstance(value, Instances):
        value = value.get_fields()
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return any(map(_is_on_gpu, value))
    return getattr(getattr(value, "device", None), "type", None) == "cuda"


def _notify(callbacks: Mapping[str, Callable[[], Any]], stage: str) -> None:
    if stage in callbacks:
        callbacks[stage]()


@contextlib.contextmanager
def inference_context(model: nn.Module) -> Iterator[None]:
    """``model`` in eval mode, and back in the mode it was in afterwards, also after an error."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
