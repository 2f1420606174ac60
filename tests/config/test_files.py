"""Config files that come with the package are found from any folder."""

import logging
import shutil

import pytest

import fcos.config.files
from fcos.config import get_cfg, get_config_file, read_cfg
from fcos.config.files import configs_folder
from fcos.utils.errors import UserError
from tests.tiny import ROOT


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["R_50_1x.yaml", "configs/R_50_1x.yaml"])
def test_names_from_any_folder(name):
    assert get_config_file(name) == str(ROOT / "configs" / "R_50_1x.yaml")
    assert read_cfg(name) == read_cfg(str(ROOT / "configs" / "R_50_1x.yaml"))


def test_a_file_of_the_user_comes_first(tmp_path):
    (tmp_path / "R_50_1x.yaml").write_text("SEED: 5\n")
    assert read_cfg("R_50_1x.yaml").SEED == 5
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "R_50_1x.yaml").write_text("SEED: 6\n")
    assert read_cfg("configs/R_50_1x.yaml").SEED == 6


@pytest.mark.parametrize("base", ["R_50_1x_improve.yaml", "configs/R_50_1x_improve.yaml"])
def test_a_base_that_comes_with_the_package_is_told(base, tmp_path, caplog):
    (tmp_path / "mine.yaml").write_text(f"_BASE_: {base}\nSEED: 5\n")
    with caplog.at_level(logging.INFO):
        cfg = read_cfg("mine.yaml")
    want = read_cfg("configs/R_50_1x_improve.yaml", ["SEED", "5"])
    assert cfg == want and want != get_cfg()
    path = get_config_file("R_50_1x_improve.yaml")
    assert f"is {path}, which comes with fcos." in caplog.text


@pytest.mark.parametrize("name", ["typo/R_50_1x.yaml", "../configs/R_50_1x.yaml", "R_51.yaml", ""])
def test_other_paths_are_taken_as_they_are(name):
    with pytest.raises(UserError, match=r"The config file .*does not exist\."):
        read_cfg(name)


def test_an_unknown_name_has_a_near_one():
    with pytest.raises(UserError, match=r"no config file 'R_50_1.yaml' in .* mean R_50_1x.yaml\?"):
        get_config_file("R_50_1.yaml")


def test_configs_of_an_installed_package(tmp_path, monkeypatch):
    """In a wheel they lie in the package, and those of a repository around it do not count."""
    package = tmp_path / "site-packages" / "fcos"
    shutil.copytree(ROOT / "configs" / "table3", package / "configs" / "table3")
    monkeypatch.setattr(fcos.config.files, "__file__", str(package / "config" / "files.py"))
    assert get_config_file("table3/1_c5.yaml") == str(package / "configs" / "table3" / "1_c5.yaml")
    shutil.rmtree(package / "configs")
    with pytest.raises(UserError, match=r"configs does not exist\."):
        configs_folder()
