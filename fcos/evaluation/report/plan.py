"""Which runs a report needs, and which of them are finished."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import yaml

from fcos.config import CfgNode, read_cfg
from fcos.evaluation.report.measured import FINAL, TASKS
from fcos.evaluation.report.rows import BASELINE, LAST, RETINANET, ROWS
from fcos.evaluation.runs import RESULTS, open_folder
from fcos.evaluation.training.history import METRICS, read_history
from fcos.utils.errors import UserError
from fcos.utils.nested import flat

__all__ = ["PROFILES", "Planned", "Profile", "plan_runs"]


@dataclasses.dataclass(frozen=True)
class Profile:
    """How much is run.

    Attributes:
        rows: names of rows of Table 3.
        seeds: each row and each detector with masks is trained with these.
        iterations: of a training; a longer schedule is shortened to it.
    """

    rows: tuple[str, ...]
    seeds: tuple[int, ...]
    iterations: int


PROFILES = {
    "quick": Profile(("2_p5", BASELINE, LAST), (1,), 300),
    "full": Profile(tuple(ROWS), (1, 2, 3), 400),
}


@dataclasses.dataclass(frozen=True)
class Planned:
    """A run that a report needs.

    Attributes:
        name: of its folder, such as "3_nms-seed1".
        cfg: its config.
        config_file, options: what that is made of.
        weights: of another run, which are only evaluated; empty: it is trained.
    """

    name: str
    cfg: CfgNode
    config_file: str
    options: tuple[str, ...]
    weights: str

    @property
    def folder(self) -> str:
        return str(self.cfg.OUTPUT_DIR)

    def done(self) -> int:
        """Return how many iterations of its training are done.

        Raises:
            UserError: its folder holds a run with other settings.
        """
        self._check_same()
        if not os.path.isfile(os.path.join(self.folder, METRICS)):
            return 0
        return read_history(open_folder(self.folder)).done

    def is_finished(self) -> bool:
        """Say whether it is trained and evaluated.

        Raises:
            UserError: its folder holds a run with other settings.
        """
        self._check_same()
        results = os.path.join(self.folder, "inference", RESULTS)
        if not os.path.isfile(results):
            return False
        if self.weights:
            return os.path.isfile(self.weights) and _is_newer(results, self.weights)
        if not os.path.isfile(os.path.join(self.folder, METRICS)):
            return False
        history = read_history(open_folder(self.folder))
        ends = [
            series.iterations[-1] + 1
            for name, series in history.series.items()
            if name.endswith(f"{TASKS['box']}/AP")
        ]
        is_evaluated = any(end >= self.cfg.SOLVER.MAX_ITER for end in ends)
        return is_evaluated and os.path.isfile(os.path.join(self.folder, FINAL))

    def _check_same(self) -> None:
        """Refuse a folder in which a run with other settings was begun."""
        there = flat(open_folder(self.folder).config) if os.path.isdir(self.folder) else {}
        wanted = flat(yaml.safe_load(self.cfg.dump()))
        for key, value in wanted.items():
            if key in there and there[key] != value:
                raise UserError(
                    f"{self.folder} holds a run with other settings: {key} is {there[key]!r} there "
                    f"and would be {value!r}. Remove that folder, or choose another --output."
                )


def plan_runs(
    profile: Profile,
    output: str,
    config_file: str,
    files: dict[str, str],
    options: Sequence[str] = (),
) -> list[Planned]:
    """List the runs of a profile, in the order in which they are to be done.

    Rows are the given config with the settings of the row: data, backbone and schedule stay. Rows
    that differ in the threshold of NMS alone have the same model, which is trained once. All runs
    of a seed come before those of the next one, so that a report on what there is has every row
    early.

    Args:
        profile: how much is run.
        output: each run gets a folder in it.
        config_file: of an FCOS.
        files: configs of other detectors: of those with masks by their names in
            :data:`fcos.evaluation.report.rows.MASKS`, and of RetinaNet by that of its row.
        options: ``KEY, VALUE, ...`` that change every run.

    Raises:
        UserError: a config cannot be read, or an option is what the rows are told apart by.
    """
    _check_options(options)
    runs: list[Planned] = []
    rows = [name for name in profile.rows if name != RETINANET]
    trained = _trained_rows(rows)
    for seed in profile.seeds:
        for name in sorted(rows, key=lambda name: name not in trained):
            settings = _as_options(ROWS[name].settings)
            weights = ""
            if name not in trained:
                source = next(other for other in trained if _is_same_model(other, name))
                weights = os.path.join(output, f"{source}-seed{seed}", FINAL)
            runs.append(
                _planned(name, seed, output, config_file, [*settings, *options], profile, weights)
            )
        for name, file in files.items():
            if name == RETINANET and name not in profile.rows:
                continue
            runs.append(_planned(name, seed, output, file, options, profile, ""))
    return runs


def _check_options(options: Sequence[str]) -> None:
    """Refuse options that the plan sets itself."""
    rows = {f"MODEL.FCOS.{key}" for row in ROWS.values() for key in row.settings}
    for key in options[::2]:
        if key in rows:
            raise UserError(f"{key} is what the rows of Table 3 differ in: leave it out.")
        if key in ("SEED", "OUTPUT_DIR"):
            raise UserError(
                f"{key}: each run has its own, by --profile and --output; leave it out."
            )


def _planned(
    name: str,
    seed: int,
    output: str,
    config_file: str,
    options: Sequence[str],
    profile: Profile,
    weights: str,
) -> Planned:
    name = f"{name}-seed{seed}"
    own = [*options, "SEED", str(seed), "OUTPUT_DIR", os.path.join(output, name)]
    if "SOLVER.MAX_ITER" not in options[::2]:
        own += _shortened(read_cfg(config_file, options), profile.iterations)
    if weights:
        own += ["MODEL.WEIGHTS", weights]
    cfg = read_cfg(config_file, own)
    cfg.freeze()
    return Planned(name, cfg, config_file, tuple(own), weights)


def _shortened(cfg: CfgNode, iterations: int) -> list[str]:
    """Return the options that give a schedule so many iterations, with its parts in proportion."""
    solver = cfg.SOLVER
    if iterations >= solver.MAX_ITER:
        return []
    share = iterations / solver.MAX_ITER
    steps = tuple(round(step * share) for step in solver.STEPS)
    warmup = min(solver.WARMUP_ITERS, iterations // 4)
    options = {"MAX_ITER": iterations, "STEPS": steps, "WARMUP_ITERS": warmup}
    return [text for key, value in options.items() for text in (f"SOLVER.{key}", str(value))]


def _trained_rows(rows: Sequence[str]) -> list[str]:
    """Leave out rows that another row to be trained has the model of; the later one is trained."""
    kept: list[str] = []
    for name in reversed(rows):
        if not any(_is_same_model(other, name) for other in kept):
            kept.insert(0, name)
    return kept


def _is_same_model(one: str, other: str) -> bool:
    def without_nms(name: str) -> dict[str, Any]:
        return {k: v for k, v in ROWS[name].settings.items() if k != "NMS_THRESH_TEST"}

    return without_nms(one) == without_nms(other)


def _as_options(settings: dict[str, Any]) -> list[str]:
    return [text for key, value in settings.items() for text in (f"MODEL.FCOS.{key}", str(value))]


def _is_newer(one: str, other: str) -> bool:
    return os.path.getmtime(one) >= os.path.getmtime(other)
