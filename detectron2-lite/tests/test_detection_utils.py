"""Reading images, annotations, and the dataset mapper."""

import copy
import io
import logging
from importlib.util import find_spec

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
from detectron2.structures import BitMasks, Boxes, BoxMode, Instances, PolygonMasks

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


TRIANGLE = [1.0, 1.0, 5.0, 1.0, 5.0, 5.0]
LEFT_HALF = np.zeros((8, 9), dtype=np.uint8)
LEFT_HALF[:, :4] = 1


def with_segmentations(*segmentations):
    """Annotations that differ in their segmentation; None for one without."""
    box = {"bbox": [1, 1, 5, 5], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
    return [box if one is None else {**box, "segmentation": one} for one in segmentations]


def test_polygons_become_polygon_masks():
    annos = with_segmentations([TRIANGLE], [TRIANGLE, np.array(TRIANGLE) + 1])
    masks = utils.annotations_to_instances(annos, (8, 9)).gt_masks
    assert isinstance(masks, PolygonMasks)
    assert [[p.tolist() for p in one] for one in masks] == [
        [TRIANGLE],
        [TRIANGLE, [2, 2, 6, 2, 6, 6]],
    ]


def test_any_segmentation_becomes_bit_masks():
    encoded = mask_api.encode(np.asfortranarray(LEFT_HALF))
    annos = with_segmentations([TRIANGLE], encoded, LEFT_HALF, LEFT_HALF > 0, [])
    masks = utils.annotations_to_instances(annos, (8, 9), mask_format="bitmask").gt_masks
    assert isinstance(masks, BitMasks)
    assert masks.image_size == (8, 9)
    # Of 4 x 4 pixels half, without those that the diagonal halves, gives 3 + 2 + 1.
    assert masks.tensor.sum(dim=(1, 2)).tolist() == [6, 32, 32, 32, 0]
    for mask in masks.tensor[1:4]:
        assert torch.equal(mask, torch.from_numpy(LEFT_HALF > 0))


def test_instances_without_segmentation_have_no_masks():
    for annos in ([], with_segmentations(None, None)):
        for mask_format in ("polygon", "bitmask"):
            instances = utils.annotations_to_instances(annos, (8, 9), mask_format)
            assert list(instances.get_fields()) == ["gt_boxes", "gt_classes"]


@pytest.mark.parametrize(
    ("segmentation", "mask_format"),
    [
        ([TRIANGLE[:4]], "polygon"),
        (LEFT_HALF, "polygon"),
        (mask_api.encode(np.asfortranarray(LEFT_HALF)), "polygon"),
        ("a mask", "bitmask"),
    ],
)
def test_what_is_no_mask_of_that_format(segmentation, mask_format):
    with pytest.raises(ValueError):
        annos = with_segmentations(segmentation)
        utils.annotations_to_instances(annos, (8, 9), mask_format)


@lite_only
@pytest.mark.parametrize(
    ("annos", "mask_format", "message"),
    [
        (
            with_segmentations(LEFT_HALF),
            "polygon",
            r"\(INPUT.MASK_FORMAT\) is 'polygon', but a segmentation is a ndarray, not a list",
        ),
        (with_segmentations([TRIANGLE]), "polygons", "expected 'polygon' or 'bitmask', got 'poly"),
        (
            with_segmentations(LEFT_HALF, LEFT_HALF[:3]),
            "bitmask",
            r"differ in size: \[\(3, 9\), \(8, 9\)\]",
        ),
        (with_segmentations(LEFT_HALF[None]), "bitmask", r"\(H, W\) mask, got .*\(1, 8, 9\)"),
        (with_segmentations("a"), "bitmask", r"dict with .* or an \(H, W\) array, got a str"),
        (with_segmentations([TRIANGLE], None), "polygon", "Of 2 objects .* 1 have no 'segmenta"),
        (with_segmentations(None, [TRIANGLE]), "bitmask", "all of them must have one, or none"),
    ],
)
def test_messages_about_masks(annos, mask_format, message):
    with pytest.raises(ValueError, match=message):
        utils.annotations_to_instances(annos, (8, 9), mask_format)


@lite_only
def test_run_lengths_that_are_not_compressed():
    run_lengths = {"counts": [0, 32, 40], "size": [8, 9]}
    annotation = with_segmentations(run_lengths)[0]
    masks = utils.annotations_to_instances([annotation], (8, 9), "bitmask").gt_masks
    assert torch.equal(masks.tensor[0], torch.from_numpy(LEFT_HALF > 0))
    flipped = utils.transform_instance_annotations(annotation, [T.HFlipTransform(9)], (8, 9))
    assert (flipped["segmentation"] == LEFT_HALF[:, ::-1]).all()


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
    with pytest.raises(NotImplementedError, match="'keypoints' is not part of detectron2-lite"):
        utils.annotations_to_instances([box, {**box, "keypoints": [1, 2, 2]}], (8, 9))
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


def test_objects_without_a_mask_are_left_out():
    instances = utils.annotations_to_instances(with_segmentations([TRIANGLE], [TRIANGLE]), (8, 9))
    instances.gt_masks.polygons[0] = []
    assert utils.filter_empty_instances(instances, return_mask=True)[1].tolist() == [False, True]
    assert len(utils.filter_empty_instances(instances, by_mask=False)) == 2
    instances = utils.annotations_to_instances(
        with_segmentations(LEFT_HALF, LEFT_HALF * 0), (8, 9), "bitmask"
    )
    assert utils.filter_empty_instances(instances, return_mask=True)[1].tolist() == [True, False]


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
    masks = BitMasks.from_polygon_masks(instances.gt_masks, *image.shape[:2])
    assert masks.tensor.sum(dim=(1, 2)).tolist() == golden["list/bitmask_area"].tolist()


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


@pytest.mark.parametrize("mask_format", ["polygon", "bitmask"])
def test_mapper_with_masks(photo, mask_format):
    cfg = mapper_config()
    cfg.MODEL.MASK_ON, cfg.INPUT.MASK_FORMAT = True, mask_format
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP = (308,), "none"  # twice as large
    instances = DatasetMapper(cfg, is_train=True)(photo)["instances"]
    assert instances.gt_classes.tolist() == [2, 4]  # the third has neither width nor pixels
    assert type(instances.gt_masks) is {"polygon": PolygonMasks, "bitmask": BitMasks}[mask_format]
    boxes = instances.gt_masks.get_bounding_boxes().tensor
    # A square, and a triangle that reaches out of the image (218 x 154, now 436 x 308).
    assert boxes[0].tolist() == [20, 40, 140, 140]
    if mask_format == "polygon":
        assert instances.gt_masks.polygons[1][0].tolist() == [300, 200, 520, 200, 400, 400]
    else:
        assert boxes[1].tolist() == [300, 200, 436, 308]


@pytest.mark.parametrize("recompute_boxes", [False, True])
def test_mapper_takes_boxes_from_masks(photo, recompute_boxes):
    # A mask larger than the box that is annotated: row i covers columns 0 to i.
    triangle = np.asfortranarray(np.tri(154, 218, dtype=np.uint8))
    photo["annotations"] = photo["annotations"][:1]
    photo["annotations"][0]["segmentation"] = mask_api.encode(triangle)
    mapper = DatasetMapper(
        is_train=True,
        augmentations=[T.HFlipTransform(218)],
        image_format="RGB",
        use_instance_mask=True,
        instance_mask_format="bitmask",
        recompute_boxes=recompute_boxes,
    )
    instances = mapper(photo)["instances"]
    # The annotated box, flipped; or that of the mask, columns 0 to 153 of 218, flipped.
    expected = [64, 0, 218, 154] if recompute_boxes else [148, 20, 208, 70]
    assert instances.gt_boxes.tensor.tolist() == [expected]


def test_mapper_recomputes_boxes_when_it_crops():
    cfg = mapper_config()
    for masks, crops in ((False, True), (True, False), (True, True)):
        cfg.MODEL.MASK_ON, cfg.INPUT.CROP.ENABLED = masks, crops
        assert DatasetMapper(cfg, is_train=True).recompute_boxes is (masks and crops)
        assert DatasetMapper(cfg, is_train=False).recompute_boxes is False


@lite_only
def test_mapper_names_the_image_whose_masks_are_wrong(photo):
    del photo["annotations"][1]["segmentation"]
    cfg = mapper_config()
    cfg.MODEL.MASK_ON = True
    with pytest.raises(ValueError, match=r"Image '.*photo.png': Of 3 objects .* 1 have no 'segm"):
        DatasetMapper(cfg, is_train=True)(photo)


@lite_only
def test_mapper_recomputes_no_boxes_of_no_objects(photo):
    photo["annotations"] = []
    cfg = mapper_config()
    cfg.MODEL.MASK_ON = cfg.INPUT.CROP.ENABLED = True
    assert len(DatasetMapper(cfg, is_train=True)(photo)["instances"]) == 0


@lite_only
@pytest.mark.skipif(find_spec("shapely") is not None, reason="shapely is installed")
def test_cropping_polygons_names_the_package_it_needs(photo):
    cfg = mapper_config()
    cfg.MODEL.MASK_ON = cfg.INPUT.CROP.ENABLED = True
    with pytest.raises(ModuleNotFoundError, match="Cropping polygons needs .* pip install shapely"):
        DatasetMapper(cfg, is_train=True)(photo)


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
