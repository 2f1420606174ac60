"""Seeds, user set-up, files behind names, memory, the environment report."""

import random
import sys

import numpy as np
import pytest
import torch

import detectron2
from detectron2.utils import env
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng
from detectron2.utils.file_io import PathManager

lite_only = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="looks into detectron2-lite"
)


def draw():
    return random.random(), float(np.random.rand()), torch.rand(1).item()


def test_seed_all_rng():
    seed_all_rng(5)
    first = draw()
    # What the generators give themselves after the same seed.
    torch.manual_seed(5)
    assert first == (
        random.Random(5).random(),
        np.random.RandomState(5).rand(),
        torch.rand(1).item(),
    )
    seed_all_rng()
    assert draw() != first


@lite_only
def test_user_set_up(monkeypatch, tmp_path):
    (tmp_path / "my_set_up.py").write_text("calls = []\ndef setup_environment(): calls.append(1)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("DETECTRON2_ENV_MODULE", "my_set_up")
    monkeypatch.setattr(env, "_is_set_up", False)
    env.setup_environment()
    env.setup_environment()
    assert sys.modules["my_set_up"].calls == [1]
    monkeypatch.setattr(env, "_is_set_up", False)
    monkeypatch.setenv("DETECTRON2_ENV_MODULE", "json")
    with pytest.raises(ValueError, match="DETECTRON2_ENV_MODULE=json"):
        env.setup_environment()


def test_detectron2_files_come_from_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    name = "ImageNetPretrained/MSRA/made_up_name.pkl"
    cached = tmp_path / "detectron2" / name
    cached.parent.mkdir(parents=True)
    cached.write_text("content")
    for path in (f"detectron2://{name}", f"https://dl.fbaipublicfiles.com/detectron2/{name}"):
        assert PathManager.get_local_path(path) == str(cached)
        with PathManager.open(path) as file:
            assert file.read() == "content"


def test_local_files():
    assert PathManager.isfile(__file__)
    assert PathManager.get_local_path(__file__) == __file__


def test_collect_env():
    info = collect_env_info()
    for part in (torch.__version__, np.__version__, "detectron2", "fvcore", "Python"):
        assert part in info
