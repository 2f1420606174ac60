"""Names of detectron2 that detectron2-lite leaves out say so, and lose no other name."""

import importlib
import inspect
import pkgutil
import runpy
from pathlib import Path

import pytest

import detectron2
from detectron2.utils.registry import Registry

IS_LITE = detectron2.__version__.endswith("+lite")
lite_only = pytest.mark.skipif(not IS_LITE, reason="detectron2 leaves nothing out")
real_only = pytest.mark.skipif(IS_LITE, reason="compares with detectron2 itself")

MESSAGE = (
    " is not part of detectron2-lite; the full detectron2 has it, see its installation guide: "
    "https://detectron2.readthedocs.io/en/latest/tutorials/install.html"
)
TABLES = runpy.run_path(str(Path(__file__).parents[1] / "detectron2" / "_names.py"))


@lite_only
@pytest.mark.parametrize(
    ("statement", "missing"),
    [
        ("from detectron2.structures import RotatedBoxes", "detectron2.structures.RotatedBoxes"),
        ("from detectron2.structures import rotated_boxes", "detectron2.structures.rotated_boxes"),
        ("import detectron2.structures.keypoints", "detectron2.structures.keypoints"),
        ("import detectron2.export", "detectron2.export"),
        ("from detectron2 import export", "detectron2.export"),
        ("import detectron2.export.flatten", "detectron2.export"),
        ("import detectron2; detectron2.projects", "detectron2.projects"),
        (
            "from detectron2.modeling import build_keypoint_head",
            "detectron2.modeling.build_keypoint_head",
        ),
        ("from detectron2.layers import nms_rotated", "detectron2.layers.nms_rotated"),
        ("from detectron2.config import LazyConfig", "detectron2.config.LazyConfig"),
        (
            "from detectron2.layers.wrappers import shapes_to_tensor",
            "detectron2.layers.wrappers.shapes_to_tensor",
        ),
    ],
)
def test_left_out_names(statement, missing):
    with pytest.raises(NotImplementedError) as caught:
        exec(statement, {})
    assert str(caught.value) == missing + MESSAGE


@pytest.mark.parametrize(
    "statement",
    [
        "import detectron2.no_such_module",
        "from detectron2 import no_such_name",
        "from detectron2.layers import NoSuchLayer",
    ],
)
def test_names_that_detectron2_has_not_either_fail_as_usual(statement):
    with pytest.raises(ImportError):
        exec(statement, {})


def test_tools_can_look_at_packages():
    for package in (detectron2, importlib.import_module("detectron2.layers")):
        assert not hasattr(package, "__wrapped__")
        assert getattr(package, "no_such_name", None) is None
        assert inspect.getmodule(package) is package


@lite_only
def test_every_module_of_lite_imports_and_is_one_of_detectron2s():
    found = [
        module.name
        for module in pkgutil.walk_packages(detectron2.__path__, "detectron2.")
        if "._" not in module.name
    ]
    assert len(found) > 20
    for name in found:
        importlib.import_module(name)
    hooks = "detectron2.engine.hooks."  # one module in detectron2, a package here
    assert {n for n in found if not n.startswith(hooks)} <= TABLES["MODULES"]


@lite_only
def test_every_public_name_is_there_or_says_that_it_is_left_out():
    absent = []
    for name, names in TABLES["PUBLIC_NAMES"].items():
        try:
            module = importlib.import_module(name)
        except NotImplementedError:
            continue
        for attribute in names.split():
            try:
                getattr(module, attribute)
            except NotImplementedError:
                continue
            except AttributeError:
                absent.append(f"{name}.{attribute}")
    assert not absent, "these modules lack `__getattr__ = missing_names(__name__)`"


@real_only
def test_the_table_of_names_is_true():
    for name, names in TABLES["PUBLIC_NAMES"].items():
        module = importlib.import_module(name)
        missing = [attribute for attribute in names.split() if not hasattr(module, attribute)]
        assert not missing, name
    for path in TABLES["MODULES"]:
        assert importlib.util.find_spec(path) is not None, path


@real_only
def test_the_table_of_names_is_complete():
    for name, names in TABLES["PUBLIC_NAMES"].items():
        module = importlib.import_module(name)
        if not hasattr(module, "__path__"):
            continue
        public = {n for n in getattr(module, "__all__", ()) if not n.startswith("_")}
        known = {*names.split(), *(n.rpartition(".")[2] for n in TABLES["MODULES"])}
        assert public <= known, name


@lite_only
def test_registry_knows_what_detectron2_registers():
    registry = Registry("ROI_HEADS")
    with pytest.raises(
        NotImplementedError, match=r"^CascadeROIHeads \(of the ROI_HEADS registry\)"
    ):
        registry.get("CascadeROIHeads")


def test_registry():
    registry = Registry("ANIMALS")

    @registry.register()
    class Cat: ...

    registry.register(dict)
    assert registry.get("Cat") is Cat
    assert registry.get("dict") is dict
    assert "Cat" in registry
    assert [name for name, _ in registry] == ["Cat", "dict"]
    with pytest.raises(KeyError, match="Dog"):
        registry.get("Dog")
    with pytest.raises(AssertionError):
        registry.register(dict)
