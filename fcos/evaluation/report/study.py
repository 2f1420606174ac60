"""All that a report says, before it is written."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

from detectron2.data import DatasetCatalog, MetadataCatalog
from fcos.data.register import read_dataset
from fcos.evaluation.report.examples import Pair, pair_of
from fcos.evaluation.report.measured import Measured, measure
from fcos.evaluation.report.rows import BASELINE, LAST, MASKS, ROWS
from fcos.evaluation.report.tables import Line, mask_lines, table3_lines
from fcos.evaluation.runs import RunFolder
from fcos.evaluation.truth import Truth, register_from_configs
from fcos.utils.errors import UserError

__all__ = ["Study", "study_runs"]


@dataclasses.dataclass(frozen=True)
class Study:
    """What a report is about.

    Attributes:
        truth: the data set that all runs were evaluated on.
        dataset: its name; None if it has none.
        runs: all, in the order in which they were given.
        table3: a line for each row of Table 3.
        masks: a line for each detector with masks.
        boxes: the baseline and, if there is one, the last improvement; None if no FCOS of Table 3
            found something.
        segmentation: the detectors with masks; None if none found something.
        training_images: images of each training set; None where it cannot be read.
    """

    truth: Truth
    dataset: str | None
    runs: list[Measured]
    table3: list[Line]
    masks: list[Line]
    boxes: Pair | None
    segmentation: Pair | None
    training_images: Mapping[str, int | None]

    @functools.cached_property
    def baseline(self) -> Line:
        """The line of the baseline."""
        return next(line for line in self.table3 if line.name == BASELINE)

    @property
    def others(self) -> list[Measured]:
        """Runs that stand in no table."""
        return [run for run in self.runs if run.kind not in ROWS and run.kind not in MASKS]

    @property
    def explained(self) -> Pair | None:
        """Where the FCOS is from whose steps are shown: ``boxes``, or else ``segmentation``."""
        return self.boxes or self.segmentation

    @property
    def subject(self) -> Measured | None:
        """The FCOS whose steps are shown: of the runs that are explained, the one with best AP."""
        runs = self.explained.runs if self.explained else ()
        of_fcos = [run for run in runs if run.kind != "mask_rcnn"]
        return max(of_fcos, key=lambda run: run.figures["box"]["AP"], default=None)


def study_runs(
    folders: Sequence[RunFolder], truth: Truth, dataset: str | None, num_images: int
) -> Study:
    """Measure and compare runs.

    Args:
        folders: result folders.
        truth: the data set that all are evaluated on.
        dataset: its name, if it has one.
        num_images: images to draw of each comparison.

    Raises:
        UserError: the files of a run cannot be used.
    """
    runs = [measure(folder, truth, dataset) for folder in folders]
    table3, masks = table3_lines(runs), mask_lines(runs)
    shown = _shown(table3)
    with_masks = [(line.title, line.first) for line in masks if line.first]
    return Study(
        truth=truth,
        dataset=dataset,
        runs=runs,
        table3=table3,
        masks=masks,
        boxes=pair_of(shown, truth, dataset, num_images) if shown else None,
        segmentation=pair_of(with_masks, truth, dataset, num_images) if with_masks else None,
        training_images=_training_images(folders, runs),
    )


def _shown(table3: Sequence[Line]) -> list[tuple[str, Measured]]:
    """Choose the runs to picture: the baseline, and the last row that was run after it."""
    found = [line for line in table3 if line.first and ROWS[line.name].settings]
    if not found:
        return []
    first = next((line for line in found if line.name == BASELINE), found[0])
    labels = {BASELINE: "the baseline", LAST: "all improvements"}
    pairs = []
    for line in [first, *([found[-1]] if found[-1].name != first.name else [])]:
        assert line.first is not None  # as chosen above
        pairs.append((labels.get(line.name, line.title), line.first))
    return pairs


def _training_images(
    folders: Sequence[RunFolder], runs: Sequence[Measured]
) -> dict[str, int | None]:
    """Count the images of the training sets."""
    counts: dict[str, int | None] = {}
    for name in dict.fromkeys(name for run in runs for name in run.budget.datasets):
        try:
            register_from_configs(name, folders)
            known = name in DatasetCatalog.list() and MetadataCatalog.get(name).get("json_file")
            counts[name] = len(read_dataset(name, with_masks=False).images) if known else None
        except UserError:  # it is not on this machine any more
            counts[name] = None
    return counts
