"""INPUT.AUGMENTATIONS as it is written, and the sentences on what is wrong with it."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from fcos.config import get_cfg, read_cfg
from fcos.data.augment import augment_of
from fcos.data.augmentations import check_augmentations, choose_sizes, read_augmentations
from fcos.data.transforms import KNOWN, PixelsOnly
from fcos.utils.errors import UserError
from tests.data.test_augment import COLOURING, MOVING

DOCS = Path(__file__).parents[2] / "docs"


def configured(entries):
    cfg = get_cfg()
    cfg.INPUT.AUGMENTATIONS = entries
    return cfg


def names_of(cfg):
    transforms = read_augmentations(cfg)
    inner = [one.transform if isinstance(one, PixelsOnly) else one for one in transforms]
    return [type(one).__name__ for one in inner]


def test_none_by_default():
    assert augment_of(get_cfg()) is None


def test_from_a_file_and_from_the_command_line(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "INPUT:\n"
        "  AUGMENTATIONS:\n"
        "    - {Mosaic: {p: 0.3}}\n"
        "    - RandomZoomOut\n"
        "    - {ColorJitter: {hue: 0.1}}\n"
        "    - RandomIoUCrop: {}\n"
        "VERSION: 2\n"
    )
    names = ["Mosaic", "RandomZoomOut", "ColorJitter", "RandomIoUCrop"]
    cfg = read_cfg(str(path))
    check_augmentations(cfg)
    assert names_of(cfg) == names
    path.write_text(cfg.dump())  # as a training keeps it
    assert names_of(read_cfg(str(path))) == names
    value = "['RandomZoomOut', {'ColorJitter': {'hue': 0.1}}]"
    assert names_of(read_cfg(str(path), ["INPUT.AUGMENTATIONS", value])) == names[1:3]
    with pytest.raises(UserError, match=r"INPUT\.AUGMENTATIONS is of type list .* is of type str"):
        read_cfg(str(path), ["INPUT.AUGMENTATIONS", "RandomZoomOut"])


def test_every_transform_passes():
    check_augmentations(configured([{"Mosaic": {"p": 1.0}}, *MOVING, *COLOURING]))


def test_the_documented_lists():
    text = (DOCS / "TRAINING.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    lists = [yaml.safe_load(block)["INPUT"]["AUGMENTATIONS"] for block in blocks]
    assert len(lists) == 3
    for entries in lists:
        check_augmentations(configured(entries))
    for name in KNOWN:
        assert f"`{name}`" in text


def test_checks_draw_nothing():
    state = torch.get_rng_state()
    check_augmentations(configured(["RandomPhotometricDistort", "RandomIoUCrop"]))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (5, r" is 5: expected the name of a transform, or its name with its arguments, such as "),
        ({"Pad": {"padding": 2}, "Resize": {}}, r" is .*: expected the name of a transform"),
        ({"RandomZoomOut": 0.5}, r" is \{'RandomZoomOut': 0\.5\}: expected the name"),
        ({5: {}}, r" is \{5: \{\}\}: expected the name"),
        ("RandomHorizontalflip", r": unknown transform RandomHorizontalflip\. Did you mean Random"),
        ("RandAugment", r": unknown transform RandAugment\. Did you mean Rand"),
        ("zzz", r": unknown transform zzz; known are ColorJitter, .*, ScaleJitter\.$"),
        (
            {"RandomZoomOut": {"prob": 1}},
            r": RandomZoomOut has no argument prob; it has fill, side_range, p\.$",
        ),
        (
            {"RandomChannelPermutation": {"p": 1}},
            r": RandomChannelPermutation has no argument p; it has none\.$",
        ),
        ({"RandomErasing": {"inplace": True}}, r": RandomErasing has no argument inplace"),
        ("Resize", r": Resize refuses \{\}: .*missing 1 required positional argument: 'size'$"),
        (
            {"ColorJitter": {"hue": 0.9}},
            r": ColorJitter refuses \{hue: 0\.9\}: hue values should be between",
        ),
        (
            {"RandomZoomOut": {"side_range": [3, 2]}},
            r": RandomZoomOut refuses \{side_range: \[3, 2\]\}: Invalid side",
        ),
        (
            {"RandomAffine": {"degrees": 5, "fill": "red"}},
            r": RandomAffine refuses \{degrees: 5, fill: 'red'\}: Got inappropriate fill",
        ),
        (
            {"Resize": {"size": 9, "interpolation": "lanczos5"}},
            r": Resize refuses .*'lanczos5' is not a valid InterpolationMode",
        ),
        (
            {"RandomErasing": {"scale": [0.5, 0.1]}},
            r": RandomErasing refuses .*: Scale and ratio should be of kind",
        ),
        (
            {"RandomErasing": {"value": "random"}},
            r": value of RandomErasing is 'random': set it to a number or three\.$",
        ),
        (
            {"RandomErasing": {"value": [1, 2]}},
            r": RandomErasing refuses \{value: \[1, 2\], p: 1\.0\}: If value is a seq",
        ),
        ({"RandomPhotometricDistort": {"hue": "much"}}, r": RandomPhotometricDistort refuses"),
        (
            {"RandomPhotometricDistort": {"p": "half"}},
            r": p of RandomPhotometricDistort is 'half': set it to a number within \[0, 1\]\.$",
        ),
        ({"RandomInvert": {"p": 1.5}}, r": p of RandomInvert is 1\.5: set it to"),
        ({"ScaleJitter": {"target_size": 800}}, r": ScaleJitter refuses \{target_size: 800\}: "),
        (
            {"RandomCrop": {"size": 64}},
            r": RandomCrop fails on images that are smaller than its size: add pad_if_needed",
        ),
        (
            {"RandomIoUCrop": {"sampler_options": [0.5]}},
            r": sampler_options of RandomIoUCrop is \[0\.5\]: set it to numbers, one of ",
        ),
        (
            {"RandomIoUCrop": {"sampler_options": ["a", 1]}},
            r": sampler_options of RandomIoUCrop is",
        ),
        ({"RandomIoUCrop": {"sampler_options": 1.0}}, r": sampler_options of RandomIoUCrop is"),
        (
            {"Mosaic": {"center": [0.7, 0.3]}},
            r": Mosaic refuses \{center: \[0\.7, 0\.3\]\}: center: expected two numbers",
        ),
        (
            {"Mosaic": {"fill": [1, 2]}},
            r": Mosaic refuses \{fill: \[1, 2\]\}: fill: expected a number or three",
        ),
        ({"Mosaic": {"fill": 256}}, r": Mosaic refuses \{fill: 256\}: fill: expected"),
        (
            {"RandomApply": {"p": 0.3}},
            r": RandomApply needs transforms, a list like INPUT\.AUGMENTATIONS itself\.$",
        ),
        ({"RandomApply": {"transforms": "Pad"}}, r": RandomApply needs transforms, a list"),
        (
            {"RandomApply": {"transforms": ["Pda"]}},
            r"\.transforms\[0\]: unknown transform Pda\. Did you mean Pad\?",
        ),
        (
            {"RandomApply": {"transforms": [{"RandomPosterize": {"bits": "a"}}]}},
            r"\.transforms\[0\]: RandomPosterize refuses",
        ),
        (
            {"RandomChoice": {"transforms": ["RandomZoomOut"], "p": [1, 2]}},
            r": RandomChoice refuses \{p: \[1, 2\]\}: Length of p",
        ),
        (
            {"RandomApply": {"transforms": ["Mosaic"]}},
            r"\.transforms\[0\]: Mosaic is an entry of INPUT\.AUGMENTATIONS itself, not one among",
        ),
        (
            {"RandomChoice": {"transforms": [{"Resize": {"size": 9}}]}},
            r"\.transforms\[0\]: Resize is an entry of",
        ),
    ],
)
def test_mistakes(entry, message):
    with pytest.raises(UserError, match=rf"^INPUT\.AUGMENTATIONS\[1\]{message}") as caught:
        check_augmentations(configured(["RandomVerticalFlip", entry]))
    assert "\n" not in str(caught.value)


def test_mosaic_comes_first():
    with pytest.raises(
        UserError, match=r"^INPUT\.AUGMENTATIONS\[1\] is Mosaic, .* the first one of"
    ):
        check_augmentations(configured(["RandomZoomOut", "Mosaic"]))
    with pytest.raises(UserError, match=r"^INPUT\.AUGMENTATIONS\[1\] is Mosaic"):
        check_augmentations(configured(["Mosaic", "Mosaic"]))


def test_masks_have_to_be_bitmaps_where_they_move():
    cfg = configured(["RandomZoomOut"])
    cfg.MODEL.MASK_ON = True
    with pytest.raises(
        UserError,
        match=r"^INPUT\.AUGMENTATIONS moves masks as bitmaps, but INPUT\.MASK_FORMAT is polygon: "
        r"set it to bitmask\.$",
    ):
        check_augmentations(cfg)
    for still in (["RandomInvert"], [{"RandomApply": {"transforms": ["RandomInvert"]}}]):
        cfg.INPUT.AUGMENTATIONS = still
        check_augmentations(cfg)
    cfg.INPUT.AUGMENTATIONS = [{"RandomApply": {"transforms": ["RandomZoomOut"]}}]
    with pytest.raises(UserError, match="moves masks"):
        check_augmentations(cfg)
    cfg.INPUT.MASK_FORMAT = "bitmask"
    check_augmentations(cfg)


def test_keypoints_cannot_be_moved():
    cfg = configured(["RandomZoomOut"])
    cfg.MODEL.KEYPOINT_ON = True
    with pytest.raises(UserError, match=r"cannot move keypoints, but MODEL\.KEYPOINT_ON is True"):
        check_augmentations(cfg)


def test_which_ones_make_the_sizes():
    jitter = {"ScaleJitter": {"target_size": [64, 64]}}
    assert choose_sizes(configured(["RandomZoomOut", jitter]))
    assert not choose_sizes(configured(["Mosaic", "RandomZoomOut"]))
