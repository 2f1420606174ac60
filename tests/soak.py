"""A day's work: many tiny images through the loader, the trainer, the demo and detect.

Memory, open files and threads have to stay as they are: ``make soak N=100000`` takes hours, 1000
some minutes. A job runs in a process of its own, which this one watches from outside.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from fcos.config import get_cfg
from fcos.data import build_test_stream, build_train_stream, register_custom_datasets
from fcos.engine import Trainer
from fcos_cli.__main__ import main as fcos
from tests.helpers import tiny_cfg, write_model
from tests.limits import in_child
from tests.tiny import CONFIG, ROOT, write_dataset

PICTURES = 12  # different ones; all others are links to them
BATCH = 4

__all__ = ["JOBS", "ROOT", "Sample", "verdict"]

# What may grow: bytes for each image, and any job by so many bytes, of caches that fill up.
SLACK = 64 * 2**20
MOST_PER_IMAGE = {
    "loader": 100,
    # detectron2's EventStorage keeps the value of every scalar of every iteration
    "trainer": 1500,
    "demo": 100,
    # 26 bytes of what is finished, and its path
    "detect": 200,
}


def prepare(root: Path, number: int) -> None:
    """Write a data set of so many images, a config and a model."""
    write_dataset(root, number=PICTURES)
    folder = root / "datasets" / "tiny"
    content = json.loads((folder / "train.json").read_text())
    images, things = [], []
    for index in range(number):
        name = f"{index:07}.png"
        os.link(folder / "images" / f"{index % PICTURES}.png", folder / "images" / name)
        images.append({"id": index + 1, "file_name": name, "width": 64, "height": 64})
        thing = content["annotations"][index % PICTURES]
        things.append({**thing, "id": index + 1, "image_id": index + 1})
    for index in range(PICTURES):
        os.remove(folder / "images" / f"{index}.png")
    content |= {"images": images, "annotations": things}
    (folder / "train.json").write_text(json.dumps(content))
    few = max(8, number // 50)
    content |= {"images": images[:few], "annotations": things[:few]}
    (folder / "val.json").write_text(json.dumps(content))
    (root / "tiny.yaml").write_text(CONFIG)
    (root / "model").mkdir()
    write_model(root / "model", tiny_cfg())


# ---- the jobs ------------------------------------------------------------------------------------


def _cfg(number: int):
    cfg = get_cfg()
    cfg.merge_from_file("tiny.yaml")
    iterations = number // BATCH
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.IMS_PER_BATCH = iterations, BATCH
    cfg.SOLVER.CHECKPOINT_PERIOD = cfg.TEST.EVAL_PERIOD = max(5, iterations // 10)
    cfg.DATALOADER.NUM_WORKERS = 1
    os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
    register_custom_datasets(cfg)
    return cfg


def loader(number: int) -> int:
    """Read all images for training, and all for an evaluation."""
    cfg = _cfg(number)
    stream = build_train_stream(cfg)
    stream.start(0, 0)
    for _ in itertools.islice(stream, number // BATCH):
        pass
    seen = sum(len(batch) for batch in build_test_stream(cfg, "tiny_train"))
    return int(seen != number)


def trainer(number: int) -> int:
    """Train on all images, with evaluations."""
    training = Trainer(_cfg(number))
    training.resume_or_load(resume=False)
    training.train()
    return 0


def demo(number: int) -> int:
    """Draw the detections of all images."""
    return _program("demo", "--output", "pictures", "--json", "found.json")


def detect(number: int) -> int:
    """Write the detections of all images."""
    return _program("detect", "--output", "found")


def _program(verb: str, *output: str) -> int:
    argv = [verb, "--config-file", "model/config.yaml", "--input", "datasets/tiny/images", *output]
    argv += ["--opts", "MODEL.WEIGHTS", "model/model.pth", "DATALOADER.NUM_WORKERS", "2"]
    return fcos(argv)


JOBS: dict[str, Callable[[int], int]] = {
    job.__name__: job for job in (loader, trainer, demo, detect)
}


# ---- watching ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Sample:
    """What a process and those that it started have at a moment."""

    memory: int  # bytes
    files: int
    threads: int


def _processes(first: int) -> list[int]:
    found = [first]
    for process in found:  # grows
        for task in Path(f"/proc/{process}/task").glob("*/children"):
            found += map(int, task.read_text().split())
    return found


def sample(process: int) -> Sample | None:
    """Look at a process; None where one of them has just ended."""
    try:
        numbers = _processes(process)
        memory = files = threads = 0
        for number in numbers:
            status = Path(f"/proc/{number}/status").read_text()
            memory += 1024 * int(status.split("RssAnon:")[1].split()[0])
            threads += len(os.listdir(f"/proc/{number}/task"))
        files = len(os.listdir(f"/proc/{process}/fd"))
    except (OSError, IndexError):
        return None
    return Sample(memory, files, threads)


def watch(job: str, number: int, every: float) -> tuple[int, list[Sample]]:
    """Run a job in a process of its own; return its exit code and samples of it."""
    sys.stdout.flush()
    process = os.fork()
    if not process:
        code = 70
        try:
            with open(f"{job}.said", "w") as said:
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
            code = JOBS[job](number)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    samples = []
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), samples
        if found := sample(process):
            samples.append(found)
        time.sleep(every)


def verdict(job: str, number: int, samples: list[Sample]) -> tuple[str, list[str]]:
    """Compare the second quarter of a job with the last one.

    Returns:
        The figures in a sentence, and what has grown.
    """
    quarter = max(1, len(samples) // 4)
    parts = samples[quarter : 2 * quarter], samples[-quarter:]
    before, after = ([Sample(*map(statistics.median, _columns(part)))] for part in parts)
    grown = after[0].memory - before[0].memory
    wrong = []
    if grown > SLACK + MOST_PER_IMAGE[job] * number / 2:  # between the middles of these quarters
        wrong.append(f"memory grew by {grown / 2**20:.1f} MiB")
    for name in ("files", "threads"):
        one, other = getattr(before[0], name), getattr(after[0], name)
        if other > one + 4:
            wrong.append(f"{name}: {one:g}, then {other:g}")
    memory = " and ".join(f"{one[0].memory / 2**20:.1f}" for one in (before, after))
    return (
        f"{job}, {number:,} images, second quarter and last one: memory {memory} MiB "
        f"({2 * grown / number:+.0f} bytes an image), files {before[0].files:g} and "
        f"{after[0].files:g}, threads {before[0].threads:g} and {after[0].threads:g}"
    ), wrong


def _columns(samples: list[Sample]) -> list[tuple[int, ...]]:
    return list(zip(*map(dataclasses.astuple, samples), strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--number", type=int, default=2000, help="of images (%(default)s)")
    parser.add_argument("--only", choices=JOBS, nargs="+", default=list(JOBS))
    args = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        in_child(lambda: prepare(Path(folder), args.number))
        for job in args.only:
            begun = time.monotonic()
            code, samples = watch(job, args.number, every=0.2)
            said, wrong = verdict(job, args.number, samples)
            minutes = (time.monotonic() - begun) / 60
            if code:
                wrong.append(f"it ended with {code}: {Path(f'{job}.said').read_text()[-500:]}")
            print(f"{said}, {minutes:.1f} minutes: {'; '.join(wrong) or 'flat'}", flush=True)
            failed |= bool(wrong)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
