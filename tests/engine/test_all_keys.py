"""All that looks after a training at once, killed and resumed: the same bits as without."""

import multiprocessing
import os
import signal

import pytest
from torch.multiprocessing import ProcessExitedException

from fcos.checkpoint import read_checkpoint
from tests.engine.test_best import files, train
from tests.processes import run_in_two

pytestmark = pytest.mark.cpu

KEYS = [
    *("SOLVER.OPTIMIZER", "AdamW", "SOLVER.BASE_LR", 0.001, "SOLVER.EMA_DECAY", 0.9),
    *("SOLVER.ACCUMULATION_STEPS", 2, "SOLVER.CLIP_GRADIENTS.ENABLED", True),
    *("TEST.VALIDATION_LOSS", True, "TEST.PATIENCE", 2, "TEST.BEST_METRIC", "bbox/near"),
    *("MODEL.FCOS.LOSS_NORMALIZER", "moving_fg"),
]
OPTIONS = ["SOLVER.MAX_ITER", 30, "TEST.EVAL_PERIOD", 2, *KEYS]


def killed(output, kill):
    process = multiprocessing.get_context("spawn").Process(
        target=train, args=(output, kill, True, OPTIONS)
    )
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL


def differing(folder, other):
    found, want = files(folder), files(other)
    assert found.keys() == want.keys()
    assert want.keys() == {"model_best", "model_best_ema", "model_final", "model_final_ema"}
    return [
        f"{k} of {name}" for name in want for k in want[name] if found[name][k] != want[name][k]
    ]


def test_killed_twice(project):
    train("whole", options=OPTIONS)
    done = read_checkpoint("whole/model_final.pth")["iteration"] + 1
    assert 6 <= done < 30  # it ended by itself
    killed("parts", 4)  # in the second evaluation, of the average
    killed("parts", 3)  # in the third, of the weights: the second was made again
    train("parts", resume=True, options=OPTIONS)
    assert differing(project / "parts", project / "whole") == []


def test_killed_in_two_processes(project):
    options = [*OPTIONS, "SOLVER.MAX_ITER", 6]
    run_in_two(train, "whole", 0, False, options)
    with pytest.raises(ProcessExitedException):
        run_in_two(train, "parts", 4, False, options)
    assert (project / "parts" / "last_checkpoint").read_text() == "model_0000003.pth"
    run_in_two(train, "parts", 0, True, options)
    assert differing(project / "parts", project / "whole") == []
    assert os.path.exists("parts/inference_EMA/coco_instances_results.json")
