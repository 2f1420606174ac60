"""The mask branch: which regions it is trained on, its loss, and the masks that come out."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from detectron2.layers import ShapeSpec
from detectron2.modeling import ROIHeads, build_model, build_roi_heads, detector_postprocess
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import BitMasks, Boxes, ImageList, Instances, PolygonMasks
from detectron2.utils.events import EventStorage
from fcos.modeling import FCOS, FCOSMaskROIHeads, OneStageDetectorWithTTA
from fcos.modeling.fcos import DetectionRules, FCOSLosses, FCOSTargets
from fcos.modeling.roi_heads.fcos_mask_heads import evenly_spread, share_of_regions
from fcos.utils.errors import UserError
from tests.helpers import DEVICE, tiny_cfg, tiny_mask_cfg

SIZE = (64, 96)


def rectangle(x1, y1, x2, y2):
    return [np.array([x1, y1, x2, y1, x2, y2, x1, y2], dtype=np.float64)]


def objects(boxes, classes, mask_format="polygon"):
    """Ground truth whose masks fill their boxes."""
    truth = Instances(
        SIZE,
        gt_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).view(-1, 4)),
        gt_classes=torch.tensor(classes, dtype=torch.int64),
    )
    if boxes:  # detectron2's mapper gives an image without objects no masks
        masks = PolygonMasks([rectangle(*box) for box in boxes])
        truth.gt_masks = (
            masks
            if mask_format == "polygon"
            else BitMasks.from_polygon_masks(masks, *SIZE).to(DEVICE)
        )
    return truth


def proposals(boxes):
    boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).view(-1, 4))
    return Instances(
        SIZE, proposal_boxes=boxes, objectness_logits=torch.linspace(2, -2, len(boxes))
    )


def heads(most=100, **overrides):
    settings = {
        "num_classes": 3,
        "batch_size_per_image": most,
        "positive_fraction": 1.0,
        "proposal_matcher": Matcher([0.5], [0, 1]),
        **overrides,
    }
    return FCOSMaskROIHeads(**settings)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_region_is_cut_out_where_it_lies_in_mixed_precision_too(dtype):
    pooler = ROIPooler(4, [1 / 8], sampling_ratio=2, pooler_type="ROIAlignV2")
    branch = heads(in_features=["p3"], mask_pooler=pooler, mask_head=nn.Identity())
    column = torch.arange(160.0).expand(1, 1, 160, 160)  # exact in either type
    boxes = [Boxes(torch.tensor([[1001.3, 1001.3, 1042.7, 1042.7]]))]
    cells = branch._pool({"p3": column.to(dtype)}, boxes)[0, 0, 0]
    # Middles of four cells of equal width, in strides, and half a stride from a column's corner.
    middles = torch.tensor([1, 3, 5, 7]) / 8 * (1042.7 - 1001.3) + 1001.3
    torch.testing.assert_close(cells, middles / 8 - 0.5)


# ---- regions to train on ---------------------------------------------------------------------

TRUTH = ([[10, 10, 30, 30], [50, 10, 90, 50]], [2, 0])
FOUND = [
    [50, 10, 90, 40],  # IoU 30/40 with the second
    [10, 10, 30, 20],  # IoU 10/20 with the first: 0.5 is enough
    [10, 10, 30, 19],  # IoU 9/20: not
    [0, 40, 20, 60],  # on nothing
]


@pytest.mark.parametrize(
    ("number", "most", "places"),
    [(0, 4, []), (3, 4, [0, 1, 2]), (4, 4, [0, 1, 2, 3]), (10, 4, [0, 2, 5, 7]), (9, 1, [0])],
)
def test_evenly_spread(number, most, places):
    assert evenly_spread(number, most).tolist() == places
    assert evenly_spread(number, most).dtype == torch.int64


def test_regions_are_objects_and_the_detections_on_them():
    (region,) = heads().label_and_sample_proposals([proposals(FOUND)], [objects(*TRUTH)])
    assert region.proposal_boxes.tensor.tolist() == [*TRUTH[0], FOUND[0], FOUND[1]]
    assert region.gt_classes.tolist() == [2, 0, 0, 2]
    assert region.gt_boxes.tensor.tolist() == [TRUTH[0][i] for i in (0, 1, 1, 0)]
    assert region.gt_masks.get_bounding_boxes().tensor.tolist() == region.gt_boxes.tensor.tolist()
    assert region.image_size == SIZE


def test_regions_can_be_detections_alone():
    roi_heads = heads(proposal_append_gt=False)
    (region,) = roi_heads.label_and_sample_proposals([proposals(FOUND)], [objects(*TRUTH)])
    assert region.proposal_boxes.tensor.tolist() == FOUND[:2]


def test_too_many_regions_are_thinned_out_without_chance():
    found = [[50, 10, 90, 50 - i] for i in range(10)]
    roi_heads, before = heads(most=4), torch.get_rng_state()
    (region,) = roi_heads.label_and_sample_proposals([proposals(found)], [objects(*TRUTH)])
    # Of 2 objects and 10 detections, those at the places 0, 3, 6 and 9.
    assert region.proposal_boxes.tensor.tolist() == [TRUTH[0][0], found[1], found[4], found[7]]
    assert torch.get_rng_state().equal(before)


def test_an_image_without_objects_or_without_detections():
    no_objects, no_detections = heads().label_and_sample_proposals(
        [proposals(FOUND), proposals([])], [objects([], []), objects(*TRUTH)]
    )
    assert len(no_objects) == 0
    assert no_objects.proposal_boxes.tensor.shape == (0, 4)
    assert no_detections.proposal_boxes.tensor.tolist() == TRUTH[0]


def test_below_the_limit_detectron2_takes_the_same_regions():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 40, (60, 2))
    found = np.concatenate([corners, corners + rng.uniform(10, 50, (60, 2))], 1).tolist()
    truth = objects([*TRUTH[0], [5, 5, 40, 45]], [2, 0, 1])
    base = ROIHeads(
        num_classes=3,
        batch_size_per_image=256,
        positive_fraction=1.0,
        proposal_matcher=Matcher([0.5], [0, 1]),
    )
    with EventStorage(0):
        (theirs,) = base.label_and_sample_proposals([proposals(found)], [truth])
    theirs = theirs[theirs.gt_classes < 3]
    (ours,) = heads().label_and_sample_proposals([proposals(found)], [truth])
    assert len(ours) > 3

    def rows(region):
        boxes, objects_ = region.proposal_boxes.tensor.tolist(), region.gt_boxes.tensor.tolist()
        return sorted(zip(boxes, objects_, region.gt_classes.tolist(), strict=True))

    assert rows(ours) == rows(theirs)


# ---- the loss --------------------------------------------------------------------------------


class FixedLogits(nn.Module):
    """As detectron2's mask heads, on logits that are the region's features."""

    def forward(self, pooled, instances):
        boxes = [region.proposal_boxes.tensor for region in instances]
        targets = [
            region.gt_masks.crop_and_resize(box, pooled.shape[-1]).float()
            for region, box in zip(instances, boxes, strict=True)
        ]
        loss = F.binary_cross_entropy_with_logits(pooled[:, 0], torch.cat(targets))
        return {"loss_mask": loss}


def test_the_loss_is_a_mean_over_all_regions():
    """A logit of log 3 is a probability of 3/4: -log(3/4) inside a mask, -log(1/4) outside."""
    roi_heads = heads(
        in_features=["p3"],
        mask_pooler=ROIPooler(4, [1 / 8], 0, "ROIAlignV2"),
        mask_head=FixedLogits(),
    ).train()
    features = {"p3": torch.full((2, 1, 8, 12), 3.0).log()}
    # The second image has an object whose mask is the left half of its box.
    truth = [objects(*TRUTH), objects([[16, 16, 48, 48]], [1])]
    truth[1].gt_masks = PolygonMasks([rectangle(16, 16, 32, 48)])
    images = ImageList(torch.zeros(2, 3, *SIZE), [SIZE, SIZE])
    with EventStorage(0) as storage:
        detections, losses = roi_heads(images, features, [proposals([]), proposals([])], truth)
    assert detections == []
    inside, outside = -np.log(3 / 4), -np.log(1 / 4)
    want = (inside + inside + (inside + outside) / 2) / 3
    assert losses["loss_mask"].item() == pytest.approx(want, rel=1e-5)
    assert storage.latest()["roi_heads/regions_per_image"][0] == 1.5


@pytest.mark.parametrize(("number", "share"), [(7.0, 1.0), (1.0, 1.0), (0.0, 0.0)])
def test_one_process_has_all_regions(number, share):
    assert share_of_regions(torch.tensor(number)).item() == share


def model(mask_format="polygon", **overrides):
    torch.manual_seed(0)
    cfg = tiny_mask_cfg()
    cfg.merge_from_list([x for pair in overrides.items() for x in pair])
    detector = build_model(cfg)
    # Boxes of some 24 pixels, of which some lie on an object.
    detector.proposal_generator.fcos_head.bbox_pred.bias.data.fill_(2.5)
    return detector


def batch(*truths):
    generator = torch.Generator().manual_seed(0)
    return [
        {"image": torch.randint(0, 256, (3, *SIZE), generator=generator).byte(), "instances": truth}
        for truth in truths
    ]


NOTHING = ([], [])
WHOLE = [
    {},
    {"MODEL.ROI_MASK_HEAD.NORM": "GN", "MODEL.ROI_MASK_HEAD.CONV_DIM": "32"},
    {"MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK": "True"},
    {"MODEL.ROI_HEADS.IN_FEATURES": "['p3']"},
    {
        "MODEL.RESNETS.OUT_FEATURES": "['res2','res3','res4','res5']",
        "MODEL.FPN.IN_FEATURES": "['res2','res3','res4','res5']",
        "MODEL.ROI_HEADS.IN_FEATURES": "['p2','p3','p4','p5']",
    },
]


@pytest.mark.parametrize("settings", WHOLE)
def test_training_gives_four_losses_and_a_gradient_for_every_parameter(settings):
    detector = model(**settings).train()
    with EventStorage(0) as storage:
        losses = detector(batch(objects(*TRUTH), objects(*TRUTH)))
    assert sorted(losses) == ["loss_fcos_cls", "loss_fcos_ctr", "loss_fcos_loc", "loss_mask"]
    # The untrained detector finds something on the objects: not only they are learnt from.
    assert storage.latest()["roi_heads/regions_per_image"][0] > 2
    assert losses["loss_mask"].item() == pytest.approx(np.log(2), rel=0.1)
    losses["loss_mask"].backward(retain_graph=True)
    assert detector.backbone.bottom_up.stem.conv1.weight.grad.abs().sum() > 0
    fcos_head = detector.proposal_generator.fcos_head
    assert all(p.grad is None for p in fcos_head.parameters())  # regions have no gradient
    sum(losses.values()).backward()
    assert_gradients(detector)


def assert_gradients(detector):
    for name, parameter in detector.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("mask_format", ["polygon", "bitmask"])
def test_an_image_without_objects_changes_no_mask_loss(mask_format):
    full, empty = objects(*TRUTH, mask_format), objects(*NOTHING)
    detector = model().eval()  # for the statistics of BN, which the empty image would change
    detector.proposal_generator.train()
    detector.roi_heads.train()
    results = []
    for truths in ((full,), (full, empty), (empty, full)):
        inputs = batch(full, full)[: len(truths)]
        images = detector.preprocess_image(inputs)
        features = detector.backbone(images.tensor)
        features = {
            name: value[:1].expand(len(truths), -1, -1, -1) for name, value in features.items()
        }
        with EventStorage(0):
            found, _ = detector.proposal_generator(images, features, list(truths))
            _, losses = detector.roi_heads(images, features, found, list(truths))
        results.append(losses["loss_mask"].item())
    assert results[1:] == pytest.approx([results[0]] * 2, rel=1e-5)


def test_a_batch_without_objects_trains():
    detector = model().train()
    with EventStorage(0):
        losses = detector(batch(objects(*NOTHING), objects(*NOTHING)))
    assert losses["loss_mask"].item() == 0
    sum(losses.values()).backward()
    assert_gradients(detector)
    assert all(p.grad.abs().sum() == 0 for p in detector.roi_heads.parameters())


# ---- masks that come out ---------------------------------------------------------------------


def test_detections_have_masks_in_the_size_that_was_asked_for():
    detector = model(**{"MODEL.FCOS.SCORE_THRESH_TEST": "0.0"}).eval()
    inputs = batch(objects(*TRUTH), objects(*TRUTH))
    inputs[0].update(height=128, width=192)
    with torch.no_grad():
        results = [result["instances"] for result in detector(inputs)]
    for result, size in zip(results, [(128, 192), SIZE], strict=True):
        assert result.image_size == size
        assert 0 < len(result) <= 100
        assert result.pred_masks.shape == (len(result), *size)
        assert result.pred_masks.dtype == torch.bool
        assert not result.has("proposal_boxes")
        assert not result.has("objectness_logits")


@pytest.mark.parametrize("mask_on", [True, False])
def test_boxes_are_those_of_the_detector_without_masks(mask_on):
    with_masks = model(
        **{"MODEL.FCOS.SCORE_THRESH_TEST": "0.0", "MODEL.MASK_ON": str(mask_on)}
    ).eval()
    cfg = tiny_cfg()
    cfg.MODEL.FCOS.SCORE_THRESH_TEST = 0.0
    boxes_only = build_model(cfg).eval()
    boxes_only.load_state_dict(
        {k: v for k, v in with_masks.state_dict().items() if not k.startswith("roi_heads.")}
    )
    inputs = batch(objects(*TRUTH), objects(*TRUTH))
    with torch.no_grad():
        for a, b in zip(with_masks(inputs), boxes_only(inputs), strict=True):
            a, b = a["instances"], b["instances"]
            assert a.pred_boxes.tensor.equal(b.pred_boxes.tensor)
            assert a.scores.equal(b.scores)
            assert a.pred_classes.equal(b.pred_classes)
            assert a.has("pred_masks") == mask_on
            assert set(b.get_fields()) == set(a.get_fields()) - {"pred_masks"}


def test_nothing_detected():
    detector = model(**{"MODEL.FCOS.SCORE_THRESH_TEST": "0.99"}).eval()
    with torch.no_grad():
        (result,) = detector([{**batch(objects(*TRUTH))[0], "height": 30, "width": 45}])
    assert len(result["instances"]) == 0
    assert result["instances"].pred_masks.shape == (0, 30, 45)


def test_augmentation_makes_masks_of_the_merged_boxes_only():
    detector = model().eval()
    regions = []
    detector.roi_heads.mask_head.register_forward_hook(lambda _, x, out: regions.append(len(x[0])))
    augmented = OneStageDetectorWithTTA(
        model=detector,
        min_sizes=(64, 96),
        max_size=200,
        flip=False,
        rules=DetectionRules(post_nms_topk=7),
        mask_on=True,
    )
    (result,) = augmented(batch(objects(*TRUTH)))
    assert len(result["instances"].pred_masks) == 7
    assert regions == [7, 7]  # the merged boxes in each of the two views


def test_masks_for_boxes_that_are_known():
    detector = model().eval()
    given = Instances(
        SIZE,
        pred_boxes=Boxes(torch.tensor([[8.0, 8, 40, 40], [30, 10, 90, 60]])),
        pred_classes=torch.tensor([0, 2]),
    )
    inputs = batch(objects(*TRUTH))
    with torch.no_grad():
        (result,) = detector.inference(inputs, [given], do_postprocess=False)
        logits = detector.roi_heads.mask_head.layers(
            detector.roi_heads._pool(
                detector.backbone(detector.preprocess_image(inputs).tensor), [given.pred_boxes]
            )
        )
    # Of the three classes' masks, the one of the class that was given.
    want = torch.stack([logits[0, 0], logits[1, 2]])[:, None].sigmoid()
    torch.testing.assert_close(result.pred_masks, want)


class HalfImage(nn.Module):
    """A mask head that sees where a region's features are above 0."""

    def forward(self, pooled, instances):
        masks = pooled.sigmoid().split([len(found) for found in instances])
        for found, mask in zip(instances, masks, strict=True):
            found.pred_masks = mask
        return instances


class OneBox(nn.Module):
    """An FCOS head that finds, at the location (36, 28) of P3, one object of class 1."""

    def __init__(self, ltrb):
        super().__init__()
        self.ltrb = ltrb

    def forward(self, features):
        (feature,) = features
        cls = torch.full((1, 3, *feature.shape[-2:]), -20.0)
        cls[0, 1, 3, 4] = 20
        ltrb = torch.zeros(1, 4, *feature.shape[-2:])
        ltrb[0, :, 3, 4] = torch.tensor(self.ltrb)
        return [cls], [ltrb], [torch.full_like(cls[:, :1], 20)]


@pytest.mark.parametrize(
    ("ltrb", "box"),
    [
        ([20.0, 20, 20, 20], [16.0, 8, 56, 48]),
        # Past the left, upper and lower side: what is outside must not squeeze the mask.
        ([86.0, 58, 34, 66], [0.0, 0, 70, 64]),
    ],
)
@pytest.mark.parametrize("enlarged", [1, 2])
def test_a_mask_lies_where_its_features_lie(ltrb, box, enlarged):
    """Features are above 0 from x = 40 on, which is the border of two cells of P3."""
    fcos = FCOS(
        head=OneBox(ltrb),
        targets=FCOSTargets(strides=[8], sizes_of_interest=[], num_classes=3),
        losses=FCOSLosses(),
        in_features=["p3"],
        strides=[8],
        feeds_roi_heads=True,
    ).eval()
    roi_heads = heads(
        in_features=["p3"],
        mask_pooler=ROIPooler(28, [1 / 8], 0, "ROIAlignV2"),
        mask_head=HalfImage(),
    ).eval()
    feature = torch.full((1, 1, 8, 12), -9.0)
    feature[..., 5:] = 9
    images = ImageList(torch.zeros(1, 3, *SIZE), [SIZE])
    found, _ = fcos(images, {"p3": feature})
    (result,), _ = roi_heads(images, {"p3": feature}, found)
    result = detector_postprocess(result, SIZE[0] * enlarged, SIZE[1] * enlarged)
    assert result.pred_boxes.tensor.tolist() == [[side * enlarged for side in box]]
    (mask,) = result.pred_masks
    left, top, right, bottom = (int(side * enlarged) for side in box)
    # Beyond its outermost cells a mask fades, so that corners are rounded; a cell of the 28 x 28
    # grid is up to 2.5 pixels wide.
    near, middle = 3 * enlarged, 40 * enlarged
    assert mask[top + near : bottom - near, middle + near : right - near].all()
    assert left < middle - near
    outside = mask.clone()
    outside[top:bottom, middle - near : right] = False
    assert not outside.any()


# ---- settings that do not fit ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "MODEL.ROI_HEADS.NUM_CLASSES",
            "80",
            r"MODEL\.ROI_HEADS\.NUM_CLASSES is 80, but MODEL\.FCOS\.NUM_CLASSES is 3: .* set both",
        ),
        (
            "MODEL.ROI_HEADS.IN_FEATURES",
            "['p2','p3']",
            r"IN_FEATURES is \['p2', 'p3'\], but the backbone gives p3, p4, p5",
        ),
        ("MODEL.ROI_HEADS.IN_FEATURES", "[]", r"IN_FEATURES is \[\], but the backbone gives"),
        (
            "MODEL.ROI_HEADS.IN_FEATURES",
            "['p3','p5']",
            r"with strides \[8, 32\]: each must be twice the one before it",
        ),
        (
            "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE",
            "3",
            r"BATCH_SIZE_PER_IMAGE times MODEL\.ROI_HEADS\.POSITIVE_FRACTION is 0\.75, .* at least",
        ),
        (
            "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION",
            "0",
            r"^MODEL\.ROI_MASK_HEAD\.POOLER_RESOLUTION is 0: set it to 1 or more",
        ),
        (
            "MODEL.META_ARCHITECTURE",
            "OneStageDetector",
            r"MODEL\.MASK_ON is True, but OneStageDetector has boxes only: set .* GeneralizedRCNN",
        ),
    ],
)
def test_settings_that_do_not_fit(key, value, message):
    with pytest.raises(UserError, match=message):
        model(**{key: value})


def test_ground_truth_without_masks():
    truth = objects(*TRUTH)
    truth.remove("gt_masks")
    with pytest.raises(ValueError, match=r"targets: training of masks needs gt_masks; was the"):
        heads().label_and_sample_proposals([proposals(FOUND)], [truth])
    images = ImageList(torch.zeros(1, 3, *SIZE), [SIZE])
    with pytest.raises(ValueError, match="targets: training needs the ground truth"):
        heads().train()(images, {}, [proposals(FOUND)])


def test_without_masks_there_is_nothing_to_train():
    images = ImageList(torch.zeros(1, 3, *SIZE), [SIZE])
    assert heads().train()(images, {}, [proposals(FOUND)], [objects(*TRUTH)]) == ([], {})


def test_it_is_built_by_name():
    shape = {f"p{i}": ShapeSpec(channels=32, stride=2**i) for i in (3, 4, 5)}
    built = build_roi_heads(tiny_mask_cfg(), shape)
    assert isinstance(built, FCOSMaskROIHeads)
    assert built.in_features == ("p3", "p4", "p5")
