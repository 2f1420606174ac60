"""Which images share a batch."""

import numpy as np
import pytest
from PIL import Image

from fcos.config import get_cfg
from fcos.predict.many.batches import make_batches, padded_shape, size_of


def as_is(height, width):
    return height, width


def lists(batches):
    return [batches[i].tolist() for i in range(len(batches))]


def test_by_hand():
    a, b = (40, 60), (60, 40)
    sizes = np.array([a, b, a, a, b, a, a])
    # a: 0 2 3 5 6, b: 1 4; two in a batch; in the order of the first.
    assert lists(make_batches(sizes, as_is, 2)) == [[0, 2], [1, 4], [3, 5], [6]]
    assert lists(make_batches(sizes, as_is, 8)) == [[0, 2, 3, 5, 6], [1, 4]]
    assert lists(make_batches(sizes, as_is, 1)) == [[i] for i in range(7)]
    assert lists(make_batches(sizes[:0], as_is, 2)) == []


def test_different_sizes_of_one_shape_share_a_batch():
    sizes = np.array([(40, 60), (41, 60), (40, 70)])
    assert lists(make_batches(sizes, lambda h, w: (h // 10, w // 10), 8)) == [[0, 1], [2]]


def test_images_of_unknown_size_are_alone():
    sizes = np.array([(0, 0), (40, 60), (0, 0), (40, 60)])
    assert lists(make_batches(sizes, as_is, 8)) == [[0], [1, 3], [2]]


def test_a_slow_twin_agrees():
    rng = np.random.default_rng(0)
    for number, batch_size in [(1, 1), (17, 3), (200, 8), (64, 64)]:
        sizes = rng.integers(0, 4, (number, 2)) * 10
        open_batches, want = {}, []
        for image, size in enumerate(map(tuple, sizes.tolist())):
            if 0 in size:
                want.append([image])
                continue
            if len(open_batches.get(size, range(batch_size))) == batch_size:
                open_batches[size] = []
                want.append(open_batches[size])
            open_batches[size].append(image)
        assert lists(make_batches(sizes, as_is, batch_size)) == want


def test_unfinished_batches():
    batches = make_batches(np.full((5, 2), 10), as_is, 2)  # [0, 1], [2, 3], [4]
    is_finished = np.array([True, True, True, False, True])
    assert batches.unfinished(is_finished).tolist() == [1]
    assert batches.unfinished(~is_finished).tolist() == [0, 1, 2]
    assert make_batches(np.zeros((0, 2)), as_is, 2).unfinished(np.zeros(0, bool)).tolist() == []


@pytest.mark.parametrize(
    "size, want",
    [
        ((480, 640), (25, 34)),  # 800 x 1066.7
        ((640, 480), (34, 25)),
        ((480, 1000), (20, 42)),  # 1333 wide, so 639.84 high
        ((1, 5000), (0, 42)),
    ],
)
def test_shapes_by_hand(size, want):
    assert padded_shape(get_cfg(), 32)(*size) == want


def test_without_resizing_the_shape_is_the_size():
    cfg = get_cfg()
    cfg.INPUT.MIN_SIZE_TEST = 0
    assert padded_shape(cfg, 32)(33, 64) == (2, 2)
    cfg = get_cfg()
    cfg.TEST.AUG.ENABLED = True
    assert padded_shape(cfg, 1)(33, 64) == (33, 64)


@pytest.mark.parametrize("orientation", [None, 1, 3, 6, 8])
def test_sizes_are_of_upright_images(tmp_path, orientation):
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    path = str(tmp_path / "a.jpg")
    Image.new("RGB", (30, 20)).save(path, exif=exif)
    assert size_of(path) == ((30, 20) if orientation in (6, 8) else (20, 30))


def test_the_size_of_a_damaged_image_is_unknown(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    assert size_of(str(tmp_path / "a.jpg")) == (0, 0)
    assert size_of(str(tmp_path / "gone.jpg")) == (0, 0)
