"""Kill one of the processes of trainings, whoever launched them, and go on.

Not a part of the test suite: ``make torture-launchers`` runs it, in some minutes, on Linux. A small
training of two processes is started by ``--num-gpus 2``, by two commands with ``--machine-rank``,
as srun does it, and by torchrun; rank 0 or rank 1 is killed at a random time. All processes have to
end within 15 seconds, with one sentence that names the rank, and the training that is resumed has
to have the weights of one that was not interrupted. torchrun restarts it by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from tests.tiny import ROOT, write_project

OPTIONS = ["SOLVER.MAX_ITER", "60", "SOLVER.CHECKPOINT_PERIOD", "4", "DATASETS.TEST", "()"]
MOST_SECONDS = 15
LAUNCHERS = ("num-gpus", "machines", "srun", "torchrun")


def start(root: Path, launcher: str, folder: str) -> list[subprocess.Popen]:
    """Start, or go on with, the training in ``folder``; its processes write to ``folder.err``."""
    program = [str(ROOT / "train_net.py"), "--config-file", "tiny.yaml", "--resume"]
    options = ["OUTPUT_DIR", folder, *OPTIONS]
    plain = [sys.executable, *program]
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    if launcher == "num-gpus":
        commands = [[*plain, "--num-gpus", "2", *options]]
    elif launcher == "torchrun":
        torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        commands = [[sys.executable, "-m", *torchrun, "--max-restarts", "3", *program, *options]]
    elif launcher == "machines":
        where = ["--num-machines", "2", "--dist-url", f"tcp://127.0.0.1:{port}", "--machine-rank"]
        commands = [[*plain, *where, str(rank), *options] for rank in (0, 1)]
    else:
        commands = [[*plain, *options]] * 2
    task = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "node7", "MASTER_PORT": port}
    started = []
    with (root / f"{folder}.err").open("a") as errors:
        for rank, command in enumerate(commands):
            place = {**task, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}
            started.append(
                subprocess.Popen(
                    command,
                    cwd=root,
                    env={
                        **os.environ,
                        "OMP_NUM_THREADS": "1",
                        "DETECTRON2_DATASETS": "datasets",
                        **(place if launcher == "srun" else {}),
                    },
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                )
            )
    return started


def ranks(launcher: str, started: list[subprocess.Popen]) -> list[int]:
    """Return the ids of the processes that train, by rank."""
    if launcher == "srun":
        return [process.pid for process in started]
    mark = "train_net.py" if launcher == "torchrun" else "spawn_main"
    return [pid for process in started for pid in sorted(_children(process.pid, mark))]


def _children(parent: int, mark: str) -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            state = (path / "stat").read_text().rpartition(")")[2].split()
            if int(state[1]) == parent and mark in (path / "cmdline").read_text():
                yield int(path.name)


def weights(root: Path, folder: str) -> dict[str, torch.Tensor]:
    found = torch.load(root / folder / "model_final.pth", weights_only=True)["model"]
    return dict(found)


def case(root: Path, launcher: str, rank: int, delay: float, folder: str) -> list[str]:
    """Kill a process; return what went wrong."""
    started, wrong = start(root, launcher, folder), []
    while not (root / folder / "last_checkpoint").exists():
        if any(process.poll() is not None for process in started):
            return [f"it ended early: {(root / f'{folder}.err').read_text()}"]
        time.sleep(0.01)
    time.sleep(delay)
    pids = ranks(launcher, started)
    if len(pids) < 2:
        return ["it had ended before; choose another seed"]
    os.kill(pids[rank], signal.SIGKILL)
    killed = time.monotonic()
    if launcher == "torchrun":  # goes on by itself
        while any(os.path.exists(f"/proc/{pid}") for pid in pids):
            time.sleep(0.01)
        seconds = time.monotonic() - killed
        codes = [process.wait() for process in started]
        wrong += [f"torchrun ended with {codes}"] * any(codes)
    else:
        codes = [process.wait() for process in started]
        seconds = time.monotonic() - killed
        wrong += [f"exit codes {codes}"] * (not all(codes))
    wrong += [f"{seconds:.1f} s"] * (seconds > MOST_SECONDS)
    said = (root / f"{folder}.err").read_text()
    # Each of two machines says it, and rank 0 and rank 1 are two here.
    number = said.count(f"Rank {rank} of 2 processes")
    wrong += [f"said {number} times: {said}"] * (number != (2 if launcher == "machines" else 1))
    if launcher != "torchrun":
        for process in start(root, launcher, folder):
            wrong += [f"resumed, it ended with {process.returncode}"] * (process.wait() != 0)
    if not wrong:
        expected, found = weights(root, "whole"), weights(root, folder)
        wrong += [name for name in expected if not found[name].equal(expected[name])]
    print(f"{launcher}, rank {rank} after {delay:.2f} s: ended after {seconds:.1f} s", flush=True)
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture_launchers", description=__doc__)
    parser.add_argument("--launchers", nargs="+", choices=LAUNCHERS, default=LAUNCHERS)
    parser.add_argument("--seed", type=int, default=0, help="of the times")
    args = parser.parse_args()
    draw, failures = random.Random(args.seed), 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_project(root)
        for process in start(root, "num-gpus", "whole"):
            if process.wait():
                raise SystemExit((root / "whole.err").read_text())
        for launcher in args.launchers:
            for rank in (0, 1):
                delay = draw.uniform(0, 1)
                wrong = case(root, launcher, rank, delay, f"{launcher}-{rank}")
                failures += bool(wrong)
                print("  " + ("; ".join(wrong) or "the same weights"), flush=True)
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
