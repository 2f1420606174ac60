"""The config: defaults, YAML files, ``configurable``."""

import os

import pytest
import yaml
from golden_values import GOLDEN

import detectron2
from detectron2.config import CfgNode, configurable, get_cfg

lite_only = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="a message of detectron2-lite's own"
)


def as_lists(value):
    """YAML knows no tuples."""
    if isinstance(value, dict):
        return {key: as_lists(item) for key, item in value.items()}
    return [as_lists(item) for item in value] if isinstance(value, (list, tuple)) else value


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def test_every_key_and_default_is_detectron2s():
    reference = yaml.safe_load((GOLDEN / "host_defaults.yaml").read_text())
    assert as_lists(get_cfg()) == reference


def test_defaults_are_not_shared_between_configs():
    get_cfg().MODEL.PIXEL_STD[0] = 5.0
    assert get_cfg().MODEL.PIXEL_STD == [1.0, 1.0, 1.0]


def test_dump_is_yaml_that_merges_back(write):
    cfg = get_cfg()
    cfg.merge_from_list(["SOLVER.STEPS", "(3, 4)", "MODEL.WEIGHTS", "a.pth", "SEED", 7])
    again = get_cfg()
    again.merge_from_file(write("dump.yaml", cfg.dump()))
    assert as_lists(again) == as_lists(cfg)
    assert again.SOLVER.STEPS == (3, 4)


def test_base_files_come_first_and_relative_to_the_file(write, tmp_path):
    write("base.yaml", "VERSION: 2\nSOLVER: {BASE_LR: 0.5, MAX_ITER: 7, GAMMA: 0.3}\n")
    write("second.yaml", "SOLVER: {MAX_ITER: 8}\n")
    os.mkdir(tmp_path / "folder")
    child = write(
        "folder/child.yaml", "_BASE_: [../base.yaml, ../second.yaml]\nSOLVER: {GAMMA: 0.2}\n"
    )
    cfg = get_cfg()
    cfg.merge_from_file(child)
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_ITER, cfg.SOLVER.GAMMA) == (0.5, 8, 0.2)
    assert "_BASE_" not in cfg


def test_unknown_key_and_wrong_type(write):
    with pytest.raises(KeyError, match=r"MODEL\.FOO"):
        get_cfg().merge_from_file(write("a.yaml", "VERSION: 2\nMODEL: {FOO: 1}\n"))
    with pytest.raises(ValueError, match=r"SOLVER\.BASE_LR"):
        get_cfg().merge_from_file(write("b.yaml", "VERSION: 2\nSOLVER: {BASE_LR: much}\n"))


def test_frozen_config_cannot_change():
    cfg = get_cfg()
    cfg.freeze()
    with pytest.raises(AttributeError):
        cfg.SEED = 3
    clone = cfg.clone()
    clone.defrost()
    clone.SEED = 3
    assert cfg.SEED == -1


@lite_only
@pytest.mark.parametrize("allow_unsafe", [False, True])
@pytest.mark.parametrize("load", ["merge_from_file", "load_yaml_with_base"])
def test_yaml_that_builds_objects_is_refused_and_runs_nothing(write, tmp_path, load, allow_unsafe):
    path = write(
        "evil.yaml", f"SEED: 1\nOUTPUT_DIR: !!python/object/apply:os.mkdir ['{tmp_path}/ran']\n"
    )
    for file in (path, write("child.yaml", "_BASE_: evil.yaml\n")):
        with pytest.raises(ValueError, match=r"evil\.yaml', line 2, was refused.*plain value"):
            getattr(get_cfg(), load)(file, allow_unsafe=allow_unsafe)
    assert not (tmp_path / "ran").exists()


@lite_only
@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", ValueError, r"a\.yaml' holds no KEY: VALUE mapping"),
        ("- 1\n", ValueError, r"a\.yaml' holds no KEY: VALUE mapping"),
        ("_BASE_: a.yaml\n", ValueError, r"a\.yaml' includes itself through _BASE_"),
        (
            "VERSION: 1\nMODEL: {WEIGHT: x}\n",
            NotImplementedError,
            r"a\.yaml', .* VERSION 1, is not",
        ),
        ("VERSION: 3\n", ValueError, r"a\.yaml' has VERSION 3; only 2 is understood"),
        ("MODEL: [\n", yaml.YAMLError, r"a\.yaml"),
    ],
)
def test_files_that_cannot_be_merged(write, text, error, message):
    with pytest.raises(error, match=message):
        get_cfg().merge_from_file(write("a.yaml", text))


@lite_only
def test_missing_file():
    with pytest.raises(FileNotFoundError, match=r"/no/such\.yaml' does not exist"):
        get_cfg().merge_from_file("/no/such.yaml")


class Layer:
    @configurable
    def __init__(self, width, *, depth=2):
        """Doc of Layer."""
        self.width, self.depth = width, depth

    @classmethod
    def from_config(cls, cfg, scale=1):
        return {"width": cfg.WIDTH * scale}


class AnyLayer(Layer):
    @classmethod
    def from_config(cls, cfg, *args, **kwargs):
        return {"width": cfg.WIDTH, "depth": 100 * len(args) + len(kwargs)}


@configurable(from_config=lambda cfg, scale=1: {"width": cfg.WIDTH * scale})
def make(width, depth=2):
    return width, depth


CFG = CfgNode({"WIDTH": 10})


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        ((3,), {}, (3, 2)),
        ((), {"width": 3, "depth": 4}, (3, 4)),
        ((CFG,), {}, (10, 2)),
        ((), {"cfg": CFG}, (10, 2)),
        ((CFG, 3), {}, (30, 2)),
        ((CFG,), {"scale": 3}, (30, 2)),
        ((CFG,), {"depth": 5}, (10, 5)),  # replaces what from_config gives
        ((CFG,), {"width": 6, "scale": 3}, (6, 2)),
    ],
)
def test_configurable(args, kwargs, expected):
    layer = Layer(*args, **kwargs)
    assert (layer.width, layer.depth) == expected
    assert make(*args, **kwargs) == expected


def test_from_config_with_variable_arguments_gets_them_all():
    layer = AnyLayer(CFG, 1, 2, depth=3)
    assert (layer.width, layer.depth) == (10, 201)


def test_configurable_keeps_the_documentation():
    assert Layer.__init__.__doc__ == "Doc of Layer."
    assert make.__name__ == "make"
    assert make.from_config(CFG, 2) == {"width": 20}


def test_configurable_on_the_wrong_things():
    class NoFromConfig:
        @configurable
        def __init__(self, a): ...

    class PlainMethod(NoFromConfig):
        def from_config(self, cfg): ...

    class OtherName(NoFromConfig):
        @classmethod
        def from_config(cls, config):
            return {}

    with pytest.raises(AttributeError, match="from_config"):
        NoFromConfig(1)
    with pytest.raises(TypeError, match="classmethod"):
        PlainMethod(1)
    with pytest.raises(TypeError, match="'cfg'"):
        OtherName(CFG)
    with pytest.raises(TypeError):  # an argument that nobody takes
        Layer(CFG, no_such_argument=1)
    with pytest.raises(AssertionError):
        configurable(make)
