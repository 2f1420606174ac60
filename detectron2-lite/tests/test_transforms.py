"""Augmentations and transforms, against detectron2's numbers and by hand."""

import zlib

import numpy as np
import pytest
import torch
from golden_values import golden_json, golden_npz

import detectron2
from detectron2.data import transforms as T

lite_only = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="a message of detectron2-lite's own"
)

DRAWS = golden_json("host_transforms.json")["random"]
LANDSCAPE = np.zeros((427, 640, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def golden():
    return golden_npz("host_transforms.npz")


@pytest.fixture(scope="module")
def photo():
    return golden_npz("photo.npz")["rgb"]


def assert_same_pixels(actual, expected):
    """Another version of Pillow than the reference's may differ by 1 in a few pixels."""
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    difference = np.abs(actual.astype(int) - expected.astype(int))
    assert difference.max() <= 1 and (difference > 0).mean() < 0.01


@pytest.mark.parametrize("short_edge, max_size", [(800, 1333), (640, 1024)])
def test_golden_output_sizes(short_edge, max_size):
    sizes = golden_json("host_transforms.json")[f"resize_sizes_short{short_edge}_max{max_size}"]
    assert len(sizes) > 20
    for (h, w), expected in sizes:
        actual = T.ResizeShortestEdge.get_output_shape(h, w, short_edge, max_size)
        assert actual == tuple(expected), (h, w)


@pytest.mark.parametrize("short_edge, max_size", [(100, 333), (180, 240), (77, 90)])
def test_golden_resizing(golden, photo, short_edge, max_size):
    key = f"resize_short{short_edge}_max{max_size}"
    expected = {k[len(key) + 1 :]: golden[k] for k in golden.files if k.startswith(key)}
    transform = T.ResizeShortestEdge(short_edge, max_size).get_transform(photo)
    assert (transform.new_h, transform.new_w) == tuple(expected["size"])
    assert_same_pixels(transform.apply_image(photo), expected["uint8"])
    for gray in (photo[:, :, 0], photo[:, :, :1]):
        assert_same_pixels(transform.apply_image(gray).squeeze(), expected["gray_uint8"])
    corner = transform.apply_image(photo.astype(np.float32))[:40, :40]
    np.testing.assert_allclose(corner, expected["float32_slice"], rtol=1e-5, atol=1e-3)
    labels = transform.apply_segmentation(golden["segmentation"])
    assert (labels == expected["segmentation"]).all()
    box = transform.apply_box(golden["box"])
    np.testing.assert_allclose(box, expected["box"], rtol=1e-12)
    back = transform.inverse().apply_box(box)
    np.testing.assert_allclose(back, expected["inverse_box"], rtol=1e-12)
    coords = transform.apply_coords(golden["coords"].copy())
    np.testing.assert_allclose(coords, expected["coords"], rtol=1e-12)
    polygons = transform.apply_polygons([golden["polygon0"].copy(), golden["polygon1"].copy()])
    for i in (0, 1):
        np.testing.assert_allclose(polygons[i], expected[f"polygon{i}"], rtol=1e-12)


@pytest.mark.parametrize("direction", ["horizontal", "vertical"])
def test_golden_flips(golden, photo, direction):
    options = {"horizontal": direction == "horizontal", "vertical": direction == "vertical"}
    flip = T.RandomFlip(prob=1.0, **options).get_transform(photo)
    flipped = np.ascontiguousarray(flip.apply_image(photo))
    assert zlib.crc32(flipped.tobytes()) == golden[f"flip_{direction}/crc32"][0]
    assert (flip.apply_box(golden["box"]) == golden[f"flip_{direction}/box"]).all()
    coords = flip.apply_coords(golden["coords"].copy())
    np.testing.assert_allclose(coords, golden[f"flip_{direction}/coords"], rtol=1e-12)


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_golden_draws(seed, photo):
    lengths = (640, 672, 704, 736, 768, 800)
    choice = T.ResizeShortestEdge(lengths, 1333, "choice")
    between = T.ResizeShortestEdge((640, 800), 1333, "range")
    for key, augmentation in (("choice", choice), ("range", between)):
        expected = DRAWS[f"resize_{key}_seed{seed}"]
        np.random.seed(seed)
        drawn = [augmentation.get_transform(LANDSCAPE) for _ in expected]
        assert [[t.new_h, t.new_w] for t in drawn] == expected
    expected = DRAWS[f"flip_seed{seed}"]
    np.random.seed(seed)
    drawn = [T.RandomFlip().get_transform(LANDSCAPE) for _ in expected]
    assert [isinstance(t, T.HFlipTransform) for t in drawn] == expected
    expected = DRAWS[f"crop_relative_range_seed{seed}"]
    np.random.seed(seed)
    drawn = [T.RandomCrop("relative_range", (0.4, 0.6)).get_transform(photo) for _ in expected]
    assert [[t.x0, t.y0, t.w, t.h] for t in drawn] == expected


def test_golden_list(golden, photo):
    augmentations = T.AugmentationList([T.ResizeShortestEdge(120), T.RandomFlip(prob=1.0)])
    aug_input = T.AugInput(photo, boxes=golden["box"])
    transforms = augmentations(aug_input)
    assert [type(t).__name__ for t in transforms.transforms] == [
        "ResizeTransform",
        "HFlipTransform",
    ]
    assert_same_pixels(np.ascontiguousarray(aug_input.image), golden["list/uint8"])
    np.testing.assert_allclose(aug_input.boxes, golden["list/box"], rtol=1e-12)


# 100 x 150 pixels. Size, then place (row first): the draws of numpy's legacy generator.
@pytest.mark.parametrize(
    ("kind", "size", "seed", "expected"),
    [
        ("absolute", (60, 70), 0, (67, 0, 70, 60)),
        ("absolute", (600, 70), 0, (44, 0, 70, 100)),
        ("relative", (0.5, 0.7), 0, (0, 44, 105, 50)),
        ("relative", (1.0, 1.0), 0, (0, 0, 150, 100)),
        ("absolute_range", (30, 90), 0, (64, 21, 77, 74)),
    ],
)
def test_crops(kind, size, seed, expected):
    np.random.seed(seed)
    crop = T.RandomCrop(kind, size).get_transform(np.zeros((100, 150)))
    assert (crop.x0, crop.y0, crop.w, crop.h) == expected


def test_a_crop_lies_within_its_image():
    np.random.seed(0)
    for kind, size in (("relative_range", (0.1, 0.2)), ("absolute_range", (1, 50))):
        for _ in range(200):
            h, w = np.random.randint(10, 60, 2)
            crop = T.RandomCrop(kind, size).get_transform(np.zeros((h, w)))
            assert 0 <= crop.x0 < crop.x0 + crop.w <= w
            assert 0 <= crop.y0 < crop.y0 + crop.h <= h


def test_resizing_leaves_other_types_as_they_are():
    transform = T.ResizeTransform(4, 6, 2, 3)
    ones = np.ones((4, 6, 5))
    for dtype in (np.float32, np.float64, np.float16):
        resized = transform.apply_image(ones.astype(dtype))
        assert resized.dtype == dtype and resized.shape == (2, 3, 5) and (resized == 1).all()


def test_resizing_takes_views_with_negative_strides(photo):
    transform = T.ResizeTransform(154, 218, 70, 99)
    for image in (photo, photo.astype(np.float32)):
        mirrored = transform.apply_image(image[:, ::-1])
        copied = transform.apply_image(np.ascontiguousarray(image[:, ::-1]))
        assert (mirrored == copied).all()


def test_labels_are_not_mixed():
    labels = np.array([[0, 200]], dtype=np.uint8).repeat(50, axis=1).repeat(100, axis=0)
    resized = T.ResizeTransform(100, 100, 37, 41).apply_segmentation(labels)
    assert set(np.unique(resized)) == {0, 200}


def test_whole_number_coordinates_stay_whole():
    # x: 5 * 15 / 10 = 7.5. detectron2 rounds down whole-number boxes in the same way.
    coords = T.ResizeTransform(10, 10, 10, 15).apply_coords(np.array([[5, 5]]))
    assert coords.tolist() == [[7, 5]]


def test_short_edge_0_and_max_size(photo):
    assert isinstance(T.ResizeShortestEdge(0).get_transform(photo), T.NoOpTransform)
    # 154 x 218 to 300 x 425 (424.7); with at most 400: 283 (282.6) x 400.
    assert T.ResizeShortestEdge.get_output_shape(154, 218, 300, 1000) == (300, 425)
    assert T.ResizeShortestEdge.get_output_shape(154, 218, 300, 400) == (283, 400)
    # 100 x 150 fits 150 but not 149: 99.3 x 149.
    assert T.ResizeShortestEdge.get_output_shape(10, 15, 100, 150) == (100, 150)
    assert T.ResizeShortestEdge.get_output_shape(10, 15, 100, 149) == (99, 149)


def test_output_shape_can_be_scripted():
    def shape(image: torch.Tensor):
        h, w = image.shape[-2:]
        return T.ResizeShortestEdge.get_output_shape(h, w, 80, 133)

    scripted = torch.jit.script(shape)
    for size in ((10, 10), (8, 100), (300, 7)):
        image = torch.zeros(size)
        assert scripted(image) == shape(image)


def test_fixed_size():
    image = np.zeros((10, 20, 3), dtype=np.uint8)
    assert T.Resize(30).get_transform(image).apply_image(image).shape == (30, 30, 3)
    assert T.Resize((5, 40)).get_transform(image).apply_image(image).shape == (5, 40, 3)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("RandomBrightness", [20.0, 40.0, 120.0]),  # twice as much
        ("RandomContrast", [-10.0, 10.0, 90.0]),  # twice as far from the mean, 30
        # Twice as far from gray: 0.299 * 10 + 0.587 * 20 + 0.114 * 60 = 21.57.
        ("RandomSaturation", [-1.57, 18.43, 98.43]),
    ],
)
def test_colors(name, expected):
    image = np.array([[[10.0, 20.0, 60.0]]])
    transform = getattr(T, name)(2.0, 2.0).get_transform(image)
    np.testing.assert_allclose(transform.apply_image(image)[0, 0], expected)


def test_color_functions():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert (T.ColorTransform(lambda x: x + 1).apply_image(image) == image + 1).all()
    upside_down = T.PILColorTransform(lambda x: x.rotate(180))
    assert (upside_down.apply_image(image) == image[::-1, ::-1]).all()
    boxes = np.array([[0.0, 0.0, 2.0, 1.0]])
    assert (upside_down.apply_box(boxes) == boxes).all()
    assert isinstance(upside_down.inverse(), T.NoOpTransform)
    for kind in (T.ColorTransform, T.PILColorTransform):
        with pytest.raises(ValueError):
            kind("no function")


def test_random_apply():
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    always, never = (T.RandomApply(T.Resize(8), prob=p) for p in (1.0, 0.0))
    assert always(T.AugInput(image)).new_h == 8
    assert isinstance(never(T.AugInput(image)), T.NoOpTransform)
    assert T.RandomApply(T.HFlipTransform(4), prob=1.0).get_transform(image).width == 4
    for prob in (-0.01, 1.01):
        with pytest.raises(AssertionError):
            T.RandomApply(T.Resize(8), prob=prob)


@lite_only
@pytest.mark.parametrize("transform", [T.ResizeTransform(1, 1, 2, 2), T.HFlipTransform(2)])
def test_rotated_boxes_are_left_out(transform):
    with pytest.raises(
        NotImplementedError, match=r"Transform\.apply_rotated_box .rotated boxes. is"
    ):
        transform.apply_rotated_box(np.zeros((1, 5)))


def test_an_augmentation_asks_for_what_it_needs():
    class Darken(T.Augmentation):
        def get_transform(self, image, boxes, extra):
            assert boxes.shape == (1, 4) and extra == "extra"
            return T.ColorTransform(lambda x: x * 0.5)

    aug_input = T.AugInput(np.ones((2, 2)), boxes=np.zeros((1, 4)))
    with pytest.raises(AttributeError, match="extra"):
        Darken()(aug_input)
    aug_input.extra = "extra"
    Darken()(aug_input)
    assert (aug_input.image == 0.5).all()


def test_each_augmentation_sees_the_work_of_those_before():
    sizes = []

    class Look(T.Augmentation):
        def get_transform(self, image, sem_seg):
            sizes.append((image.shape, sem_seg.shape))
            return T.NoOpTransform()

    image, labels = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.uint8)
    inner = T.AugmentationList([T.Resize((8, 9)), Look()])
    aug_input = T.AugInput(image, sem_seg=labels)
    transforms = aug_input.apply_augmentations([Look(), T.HFlipTransform(6), inner])
    assert sizes == [((4, 6, 3), (4, 6)), ((8, 9, 3), (8, 9))]
    assert len(transforms.transforms) == 4 and aug_input.sem_seg.shape == (8, 9)


def test_apply_augmentations_to_an_image():
    image = np.zeros((4, 6, 3), np.uint8)
    resized, transforms = T.apply_augmentations([T.Resize((8, 9))], image)
    assert resized.shape == (8, 9, 3) and isinstance(transforms, T.TransformList)
    aug_input = T.AugInput(image)
    assert T.apply_augmentations([T.Resize((8, 9))], aug_input)[0] is aug_input


def test_repr_shows_the_arguments_given():
    assert str(T.RandomFlip()) == "RandomFlip()"
    assert str(T.RandomFlip(0.25, horizontal=False, vertical=True)) == (
        "RandomFlip(prob=0.25, horizontal=False, vertical=True)"
    )
    assert str(T.ResizeShortestEdge([640, 800], 1333, "choice")) == (
        "ResizeShortestEdge(short_edge_length=[640, 800], max_size=1333, sample_style='choice')"
    )
    crop = T.RandomCrop("absolute", (3, 4))
    assert (
        str(T.AugmentationList([crop, T.RandomFlip()])) == f"AugmentationList[{crop}, RandomFlip()]"
    )


def test_init_keeps_arguments_of_a_subclass():
    class Shift(T.Augmentation):
        def __init__(self, pixels, axis=1):
            super().__init__()
            self._init(locals())

    assert (Shift(3).pixels, Shift(3).axis, repr(Shift(3))) == (3, 1, "Shift(pixels=3)")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: T.RandomFlip(horizontal=True, vertical=True), ValueError),
        (lambda: T.RandomFlip(horizontal=False), ValueError),
        (lambda: T.RandomCrop("circle", (3, 4)), AssertionError),
        (lambda: T.RandomCrop("relative", (2.0, 1.0)).get_transform(LANDSCAPE), AssertionError),
        (lambda: T.RandomCrop("absolute_range", (9, 3)).get_transform(LANDSCAPE), AssertionError),
        (lambda: T.ResizeShortestEdge(8, sample_style="best"), AssertionError),
        (lambda: T.ResizeShortestEdge((8,), sample_style="range"), AssertionError),
        (lambda: T.RandomSaturation(1, 2).get_transform(np.zeros((2, 2))), AssertionError),
        (
            lambda: T.AugmentationList([T.RandomFlip()]).get_transform(LANDSCAPE),
            NotImplementedError,
        ),
    ],
)
def test_errors(call, error):
    with pytest.raises(error):
        call()


@lite_only
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: T.AugInput([1]), TypeError, "image: expected a numpy array, got a list"),
        (lambda: T.AugInput(np.zeros(3)), ValueError, r"image: expected \(H, W\)"),
        (lambda: T.AugmentationList([3]), TypeError, "expected an Augmentation or a Transform"),
        (
            lambda: T.ResizeTransform(5, 6, 1, 1).apply_image(np.zeros((6, 5))),
            ValueError,
            r"expected \(5, 6\) or \(5, 6, channels\), got \(6, 5\)",
        ),
        (
            lambda: T.ResizeTransform(5, 6, 1, 1, 1).apply_image(np.zeros((5, 6))),
            ValueError,
            "LANCZOS is only there for 8-bit images",
        ),
        (
            lambda: T.RandomCrop("relative", (2.0, 1.0)).get_transform(LANDSCAPE),
            AssertionError,
            "would cut 854 x 640 pixels out of 427 x 640",
        ),
    ],
)
def test_messages(call, error, message):
    with pytest.raises(error, match=message):
        call()


@lite_only
def test_get_transform_must_name_what_it_needs_and_return_a_transform():
    class Anything(T.Augmentation):
        def get_transform(self, *args):
            return T.NoOpTransform()

    class Nothing(T.Augmentation):
        def get_transform(self, image):
            return image

    with pytest.raises(TypeError, match=r"Anything.get_transform takes \*args"):
        Anything()(T.AugInput(LANDSCAPE))
    with pytest.raises(TypeError, match="Nothing.get_transform must return a Transform"):
        Nothing()(T.AugInput(LANDSCAPE))
