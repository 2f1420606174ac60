"""From a folder of labels to COCO's JSON and a config: the steps in their order."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from detectron2.data import DatasetCatalog
from fcos.data.importing.annotations import coco_pieces, common_folder, copy_images
from fcos.data.importing.classes import choose_classes, parse_renames
from fcos.data.importing.config_file import Plan, config_text, find_published
from fcos.data.importing.labels import Labels, Options, Problems
from fcos.data.importing.source import read_source
from fcos.data.importing.split import split_images
from fcos.data.sources import SEED, SPLITS, VAL_FRACTION
from fcos.utils.errors import UserError
from fcos.utils.files import check_writable, write_text
from fcos.utils.folders import subfolder

__all__ = ["Request", "import_labels"]


@dataclasses.dataclass(frozen=True)
class Request:
    """What to import, and how.

    Attributes:
        source: folder of the labels, or one file of them.
        output: folder to write to.
        images: folder of the images, if they lie elsewhere.
        format: a key of FORMATS; "": to be recognised.
        options: what a reader cannot see in the labels.
        drop: names of classes to leave out.
        rename: words OLD=NEW.
        val_fraction: share of the images for validation, where the source has no split.
        seed: of that split.
        copy_images: copy images below ``output``; else they stay where they are.
        masks: the config learns masks as well.
        start_from: name of a config of published weights; "": from random weights.
        batch: images in a batch; 0: to be chosen.
        overwrite: whether an earlier import in ``output`` may be replaced.
    """

    source: str
    output: str
    images: str = ""
    format: str = ""
    options: Options = dataclasses.field(default_factory=Options)
    drop: Sequence[str] = ()
    rename: Sequence[str] = ()
    val_fraction: float = VAL_FRACTION
    seed: int = SEED
    copy_images: bool = False
    masks: bool = False
    start_from: str = ""
    batch: int = 0
    overwrite: bool = False


def import_labels(request: Request) -> str:
    """Read labels, write annotations/train.json and val.json and config.yaml.

    Returns:
        What was found and written, in lines.

    Raises:
        UserError: nothing can be read, or something in ``request`` does not fit what was.
    """
    config_file = os.path.join(os.path.abspath(request.output), "config.yaml")
    if os.path.exists(config_file) and not request.overwrite:
        raise UserError(
            f"{config_file} is there already: add --overwrite to replace it, or choose another "
            "--output."
        )
    renames = parse_renames(request.rename)
    start_from = find_published(request.start_from) if request.start_from else None
    check_writable(request.output)
    problems = Problems()
    title, folder, labels = read_source(
        request.source,
        problems,
        format=request.format,
        images=request.images,
        options=request.options,
        without=request.output,
    )
    try:
        choose_classes(labels, request.drop, renames)
        split = split_images(labels, problems, request.val_fraction, request.seed)
        _check(labels, request.masks)
    except UserError as error:  # what was left out may be why
        raise UserError(f"{error}{problems.in_short()}") from None
    plan, reasons = _write(request, f"{title} of {folder.root}", labels, start_from)
    counts = [f"{len(images)} {name}" for name, images in plan.images.items()]
    return "\n".join(
        [
            f"{title}: {_counts(labels)}",
            f"Images: {plan.paths['train'][1]}",
            f"Split: {', '.join(counts)}; {split}.",
            *labels.notes,
            *(f"Left out: {line}" for line in problems.lines()),
            f"Written to {request.output}: annotations, and config.yaml. {' '.join(reasons)}",
            f"Next: fcos train --config-file {shlex.quote(config_file)}",
        ]
    )


def _write(
    request: Request, source: str, labels: Labels, start_from: Path | None
) -> tuple[Plan, list[str]]:
    """Write everything; returns what is to be trained, and what was chosen in the config."""
    output = os.path.abspath(request.output)
    annotations = subfolder(output, "annotations")
    if request.copy_images:
        copy_images(labels.images, subfolder(output, "images"))
    root = common_folder(image.path for image in labels.images)
    images = {name: [i for i in labels.images if i.split == name] for name in SPLITS}
    plan = Plan(
        name=_name_for(output),
        paths={
            name: (os.path.join(annotations, f"{name}.json"), root)
            for name in SPLITS
            if images[name]
        },
        images={name: images[name] for name in SPLITS if images[name]},
        class_names=labels.class_names,
        batch=request.batch,
        masks=request.masks,
        start_from=start_from,
    )
    config, reasons = config_text(plan)
    for name, (path, _) in plan.paths.items():
        description = f"{source}, {name}"
        pieces = coco_pieces(images[name], labels.class_names, root, description=description)
        write_text(path, pieces)
    write_text(os.path.join(output, "config.yaml"), [config])
    for name in set(SPLITS) - set(plan.paths):  # of an earlier import
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(annotations, f"{name}.json"))
    return plan, reasons


def _check(labels: Labels, masks: bool) -> None:
    for name in ("train", "val"):
        images = [image for image in labels.images if image.split == name]
        if not any(image.objects for image in images):
            raise UserError(
                f"The {name} split has {len(images)} images and no object: "
                "label more images, or change --val-fraction."
            )
    objects = [labelled for image in labels.images for labelled in image.objects]
    lacking = sum(labelled.segmentation is None for labelled in objects)
    if masks and lacking:
        raise UserError(
            f"--masks: {lacking} of {len(objects)} objects have a box and no outline. Label "
            "outlines as polygons, or leave --masks out."
        )


def _name_for(output: str) -> str:
    """Make the name of a data set of that of a folder; one that no other data set has."""
    name = re.sub(r"\W+", "_", os.path.basename(os.path.abspath(output))).strip("_") or "data"
    taken = {registered.rpartition("_")[0] for registered in DatasetCatalog.list()}
    return f"my_{name}" if name in taken or name[0].isdigit() else name


def _counts(labels: Labels) -> str:
    counts = Counter(labelled.name for image in labels.images for labelled in image.objects)
    most = sorted(labels.class_names, key=lambda name: -counts[name])
    named = [f"{name} {counts[name]}" for name in most[:12]]
    named += [f"{len(labels.class_names) - 12} more"] * (len(labels.class_names) > 12)
    empty = sum(not image.objects for image in labels.images)
    classes = "class" if len(labels.class_names) == 1 else "classes"
    without = f" ({empty} without objects)" if empty else ""
    return (
        f"{len(labels.images)} images{without}, {counts.total()} objects, "
        f"{len(labels.class_names)} {classes} ({', '.join(named)})."
    )
