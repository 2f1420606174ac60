"""An interrupted and resumed training ends with the bits of one that was not interrupted."""

import os
import signal
import subprocess
import time

import pytest
import torch

from tests.tiny import start, train_net, write_project

pytestmark = pytest.mark.cpu

ITERATIONS = 40
OPTIONS = [
    "DATASETS.TEST",
    "()",
    "SOLVER.MAX_ITER",
    str(ITERATIONS),
    "SOLVER.STEPS",
    "(10,)",
    "SOLVER.WARMUP_ITERS",
    "6",
    "MODEL.FCOS.LOSS_NORMALIZER",
    "moving_fg",  # an average that has to go on as well
]


def content(path):
    return torch.load(path, weights_only=True)


def options(folder, workers=0):
    return [*OPTIONS, "OUTPUT_DIR", folder, "DATALOADER.NUM_WORKERS", str(workers)]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("resume")
    write_project(root, number=14)
    return root


@pytest.fixture(scope="module")
def uninterrupted(project):
    result = train_net(project, *options("whole"))
    assert result.returncode == 0, result.stderr
    return content(project / "whole" / "model_final.pth")


def interrupt(project, folder, number, workers):
    """Start a training and send it a signal when its first checkpoint is there."""
    process = start(project, *options(folder, workers), start_new_session=True)
    tag = project / folder / "last_checkpoint"
    deadline = time.monotonic() + 60
    while not tag.exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    # A terminal sends Ctrl-C to all processes of a job, its workers too.
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def iterations_done(project, folder):
    tag = (project / folder / "last_checkpoint").read_text()
    return content(project / folder / tag)["iteration"] + 1


@pytest.mark.parametrize(
    ("number", "workers"),
    [
        (signal.SIGKILL, 0),
        (signal.SIGKILL, 2),
        (signal.SIGINT, 2),
    ],
)
def test_the_same_bits(project, uninterrupted, number, workers):
    folder = f"{number.name}-{workers}"
    code, errors = interrupt(project, folder, number, workers)
    done = iterations_done(project, folder)
    assert 4 <= done < ITERATIONS  # in the middle
    if number == signal.SIGKILL:
        assert code == -signal.SIGKILL
        assert done % 4 == 0
    else:
        assert code == 128 + number
        assert errors.splitlines()[-1] == (
            f"Stopped by {number.name} after iteration {done - 1}; "
            f"{folder}/model_{done - 1:07d}.pth is written, and --resume goes on from it."
        )
    result = train_net(project, "--resume", *options(folder, workers))
    assert result.returncode == 0, result.stderr
    assert f"Resumed after iteration {done - 1};" in result.stdout

    final = content(project / folder / "model_final.pth")
    assert final["model"].keys() == uninterrupted["model"].keys()
    for name, value in final["model"].items():
        assert value.equal(uninterrupted["model"][name]), name
    assert str(final["trainer"]) == str(uninterrupted["trainer"])  # optimizer, schedule, ...


def test_two_processes_stop_together(project):
    folder = "two"
    process = start(project, "--num-gpus", "2", *options(folder), "SOLVER.MAX_ITER", "2000")
    tag = project / folder / "last_checkpoint"
    deadline = time.monotonic() + 90
    while not tag.exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    try:
        _, errors = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    done = iterations_done(project, folder)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert errors.count("Stopped by SIGTERM after iteration") == 1
    assert errors.splitlines()[-1].startswith(f"Stopped by SIGTERM after iteration {done - 1};")
    assert "Traceback" not in errors
