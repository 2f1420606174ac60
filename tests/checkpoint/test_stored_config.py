"""The config that a checkpoint carries: as written, and whatever a file from anywhere holds."""

import pytest

from fcos.checkpoint import CONFIG, cfg_in, stored_text
from fcos.config import get_cfg
from fcos.utils.errors import UserError
from tests.helpers import tiny_cfg


def test_it_comes_back_as_it_was():
    cfg = tiny_cfg()
    text = stored_text(cfg)
    assert "&id" in get_cfg().dump() and "&id" not in text  # an alias is refused below
    assert stored_text(cfg_in({CONFIG: text}, "a.pth")) == text
    assert cfg_in({CONFIG: text}, "a.pth").MODEL.RESNETS.DEPTH == 18
    assert cfg_in({"model": {}}, "a.pth") is None
    cfg.OUTPUT_DIR = "elsewhere"
    assert stored_text(cfg) == text


def test_one_that_is_too_long_is_not_carried(caplog):
    cfg = tiny_cfg()
    cfg.MODEL.WEIGHTS = "a" * 2**16
    assert stored_text(cfg) == ""
    assert "more than 65,536, so checkpoints do not carry it" in caplog.text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (7, "It is a int, not a text."),
        ("S" * (2**16 + 1), "It has 65,537 characters, more than 65,536."),
        ("just words", "It is no mapping of keys to values."),
        ("SEED: [", "It is not valid YAML: "),
        ("SEED: 2001-99-99", "It is not valid YAML: month must be in 1..12"),
        ("SEED: 2001-01-01", "It is not a usable config: Key SEED with value"),
        ("[\n" * 30_000, "is nested too deeply."),
        ("OUTPUT_DIR: '" + "-" * 50_000 + "1'", "is nested too deeply."),
        ("A: &a [1, 1]\nB: [*a, *a]", "It is not valid YAML: it has an alias"),
        ("_BASE_: /etc/passwd", "Unknown config key _BASE_."),
        ("SEED: !!python/object/apply:os.system ['touch it-ran']", "could not determine a constru"),
        ("MODEL: {FCOS: {NROM: GN}}", "Unknown config key MODEL.FCOS.NROM. Did you mean"),
        ("MODEL: {FCOS: {NUM_STACKED_CONVS: 100000000}}", "set it to 100 or less."),
        ("MODEL: 3", "MODEL is of type"),
    ],
)
def test_what_cannot_be_used(text, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="The config in a.pth cannot be used") as error:
        cfg_in({CONFIG: text}, "a.pth")
    assert reason in str(error.value) and len(str(error.value)) < 400
    assert list(tmp_path.iterdir()) == []
