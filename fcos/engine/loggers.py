"""Send what a training logs to Weights & Biases or MLflow, by the key LOGGERS."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import yaml

from detectron2.engine import HookBase
from fcos.config import CfgNode
from fcos.utils.errors import UserError, one_line
from fcos.utils.files import write_text
from fcos.utils.json_files import read_json
from fcos.utils.nested import flat

__all__ = ["Loggers", "check_loggers_installed"]

logger = logging.getLogger(__name__)

_PROJECT = "fcos"  # where no environment variable names another one
_IDS = "loggers.json"  # in OUTPUT_DIR: logger -> the run that a resumed training goes on in
_MOST_PARAMETERS = 100  # that MLflow takes at once


class Logger(Protocol):
    """A run at one of the services, open for writing.

    Attributes:
        run_id: by which the run can be opened again.
    """

    run_id: str

    def scalars(self, iteration: int, values: Mapping[str, float]) -> None:
        """Write the numbers of an iteration."""

    def image(self, iteration: int, name: str, picture: np.ndarray) -> None:
        """Write an image, (H, W, 3) uint8, red, green, blue."""

    def close(self, is_complete: bool) -> None:
        """Finish the run; ``is_complete``: the training reached its last iteration."""


class WandB:
    """A run of Weights & Biases. Its own environment variables say where (WANDB_PROJECT, ...)."""

    def __init__(self, cfg: CfgNode, run_id: str | None) -> None:
        # Neither a question about an account nor an upload may keep a training from ending.
        os.environ.setdefault("WANDB_LOGIN_TIMEOUT", "60")
        os.environ.setdefault("WANDB_FINISH_TIMEOUT", "600")
        import wandb

        self._wandb = wandb
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or _PROJECT,
            name=os.environ.get("WANDB_NAME") or _name_of(cfg),
            dir=os.environ.get("WANDB_DIR") or cfg.OUTPUT_DIR,
            config=yaml.safe_load(cfg.dump()),
            allow_val_change=True,  # of the config, when a training is resumed
            **({"id": run_id, "resume": "allow"} if run_id else {}),
        )
        self.run_id = self._run.id
        # Its own steps must not go back, as a resumed training does.
        self._run.define_metric("iteration")
        self._run.define_metric("*", step_metric="iteration")

    def scalars(self, iteration: int, values: Mapping[str, float]) -> None:
        self._run.log({**values, "iteration": iteration})

    def image(self, iteration: int, name: str, picture: np.ndarray) -> None:
        self._run.log({name: self._wandb.Image(picture), "iteration": iteration})

    def close(self, is_complete: bool) -> None:
        self._run.finish(exit_code=0 if is_complete else 1)


class MLflow:
    """A run of MLflow. Its own environment variables say where (MLFLOW_TRACKING_URI, ...)."""

    def __init__(self, cfg: CfgNode, run_id: str | None) -> None:
        # A server that does not answer must not keep the training waiting for minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        import mlflow

        self._mlflow = mlflow
        if not {"MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"} & os.environ.keys():
            mlflow.set_experiment(_PROJECT)
        # Inside a run of the program that trains, if there is one.
        run = mlflow.start_run(run_id=run_id, run_name=_name_of(cfg), nested=True)
        self.run_id = run.info.run_id
        if run_id is None:  # MLflow does not let parameters change
            values = flat(yaml.safe_load(cfg.dump()))
            pairs = [(_mlflow_name(key), str(value)) for key, value in values.items()]
            for first in range(0, len(pairs), _MOST_PARAMETERS):
                mlflow.log_params(dict(pairs[first : first + _MOST_PARAMETERS]))

    def scalars(self, iteration: int, values: Mapping[str, float]) -> None:
        named = {_mlflow_name(name): value for name, value in values.items()}
        self._mlflow.log_metrics(named, step=iteration, run_id=self.run_id)

    def image(self, iteration: int, name: str, picture: np.ndarray) -> None:
        file = f"{_mlflow_name(name)}_{iteration:07d}.png"
        self._mlflow.MlflowClient().log_image(self.run_id, picture, artifact_file=file)

    def close(self, is_complete: bool) -> None:
        self._mlflow.end_run("FINISHED" if is_complete else "KILLED")


_LOGGERS: dict[str, Callable[[CfgNode, str | None], Logger]] = {"wandb": WandB, "mlflow": MLflow}


class Loggers(HookBase):
    """Send scalars to the loggers of LOGGERS, as often as they are written to files: after every
    evaluation too.

    Register it in the main process, after the hooks that evaluate. A resumed training goes on in
    the same runs. A logger that fails gets nothing more, after one warning: it never ends the
    training.

    Args:
        cfg: the config, which the loggers get as parameters.
        period: iterations between two writings, and of which medians are taken.
    """

    def __init__(self, cfg: CfgNode, period: int = 20) -> None:
        self._cfg = cfg
        self._period = period
        self._open: dict[str, Logger] = {}
        self._written: dict[str, int] = {}

    def before_train(self) -> None:
        path = os.path.join(self._cfg.OUTPUT_DIR, _IDS)
        is_resumed = self.trainer.start_iter > 0 and os.path.isfile(path)
        known = _read_ids(path) if is_resumed else {}
        for name in self._cfg.LOGGERS:
            self._try(name, self._start, name, known.get(name))
        if self._open:
            ids = {**known, **{name: run.run_id for name, run in self._open.items()}}
            write_text(path, [json.dumps(ids), "\n"])
        self._write()  # an evaluation that was made up for

    def _start(self, name: str, run_id: str | None) -> None:
        self._open[name] = _LOGGERS[name](self._cfg, run_id)
        logger.info(f"{name}: this training is the run {self._open[name].run_id}.")

    def after_step(self) -> None:
        done, evaluations = self.trainer.iter + 1, self._cfg.TEST.EVAL_PERIOD
        is_evaluated = evaluations > 0 and done % evaluations == 0
        if is_evaluated or done % self._period == 0 or done == self.trainer.max_iter:
            self._write()

    def after_train(self) -> None:
        self._write()  # what other hooks stored after the last iteration
        is_complete = self.trainer.iter >= self.trainer.max_iter
        for name, run in list(self._open.items()):
            self._try(name, run.close, is_complete)
        self._open.clear()

    def put_image(self, name: str, picture: np.ndarray) -> None:
        """Send an image, (H, W, 3) uint8, red, green, blue, of the current iteration."""
        iteration = self.trainer.iter
        for logger_name, run in list(self._open.items()):
            self._try(logger_name, run.image, iteration, name, picture)

    def _write(self) -> None:
        if not self._open:
            return
        latest = self.trainer.storage.latest_with_smoothing_hint(self._period)
        new: dict[int, dict[str, float]] = {}
        for name, (value, iteration) in latest.items():
            if self._written.get(name) != iteration:
                new.setdefault(iteration, {})[name] = value
                self._written[name] = iteration
        for iteration, values in sorted(new.items()):
            for name, run in list(self._open.items()):
                self._try(name, run.scalars, iteration, values)

    def _try(self, name: str, action: Callable[..., None], *args: Any) -> None:
        try:
            action(*args)
        except Exception as error:  # whatever the network, the disk or the service makes of it
            self._open.pop(name, None)
            logger.warning(
                f"{name} failed, so it gets nothing more of this training, which goes on: "
                f"{one_line(error)}"
            )


def check_loggers_installed(names: Sequence[str]) -> None:
    """Refuse loggers whose packages are not installed.

    Args:
        names: the value of LOGGERS; all of them are known.

    Raises:
        UserError: one is missing.
    """
    for name in names:
        found = importlib.util.find_spec(name)
        # A folder of that name, such as W&B makes, can be imported, but has nothing in it.
        if found is None or found.origin is None:
            raise UserError(
                f"LOGGERS has {name!r}, but its package is not installed: pip install {name}, or "
                "take it out of LOGGERS."
            )


def _read_ids(path: str) -> dict[str, str]:
    try:
        found = read_json(path)
    except UserError as error:
        logger.warning(f"{error} So the loggers begin new runs.")
        return {}
    return found if isinstance(found, dict) else {}


def _name_of(cfg: CfgNode) -> str:
    return os.path.basename(os.path.abspath(cfg.OUTPUT_DIR))


def _mlflow_name(name: str) -> str:
    """Replace what MLflow does not allow in a name, which has to be a path within a folder."""
    return posixpath.normpath(re.sub(r"[^\w\-. :/]", "_", name)).lstrip("./") or "_"
