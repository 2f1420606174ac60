"""Processes with different configs are refused."""

import pytest

from fcos.config import get_cfg
from fcos.config.same import check_same_config
from fcos.utils.errors import UserError


@pytest.fixture
def check(monkeypatch):
    """Check the default config in process 0 beside a changed one in process 2."""

    def check(*changes):
        cfg, other = get_cfg(), get_cfg()
        other.merge_from_list(changes)
        theirs = []
        monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 3)
        monkeypatch.setattr("detectron2.utils.comm.all_gather", lambda mine: [mine, mine, mine])
        check_same_config(cfg)
        monkeypatch.setattr(
            "detectron2.utils.comm.all_gather", lambda mine: theirs.append(mine) or [mine] * 3
        )
        check_same_config(other)
        monkeypatch.setattr("detectron2.utils.comm.all_gather", lambda mine: [mine, mine, *theirs])
        check_same_config(cfg)

    return check


def test_the_same_and_paths_that_may_differ(check):
    check()
    check("OUTPUT_DIR", "elsewhere", "MODEL.WEIGHTS", "/disk2/a.pth")


def test_another_value_is_named(check):
    with pytest.raises(UserError) as refused:
        check("SOLVER.BASE_LR", "0.5", "OUTPUT_DIR", "elsewhere")
    assert str(refused.value) == (
        "The processes have different configs: SOLVER.BASE_LR is 0.001 in process 0 and 0.5 in "
        "process 2; start all with one."
    )
    assert refused.value.in_all_processes


def test_another_option_is_named(monkeypatch):
    others = {"--resume": "False"}
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 2)
    monkeypatch.setattr("detectron2.utils.comm.all_gather", lambda mine: [mine, {**mine, **others}])
    with pytest.raises(UserError, match="--resume is True in process 0 and False in process 1; "):
        check_same_config(get_cfg(), **{"--resume": True, "--eval-only": False})


def test_only_some_of_many_are_named(check):
    changes = [("SEED", 1), ("SOLVER.GAMMA", 0.5), ("SOLVER.MAX_ITER", 7), ("VIS_PERIOD", 9)]
    with pytest.raises(UserError, match=r"\(and 1 more\); start all with one"):
        check(*[word for pair in changes for word in pair])


def test_one_process_compares_nothing(monkeypatch):
    monkeypatch.setattr("detectron2.utils.comm.all_gather", lambda _: 1 / 0)
    check_same_config(get_cfg())
