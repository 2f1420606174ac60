"""Reading of training images: files in, batches of samples out."""

from __future__ import annotations

import itertools
import json
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.agreement import agree_numbers
from benchmarks.fresh import Fresh
from benchmarks.scenes import pictures, truths
from benchmarks.settings import Settings
from benchmarks.work import Agreement, Match, Row

__all__ = ["ROW"]

BATCH, WORKERS, NAME = 4, 2, "benchmark_train"
HERE = "benchmarks.rows.loader"


def matches(settings: Settings, work: str) -> Iterator[Match]:
    sizes = settings.sizes
    workers = WORKERS if work == "loader-workers" else 0
    where = (
        f"{workers} workers, with their start and without their end"
        if workers
        else "in the process itself"
    )
    title = (
        f"training loader, {sizes.loader_images} JPEGs of "
        f"{sizes.loader_image[0]}x{sizes.loader_image[1]}, batches of {BATCH}, {where}; the "
        "mapper is detectron2's in all"
    )
    peers = {"DataLoader": "plain", "detectron2": "detectron2_loader"}
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(folder, sizes.loader_images, sizes.loader_image)

        def contestant(name: str, function: str) -> Fresh:
            made = f"{HERE}:{function}"
            return Fresh(name, made, settings, folder=folder, workers=workers)

        for name, function in peers.items():
            own = contestant("fcos", "ours")
            yield Match(work, title, own, contestant(name, function), _agree, sizes.loader_images)


def _agree(a: dict[str, float], b: dict[str, float]) -> Agreement:
    # Workers of detectron2's loader each go through a part of an endless sequence, so that the
    # first samples are not those of one pass.
    both = a.keys() & b.keys()
    if 2 * len(both) < len(a):
        return Agreement(False, f"only {len(both)} of {len(a)} files were read by both")
    a, b = ({name: sums[name] for name in both} for sums in (a, b))
    return agree_numbers(a, b, 0.0, "samples of the same files (checksums of pixels and boxes)")


def write_dataset(folder: str, images: int, size: tuple[int, int]) -> None:
    """JPEGs and a COCO file with seven boxes in each."""
    from PIL import Image

    truth = truths(images, 7, size)
    content: dict[str, list] = {"images": [], "annotations": []}
    content["categories"] = [{"id": i + 1, "name": str(i)} for i in range(80)]
    for number, (picture, (boxes, classes)) in enumerate(
        zip(pictures(images, size), truth, strict=True), start=1
    ):
        name = f"{number}.jpg"
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(Path(folder, name), quality=90)
        shape = {"height": size[0], "width": size[1]}
        content["images"].append({"id": number, "file_name": name, **shape})
        for (x1, y1, x2, y2), class_ in zip(boxes.tolist(), classes.tolist(), strict=True):
            box = [x1, y1, x2 - x1, y2 - y1]
            entry: dict[str, Any]
            entry = {"id": len(content["annotations"]) + 1, "image_id": number, "iscrowd": 0}
            entry |= {"category_id": class_ + 1, "bbox": box, "area": box[2] * box[3]}
            content["annotations"].append(entry)
    Path(folder, "train.json").write_text(json.dumps(content))


def ours(settings: Settings, folder: str, workers: int) -> Callable[[], dict[str, float]]:
    """The stream that a training reads."""
    from fcos.data import build_train_stream

    return _epoch(build_train_stream(_config(settings, folder, workers)), settings)


def plain(settings: Settings, folder: str, workers: int) -> Callable[[], dict[str, float]]:
    """torch's DataLoader with the least around it, over passes without end, as a training needs.

    Of a single pass, workers have nothing to read ahead towards its end, and the time of what all
    others read ahead would be held against them.
    """
    from torch.utils.data import DataLoader, RandomSampler

    from detectron2.data import DatasetMapper, MapDataset, get_detection_dataset_dicts

    cfg = _config(settings, folder, workers)
    samples = MapDataset(get_detection_dataset_dicts([NAME]), DatasetMapper(cfg, is_train=True))
    passes = RandomSampler(samples, num_samples=1_000_000 * len(samples))
    loader = DataLoader(samples, BATCH, sampler=passes, num_workers=workers, collate_fn=list)
    return _epoch(loader, settings)


def detectron2_loader(
    settings: Settings, folder: str, workers: int
) -> Callable[[], dict[str, float]]:
    """``build_detection_train_loader`` of the installed detectron2."""
    from detectron2.data import (
        DatasetMapper,
        build_detection_train_loader,
        get_detection_dataset_dicts,
    )

    cfg = _config(settings, folder, workers)
    loader = build_detection_train_loader(
        get_detection_dataset_dicts([NAME]),
        mapper=DatasetMapper(cfg, is_train=True),
        total_batch_size=BATCH,
        num_workers=workers,
    )
    return _epoch(loader, settings)


def _config(settings: Settings, folder: str, workers: int) -> Any:
    from fcos.config import get_cfg
    from fcos.data import register_custom_datasets

    cfg = get_cfg()
    files = {"JSON": f"{folder}/train.json", "IMAGES": folder}
    cfg.DATASETS.CUSTOM[NAME] = type(cfg)(files)
    cfg.DATASETS.TRAIN = (NAME,)
    cfg.SOLVER.IMS_PER_BATCH = BATCH
    cfg.DATALOADER.NUM_WORKERS = workers
    # No chance in a sample, so that samples of the same file can be compared.
    cfg.INPUT.MIN_SIZE_TRAIN = (min(800, 2 * min(settings.sizes.loader_image)),)
    cfg.INPUT.RANDOM_FLIP = "none"
    cfg.SEED = 1
    register_custom_datasets(cfg)
    return cfg


def _epoch(loader: Iterable[list], settings: Settings) -> Callable[[], dict[str, float]]:
    """One pass, from the start of workers to the last batch; the outcome says what samples hold.

    A checksum is quick. ``image.sum()`` was not: it copies an image to eight times its size, which
    takes more or less time as memory happens to lie, and it sets threads in motion.
    """
    held = []

    def run() -> dict[str, float]:
        checksums = {}
        batches = iter(loader)
        held.append(batches)  # to let go of workers is to wait for what they read ahead
        for batch in itertools.islice(batches, settings.sizes.loader_images // BATCH):
            for sample in batch:
                name = Path(sample["file_name"]).name
                pixels = zlib.crc32(sample["image"].numpy())
                boxes = sample["instances"].gt_boxes.tensor.numpy()
                checksums[name] = float(zlib.crc32(boxes, pixels))
        return checksums

    return run


ROW = Row(
    "training samples from files, in the process and with workers",
    lambda _: ["loader", "loader-workers"],
    matches,
)
