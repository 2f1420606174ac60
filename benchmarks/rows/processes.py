"""Training with two processes on two cores, beside one process that has one core."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch

from benchmarks import ours, peer_torchvision
from benchmarks.agreement import agree_numbers
from benchmarks.fresh import ROOT, environment
from benchmarks.rows.training import step
from benchmarks.scenes import pictures, truths
from benchmarks.settings import Settings
from benchmarks.work import Agreement, Match, Row, Sample
from fcos.utils.device import usable_cores
from fcos.utils.processes import run_and_exit

__all__ = ["ROW", "Processes"]

IMAGES, STEPS, BOXES = 2, 2, 7


class Processes:
    """Training steps in processes with one thread and one core each, joined by gloo.

    Args:
        number: of processes; they share the images of a batch equally.
        settings: of the row.
        images: in a batch, of all processes together.
    """

    memory_kind = ""
    first_counts = True

    def __init__(self, number: int, settings: Settings, images: int = IMAGES) -> None:
        self.name = f"{number} process" + "es" * (number > 1)
        self._number = number
        self._settings = settings
        self._images = images

    def sample(self, with_outcome: bool = False) -> Sample:
        port = _free_port()
        task = {"settings": self._settings.as_dict(), "port": port, "images": self._images}
        words = [sys.executable, "-m", "benchmarks.rows.processes", json.dumps(task)]
        started = [
            subprocess.Popen(
                [*words, str(rank), str(self._number)],
                cwd=ROOT,
                env=environment(1),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(self._number)
        ]
        said = [process.communicate() for process in started]
        for process, (_, errors) in zip(started, said, strict=True):
            if process.returncode:
                raise RuntimeError(f"a process failed: {errors.strip().splitlines()[-1:]}")
        answer = json.loads(said[0][0].splitlines()[-1])
        return Sample(answer["seconds"], answer["outcome"])

    def memory(self) -> None:
        return None


def matches(settings: Settings, work: str) -> Iterator[Match]:
    size = settings.sizes.processes_image
    title = (
        f"training step, ResNet-{settings.sizes.depth}-FPN, {IMAGES} images of "
        f"{size[0]}x{size[1]}: two processes with one core each (ours) beside one process with one"
    )
    pair = Processes(2, settings), Processes(1, settings)
    yield Match(work, title, *pair, _agree, IMAGES, "A ratio of 2 is all that two cores can give.")


def _agree(a: dict[str, float], b: dict[str, float]) -> Agreement:
    return agree_numbers(a, b, 1e-3, "losses and sizes of weights after the steps")


def _works(settings: Settings) -> list[str]:
    can = usable_cores() >= 2 and hasattr(os, "sched_setaffinity") and settings.device == "cpu"
    return ["processes"] if can else []


def main(task: str, rank: str, number: str) -> None:
    """One of the processes."""
    arguments = json.loads(task)
    settings = Settings(**arguments["settings"])
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[int(rank)]})
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"tcp://127.0.0.1:{arguments['port']}",
        rank=int(rank),
        world_size=int(number),
    )

    def run() -> int:
        seconds, outcome = _steps(settings, arguments["images"], int(rank), int(number))
        print(json.dumps({"seconds": seconds, "outcome": outcome}))
        return 0

    run_and_exit(run)


def _steps(
    settings: Settings, images: int, rank: int, number: int
) -> tuple[float, dict[str, float]]:
    """Seconds of a step, and what the processes have in common after a few."""
    from detectron2.engine import create_ddp_model

    torch.manual_seed(0)
    model = ours.detector("torchvision", settings)
    source = peer_torchvision.detector(settings)
    size = settings.sizes.processes_image
    scene = list(zip(pictures(images, size), truths(images, BOXES, size), strict=True))
    peer_torchvision.make_confident(source, scene[0][0].float() / 255)
    ours.load(model, source.state_dict())
    mine = scene[rank::number]
    boxes = ours.instances([truth for _, truth in mine], size, "cpu")
    given = [
        {"image": image, "instances": box} for (image, _), box in zip(mine, boxes, strict=True)
    ]
    wrapped: Any = create_ddp_model(model, broadcast_buffers=False, device_ids=None)
    run = step(wrapped, settings, given)
    first = run()
    torch.distributed.barrier()
    start = time.perf_counter()
    for _ in range(STEPS):
        run()
    torch.distributed.barrier()
    seconds = (time.perf_counter() - start) / STEPS
    return seconds, _outcome(first, model, number)


def _outcome(losses: dict[str, torch.Tensor], model: Any, number: int) -> dict[str, float]:
    outcome = {}
    for name, loss in losses.items():
        total = loss.clone()
        torch.distributed.all_reduce(total)
        outcome[name] = float(total) / number
    outcome["weights"] = float(sum(p.detach().double().norm() for p in model.parameters()))
    return outcome


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


ROW = Row("two processes on two cores beside one on one", _works, matches)

if __name__ == "__main__":
    main(*sys.argv[1:])
