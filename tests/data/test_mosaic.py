import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from detectron2.structures import BoxMode
from fcos.data.augment import Augment
from fcos.data.mosaic import LabelledImage, Mosaic


def labelled(height, width, color, box, masks=False):
    bits = torch.zeros(1, height, width, dtype=torch.uint8)
    left, top, right, bottom = box
    bits[:, top:bottom, left:right] = 1
    return LabelledImage(
        tv_tensors.Image(torch.full((3, height, width), color, dtype=torch.uint8)),
        tv_tensors.BoundingBoxes(
            torch.tensor([box]).float(), format="XYXY", canvas_size=(height, width)
        ),
        tv_tensors.Mask(bits) if masks else None,
        [{"category_id": color}],
    )


@pytest.mark.parametrize("masks", [False, True])
def test_by_hand(masks):
    """Around x 30, y 12 on a canvas of 80x40; the images are of 40x20, but for two.

    The second is twice as high and wide, and is halved. The third is of 20x20 and stays; it would
    fill half of its quadrant. What is left of the first is its lower right part, 30x12.
    """
    images = [
        labelled(20, 40, 10, [10, 8, 20, 20], masks),
        labelled(40, 80, 20, [0, 0, 80, 40], masks),
        labelled(20, 20, 30, [2, 4, 6, 8], masks),
        labelled(20, 40, 40, [0, 0, 20, 10], masks),
    ]
    mosaic = Mosaic(fill=[1, 2, 3]).around((30, 12), images)
    assert mosaic.size == (40, 80)
    picture = mosaic.image
    assert (picture[:, :12, :30] == 10).all()
    assert (picture[:, :12, 30:70] == 20).all()
    assert (picture[:, 12:32, 30:50] == 30).all()
    assert (picture[:, 12:32, :30] == 40).all()
    for channel, fill in enumerate((1, 2, 3)):
        assert (picture[channel, :, 70:] == fill).all()
        assert (picture[channel, 32:] == fill).all()
        assert (picture[channel, 12:, 50:] == fill).all()
    # From the images' own places: -10, -8; then 30, -8; 30, 12; -10, 12.
    assert mosaic.boxes.tolist() == [
        [0, 0, 10, 12],
        [30, -8, 70, 12],
        [32, 16, 36, 20],
        [-10, 12, 10, 22],
    ]
    assert [one["category_id"] for one in mosaic.annotations] == [10, 20, 30, 40]
    if masks:
        for mask, (left, top, right, bottom) in zip(
            mosaic.masks, mosaic.boxes.int().tolist(), strict=True
        ):
            want = torch.zeros(40, 80)
            want[max(top, 0) : bottom, max(left, 0) : right] = 1
            assert (mask == want).all()


def record_of(number, box, **fields):
    annotation = {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": number}
    return {"file_name": str(number), "annotations": [{**annotation, **fields}]}


def color_of(number):
    return number, 255 - number, 0  # no mixture with black is another one's


def test_boxes_are_around_the_pixels():
    """Each image has an object of its own colour, on black."""
    records = [record_of(i, [10, 10, 40, 40]) for i in range(200)]
    read_images = []

    def read(record):
        number = int(record["file_name"])
        read_images.append(number)
        image = np.zeros((50 + number % 7 * 10, 60, 3), np.uint8)
        image[10:40, 10:40] = color_of(number)
        return image

    augment = Augment([Mosaic(p=1.0, fill=0)], records=records)
    seen = 0
    for seed in range(30):
        torch.manual_seed(seed)
        image, after = augment(records[seed], read(records[seed]), read)
        numbers = [one["category_id"] for one in after["annotations"]]
        for one in after["annotations"]:
            mask = (image == color_of(one["category_id"])).all(2)
            if mask.sum() > 100 and numbers.count(one["category_id"]) == 1:
                rows, columns = np.nonzero(mask)
                around = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                np.testing.assert_allclose(one["bbox"], around, atol=2)
                seen += 1
    assert seen > 60
    assert len(read_images) == 30 * 4
    assert len(set(read_images)) > 70  # from all over the data set


def test_chance():
    first = labelled(20, 40, 10, [10, 8, 20, 20])
    torch.manual_seed(0)
    assert all(Mosaic(p=0.0)(first, None) is first for _ in range(20))
    made = [Mosaic(p=0.5)(first, lambda: first) is not first for _ in range(200)]
    assert 70 < sum(made) < 130
    points = []
    mosaic = Mosaic(p=1.0, center=[0.5, 0.75])
    mosaic.around = lambda point, images: points.append(point)
    for _ in range(200):
        mosaic(first, lambda: first)
    xs, ys = np.array(points).T  # on 80x40
    assert (xs.min(), xs.max()) == (40, 60) and (ys.min(), ys.max()) == (20, 30)
