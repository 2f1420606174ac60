"""Find, read and check what an evaluation left in a result folder."""

from __future__ import annotations

import dataclasses
import math
import os
import reprlib
from collections.abc import Sequence
from glob import escape as glob_escape
from glob import glob
from typing import Any

import yaml

from fcos.utils.errors import UserError
from fcos.utils.json_files import is_id, read_json
from fcos.utils.reading import CONFIG, parse_yaml, read_bytes

__all__ = [
    "RESULTS",
    "Run",
    "RunFolder",
    "common_dataset",
    "open_folder",
    "open_folders",
    "read_run",
]

RESULTS = "coco_instances_results.json"  # as COCOEvaluator names it


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """A result folder.

    Attributes:
        label: its name on the page.
        path: the OUTPUT_DIR of an evaluation, or a results file by itself.
        config: contents of ``config.yaml`` there; empty if there is none.
    """

    label: str
    path: str
    config: dict[str, Any]

    @property
    def test_datasets(self) -> list[str]:
        """DATASETS.TEST; empty if it is not known."""
        datasets = self.config.get("DATASETS")
        names = datasets.get("TEST") if isinstance(datasets, dict) else None
        return list(map(str, names)) if isinstance(names, (list, tuple)) else []

    def results_of(self, dataset: str) -> str:
        """Return the path of a results file in the data set's own subfolder; it may not exist."""
        return os.path.join(self.path, "inference", dataset, RESULTS)

    @property
    def evaluated_datasets(self) -> list[str]:
        """Names of the data sets whose results are here, as far as ``config.yaml`` tells.

        Where all data sets of DATASETS.TEST are written to one file, the last one's remain.
        """
        names = [name for name in self.test_datasets if os.path.isfile(self.results_of(name))]
        return names or self.test_datasets[-1:]


@dataclasses.dataclass(frozen=True)
class Run:
    """The detections of one detector.

    Attributes:
        folder: where they come from.
        results_file: path of the JSON file.
        results: dicts with image_id, category_id, bbox (x, y, width, height in pixels), score and,
            in all or in none, segmentation.
    """

    folder: RunFolder
    results_file: str
    results: list[dict[str, Any]]

    @property
    def label(self) -> str:
        return self.folder.label

    @property
    def has_masks(self) -> bool:
        return bool(self.results) and "segmentation" in self.results[0]


def open_folders(arguments: Sequence[str]) -> list[RunFolder]:
    """Find the folders that ``folder`` or ``label=folder`` names, and read their configs.

    Args:
        arguments: at least one. Without a label, a folder is called by its last part, and
            a results file by its name.

    Raises:
        UserError: none, a label twice, or a path that does not exist.
    """
    if not arguments:
        raise UserError("No result folder is given: fcos compare output/baseline output/improved")
    folders: list[RunFolder] = []
    for argument in arguments:
        label, path = _split(argument)
        if any(label == other.label for other in folders):
            raise UserError(
                f"Two results are called {label!r}: give them different names, such as "
                f"before={folders[0].path} after={path}"
            )
        folders.append(RunFolder(label, path, _read_config(path)))
    return folders


def open_folder(argument: str) -> RunFolder:
    """Find the one folder that ``folder`` or ``label=folder`` names; see :func:`open_folders`."""
    label, path = _split(argument)
    return RunFolder(label, path, _read_config(path))


def common_dataset(folders: Sequence[RunFolder]) -> str:
    """Find the data set that all folders have results of.

    Folders without a ``config.yaml``, which do not tell their data set, are not asked.

    Raises:
        UserError: none, or more than one; or there are no results at all.
    """
    known = [folder for folder in folders if folder.evaluated_datasets]
    if not known:
        for folder in folders:
            _results_in(folder, None)
        raise UserError(
            "No config.yaml says which data set the results are of: name it with --dataset, or "
            "give compare or diagnose its annotations and pictures with --annotations FILE "
            "--images FOLDER."
        )
    shared = [
        name
        for name in known[0].evaluated_datasets
        if all(name in folder.evaluated_datasets for folder in known)
    ]
    if not shared:
        found = "; ".join(f"{f.label} on {', '.join(f.evaluated_datasets)}" for f in known)
        raise UserError(
            f"The results are of different data sets ({found}): evaluate all on one, with "
            "train_net.py --eval-only and DATASETS.TEST."
        )
    if len(shared) > 1:
        raise UserError(
            f"All have results on {', '.join(shared)}: choose one of these with --dataset."
        )
    return shared[0]


def read_run(folder: RunFolder, dataset: str | None, may_be_empty: bool = False) -> Run:
    """Find and read the detections in a folder.

    Args:
        folder: from :func:`open_folders`.
        dataset: name of the data set; None if it has none.
        may_be_empty: take a file without detections too.

    Raises:
        UserError: there is no results file, it is of another data set, or it is damaged.
    """
    file = _find_results(folder, dataset)
    last = folder.test_datasets[-1:]
    is_shared_file = dataset is None or file != folder.results_of(dataset)
    if dataset is not None and is_shared_file and last not in ([], [dataset]):
        raise UserError(
            f"{file} holds the detections on {last[0]}, not on {dataset}, by the DATASETS.TEST of "
            f"the config.yaml there: evaluate {folder.label} with train_net.py --eval-only and "
            f"DATASETS.TEST \"('{dataset}',)\", or name the file itself instead of the folder."
        )
    return Run(folder, file, _read_results(file, may_be_empty))


def _split(argument: str) -> tuple[str, str]:
    label, equals, path = argument.partition("=")
    # The name of a folder may contain "=", such as output/lr=0.01.
    if not equals or os.sep in label or os.path.exists(argument):
        label, path = "", argument
    elif not label or not path:
        raise UserError(f"{argument!r}: expected label=folder, or a folder alone.")
    path = os.path.normpath(os.path.expanduser(path))
    if not os.path.exists(path):
        raise UserError(f"The result folder {path} does not exist.")
    if os.path.basename(path) == "inference":
        path = os.path.dirname(path) or "."
    name = os.path.basename(os.path.abspath(path))
    return label or (os.path.splitext(name)[0] if os.path.isfile(path) else name), path


def _read_config(path: str) -> dict[str, Any]:
    file = os.path.join(path, "config.yaml")
    if not os.path.isfile(file):
        return {}
    try:
        config = parse_yaml(read_bytes(file, CONFIG).decode("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(
            f"{file} cannot be read: {' '.join(str(error).split())}. To do without it, name the "
            f"file {RESULTS} instead of its folder."
        ) from error
    return config if isinstance(config, dict) else {}


def _find_results(folder: RunFolder, dataset: str | None) -> str:
    found = _results_in(folder, dataset)
    if dataset is None and len(found) > 1:
        raise UserError(
            f"{folder.path} has results on several data sets ({', '.join(found)}): name the file "
            "itself instead of the folder."
        )
    return found[0]


def _results_in(folder: RunFolder, dataset: str | None) -> list[str]:
    """List the results files of a folder, of which there must be one, the best choice first."""
    if os.path.isfile(folder.path):
        return [folder.path]
    inference = os.path.join(folder.path, "inference")
    named = [] if dataset is None else [folder.results_of(dataset)]
    files = [*named, os.path.join(inference, RESULTS), os.path.join(folder.path, RESULTS)]
    if dataset is None:
        files += sorted(glob(os.path.join(glob_escape(inference), "*", RESULTS)))
    found = [file for file in files if os.path.isfile(file)]
    if not found:
        model = folder.config.get("MODEL")
        if isinstance(model, dict) and model.get("META_ARCHITECTURE") == "ProposalNetwork":
            raise UserError(
                f"{folder.path} has no detections: a ProposalNetwork makes proposals, which have "
                "no classes. What is measured of them is their recall (AR), which log.txt and "
                "metrics.json there tell after an evaluation."
            )
        raise UserError(
            f"{folder.path} has no results: expected {os.path.join(inference, RESULTS)}, which "
            "train_net.py --eval-only --config-file CONFIG MODEL.WEIGHTS WEIGHTS OUTPUT_DIR "
            f"{folder.path} writes."
        )
    return found


def _read_results(file: str, may_be_empty: bool) -> list[dict[str, Any]]:
    again = "evaluate again with train_net.py --eval-only"
    results = read_json(file, if_broken=again)
    if not isinstance(results, list):
        raise UserError(
            f"{file} is not a list of detections in COCO's results format but "
            f"a JSON {_JSON_NAMES.get(type(results), 'value')}: name the file {RESULTS}."
        )
    if not results and not may_be_empty:
        raise UserError(f"{file} has no detection: the model found nothing, so there is no AP.")
    for index, result in enumerate(results):
        _check_result(f"{file}: detection {index}", result)
    with_masks = sum("segmentation" in result for result in results)
    if with_masks not in (0, len(results)):
        raise UserError(
            f"{file}: {with_masks} of {len(results)} detections have a segmentation; all or none "
            f"must: {again}."
        )
    return results


_JSON_NAMES = {dict: "object", str: "text", int: "number", float: "number"}


def _check_result(where: str, result: object) -> None:
    if not isinstance(result, dict):
        raise UserError(
            f"{where} is {reprlib.repr(result)}, expected an object with image_id, bbox, score."
        )
    missing = [k for k in ("image_id", "category_id", "bbox", "score") if k not in result]
    if missing:
        raise UserError(f"{where} has no {' and no '.join(missing)}.")
    ill_typed = [k for k in ("image_id", "category_id") if not is_id(result[k])]
    if ill_typed:
        wrong = reprlib.repr(result[ill_typed[0]])
        raise UserError(f"{where} has the {ill_typed[0]} {wrong}; expected a number or a text.")
    try:
        numbers = [float(number) for number in (*result["bbox"], result["score"])]
        is_sound = len(numbers) == 5 and all(map(math.isfinite, numbers))
    except (OverflowError, TypeError, ValueError):
        is_sound = False
    if not is_sound:
        raise UserError(
            f"{where} has the bbox {reprlib.repr(result['bbox'])} and the score "
            f"{reprlib.repr(result['score'])}; expected 4 finite numbers (x, y, width, height in "
            "pixels) and 1."
        )
