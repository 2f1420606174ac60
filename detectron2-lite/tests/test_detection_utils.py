"""Reading images, annotations, and the dataset mapper."""

import copy
import io
import logging

import numpy as np
import pytest
import torch
from golden_values import golden_json, golden_npz
from PIL import Image
from pycocotools import mask as mask_api

import detectron2
from detectron2.config import get_cfg
from detectron2.data import DatasetMapper, MetadataCatalog
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.structures import Boxes, BoxMode, Instances

lite_only = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="a message of detectron2-lite's own"
)

PIXELS = np.random.RandomState(0).randint(0, 255, (6, 9, 3)).astype(np.uint8)


@pytest.fixture
def save(tmp_path):
    def save(name="a.png", mode="RGB", **options):
        path = str(tmp_path / name)
        Image.fromarray(PIXELS).convert(mode).save(path, **options)
        return path

    return save


# What the EXIF orientations mean, as rows and columns of the stored picture.
@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, PIXELS),
        (2, PIXELS[:, ::-1]),
        (3, PIXELS[::-1, ::-1]),
        (4, PIXELS[::-1]),
        (5, PIXELS.swapaxes(0, 1)),
        (6, np.rot90(PIXELS, -1)),
        (7, PIXELS[::-1, ::-1].swapaxes(0, 1)),
        (8, np.rot90(PIXELS)),
    ],
)
def test_images_are_turned_upright(save, orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = utils.read_image(save(exif=exif), "RGB")
    assert image.shape == upright.shape and (image == upright).all()


def test_formats(save):
    path = save()
    assert (utils.read_image(path) == PIXELS).all()
    assert (utils.read_image(path, "BGR") == PIXELS[:, :, ::-1]).all()
    gray = utils.read_image(path, "L")
    assert gray.shape == (6, 9, 1) and gray.dtype == np.uint8
    yuv = utils.read_image(path, "YUV-BT.601")
    np.testing.assert_allclose(yuv[..., 0], PIXELS @ [0.299, 0.587, 0.114] / 255)
    for name in ("BGR", "RGB"):
        assert (utils.convert_image_to_rgb(utils.read_image(path, name), name) == PIXELS).all()
    np.testing.assert_allclose(utils.convert_image_to_rgb(yuv, "YUV-BT.601"), PIXELS, atol=0.01)
    as_rgb = utils.convert_image_to_rgb(torch.tensor(gray), "L")
    assert (as_rgb == gray).all() and as_rgb.shape == (6, 9, 3)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_any_picture_becomes_three_channels(save, mode):
    image = utils.read_image(save(mode=mode), "BGR")
    assert image.shape == (6, 9, 3) and image.dtype == np.uint8


@pytest.fixture
def broken(tmp_path):
    jpeg = io.BytesIO()
    noise = np.random.RandomState(0).randint(0, 255, (200, 200, 3)).astype(np.uint8)
    Image.fromarray(noise).save(jpeg, "jpeg")
    contents = {"cut.jpg": jpeg.getvalue()[:9000], "text.jpg": b"no picture", "empty.jpg": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize("name", ["cut.jpg", "text.jpg", "empty.jpg", "nowhere.jpg"])
def test_broken_images_are_oserrors(broken, name):
    with pytest.raises(OSError):
        utils.read_image(str(broken / name), "BGR")


@lite_only
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cut.jpg", "Image file '{}' cannot be read: image file is truncated"),
        ("text.jpg", "Image file '{}' cannot be read: it is in no format that Pillow knows"),
        ("empty.jpg", "Image file '{}' cannot be read: it is in no format that Pillow knows"),
        ("nowhere.jpg", "Image file '{}' does not exist"),
        ("no/where.jpg", "Image file '{}' does not exist, nor does its folder"),
    ],
)
def test_broken_images_are_named(broken, name, message):
    with pytest.raises(OSError) as caught:
        utils.read_image(str(broken / name), "BGR")
    assert str(caught.value).startswith(message.format(broken / name))


@lite_only
def test_unreadable_exif_data_is_warned_of(save, monkeypatch, caplog):
    def fail(self):
        raise SyntaxError("not a TIFF file")

    monkeypatch.setattr(Image.Image, "getexif", fail)
    path = save()
    with caplog.at_level(logging.WARNING, logger="detectron2"):
        assert (utils.read_image(path, "RGB") == PIXELS).all()
    assert path in caplog.text


def test_an_unknown_format(save):
    with pytest.raises(ValueError):
        utils.read_image(save(), "XYZ")


def test_image_size_is_checked_or_noted():
    record = {}
    utils.check_image_size(record, PIXELS)
    assert record == {"width": 9, "height": 6}
    utils.check_image_size(record, PIXELS)
    with pytest.raises(utils.SizeMismatchError, match=r"q.jpg"):
        utils.check_image_size({"width": 6, "height": 9, "file_name": "q.jpg"}, PIXELS)
    assert issubclass(utils.SizeMismatchError, ValueError)


def test_an_annotation_follows_its_image():
    annotation = {
        "bbox": [10.0, 20.0, 30.0, 40.0],
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": 1,
        "segmentation": [[10, 20, 40, 20, 40, 60.0]],
        "extra": "stays",
    }
    # 50 x 60 pixels mirrored, then twice as wide.
    transforms = [T.HFlipTransform(60), T.ResizeTransform(50, 60, 50, 120)]
    result = utils.transform_instance_annotations(annotation, transforms, (50, 120))
    assert result is annotation and result["bbox_mode"] == BoxMode.XYXY_ABS
    assert result["bbox"].tolist() == [40.0, 20.0, 100.0, 50.0]  # the bottom, 60, is clipped
    assert [p.tolist() for p in result["segmentation"]] == [[100, 20, 40, 20, 40, 60]]
    assert (result["category_id"], result["extra"]) == (1, "stays")


def test_boxes_are_clipped_at_every_side():
    annotation = {"bbox": [-5.0, -6.0, 99.0, 98.0], "bbox_mode": BoxMode.XYXY_ABS}
    result = utils.transform_instance_annotations(annotation, [], (10, 20))
    assert result["bbox"].tolist() == [0.0, 0.0, 20.0, 10.0]


def test_a_compressed_mask_follows_its_image():
    mask = np.zeros((4, 6), dtype=np.uint8, order="F")
    mask[1:3, :2] = 1
    annotation = {"bbox": [0, 1, 2, 3], "bbox_mode": BoxMode.XYXY_ABS}
    annotation["segmentation"] = mask_api.encode(mask)
    result = utils.transform_instance_annotations(annotation, [T.HFlipTransform(6)], (4, 6))
    assert (result["segmentation"] == mask[:, ::-1]).all()
    annotation = {**annotation, "segmentation": mask_api.encode(mask)}
    with pytest.raises(AssertionError):
        utils.transform_instance_annotations(annotation, [], (4, 7))
    annotation["segmentation"] = "a mask"
    with pytest.raises(ValueError):
        utils.transform_instance_annotations(annotation, [], (4, 6))


def test_instances():
    annos = [
        {"bbox": [1, 2, 3, 4], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 5},
        {"bbox": [1.5, 2, 3, 4], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0},
    ]
    instances = utils.annotations_to_instances(annos, (8, 9))
    assert instances.image_size == (8, 9)
    assert instances.gt_boxes.tensor.tolist() == [[1, 2, 3, 4], [1.5, 2, 4.5, 6]]
    assert instances.gt_boxes.tensor.dtype == torch.float32
    assert instances.gt_classes.tolist() == [5, 0] and instances.gt_classes.dtype == torch.int64


def test_no_instances():
    instances = utils.annotations_to_instances([], (8, 9))
    assert len(instances) == 0 and instances.gt_boxes.tensor.shape == (0, 4)
    assert instances.gt_classes.shape == (0,) and instances.gt_classes.dtype == torch.int64
    assert len(utils.filter_empty_instances(instances)) == 0


@lite_only
def test_what_is_left_out_says_so():
    box = {"bbox": [1, 2, 3, 4], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
    with pytest.raises(NotImplementedError, match="keypoints is not part of detectron2-lite"):
        utils.transform_instance_annotations({**box, "keypoints": [1, 2, 2]}, [], (8, 9))
    for key in ("keypoints", "segmentation"):
        with pytest.raises(NotImplementedError, match=f"'{key}' is not part of detectron2-lite"):
            utils.annotations_to_instances([box, {**box, key: [[1, 1, 2, 2, 3, 1]]}], (8, 9))
    mapper = {"augmentations": [], "image_format": "BGR"}
    with pytest.raises(NotImplementedError, match="keypoints"):
        DatasetMapper(True, **mapper, use_keypoint=True)
    with pytest.raises(NotImplementedError, match="proposals"):
        DatasetMapper(True, **mapper, precomputed_proposal_topk=5)
    with pytest.raises(NotImplementedError, match="semantic segmentation"):
        DatasetMapper(True, **mapper)({"sem_seg_file_name": "a.png"})


def test_empty_instances_are_left_out():
    boxes = [[0, 0, 1, 1], [0, 0, 0, 3], [5, 5, 4, 6], [0, 0, 1e-5, 1], [0, 0, 2e-5, 2e-5]]
    instances = Instances((8, 9), gt_boxes=Boxes(torch.tensor(boxes)))
    kept, which = utils.filter_empty_instances(instances, return_mask=True)
    assert which.tolist() == [True, False, False, False, True] and len(kept) == 2
    assert len(utils.filter_empty_instances(instances, box_threshold=0.5)) == 1
    assert len(utils.filter_empty_instances(instances, by_box=False)) == 5
    with pytest.raises(AssertionError):
        utils.filter_empty_instances(instances, by_box=False, by_mask=False)


def test_augmentation_by_config():
    cfg = get_cfg()
    resize, flip = utils.build_augmentation(cfg, is_train=True)
    assert (resize.short_edge_length, resize.max_size, resize.sample_style) == (
        (800,),
        1333,
        "choice",
    )
    assert flip.horizontal and not flip.vertical and flip.prob == 0.5
    (resize,) = utils.build_augmentation(cfg, is_train=False)
    assert (resize.short_edge_length, resize.max_size) == ((800, 800), 1333)
    cfg.INPUT.RANDOM_FLIP = "vertical"
    assert utils.build_augmentation(cfg, is_train=True)[1].vertical
    cfg.INPUT.RANDOM_FLIP = "none"
    assert len(utils.build_augmentation(cfg, is_train=True)) == 1
    cfg.INPUT.RANDOM_FLIP = "diagonal"
    with pytest.raises(ValueError):
        utils.build_augmentation(cfg, is_train=True)


def test_datasets_used_together_have_the_same_classes():
    names = ["together_1", "together_2"]
    for name in names:
        MetadataCatalog.get(name).thing_classes = ["a"]
        MetadataCatalog.get(name).stuff_classes = [name]
    utils.check_metadata_consistency("thing_classes", names)
    with pytest.raises(ValueError, match="stuff_classes"):
        utils.check_metadata_consistency("stuff_classes", names)
    for name in names:
        MetadataCatalog.pop(name)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(golden_npz("photo.npz")["rgb"]).save(path)
    annotations = copy.deepcopy(golden_json("host_transforms.json")["annotations_in"])
    for annotation in annotations:
        annotation.pop("segmentation")
    record = {"file_name": str(path), "height": 154, "width": 218, "image_id": 7}
    return {**record, "annotations": annotations}


def mapper_config():
    cfg = get_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN = (90, 110, 130)
    cfg.INPUT.MIN_SIZE_TEST = 110
    return cfg


def test_golden_list_of_annotations(photo):
    golden = golden_npz("host_transforms.npz")
    image = golden_npz("photo.npz")["rgb"]
    image, transforms = T.apply_augmentations([T.ResizeShortestEdge(120), T.RandomFlip(1.0)], image)
    annos = [
        utils.transform_instance_annotations(annotation, transforms, image.shape[:2])
        for annotation in photo["annotations"]
    ]
    instances = utils.annotations_to_instances(annos, image.shape[:2])
    _, kept = utils.filter_empty_instances(instances, return_mask=True)
    np.testing.assert_allclose(instances.gt_boxes.tensor, golden["list/gt_boxes"], rtol=1e-5)
    assert instances.gt_classes.tolist() == golden["list/gt_classes"].tolist()
    assert kept.tolist() == golden["list/kept"].tolist()


def test_golden_mapper(photo):
    golden = golden_npz("host_transforms.npz")
    keys = golden_json("host_transforms.json")
    photo["extra"] = [1]
    given = copy.deepcopy(photo)
    np.random.seed(11)
    mapped = DatasetMapper(mapper_config(), is_train=True)(photo)
    mapped.pop("extra").append(2)
    assert photo == given, "the item must not be changed"
    assert sorted(mapped) == keys["mapper_train/keys"]
    assert list(mapped["image"].shape) == golden["mapper_train/image_shape"].tolist()
    assert mapped["image"].dtype == torch.uint8
    corner = mapped["image"][:, :40, :40].int() - torch.tensor(golden["mapper_train/image_slice"])
    assert corner.abs().max() <= 1 and (corner != 0).float().mean() < 0.01
    instances = mapped["instances"]
    np.testing.assert_allclose(
        instances.gt_boxes.tensor, golden["mapper_train/gt_boxes"], rtol=1e-5
    )
    assert instances.gt_classes.tolist() == golden["mapper_train/gt_classes"].tolist()

    photo.pop("extra")
    mapped = DatasetMapper(mapper_config(), is_train=False)(photo)
    assert sorted(mapped) == keys["mapper_test/keys"]
    assert list(mapped["image"].shape) == golden["mapper_test/image_shape"].tolist()


def test_mapper_leaves_out_crowds_and_masks(photo):
    triangle = [[1.0, 1.0, 9.0, 1.0, 9.0, 9.0]]
    for annotation in photo["annotations"]:
        annotation.update(segmentation=triangle, keypoints=[1.0, 2.0, 2])
    photo["annotations"][0]["iscrowd"] = 1
    mapper = DatasetMapper(is_train=True, augmentations=[], image_format="RGB")
    instances = mapper(photo)["instances"]
    assert instances.gt_classes.tolist() == [4]  # the third box has no width
    assert set(instances.get_fields()) == {"gt_boxes", "gt_classes"}


def test_mapper_crops_first(photo):
    cfg = mapper_config()
    cfg.INPUT.CROP.ENABLED = True
    cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = "absolute", [50, 100]
    cfg.INPUT.MIN_SIZE_TRAIN = (60,)
    assert DatasetMapper(cfg, is_train=True)(photo)["image"].shape == (3, 60, 120)
    assert DatasetMapper(cfg, is_train=False)(photo)["image"].shape == (3, 110, 156)


def test_mapper_with_replaced_augmentations(photo):
    mapper = DatasetMapper(mapper_config(), is_train=True, augmentations=[T.Resize((20, 30))])
    assert mapper(photo)["image"].shape == (3, 20, 30)


def test_mapper_gray_images(photo):
    mapper = DatasetMapper(is_train=False, augmentations=[T.Resize((20, 30))], image_format="L")
    assert mapper(photo)["image"].shape == (1, 20, 30)


def test_mapper_checks_the_size(photo):
    photo["width"] = 217
    with pytest.raises(utils.SizeMismatchError):
        DatasetMapper(mapper_config(), is_train=True)(photo)
