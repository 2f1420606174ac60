"""Communication: alone, and between two processes over gloo."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from detectron2.utils import comm


def test_one_process():
    assert (comm.get_world_size(), comm.get_rank()) == (1, 0)
    assert (comm.get_local_rank(), comm.get_local_size()) == (0, 1)
    assert comm.is_main_process()
    comm.synchronize()
    assert comm.all_gather("x") == comm.gather("x") == ["x"]
    losses = {"loss": torch.tensor(2.0)}
    assert comm.reduce_dict(losses) is losses
    np.random.seed(0)
    seed = comm.shared_random_seed()
    np.random.seed(0)
    assert seed == comm.shared_random_seed()


def test_local_group_before_it_is_made():
    with pytest.raises(AssertionError, match="launch"):
        comm.get_local_process_group()


SCRIPT = """
import json, os, sys
import numpy as np, torch, torch.distributed as dist
from detectron2.utils import comm

rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
comm.create_local_process_group(1)  # two machines of one process each
np.random.seed(rank)
comm.synchronize()
reduced = {
    average: comm.reduce_dict(
        {"b": torch.tensor(1.0 + rank), "a": torch.tensor(10.0 * rank)}, average
    )
    for average in (True, False)
}
print(json.dumps({
    "ids": [comm.get_rank(), comm.get_world_size(), comm.get_local_rank(), comm.get_local_size()],
    "main": comm.is_main_process(),
    "all_gather": comm.all_gather({"rank": rank, "long": "x" * rank}),
    "gather": comm.gather(rank),
    "gather_to_1": comm.gather(rank, dst=1),
    "tensor": comm.all_gather(torch.full((rank + 1,), rank))[1].tolist(),
    "mean": {k: v.item() for k, v in reduced[True].items()},
    "sum": {k: v.item() for k, v in reduced[False].items()},
    "seed": comm.shared_random_seed(),
}), flush=True)
comm.synchronize()
os._exit(0)  # torch's gloo threads now and then abort a process that ends as usual
"""


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comm")
    # A file, so that the folder of the tests is not on the processes' path.
    script = folder / "report.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script)]
    processes = [
        subprocess.Popen([*command, str(rank), f"{folder}/store"], stdout=subprocess.PIPE)
        for rank in (0, 1)
    ]
    try:
        outputs = [process.communicate(timeout=60)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0]
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def test_two_processes_know_themselves(reports):
    assert [report["ids"] for report in reports] == [[0, 2, 0, 1], [1, 2, 0, 1]]
    assert [report["main"] for report in reports] == [True, False]


def test_two_processes_gather(reports):
    for report in reports:
        assert report["all_gather"] == [{"rank": 0, "long": ""}, {"rank": 1, "long": "x"}]
        assert report["tensor"] == [1, 1]
    assert [report["gather"] for report in reports] == [[0, 1], []]
    assert [report["gather_to_1"] for report in reports] == [[], [0, 1]]


def test_two_processes_reduce(reports):
    assert reports[0]["mean"] == {"a": 5.0, "b": 1.5}
    assert reports[0]["sum"] == {"a": 10.0, "b": 3.0}


def test_two_processes_share_a_seed(reports):
    np.random.seed(0)  # process 0's
    assert [report["seed"] for report in reports] == [np.random.randint(2**31)] * 2
