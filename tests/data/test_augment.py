"""Boxes and masks follow the pixels: images whose pixels show where their objects are."""

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_api
from torchvision.transforms import v2

from detectron2.structures import BoxMode
from fcos.config import get_cfg
from fcos.data.augment import Augment, augment_of
from fcos.data.transforms import COLOURS, KNOWN, PLACES, SIZES
from fcos.utils.errors import UserError

RED = (0, 0, 255)  # blue, green, red
# Of every transform that may move boxes, arguments with which it does.
MOVING = [
    {"Pad": {"padding": [3, 5, 7, 9], "fill": 114}},
    {"RandomAffine": {"degrees": 20, "translate": [0.1, 0.1], "scale": [0.7, 1.2], "shear": 10}},
    {"RandomCrop": {"size": [90, 120], "pad_if_needed": True, "fill": 114}},
    {"RandomHorizontalFlip": {"p": 1.0}},
    "RandomIoUCrop",
    {"RandomPerspective": {"p": 1.0, "distortion_scale": 0.4, "fill": [9, 8, 7]}},
    {"RandomRotation": {"degrees": 30, "fill": 114}},
    {"RandomRotation": {"degrees": 30, "expand": True, "interpolation": "bilinear"}},
    {"RandomVerticalFlip": {"p": 1.0}},
    {"RandomZoomOut": {"p": 1.0, "fill": [10, 20, 30]}},
    {"RandomResize": {"min_size": 80, "max_size": 300}},
    {"RandomResizedCrop": {"size": [100, 130]}},
    {"RandomShortestSize": {"min_size": [80, 200], "max_size": 250}},
    {"Resize": {"size": 100}},
    {"ScaleJitter": {"target_size": [200, 200]}},
    {"RandomApply": {"transforms": [{"RandomZoomOut": {"p": 1.0}}], "p": 0.5}},
    {"RandomChoice": {"transforms": ["RandomIoUCrop", {"RandomVerticalFlip": {"p": 1.0}}]}},
]


def is_for_bytes(transform):
    """In torchvision before 0.22, noise is for floating-point images only, as it says."""
    try:
        transform(torch.zeros(3, 1, 1, dtype=torch.uint8))
    except ValueError:
        return False
    return True


# Of every other one, arguments with which it changes pixels.
COLOURING = [
    {"ColorJitter": {"brightness": 0.3, "hue": 0.1}},
    {"GaussianBlur": {"kernel_size": 5}},
    *["GaussianNoise"] * is_for_bytes(v2.GaussianNoise()),
    {"JPEG": {"quality": [20, 30]}},
    {"RandomAdjustSharpness": {"sharpness_factor": 2.0, "p": 1.0}},
    {"RandomAutocontrast": {"p": 1.0}},
    "RandomChannelPermutation",
    {"RandomEqualize": {"p": 1.0}},
    {"RandomErasing": {"p": 1.0}},
    {"RandomGrayscale": {"p": 1.0}},
    {"RandomInvert": {"p": 1.0}},
    {"RandomPhotometricDistort": {"p": 1.0}},
    {"RandomPosterize": {"bits": 3, "p": 1.0}},
    {"RandomSolarize": {"threshold": 100.0, "p": 1.0}},
]


def name_of(entry):
    return entry if isinstance(entry, str) else next(iter(entry))


def configured(*entries, masks=False, image_format="BGR"):
    cfg = get_cfg()
    cfg.INPUT.AUGMENTATIONS = list(entries)
    cfg.INPUT.FORMAT, cfg.INPUT.MASK_FORMAT = image_format, "bitmask"
    cfg.MODEL.MASK_ON = masks
    return augment_of(cfg)


def record_of(*boxes, **fields):
    annotations = [
        {
            "bbox": [x, y, w, h],
            "bbox_mode": BoxMode.XYWH_ABS,
            "category_id": number,
            "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
            **fields,
        }
        for number, (x, y, w, h) in enumerate(boxes)
    ]
    return {"file_name": "a.png", "image_id": 3, "annotations": annotations}


def scene(seed):
    """A black image with a red object, and its record."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(100, [160, 200]).tolist()
    image = np.zeros((height, width, 3), np.uint8)
    x, y = rng.integers(0, [width - 50, height - 50]).tolist()
    w, h = rng.integers(30, 50, 2).tolist()
    image[y : y + h, x : x + w] = RED
    return image, record_of((x, y, w, h))


def marked(image):
    return (image[:, :, 2] > 127) & (image[:, :, 0] < 60)


def box_around(mask):
    rows, columns = np.nonzero(mask)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def boxes_in(record):
    assert all(one["bbox_mode"] == BoxMode.XYXY_ABS for one in record["annotations"])
    return [one["bbox"] for one in record["annotations"]]


def test_every_known_transform_is_here():
    tried = {name_of(entry) for entry in (*MOVING, *COLOURING)}
    tried |= {"Mosaic", "GaussianNoise"}  # which not every torchvision has for bytes
    assert tried == set(KNOWN)
    assert {"GaussianNoise", *map(name_of, COLOURING)} == set(COLOURS)
    assert {name_of(entry) for entry in MOVING} >= {*PLACES, *SIZES}


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("entry", MOVING, ids=str)
def test_boxes_and_masks_are_around_the_pixels(entry, masks):
    augment, found = configured(entry, masks=masks), 0
    for seed in range(12):
        image, record = scene(seed)
        torch.manual_seed(seed)
        image, record = augment(record, image, None)
        mask = marked(image)
        assert image.dtype == np.uint8 and image.flags.c_contiguous
        assert mask.any() == bool(record["annotations"])
        if not mask.any():
            continue
        found += 1
        around, (box,) = np.array(box_around(mask)), boxes_in(record)
        # A corner that has left the image leaves the turned box, in which it was, too large.
        is_turned = not masks and name_of(entry) == "RandomAffine"
        np.testing.assert_allclose(box, around, atol=5 if is_turned else 2)
        assert ("segmentation" in record["annotations"][0]) == masks
        if masks:
            bits = mask_api.decode(record["annotations"][0]["segmentation"]).astype(bool)
            assert bits.shape == mask.shape
            outline = 2 * (box[2] - box[0] + box[3] - box[1])
            assert (bits != mask).sum() <= 1.5 * outline  # 1 pixel and a half along it
    assert found >= 10


def test_by_hand():
    """A box of 10 to 30 and 20 to 60, in an image of 100x80."""
    image, record = np.zeros((80, 100, 3), np.uint8), record_of((10, 20, 20, 40))
    image[20:60, 10:30] = RED

    def box_after(*entries):
        torch.manual_seed(0)
        augmented, after = configured(*entries)(record, image, None)
        assert box_around(marked(augmented)) == boxes_in(after)[0]
        return boxes_in(after)[0], augmented.shape

    flip = {"RandomHorizontalFlip": {"p": 1.0}}
    assert box_after(flip) == ([70, 20, 90, 60], (80, 100, 3))
    assert box_after(flip, flip) == ([10, 20, 30, 60], (80, 100, 3))
    assert box_after({"RandomVerticalFlip": {"p": 1.0}}) == ([10, 20, 30, 60], (80, 100, 3))
    assert box_after({"Pad": {"padding": [1, 2, 3, 4]}}) == ([11, 22, 31, 62], (86, 104, 3))
    assert box_after({"Resize": {"size": [160, 100]}}) == ([10, 40, 30, 120], (160, 100, 3))
    (left, top, right, bottom), size = box_after({"RandomZoomOut": {"p": 1, "side_range": [2, 2]}})
    assert size == (160, 200, 3)
    assert (right - left, bottom - top) == (20, 40) and 10 < left < 110 and 20 < top < 100


def test_what_a_crop_cuts_off_is_taken_out():
    """A crop of half the width and all of the height; of objects left and right one stays whole."""
    image = np.zeros((60, 100, 3), np.uint8)
    record = record_of((0, 10, 20, 20), (80, 10, 20, 20), (40, 0, 40, 60))
    augment = configured({"RandomCrop": {"size": [60, 50], "pad_if_needed": True}})
    seen = set()
    for seed in range(40):
        torch.manual_seed(seed)
        after = augment(record, image, None)[1]
        classes = tuple(one["category_id"] for one in after["annotations"])
        seen.add(classes)
        for box in boxes_in(after):
            assert 0 <= box[0] <= box[2] - 1 and box[2] <= 50
    assert {(0, 2), (1, 2), (2,)} >= seen and len(seen) > 1


def test_crops_around_the_middle_of_objects():
    """What lies with its middle outside of the crop is no object of it any more."""
    image, record = (
        np.zeros((100, 100, 3), np.uint8),
        record_of(*[(i, 40, 10, 10) for i in range(0, 91, 10)]),
    )
    augment = configured({"RandomIoUCrop": {"min_scale": 0.4, "max_scale": 0.6}})
    numbers = set()
    for seed in range(30):
        torch.manual_seed(seed)
        numbers.add(len(augment(record, image, None)[1]["annotations"]))
    assert 10 in numbers and len(numbers - {10}) >= 2 and 0 not in numbers


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("entry", [*MOVING, *COLOURING], ids=str)
def test_images_without_objects(entry, masks):
    for annotations in ([], record_of((1, 1, 5, 5), iscrowd=1)["annotations"]):
        record = {"file_name": "a.png", "annotations": annotations}
        image = np.zeros((120, 150, 3), np.uint8)
        image, after = configured(entry, masks=masks)(record, image, None)
        assert image.shape[2] == 3
        assert after["annotations"] == (annotations if entry in COLOURING else [])


@pytest.mark.parametrize("entry", COLOURING, ids=str)
def test_colours_move_nothing(entry):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 200, (50, 60, 3), dtype=np.uint8)
    before, record = image.copy(), record_of((5, 6, 20, 30))
    torch.manual_seed(1)
    augmented, after = configured(entry, masks=True)(record, image, None)
    assert after is record
    assert (image == before).all() and augmented.shape == image.shape
    assert (augmented != image).any()


@pytest.mark.parametrize("image_format", ["BGR", "RGB"])
def test_colours_are_those_that_are_seen(image_format):
    """Gray is 0.299 R + 0.587 G + 0.114 B, and red turned by a third of the circle is green."""

    def seen(entry, rgb):
        pixels = rgb if image_format == "RGB" else rgb[::-1]
        image = np.full((4, 5, 3), pixels, np.uint8)
        after = configured(entry, image_format=image_format)({}, image, None)[0][0, 0].tolist()
        return after if image_format == "RGB" else after[::-1]

    gray = {"RandomGrayscale": {"p": 1.0}}
    assert seen(gray, (0, 0, 255)) == [29, 29, 29]
    assert seen(gray, (255, 0, 0)) == [76, 76, 76]
    third = {"ColorJitter": {"hue": [1 / 3, 1 / 3]}}
    assert seen(third, (255, 0, 0)) == [0, 255, 0]
    fill = {"RandomCrop": {"size": [40, 40], "pad_if_needed": True, "fill": [1, 2, 3]}}
    assert seen(fill, (255, 0, 0)) == [1, 2, 3]


def test_the_number_of_threads_changes_nothing():
    """Contrast is about the mean of an image, whose last bits would depend on it."""

    def mean(image, objects):
        seen.append((torch.get_num_threads(), image.float().mean().item()))
        return image, objects

    pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    before, seen = torch.get_num_threads(), []
    try:
        for threads in (1, 4):
            torch.set_num_threads(threads)
            Augment([mean])({}, pixels, None)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert seen[0] == seen[1] and seen[0][0] == 1


def test_crowds_and_what_is_smaller_than_a_pixel_are_left_out():
    record = record_of((5, 5, 10, 10), (20, 20, 0.5, 9), (-8, 5, 8.5, 9))
    record["annotations"] += record_of((5, 5, 9, 9), iscrowd=1)["annotations"]
    after = configured({"RandomHorizontalFlip": {"p": 0.0}})(
        record, np.zeros((40, 40, 3), np.uint8), None
    )[1]
    assert boxes_in(after) == [[5, 5, 15, 15]]
    assert len(record["annotations"]) == 4


def test_other_masks():
    """Run lengths, compressed or not, are moved like polygons; the box is around what is left."""
    bits = np.zeros((20, 30), np.uint8)
    bits[5:10, 3:9] = 1
    packed = mask_api.encode(np.asfortranarray(bits))
    flat = bits.flatten(order="F")
    ends = np.flatnonzero(np.diff(flat, prepend=0, append=flat[-1]))
    counts = np.diff([0, *ends, len(flat)]).tolist()
    record = record_of((2, 4, 10, 10), (2, 4, 10, 10))
    record["annotations"][0]["segmentation"] = packed
    record["annotations"][1]["segmentation"] = {"counts": counts, "size": [20, 30]}
    augment = configured({"RandomHorizontalFlip": {"p": 1.0}}, masks=True)
    after = augment(record, np.zeros((20, 30, 3), np.uint8), None)[1]
    assert boxes_in(after) == [[21, 5, 27, 10]] * 2
    for one in after["annotations"]:
        assert (mask_api.decode(one["segmentation"]) == bits[:, ::-1]).all()


def test_an_image_that_a_transform_leaves_nothing_of():
    augment = configured({"ScaleJitter": {"target_size": [64, 64], "scale_range": [0.1, 0.1]}})
    image = np.zeros((2, 300, 3), np.uint8)
    with pytest.raises(UserError) as caught:
        augment({"file_name": "thread.png", "annotations": []}, image, None)
    message = str(caught.value)
    assert message.startswith(
        "INPUT.AUGMENTATIONS: ScaleJitter fails on image thread.png, there of 300x2 pixels: "
    )
    assert "\n" not in message
