import pytest

from detectron2.data import DatasetCatalog, MetadataCatalog
from fcos.config import get_cfg
from fcos.data import get_class_names, register_custom_datasets, require_dataset
from fcos.utils.errors import UserError


@pytest.fixture
def root(coco, tmp_path, monkeypatch):
    coco.write()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    return tmp_path


def config(tmp_path, **entries):
    """A config with these data sets, read from YAML as a user would write it."""
    lines = ["DATASETS:", "  CUSTOM:"] + [f"    {name}: {text}" for name, text in entries.items()]
    path = tmp_path / "config.yaml"
    path.write_text("\n".join(lines))
    cfg = get_cfg()
    cfg.merge_from_file(str(path))
    return cfg


RELATIVE = "{JSON: small/annotations.json, IMAGES: small/img}"


def test_relative_paths_start_at_the_data_folder(root):
    register_custom_datasets(config(root, mine=RELATIVE))
    metadata = MetadataCatalog.get("mine")
    assert metadata.json_file == str(root / "small" / "annotations.json")
    assert metadata.image_root == str(root / "small" / "img")
    assert metadata.evaluator_type == "coco"
    assert len(DatasetCatalog.get("mine")) == 6


def test_absolute_paths_and_home(root, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    register_custom_datasets(config(root, mine="{JSON: /data/a.json, IMAGES: ~/img}"))
    metadata = MetadataCatalog.get("mine")
    assert (metadata.json_file, metadata.image_root) == ("/data/a.json", "/home/someone/img")


def test_default_data_folder(root, monkeypatch):
    monkeypatch.delenv("DETECTRON2_DATASETS")
    register_custom_datasets(config(root, mine=RELATIVE))
    assert MetadataCatalog.get("mine").json_file == "datasets/small/annotations.json"


def test_registering_twice(root):
    register_custom_datasets(config(root, mine=RELATIVE))
    register_custom_datasets(config(root, mine=RELATIVE))
    with pytest.raises(
        UserError, match=r"CUSTOM\.mine: .* registered already, .*annotations\.json"
    ):
        register_custom_datasets(config(root, mine="{JSON: other.json, IMAGES: small/img}"))


def test_names_of_others_are_kept(root):
    with pytest.raises(UserError, match=r"CUSTOM\.coco_2017_val: .* choose another name"):
        register_custom_datasets(config(root, coco_2017_val=RELATIVE))


@pytest.mark.parametrize(
    "entry", ["{JSON: a.json}", "{JSON: a, IMAGES: b, MASKS: c}", "{JSON: 1, IMAGES: b}", "a.json"]
)
def test_entries_of_another_form(root, entry):
    with pytest.raises(UserError, match=r"DATASETS\.CUSTOM\.mine: expected the two paths"):
        register_custom_datasets(config(root, mine=entry))


def test_class_names_come_from_the_json_when_needed(root, coco):
    register_custom_datasets(config(root, mine=RELATIVE))
    assert get_class_names("mine") == ["three", "seven"]  # in the order of the ids 3 and 7
    DatasetCatalog.get("mine")
    assert MetadataCatalog.get("mine").thing_classes == ["three", "seven"]


def test_class_names_of_a_builtin_data_set_need_no_file():
    names = get_class_names("coco_2017_val")
    assert len(names) == 80
    assert names[:2] == ["person", "bicycle"]


def test_class_names_of_a_data_set_in_another_format(catalog):
    DatasetCatalog.register("other", list)
    MetadataCatalog.get("other").set(thing_classes=["a"])
    assert get_class_names("other") == ["a"]


def test_sound_data_set(root):
    register_custom_datasets(config(root, mine=RELATIVE))
    require_dataset("mine")


def test_unknown_name():
    with pytest.raises(UserError, match=r"'coco_2017_vla' is not registered.*'coco_2017_val'\?"):
        require_dataset("coco_2017_vla")
    advice = r"'mine' is not registered\. Declare .*CUSTOM: \{mine:.*custom_datasets\(cfg\)\.$"
    with pytest.raises(UserError, match=advice):
        require_dataset("mine")


def test_missing_json_and_images(root, coco):
    register_custom_datasets(config(root, mine=RELATIVE))
    coco.image_root.rename(root / "elsewhere")
    want = rf"'mine' is incomplete: {coco.image_root} does not exist\. Put .*DETECTRON2_DATASETS"
    with pytest.raises(UserError, match=want):
        require_dataset("mine")
    coco.json_file.unlink()
    with pytest.raises(UserError, match=rf"{coco.json_file} does not exist.*datasets/README\.md"):
        require_dataset("mine")


def test_missing_coco_names_path_and_layout():
    metadata = MetadataCatalog.get("coco_2017_train")
    assert metadata.json_file.endswith("coco/annotations/instances_train2017.json")
    with pytest.raises(UserError) as caught:
        require_dataset("coco_2017_train")
    assert f"{metadata.json_file} does not exist" in str(caught.value)
    assert f"Put the data set at {metadata.json_file} and {metadata.image_root}" in str(
        caught.value
    )


def test_missing_demo_data_names_its_command(root):
    register_custom_datasets(
        config(root, digits_train="{JSON: digits/annotations/train.json, IMAGES: digits/train}")
    )
    with pytest.raises(UserError, match=rf"python -m fcos\.data\.digits --root {root}/digits$"):
        require_dataset("digits_train")


def test_missing_voc(tmp_path, catalog):
    DatasetCatalog.register("voc", list)
    MetadataCatalog.get("voc").set(dirname=str(tmp_path / "VOC2007"))
    with pytest.raises(UserError, match="VOC2007 does not exist"):
        require_dataset("voc")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [', "is not complete JSON"),
        ('\ufeff{"images": []}', "begins with a byte order mark, which JSON must not have"),
        ('{"images": []}', "is not in COCO's format: it has no list categories"),
        ("[]", "it has no list images and no list categories"),
        ('{"images": [7], "categories": []}', r"images\[0\] is 7, expected a mapping\."),
        (
            '{"images": [], "categories": [{"id": 1}]}',
            r"json: category \{'id': 1\} has no name\.",
        ),
        (
            '{"images": [], "categories": [], "annotations": ["x"]}',
            r"annotations\[0\] is 'x', expected a mapping\.",
        ),
        (
            '{"images": [], "categories": [], "annotations": {"1": 2}}',
            "it has no list annotations",
        ),
        (
            '{"images": [{"id": 1}, {"id": 5}, {"id": 1}], "categories": []}',
            r"json: images with the same id: 1\. Give each an id of its own\.",
        ),
        (
            '{"images": [], "categories": [{"id": 2, "name": "a"}, {"id": 2, "name": "b"}]}',
            r"json: categories with the same id: 2\. Give",
        ),
    ],
)
def test_files_that_are_not_cocos(root, coco, text, message):
    register_custom_datasets(config(root, mine=RELATIVE))
    coco.json_file.write_text(text)
    with pytest.raises(UserError, match=message):
        get_class_names("mine")
