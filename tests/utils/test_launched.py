"""Which place a launcher has given a process."""

import pytest
import torch

from fcos.utils.errors import UserError
from fcos.utils.launched import Place, first_host, launched, torchrun_rank
from fcos.utils.processes import Processes, choose_processes

TORCHRUN = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "10.0.0.7",
    "MASTER_PORT": "29500",
}
SRUN = {
    "SLURM_JOB_ID": "123",
    "SLURM_STEP_ID": "4",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_NTASKS": "16",
}
# What sbatch sets for its script, which is one process however many tasks srun is to start.
SBATCH = {
    "SLURM_JOB_ID": "123",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_JOB_NODELIST": "gpu[07-08]",
    "SLURM_NNODES": "2",
}


def without(environ, *names, **changed):
    return {k: v for k, v in {**environ, **changed}.items() if k not in names}


def test_torchrun():
    place = launched(TORCHRUN)
    assert place == Place(5, 8, 1, 4, "10.0.0.7", 29500, "torchrun")
    assert (place.machines, place.machine_rank) == (2, 1)
    assert place.url == "tcp://10.0.0.7:29500"
    assert launched({**TORCHRUN, "MASTER_ADDR": "::1"}).url == "tcp://[::1]:29500"


def test_torchrun_comes_before_the_srun_that_started_it():
    assert launched({**SRUN, **TORCHRUN}).by == "torchrun"


def test_a_launcher_that_does_not_tell_how_many_are_on_this_machine():
    place = launched(without(TORCHRUN, "LOCAL_WORLD_SIZE"))
    assert (place.rank, place.local_size, place.machines, place.machine_rank) == (5, *[None] * 3)


def test_srun():
    place = launched(SRUN)
    assert place == Place(3, 4, 1, 2, "gpu07", 20000 + 7 * 123 + 4, "srun")
    own = {"MASTER_ADDR": "10.0.0.7", "MASTER_PORT": "7777"}
    assert launched({**SRUN, **own}).url == "tcp://10.0.0.7:7777"
    assert launched(without(SRUN, "SLURM_STEP_NUM_TASKS")).world_size == 16


@pytest.mark.parametrize(
    ("changed", "host"),
    [
        ({"SLURM_STEP_NODELIST": "gpu7"}, "127.0.0.1"),  # the only machine
        ({"SLURM_STEP_NODELIST": "gpu7,gpu8"}, "gpu7"),
        ({"SLURM_STEP_NODELIST": "", "SLURM_JOB_NODELIST": "a[1,3]"}, "a1"),
        ({"SLURM_STEP_NODELIST": "", "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.7"}, "10.0.0.7"),
    ],
)
def test_where_tasks_of_srun_meet(changed, host):
    assert launched({**SRUN, **changed}).host == host


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("gpu[07-12]", "gpu07"),
        ("gpu[3,5-7],cpu1", "gpu3"),
        ("gpu3,gpu5", "gpu3"),
        ("rack[2-3]n[04-05].site", "rack2n04.site"),
        ("alone", "alone"),
    ],
)
def test_the_first_of_a_list_of_machines(hosts, first):
    assert first_host(hosts) == first


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"MASTER_ADDR": "10.0.0.7", "MASTER_PORT": "29500"},
        SBATCH,
        {**SRUN, "SLURM_STEP_NUM_TASKS": "1"},  # one task, in an allocation with several
    ],
)
def test_no_launcher(environ):
    assert launched(environ) is None


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {"WORLD_SIZE": "2"},
            r"\(WORLD_SIZE set\), but lacks RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT; to run "
            r"without torchrun: unset RANK WORLD_SIZE LOCAL_RANK\.$",
        ),
        (without(TORCHRUN, "MASTER_ADDR"), "but lacks MASTER_ADDR; to run without"),
        (without(TORCHRUN, "MASTER_PORT"), "but lacks MASTER_PORT; to run without"),
        (without(TORCHRUN, "LOCAL_RANK"), "but lacks LOCAL_RANK; to run without"),
        ({**TORCHRUN, "RANK": ""}, "but lacks RANK; "),
        ({**TORCHRUN, "RANK": "8"}, "^In the environment RANK is 8, WORLD_SIZE 8, which cannot be"),
        ({**TORCHRUN, "RANK": "-1"}, "^RANK in the environment is '-1': expected a number from 0;"),
        ({**TORCHRUN, "WORLD_SIZE": "two"}, "^WORLD_SIZE in the environment is 'two': expected"),
        ({**TORCHRUN, "WORLD_SIZE": "0", "RANK": "0"}, "RANK is 0, WORLD_SIZE 0, which cannot be"),
        ({**TORCHRUN, "LOCAL_RANK": "4"}, "LOCAL_RANK is 4, LOCAL_WORLD_SIZE 4, which cannot be"),
        ({**TORCHRUN, "LOCAL_RANK": "3", "RANK": "2"}, "LOCAL_RANK is 3, RANK 2, which cannot be"),
        ({**TORCHRUN, "LOCAL_WORLD_SIZE": "9"}, "LOCAL_WORLD_SIZE is 9, WORLD_SIZE 8, which"),
        ({**TORCHRUN, "MASTER_PORT": "0"}, "MASTER_PORT in the environment is 0: a port is from 1"),
        ({**TORCHRUN, "MASTER_PORT": "65536"}, "MASTER_PORT in the environment is 65536: a port"),
        (without(SRUN, "SLURM_PROCID"), "but lacks SLURM_PROCID; to run a single process: srun"),
        ({**SRUN, "SLURM_PROCID": "4"}, "SLURM_PROCID is 4, SLURM_STEP_NUM_TASKS 4, which cannot"),
        (without(SRUN, "SLURM_STEP_NODELIST"), "neither MASTER_ADDR nor SLURM_STEP_NODELIST says"),
    ],
)
def test_variables_that_cannot_be(environ, message):
    with pytest.raises(UserError, match=message):
        launched(environ)


def test_programs_of_one_process_look_at_torchrun_alone():
    assert torchrun_rank(TORCHRUN) == (5, 8)
    for environ in (SRUN, {}, {"RANK": "0"}, {"RANK": "0", "WORLD_SIZE": "1"}):
        assert torchrun_rank(environ) is None


# ---- and the arguments ------------------------------------------------------------------------


@pytest.fixture
def choose(monkeypatch):
    for name in {*TORCHRUN, *SRUN}:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # what is tested sets it: here it is undone

    def choose(environ, device="cpu", **asked):
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        return choose_processes(device, **asked)

    return choose


def test_processes_of_our_own(choose):
    assert choose({}) == Processes()
    asked = {"num_gpus": 3, "num_machines": 2, "machine_rank": 1, "dist_url": "tcp://a:5"}
    processes = choose({}, **asked)
    assert processes == Processes(**asked)
    assert [place.rank for place in processes.places()] == [3, 4, 5]
    assert processes.places()[1] == Place(4, 6, 1, 3, "a", 5)
    assert choose({}, default_gpus=2) == Processes(num_gpus=2)


def test_the_place_of_a_launcher(choose):
    agreeing = {"num_gpus": 4, "num_machines": 2, "machine_rank": 1}
    for asked in ({}, agreeing, {"dist_url": "auto"}, {"dist_url": "tcp://10.0.0.7:29500"}):
        assert choose(TORCHRUN, **asked) == launched(TORCHRUN)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"num_gpus": 2},
            r"^--num-gpus 2 contradicts torchrun, which started 8 processes, for which it is 4: "
            r"leave --num-gpus out; to run without torchrun: unset RANK WORLD_SIZE LOCAL_RANK\.$",
        ),
        ({"num_gpus": 1}, "^--num-gpus 1 contradicts torchrun"),
        ({"num_machines": 3}, "^--num-machines 3 contradicts torchrun, .* it is 2"),
        ({"machine_rank": 0}, "^--machine-rank 0 contradicts torchrun, .* it is 1"),
        ({"dist_url": "tcp://a:5"}, "^--dist-url tcp://a:5 contradicts torchrun, .*10.0.0.7:29500"),
    ],
)
def test_arguments_that_contradict_the_launcher(choose, asked, message):
    with pytest.raises(UserError, match=message):
        choose(TORCHRUN, **asked)


def test_a_group_of_one_is_a_single_process(choose):
    alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    assert choose(alone) == Processes()
    with pytest.raises(UserError, match="^--num-gpus 2 contradicts torchrun"):
        choose(alone, num_gpus=2)


def test_arguments_say_what_the_launcher_does_not(choose):
    environ = without(TORCHRUN, "LOCAL_WORLD_SIZE")
    assert choose(environ, num_gpus=4, num_machines=2).local_size == 4
    with pytest.raises(UserError, match="^--num-machines 3 contradicts"):
        choose(environ, num_gpus=4, num_machines=3)


def test_one_program_on_each_machine_by_srun(choose):
    """Then srun only reaches the machines; where the programs meet is in their arguments."""
    one_each = {**SRUN, "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "0"}
    one_each["SLURM_STEP_TASKS_PER_NODE"] = "1(x2)"
    asked = {"num_gpus": 8, "num_machines": 2, "machine_rank": 1, "dist_url": "tcp://gpu07:5"}
    assert choose(one_each, **asked) == Processes(**asked)
    assert choose(one_each) == launched(one_each)
    with pytest.raises(UserError, match="^--num-gpus 8 contradicts srun, which started 2 .*is 1"):
        choose(one_each, num_gpus=8)


def test_gpus_of_a_launcher(choose, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert choose(TORCHRUN, "cuda") == launched(TORCHRUN)
    with pytest.raises(UserError, match="^MODEL.DEVICE is cuda:1, but there are to be 8 processes"):
        choose(TORCHRUN, "cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="^torchrun started 4 processes on this machine, which has"):
        choose(TORCHRUN, "cuda")
    for name in TORCHRUN:
        monkeypatch.delenv(name)
    assert choose(SRUN, "cuda") == launched(SRUN)  # --gpus-per-task: each sees its own


@pytest.mark.parametrize(
    "url", ["env://", "node1:5", "tcp://node1", "tcp://node1:x", "tcp://[::1", "tcp://:5"]
)
def test_addresses_that_are_none(choose, url):
    with pytest.raises(UserError, match="^--dist-url is .*: expected tcp://<machine>:<port>"):
        choose({}, dist_url=url)
