"""Step 4 by hand, at its limits and against the reference values."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from detectron2.modeling import detector_postprocess
from detectron2.structures import Boxes, Instances
from fcos.modeling.fcos import FCOSTargets
from fcos.modeling.fcos.fcos_inference import (
    DetectionRules,
    decode_boxes,
    detect_batch,
    rank_candidates,
)
from fcos.modeling.fcos.fcos_targets import ltrb_distances
from tests.helpers import DEVICE, flatten, golden, raw_outputs, strides_of_locations

VALUES = golden("inference.npz")
SETTINGS = sorted({"/".join(key.split("/")[:2]) for key in VALUES.files if "/nms" in key})
PEERS = {
    "tianzhi": {"inclusive_pixels": True},
    "adet": {},
    "adet_thresh_with_ctr": {"threshold_with_centerness": True},
}


# Those that differ in more ways, and a few settings in which it matters.
OTHER_PEERS = {
    "d2": {"score_threshold": 0.2**2, "threshold_with_centerness": True},
    "torchvision": {
        "score_threshold": 0.2**2,
        "threshold_with_centerness": True,
        "clip_before_nms": True,
        "location": "corner",
    },
    "mmdet": {
        "square_root": False,
        "rank_by_class": True,
        "clip_before_nms": True,
        "drop_empty": True,
    },
}
OTHER_SETTINGS = [
    "clip/nms0.5_pre50_post100",
    "sparse/nms0.6_pre50_post100",
    "objects/nms0.5_pre1000_post100",
]


def detect(points, cls_logits, ltrb_px, centerness_logits, locations_per_level, size, **rules):
    """The detections of one image."""
    outputs = cls_logits[None], ltrb_px[None], centerness_logits[None]
    rules = DetectionRules(**rules)
    return detect_batch(points, *outputs, locations_per_level, [size], rules)[0]


def rank(cls_logits, centerness_logits, locations_per_level, score_threshold, topk, **rules):
    rules = DetectionRules(score_threshold=score_threshold, pre_nms_topk=topk, **rules)
    return rank_candidates(cls_logits, centerness_logits, locations_per_level, rules)


def detections_of(setting, location="middle", **options):
    """Our detections of both images of a case; boxes in pixels of the network input."""
    case, name = setting.split("/")
    nms, pre, post = name.split("_")
    cls, reg, ctr = raw_outputs(VALUES, f"{case}/")
    sizes = [tuple(x.shape[-2:]) for x in cls]
    ltrb = flatten(reg).relu() * strides_of_locations(sizes)
    points = torch.cat(FCOSTargets(location=location).get_points(sizes)).to(DEVICE)
    return [
        detect(
            points,
            flatten(cls)[i],
            ltrb[i],
            flatten(ctr)[i, :, 0],
            [h * w for h, w in sizes],
            tuple(int(n) for n in VALUES["image_sizes"][i]),
            nms_threshold=float(nms.removeprefix("nms")),
            pre_nms_topk=int(pre.removeprefix("pre")),
            post_nms_topk=int(post.removeprefix("post")),
            **options,
        )
        for i in range(2)
    ]


def reference(setting, peer, image, prefix=""):
    """Boxes, scores and classes of one image, the highest score first."""
    get = {
        name: torch.tensor(VALUES[f"{setting}/{peer}/{prefix}{name}"])
        for name in ("boxes", "scores", "classes", "image")
    }
    chosen = (get["image"] == image).nonzero().squeeze(1)
    chosen = chosen[get["scores"][chosen].argsort(descending=True, stable=True)]
    return get["boxes"][chosen], get["scores"][chosen], get["classes"][chosen].long()


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_detections_equal_the_reference(setting, peer):
    for image, got in enumerate(detections_of(setting, **PEERS[peer])):
        boxes, scores, classes = reference(setting, peer, image)
        torch.testing.assert_close(got.scores, scores, atol=1e-6, rtol=0)
        torch.testing.assert_close(got.boxes, boxes, atol=1e-3, rtol=0)
        torch.testing.assert_close(got.classes, classes, atol=0, rtol=0)


@pytest.mark.parametrize("peer", OTHER_PEERS)
@pytest.mark.parametrize("setting", OTHER_SETTINGS)
def test_options_reproduce_other_implementations(setting, peer):
    for image, got in enumerate(detections_of(setting, **OTHER_PEERS[peer])):
        boxes, scores, classes = reference(setting, peer, image)
        torch.testing.assert_close(got.scores, scores, atol=1e-6, rtol=0)
        if peer != "d2":  # whose boxes are clipped later
            size = VALUES["image_sizes"][image].tolist()
            assert (got.boxes >= 0).all() and (got.boxes <= torch.tensor(size[::-1] * 2)).all()
        torch.testing.assert_close(got.boxes, boxes, atol=1e-3, rtol=0)
        torch.testing.assert_close(got.classes, classes, atol=0, rtol=0)


@pytest.mark.parametrize("case", ["dense", "clip", "sparse", "objects"])
@pytest.mark.parametrize(
    "prefix, sizes", [("clipped_", "image_sizes"), ("scaled_", "output_sizes")]
)
def test_postprocessed_detections_equal_the_reference(case, prefix, sizes):
    setting = f"{case}/nms0.6_pre1000_post100"
    for image, got in enumerate(detections_of(setting)):
        instances = Instances(
            tuple(int(n) for n in VALUES["image_sizes"][image]),
            pred_boxes=Boxes(got.boxes),
            scores=got.scores,
            pred_classes=got.classes,
        )
        instances = detector_postprocess(instances, *(int(n) for n in VALUES[sizes][image]))
        boxes, scores, classes = reference(setting, "adet", image, prefix)
        torch.testing.assert_close(instances.scores, scores, atol=1e-6, rtol=0)
        torch.testing.assert_close(instances.pred_boxes.tensor, boxes, atol=1e-3, rtol=0)
        torch.testing.assert_close(instances.pred_classes, classes, atol=0, rtol=0)


# --- decoding ------------------------------------------------------------------------------------


def test_decoding_by_hand():
    # (5, 7) with 4 left, 5 up, 6 right, 3 down.
    boxes = decode_boxes(torch.tensor([[5.0, 7.0]]), torch.tensor([[4.0, 5.0, 6.0, 3.0]]))
    torch.testing.assert_close(boxes, torch.tensor([[1.0, 2.0, 11.0, 10.0]]))


def test_decoding_undoes_encoding():
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(50, 2, generator=generator) * 800
    boxes = torch.rand(50, 4, generator=generator) * 800
    torch.testing.assert_close(decode_boxes(points, ltrb_distances(points, boxes)), boxes)
    with pytest.raises(ValueError, match="points and ltrb_px: expected"):
        decode_boxes(torch.zeros(3), torch.zeros(4))


# --- ranking -------------------------------------------------------------------------------------


def logit(*probabilities):
    return torch.tensor([math.log(p / (1 - p)) for p in probabilities])


def test_ranking_by_hand():
    """Two levels of two locations; the product of probability and centerness decides the order."""
    cls_logits = logit(0.9, 0.5, 0.8, 0.04)[:, None]
    centerness_logits = logit(0.1, 0.5, 0.5, 0.9)
    location, classes, product = rank(cls_logits, centerness_logits, [2, 2], 0.05, 10)
    assert location.tolist() == [2, 1, 0]  # 0.40, 0.25, 0.09; location 3 is below 0.05
    assert classes.tolist() == [0, 0, 0]
    torch.testing.assert_close(product, torch.tensor([0.40, 0.25, 0.09]))
    # With one per level, location 0 gives way to location 1 of its own level.
    location, _, _ = rank(cls_logits, centerness_logits, [2, 2], 0.05, 1)
    assert location.tolist() == [2, 1]
    # The threshold on the product: 0.09 fails 0.1, although its probability is 0.9.
    location, _, _ = rank(
        cls_logits, centerness_logits, [2, 2], 0.1, 10, threshold_with_centerness=True
    )
    assert location.tolist() == [2, 1]


def test_a_probability_equal_to_the_threshold_does_not_pass():
    # sigmoid(0) is exactly 0.5.
    location, _, _ = rank(torch.zeros(1, 1), torch.zeros(1), [1], 0.5, 10)
    assert len(location) == 0
    location, _, _ = rank(torch.zeros(1, 1), torch.zeros(1), [1], 0.4999, 10)
    assert len(location) == 1
    location, _, _ = rank(torch.full((1, 1), -80.0), torch.zeros(1), [1], 0.0, 10)
    assert len(location) == 1


def ranked_in_plain_loops(cls, ctr, sizes, thresh, topk, with_ctr, by_class):
    """Every pair in turn, in float32 as rank_candidates computes it."""
    probability = cls.sigmoid()
    product = probability * ctr.sigmoid()[:, None]
    passing = (product if with_ctr else probability) > thresh
    key = probability if by_class else product
    stay, start = [], 0
    for size in sizes:
        places = range(start, start + size)
        pairs = [(i, c) for i in places for c in range(cls.shape[1]) if passing[i, c]]
        stay += sorted(pairs, key=lambda pair: -key[pair].item())[:topk]
        start += size
    stay.sort(key=lambda pair: (-key[pair].item(), *pair))
    return stay, torch.tensor([product[pair].item() for pair in stay])


@pytest.mark.parametrize("with_ctr", [False, True])
@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("thresh, topk", [(0.0, 4), (0.3, 4), (0.05, 30), (0.4, 1), (0.05, 1000)])
@pytest.mark.parametrize("step", [0.0, 0.5])
def test_ranking_is_that_of_plain_loops(with_ctr, by_class, thresh, topk, step):
    """Also where many scores are equal: then the first location, and of it the first class."""
    generator = torch.Generator().manual_seed(0)
    cls = torch.randn(90, 3, generator=generator) * 3
    ctr = torch.randn(90, generator=generator) * 3
    cls[3], ctr[5], ctr[6] = 40.0, 120.0, -120.0  # a probability of 1; centerness of 1 and 0
    if step:
        cls, ctr = (cls / step).round() * step, torch.zeros(90)
    sizes = [60, 20, 0, 10]
    flags = {"threshold_with_centerness": with_ctr, "rank_by_class": by_class}
    location, classes, product = rank(cls, ctr, sizes, thresh, topk, **flags)
    want, want_product = ranked_in_plain_loops(cls, ctr, sizes, thresh, topk, with_ctr, by_class)
    assert list(zip(location.tolist(), classes.tolist(), strict=True)) == want
    torch.testing.assert_close(product, want_product)
    assert len(want) > 0


def test_ranking_errors():
    with pytest.raises(ValueError, match="centerness_logits and locations_per_level"):
        rank(torch.zeros(3, 2), torch.zeros(3), [2], 0.05, 10)


# --- detections ----------------------------------------------------------------------------------


def detect_by_hand(**options):
    """Three locations that predict nearly the same box, one of them of another class."""
    points = torch.tensor([[4.0, 4.0], [12.0, 4.0], [20.0, 4.0]])
    boxes = torch.tensor([[0.0, 0, 40, 20], [0.0, 0, 40, 22], [0.0, 0, 40, 20]])
    cls_logits = torch.full((3, 2), -20.0)
    cls_logits[0, 0], cls_logits[1, 0], cls_logits[2, 1] = logit(0.81, 0.64, 0.49)
    return detect(
        points,
        cls_logits,
        ltrb_distances(points, boxes),
        torch.full((3,), 20.0),
        [3],
        (20, 40),
        **options,
    )


def test_detections_by_hand():
    got = detect_by_hand()
    # The IoU of the first two is 800 / 880 = 0.909 > 0.6; the third is of another class.
    assert got.classes.tolist() == [0, 1]
    torch.testing.assert_close(got.scores, torch.tensor([0.9, 0.7]))  # square roots
    torch.testing.assert_close(got.boxes, torch.tensor([[0.0, 0, 40, 20], [0.0, 0, 40, 20]]))
    torch.testing.assert_close(got.locations, torch.tensor([[4.0, 4.0], [20.0, 4.0]]))


def test_limits_of_detection():
    assert len(detect_by_hand(nms_threshold=0.95).scores) == 3
    assert detect_by_hand(post_nms_topk=1).classes.tolist() == [0]
    none = detect_by_hand(score_threshold=0.9)
    assert none.boxes.shape == (0, 4)
    assert none.scores.shape == none.classes.shape == (0,)
    assert none.locations.shape == (0, 2)


def test_inclusive_pixels_clip_before_suppression():
    got = detect_by_hand(inclusive_pixels=True, nms_threshold=0.95)
    # Clipped to x <= 39 and y <= 19, the first two are the same box: one of them goes.
    torch.testing.assert_close(got.boxes, torch.tensor([[0.0, 0, 39, 19], [0.0, 0, 39, 19]]))


def test_half_precision_outputs_make_float32_boxes():
    got = detect(
        torch.tensor([[1004.0, 1004.0]]),
        torch.full((1, 1), 3.0, dtype=torch.bfloat16),
        torch.full((1, 4), 3.0, dtype=torch.bfloat16),
        torch.full((1,), 3.0, dtype=torch.bfloat16),
        [1],
        (2000, 2000),
    )
    torch.testing.assert_close(got.boxes, torch.tensor([[1001.0, 1001.0, 1007.0, 1007.0]]))
    assert got.scores.dtype == torch.float32


@pytest.mark.parametrize("options", [{}, {"drop_empty": True, "inclusive_pixels": True}])
def test_a_batch_is_its_images(options):
    """Each with its own size, and one of them empty."""
    generator = torch.Generator().manual_seed(0)
    sizes, image_sizes = [48, 12], [(40, 60), (64, 50), (20, 30)]
    points = torch.rand(60, 2, generator=generator) * 60
    cls = torch.randn(3, 60, 4, generator=generator)
    cls[1] = -9.0
    ltrb = torch.rand(3, 60, 4, generator=generator) * 20
    ctr = torch.randn(3, 60, generator=generator)
    options = {"clip_before_nms": True, "pre_nms_topk": 20, "post_nms_topk": 15, **options}
    together = detect_batch(points, cls, ltrb, ctr, sizes, image_sizes, DetectionRules(**options))
    for i, found in enumerate(together):
        alone = detect(points, cls[i], ltrb[i], ctr[i], sizes, image_sizes[i], **options)
        # Vectorised or not, a sigmoid may differ in its last bit.
        torch.testing.assert_close(tuple(found), tuple(alone))
        if i == 1:
            assert len(found.boxes) == 0
        else:
            assert 10 < len(found.boxes) <= 15
            assert (found.boxes[:, 2:].amax(0) <= torch.tensor(image_sizes[i][::-1])).all()


def test_one_location_without_a_number_hides_no_other():
    """Its centerness overflowed; the two best of the others stay, as without it."""
    cls = logit(0.9, 0.8, 0.7, 0.6)[:, None]
    ctr = torch.tensor([0.0, math.nan, 0.0, 0.0])
    location, class_, product = rank(cls, ctr, [4], 0.05, 2)
    assert location.tolist() == [0, 2] and class_.tolist() == [0, 0]
    torch.testing.assert_close(product, torch.tensor([0.45, 0.35]))


class Operations(TorchDispatchMode):
    """Notes what is asked of torch."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_nothing_that_torch_refuses_when_a_gpu_shall_be_deterministic():
    """Of what torch.use_deterministic_algorithms lists, what could stand in this step's place."""
    generator = torch.Generator().manual_seed(0)
    cls = torch.randn(2, 60, 4, generator=generator)
    ltrb = torch.rand(2, 60, 4, generator=generator) * 20
    ctr = torch.randn(2, 60, generator=generator)
    points = torch.rand(60, 2, generator=generator) * 60
    rules = DetectionRules(pre_nms_topk=20)
    with Operations() as asked:
        found = detect_batch(points, cls, ltrb, ctr, [48, 12], [(40, 60)] * 2, rules)
    assert min(len(each.boxes) for each in found) > 0
    refused = {"kthvalue", "median", "histc", "bincount", "put_", "resize_"}
    assert "sigmoid" in asked.names and not refused & asked.names
