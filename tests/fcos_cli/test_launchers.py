"""Trainings and evaluations that torchrun or SLURM has started, and several starts at once."""

import json
import os
import subprocess
import sys

import pytest
import torch

from fcos.utils import locks
from fcos_cli.compare import main as compare
from fcos_cli.train import main
from tests.tiny import ROOT, write_project

pytestmark = pytest.mark.cpu

OPTIONS = ["SOLVER.MAX_ITER", "6", "DATASETS.TEST", "()", "TEST.EVAL_PERIOD", "0"]
PROGRAM = [str(ROOT / "train_net.py"), "--config-file", "tiny.yaml"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def start(project, command, **variables):
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "DETECTRON2_DATASETS": "datasets"}
    return subprocess.Popen(
        command,
        cwd=project,
        env={**environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def task(number, of=2):
    """What srun sets for one of its tasks, on one machine."""
    numbers = {"SLURM_PROCID": number, "SLURM_LOCALID": number, "SLURM_STEP_NUM_TASKS": of}
    return {
        **{name: str(value) for name, value in numbers.items()},
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_STEP_NODELIST": "node7",
    }


def finish(*processes):
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors


def content(project, folder):
    return torch.load(project / folder / "model_final.pth", weights_only=True)


def test_every_launcher_trains_the_same_weights(tmp_path):
    write_project(tmp_path)
    ours = [sys.executable, *PROGRAM, "--num-gpus", "2", *OPTIONS, "OUTPUT_DIR", "ours"]
    finish(start(tmp_path, ours))
    finish(start(tmp_path, [*TORCHRUN, *PROGRAM, *OPTIONS, "OUTPUT_DIR", "torchrun"]))
    command = [sys.executable, *PROGRAM, *OPTIONS, "OUTPUT_DIR", "srun"]
    finish(*[start(tmp_path, command, **task(number)) for number in (0, 1)])
    wanted = content(tmp_path, "ours")
    assert wanted["trainer"]["place"]["The number of processes"] == 2
    for folder in ("torchrun", "srun"):
        found = content(tmp_path, folder)
        for name, value in wanted["model"].items():
            assert found["model"][name].equal(value), (folder, name)
        assert str(found["trainer"]) == str(wanted["trainer"])  # optimizer, schedule, ...
        assert losses(tmp_path, folder) == losses(tmp_path, "ours")


def losses(project, folder):
    lines = map(json.loads, (project / folder / "metrics.json").read_text().splitlines())
    found = [(line["iteration"], line["total_loss"]) for line in lines if "total_loss" in line]
    assert len(found) == 1  # of one training, not of two in the same folder
    return found


# ---- what is refused --------------------------------------------------------------------------


@pytest.fixture
def said(tmp_path, monkeypatch, capfd):
    """Run the program with arguments that fail; gives the sentence."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    write_project(tmp_path)

    def fail(*words):
        assert main(["--config-file", "tiny.yaml", *words]) == 1
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        return lines[0]

    return fail


@pytest.mark.parametrize("mode", [[], ["--resume"], ["--eval-only", "MODEL.WEIGHTS", "a.pth"]])
def test_a_second_start_in_one_folder(said, tmp_path, monkeypatch, mode):
    monkeypatch.setattr(locks, "_WAIT_S", 0)
    (tmp_path / "output").mkdir()
    with locks.FolderLock("output", ".lock") as lock:
        lock.acquire("")
        assert said(*mode) == (
            "Error: Another training or evaluation is writing to OUTPUT_DIR output: wait for its "
            "end, or set OUTPUT_DIR to another folder."
        )
        assert os.listdir("output") == [".lock"]  # nothing of the first one was touched


def test_the_lock_ends_with_the_program(said, tmp_path):
    for _ in range(2):
        assert "no.pth does not exist" in said("MODEL.WEIGHTS", "no.pth")
    (tmp_path / "output" / "last_checkpoint").touch()
    assert "has the checkpoints of an earlier training" in said()


def test_variables_of_a_launcher_that_cannot_be(said, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for mode in ([], ["--eval-only"]):
        message = said(*mode)
        assert message.startswith("Error: The environment says that this is one of several")
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "MASTER_PORT": "5"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert said("--num-gpus", "1").startswith("Error: --num-gpus 1 contradicts torchrun")


@pytest.mark.parametrize(("rank", "code"), [("0", 1), ("1", 0)])
def test_a_program_of_one_process_under_torchrun(monkeypatch, capfd, rank, code):
    """The first says it; an error of another might end the first before it can."""
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert compare(["a", "b"]) == code
    sentence = "Error: this program is one process, but torchrun started 2; run it without torchrun"
    assert capfd.readouterr().err == (f"{sentence}.\n" if code else "")
