"""Visualizer, VisImage, GenericMask, colors; looked at by their pixels and matplotlib objects."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from matplotlib.patches import Polygon, Rectangle
from PIL import Image
from pycocotools import mask as coco_mask

import detectron2
from detectron2.structures import BitMasks, Boxes, BoxMode, Instances, PolygonMasks
from detectron2.utils.colormap import colormap, random_color, random_colors
from detectron2.utils.visualizer import ColorMode, GenericMask, VisImage, Visualizer

lite_only = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="detectron2 does it differently"
)

HEIGHT, WIDTH = 80, 120
GRAY = np.full((HEIGHT, WIDTH, 3), 127, np.uint8)
RED, GREEN = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)


class Animals:
    """The metadata of a data set of two classes."""

    thing_classes = ["cat", "dog"]
    thing_colors = [(255, 0, 0), (0, 0, 255)]

    def get(self, name, default=None):
        return getattr(self, name, default)


def photo():
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def rectangle_mask(x0, y0, x1, y1):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[y0:y1, x0:x1] = 1
    return mask


def found(boxes=((10, 5, 110, 75), (20, 20, 60, 70)), masks=None):
    instances = Instances((HEIGHT, WIDTH))
    instances.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32))
    instances.scores = torch.tensor([0.934, 0.5])
    instances.pred_classes = torch.tensor([1, 0])
    if masks is not None:
        instances.pred_masks = torch.from_numpy(np.stack(masks).astype(bool))
    return instances


def texts(output):
    return [text.get_text() for text in output.ax.texts]


def patches(output, kind):
    return [patch for patch in output.ax.patches if isinstance(patch, kind)]


def differs(output, image=GRAY):
    """(H, W) bool, where the picture is not the image."""
    return (output.get_image() != image).any(axis=2)


# --- the picture


@pytest.mark.parametrize("scale, size", [(1, (80, 120)), (2, (160, 240)), (0.75, (60, 90))])
def test_the_picture_is_the_image_to_begin_with(scale, size):
    image = photo()
    picture = Visualizer(image, scale=scale).get_output().get_image()
    assert picture.dtype == np.uint8
    assert picture.shape == (*size, 3)
    if scale >= 1:
        assert (picture == image.repeat(scale, axis=0).repeat(scale, axis=1)).all()


@pytest.mark.parametrize("height, width", [(1, 1), (37, 501), (333, 7)])
def test_the_size_is_exact(height, width):
    image = np.zeros((height, width, 3), np.uint8)
    assert VisImage(image).get_image().shape == image.shape


def test_values_beyond_the_range():
    picture = Visualizer(np.array([[[-5.0, 300.0, 12.7]]])).get_output().get_image()
    assert picture.tolist() == [[[0, 255, 12]]]


def test_saving(tmp_path):
    image = photo()
    output = VisImage(image)
    output.save(str(tmp_path / "a.png"))
    assert (np.asarray(Image.open(tmp_path / "a.png").convert("RGB")) == image).all()
    output.save(str(tmp_path / "a.jpg"))
    assert Image.open(tmp_path / "a.jpg").size == (WIDTH, HEIGHT)


def test_a_picture_once_taken_does_not_change():
    visualizer = Visualizer(GRAY)
    before = visualizer.get_output().get_image()
    visualizer.draw_box((10, 10, 50, 50)).get_image()
    assert (before == GRAY).all()
    assert before.flags.c_contiguous and before.flags.writeable


def test_another_image_below():
    output = VisImage(GRAY)
    output.reset_image(photo())
    assert (output.get_image() == photo()).all()


# --- simple shapes


def test_a_box_is_drawn_where_it_lies():
    visualizer = Visualizer(GRAY)
    assert visualizer.draw_box((20, 10, 100, 60), alpha=1, edge_color="r") is visualizer.output
    changed = differs(visualizer.output)
    # The line is 2.5 points wide, thus less than 2 pixels to either side.
    assert changed[10, 20:100].all() and changed[60, 20:100].all()
    assert changed[10:60, 20].all() and changed[10:60, 100].all()
    assert not changed[13:58, 23:98].any()
    assert not changed[:8].any() and not changed[63:].any()
    assert not changed[:, :18].any() and not changed[:, 103:].any()
    assert visualizer.output.get_image()[10, 60].tolist() == [255, 0, 0]


def test_shapes_and_their_sizes():
    visualizer = Visualizer(GRAY, scale=2)
    visualizer.draw_circle((30, 40), "r", radius=7)
    visualizer.draw_line([1, 50], [2, 60], "g", linestyle="--", linewidth=3)
    visualizer.draw_polygon(np.array([[1, 2], [30, 4], [50, 60]]), RED, alpha=0.25)
    (circle, polygon), (line,) = visualizer.output.ax.patches, visualizer.output.ax.lines
    assert (circle.center, circle.radius) == ((30, 40), 7)
    assert line.get_xydata().tolist() == [[1, 2], [50, 60]]
    assert (line.get_linewidth(), line.get_linestyle()) == (6, "--")
    assert polygon.get_facecolor() == (*RED, 0.25)
    assert polygon.get_edgecolor() == (*RED, 1)
    circle_only = Visualizer(GRAY)
    inside = differs(circle_only.draw_circle((30, 40), "r", radius=7))
    assert inside[40, 24:37].all() and inside[34:47, 30].all()
    assert not inside[:31].any() and not inside[:, 40:].any()


def test_text():
    visualizer = Visualizer(GRAY, scale=2, font_size_scale=3)
    visualizer.draw_text("one", (5, 6), color="r", horizontal_alignment="left", rotation=30)
    visualizer.draw_text("two", (7, 8), font_size=9)
    one, two = visualizer.output.ax.texts
    assert (one.get_text(), one.get_position(), one.get_ha()) == ("one", (5, 6), "left")
    assert (one.get_rotation(), one.get_va()) == (30, "top")
    # 10 points of the picture by default, times font_size_scale.
    assert one.get_fontsize() == 30
    assert two.get_fontsize() == 18
    # No channel is below 0.2, the largest not below 0.8.
    assert list(one.get_color()) == [1.0, 0.2, 0.2]
    assert list(two.get_color()) == [0.2, 0.8, 0.2]


def test_default_text_size_grows_with_the_image():
    large = Visualizer(np.zeros((1800, 1800, 3), np.uint8))
    large.draw_text("a", (0, 0))
    assert large.output.ax.texts[0].get_fontsize() == 20


def test_binary_mask():
    visualizer = Visualizer(GRAY)
    mask = rectangle_mask(20, 10, 60, 50)
    mask[70:72, 100:102] = 1  # 4 pixels, below the threshold
    output = visualizer.draw_binary_mask(mask, RED, text="cat", alpha=1)
    changed = differs(output)
    assert changed[11:49, 21:39].all()
    assert not changed[65:, 95:].any()
    assert texts(output) == ["cat"]
    x, y = output.ax.texts[0].get_position()
    assert (x, y) == (39.5, 29.5)
    nothing = Visualizer(GRAY).draw_binary_mask(np.zeros((HEIGHT, WIDTH)), RED, text="cat")
    assert texts(nothing) == [] and not differs(nothing).any()


def test_binary_mask_with_a_hole():
    mask = rectangle_mask(20, 10, 60, 50)
    mask[20:30, 30:40] = 0
    picture = Visualizer(GRAY).draw_binary_mask(mask, RED, alpha=0.5).get_image()
    inside = mask.astype(bool)
    assert (picture[~inside] == 127).all()
    np.testing.assert_allclose(picture[inside], np.tile([191, 63, 63], (inside.sum(), 1)), atol=1)


def test_soft_mask():
    soft = np.zeros((HEIGHT, WIDTH), np.float32)
    soft[10:20, 10:20], soft[30:40, 10:20] = 1.0, 0.5
    output = Visualizer(GRAY).draw_soft_mask(soft, RED, alpha=1, text="soft")
    picture = output.get_image()
    assert picture[12, 17].tolist() == [255, 0, 0]
    np.testing.assert_allclose(picture[38, 12], [191, 63, 63], atol=1)
    assert picture[60, 60].tolist() == [127] * 3
    assert texts(output) == ["soft"]
    assert texts(Visualizer(GRAY).draw_soft_mask(soft * 0, RED, text="soft")) == []


# --- instances


def test_predictions():
    output = Visualizer(GRAY, Animals()).draw_instance_predictions(found())
    assert texts(output) == ["dog 93%", "cat 50%"]
    boxes = [(*b.get_xy(), b.get_width(), b.get_height()) for b in patches(output, Rectangle)]
    assert boxes == [(10, 5, 100, 70), (20, 20, 40, 50)]


def test_the_largest_is_drawn_first():
    boxes = ((20, 20, 60, 70), (10, 5, 110, 75))
    output = Visualizer(GRAY, Animals()).draw_instance_predictions(found(boxes))
    assert texts(output) == ["cat 50%", "dog 93%"]


def test_predictions_with_less_to_say():
    no_names = Visualizer(GRAY).draw_instance_predictions(found())
    assert texts(no_names) == ["1 93%", "0 50%"]
    instances = found()
    instances.remove("scores")
    assert texts(Visualizer(GRAY, Animals()).draw_instance_predictions(instances)) == ["dog", "cat"]
    instances.remove("pred_classes")
    assert texts(Visualizer(GRAY, Animals()).draw_instance_predictions(instances)) == []
    nobody = Visualizer(GRAY, Animals()).draw_instance_predictions(found()[[]])
    assert not differs(nobody).any()


def test_classes_have_their_colors_in_the_mode_segmentation():
    def edges(jittering):
        visualizer = Visualizer(GRAY, Animals(), instance_mode=ColorMode.SEGMENTATION)
        output = visualizer.draw_instance_predictions(found(), jittering)
        return [np.array(b.get_edgecolor()[:3]) for b in patches(output, Rectangle)]

    dog, cat = edges(False)
    assert (*dog, *cat) == (0, 0, 1, 1, 0, 0)
    for color, exact in zip(edges(True), [dog, cat], strict=True):
        assert color.argmax() == exact.argmax()


def test_gray_where_no_mask_is():
    image = photo()
    masks = [rectangle_mask(20, 20, 40, 40), np.zeros((HEIGHT, WIDTH), np.uint8)]
    visualizer = Visualizer(image, instance_mode=ColorMode.IMAGE_BW)
    instances = found(((0, 0, 1, 1), (0, 0, 1, 1)), masks)
    instances.remove("scores"), instances.remove("pred_classes")
    picture = visualizer.draw_instance_predictions(instances).get_image().astype(int)
    outside = picture[42:, 42:]
    assert (outside == outside[:, :, :1]).all()
    np.testing.assert_allclose(outside[:, :, 0], image[42:, 42:].mean(axis=2), atol=1)
    # Under a mask it is the image, with 0.3 of one color over it.
    color = (picture - 0.7 * image)[25:35, 25:35]
    assert (color.max(axis=(0, 1)) - color.min(axis=(0, 1)) < 2).all()


def mask_forms():
    mask = rectangle_mask(20, 10, 70, 60)
    polygon = np.array([20.0, 10, 70, 10, 70, 60, 20, 60])
    rle = coco_mask.encode(np.asfortranarray(mask))
    runs = {"size": [HEIGHT, WIDTH], "counts": [20 * HEIGHT + 10]}
    runs["counts"] += ([50, 30] * 50)[:-1] + [50 * HEIGHT - 60 + 40]
    runs["counts"][-1] = HEIGHT * WIDTH - sum(runs["counts"][:-1])
    return {
        "array": [mask],
        "bool array": [mask.astype(bool)],
        "tensor": torch.from_numpy(mask)[None],
        "polygons": [[polygon]],
        "lists": [[polygon.tolist()]],
        "run lengths": [rle],
        "run lengths, not compressed": [runs],
        "generic": [GenericMask(mask, HEIGHT, WIDTH)],
    }


@pytest.mark.parametrize("form", mask_forms())
def test_masks_in_every_form(form):
    if form == "generic" and not detectron2.__version__.endswith("+lite"):
        pytest.skip("of detectron2-lite")
    output = Visualizer(GRAY).overlay_instances(
        masks=mask_forms()[form], labels=["cat"], assigned_colors=["r"], alpha=1
    )
    assert len(patches(output, Polygon)) == 1
    (text,) = output.ax.texts
    assert text.get_text() == "cat"
    assert text.get_position() == pytest.approx((44.5, 34.5), abs=0.6)
    text.remove()
    changed = differs(output)
    assert changed[11:59, 21:69].all()
    assert not changed[:8].any() and not changed[62:].any()
    assert not changed[:, :18].any() and not changed[:, 72:].any()


def test_the_structures_of_masks():
    forms = mask_forms()
    for masks in (BitMasks(forms["tensor"].bool()), PolygonMasks(forms["polygons"])):
        output = Visualizer(GRAY).overlay_instances(masks=masks, assigned_colors=["r"], alpha=1)
        assert differs(output)[11:59, 21:69].all()


@lite_only
def test_a_hole_stays_open():
    mask = rectangle_mask(10, 10, 110, 70)
    mask[30:50, 40:80] = 0
    output = Visualizer(GRAY).overlay_instances(masks=[mask], assigned_colors=["r"])
    assert not differs(output)[30:50, 40:80].any()
    assert differs(output)[mask.astype(bool)].all()


def test_a_mask_of_nothing_has_no_label():
    nothing = np.zeros((HEIGHT, WIDTH), np.uint8)
    output = Visualizer(GRAY).overlay_instances(masks=[nothing], labels=["cat"])
    assert texts(output) == []


@pytest.mark.parametrize("boxes", [[[10, 20, 50, 60]], torch.tensor([[10, 20, 50, 60.0]])])
def test_boxes_in_other_forms(boxes):
    output = Visualizer(GRAY).overlay_instances(boxes=boxes, labels=["a"], assigned_colors=["g"])
    (box,) = patches(output, Rectangle)
    assert (*box.get_xy(), box.get_width(), box.get_height()) == (10, 20, 40, 40)


def test_nothing_to_draw():
    visualizer = Visualizer(GRAY)
    assert visualizer.overlay_instances() is visualizer.output
    visualizer.overlay_instances(boxes=np.zeros((0, 4)), labels=[])
    assert not differs(visualizer.output).any()


def test_annotations():
    annotations = [
        {
            "bbox": [10, 5, 100, 70],
            "bbox_mode": BoxMode.XYWH_ABS,
            "category_id": 1,
            "segmentation": [[10, 5, 110, 5, 110, 75]],
        },
        {
            "bbox": [20, 20, 60, 70],
            "bbox_mode": BoxMode.XYXY_ABS,
            "category_id": 0,
            "iscrowd": 1,
            "segmentation": coco_mask.encode(np.asfortranarray(rectangle_mask(20, 20, 60, 70))),
        },
    ]
    output = Visualizer(GRAY, Animals()).draw_dataset_dict({"annotations": annotations})
    assert texts(output) == ["dog", "cat|crowd"]
    boxes = [(*b.get_xy(), b.get_width(), b.get_height()) for b in patches(output, Rectangle)]
    assert boxes == [(10, 5, 100, 70), (20, 20, 40, 50)]
    assert len(patches(output, Polygon)) == 2
    for empty in ({}, {"annotations": []}):
        assert not differs(Visualizer(GRAY).draw_dataset_dict(empty)).any()


@lite_only
@pytest.mark.parametrize("box", [(100, 0, 119, 30), (0, 60, 30, 79), (90, 78, 119, 80)])
def test_labels_stay_in_the_picture(box):
    output = Visualizer(GRAY).overlay_instances(boxes=[box], labels=["a cat 100%"])
    extent = output.ax.texts[0].get_window_extent(output.canvas.get_renderer())
    assert extent.x0 >= -0.01 and extent.x1 <= WIDTH + 0.02
    assert extent.y0 >= -0.01 and extent.y1 <= HEIGHT + 0.02


@lite_only
def test_labels_are_readable_in_any_color():
    for color in [*colormap(rgb=True, maximum=1), (0, 0, 0.3), (0, 0, 0)]:
        output = Visualizer(GRAY).overlay_instances(
            boxes=[(5, 5, 115, 75)], labels=["a"], assigned_colors=[color]
        )
        # Contrast with black by WCAG 2: (luminance + 0.05) / 0.05; 4.5 is what texts should have.
        channels = np.asarray(output.ax.texts[0].get_color())
        linear = np.where(
            channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
        )
        assert (linear @ [0.2126, 0.7152, 0.0722] + 0.05) / 0.05 >= 4.5


# --- masks by themselves


def test_generic_mask():
    mask = rectangle_mask(20, 10, 60, 50)
    generic = GenericMask(mask, HEIGHT, WIDTH)
    assert generic.area() == 40 * 40
    assert not generic.has_holes
    assert len(generic.polygons) == 1
    mask[20:30, 30:40] = 0
    assert GenericMask(mask, HEIGHT, WIDTH).has_holes
    polygons = GenericMask([[20.0, 10, 60, 10, 60, 50, 20, 50]], HEIGHT, WIDTH)
    assert not polygons.has_holes
    assert polygons.mask.shape == (HEIGHT, WIDTH)
    assert (polygons.mask == rectangle_mask(20, 10, 60, 50)).all()


@lite_only
def test_the_box_of_a_generic_mask():
    assert GenericMask(rectangle_mask(20, 10, 60, 50), HEIGHT, WIDTH).bbox().tolist() == [
        20,
        10,
        60,
        50,
    ]
    empty = GenericMask([], HEIGHT, WIDTH)
    assert (empty.area(), empty.bbox().tolist()) == (0, [0, 0, 0, 0])


# --- wrong input


@lite_only
@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"boxes": np.ones((2, 4)), "labels": ["a"]}, "not equally many of each: .*'labels': 1"),
        ({"boxes": np.ones((2, 3))}, r"boxes have shape \(2, 3\), not \(N, 4\)"),
        ({"masks": [np.ones((3, 4))]}, r"of size \(3, 4\), the image of size \(80, 120\)"),
        ({"masks": [3]}, "cannot use an object of type <class 'int'>"),
    ],
)
def test_what_does_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        Visualizer(GRAY).overlay_instances(**arguments)


@lite_only
def test_an_image_of_another_shape():
    with pytest.raises(ValueError, match=r"img_rgb has shape \(4, 5\), not \(H, W, 3\)"):
        Visualizer(np.zeros((4, 5)))


@lite_only
@pytest.mark.parametrize(
    "draw",
    [
        lambda v: v.draw_sem_seg(GRAY[:, :, 0]),
        lambda v: v.draw_panoptic_seg(None, None),
        lambda v: v.draw_panoptic_seg_predictions(None, None),
        lambda v: v.draw_and_connect_keypoints(None),
        lambda v: v.draw_rotated_box_with_label((1, 2, 3, 4, 5)),
        lambda v: v.overlay_rotated_instances(),
        lambda v: v.overlay_instances(keypoints=[1]),
        lambda v: v.overlay_instances(boxes=np.zeros((1, 5))),
        lambda v: v.draw_dataset_dict({"sem_seg_file_name": "a.png"}),
    ],
)
def test_what_is_left_out(draw):
    with pytest.raises(NotImplementedError, match="not part of detectron2-lite"):
        draw(Visualizer(GRAY))


@lite_only
def test_keypoints_are_left_out():
    instances = found()
    instances.pred_keypoints = torch.zeros(2, 17, 3)
    with pytest.raises(NotImplementedError, match="pred_keypoints"):
        Visualizer(GRAY).draw_instance_predictions(instances)


@lite_only
def test_drawing_waits_with_matplotlib_until_it_is_needed():
    code = (
        "import sys, detectron2.utils.visualizer, detectron2.utils.colormap;"
        "print([m for m in ('matplotlib', 'cv2') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


# --- colors


def test_colormap():
    colors = colormap(rgb=True)
    assert colors.dtype == np.float32 and colors.shape[1] == 3 and len(colors) >= 70
    assert colors.min() >= 0 and 200 < colors.max() <= 255
    assert (colormap() == colors[:, ::-1]).all()
    np.testing.assert_allclose(colormap(rgb=True, maximum=1), colors / 255, atol=1e-6)


@lite_only
def test_random_colors():
    assert len(np.unique(colormap(), axis=0)) == len(colormap())
    known = {tuple(color) for color in colormap(rgb=True)}
    assert tuple(random_color(rgb=True)) in known
    picked = random_colors(20, rgb=True)
    assert len(picked) == 20
    assert len({tuple(color) for color in picked} & known) == 20


@lite_only
def test_drawing_leaves_the_random_states_alone():
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    instances = found(masks=[rectangle_mask(0, 0, 9, 9)] * 2)
    for mode in ColorMode:
        Visualizer(GRAY, Animals(), instance_mode=mode).draw_instance_predictions(instances)
    assert (np.random.get_state()[1] == before).all()


@lite_only
def test_wrong_requests_for_colors():
    with pytest.raises(ValueError, match="maximum is 100, not 1 or 255"):
        colormap(maximum=100)
    with pytest.raises(ValueError, match="1000 colors are asked for"):
        random_colors(1000)
