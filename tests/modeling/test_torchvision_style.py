"""A detector called as torchvision's are, and one of torchvision called as detectron2's are."""

import pytest
import torch
import torchvision

from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks
from fcos.modeling import FromTorchvision, ToTorchvision
from tests.helpers import DEVICE, tiny_cfg, tiny_mask_cfg

SIZES = [(64, 96), (60, 50)]
BOXES = torch.tensor([[4.0, 4, 40, 30], [10, 20, 48, 58]])
CLASSES = torch.tensor([2, 0])


def detector(cfg):
    """A detector that finds something in noise."""
    torch.manual_seed(0)
    model = build_model(cfg)
    head = model.proposal_generator.fcos_head
    torch.nn.init.normal_(head.cls_logits.weight, std=0.3)
    torch.nn.init.zeros_(head.cls_logits.bias)
    torch.nn.init.normal_(head.bbox_pred.bias, mean=2, std=0.1)
    return model


def pixels(sizes=SIZES):
    """Images as detectron2 takes them: BGR, uint8."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (3, *size), generator=generator).byte() for size in sizes]


def masks_of(size):
    masks = torch.zeros(len(BOXES), *size, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, BOXES.int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = True
    return masks


def records(with_masks, sizes=SIZES):
    """What the detector itself takes."""
    found = []
    for image in pixels(sizes):
        size = tuple(image.shape[1:])
        truth = Instances(size, gt_boxes=Boxes(BOXES), gt_classes=CLASSES)
        if with_masks:
            truth.gt_masks = BitMasks(masks_of(size))
        found.append({"image": image, "instances": truth})
    return found


def images_and_targets(records, labels=(0, 1, 2)):
    """The same as torchvision takes it: RGB, floats in 0..1."""
    images = [record["image"].flip(0).float() / 255 for record in records]
    targets = []
    for record in records:
        truth = record["instances"]
        names = torch.tensor(labels)[truth.gt_classes]
        target = {"boxes": truth.gt_boxes.tensor, "labels": names}
        if truth.has("gt_masks"):
            target["masks"] = truth.gt_masks.tensor.to(torch.uint8)
        targets.append(target)
    return images, targets


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=0)


def cfg_of(with_masks):
    return tiny_mask_cfg() if with_masks else tiny_cfg()


@pytest.mark.parametrize("with_masks", [False, True])
def test_losses_and_gradients_are_those_of_the_detector(with_masks):
    given = records(with_masks)
    images, targets = images_and_targets(given, labels=(3, 4, 7))
    gradients = []
    for call in (
        lambda model: model(given),
        lambda model: ToTorchvision(detector=model, labels=(3, 4, 7))(images, targets),
    ):
        model = detector(cfg_of(with_masks)).train()
        torch.manual_seed(1)
        if with_masks:  # detectron2's mask head wants somebody to report to
            from detectron2.utils.events import EventStorage

            with EventStorage():
                losses = call(model)
        else:
            losses = call(model)
        sum(losses.values()).backward()
        gradients.append((losses, [p.grad for p in model.parameters() if p.requires_grad]))
    (losses, wanted), (ours, found) = gradients
    assert_same(ours, losses)
    assert ("loss_mask" in losses) == with_masks and losses["loss_fcos_cls"] > 0
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_masks_train_without_a_trainer():
    images, targets = images_and_targets(records(True))
    model = ToTorchvision(detector=detector(tiny_mask_cfg())).train()
    assert model(images, targets)["loss_mask"] > 0


@pytest.mark.parametrize("with_masks", [False, True])
@torch.no_grad()
def test_results_are_those_of_the_detector(with_masks):
    model = detector(cfg_of(with_masks)).eval()
    given = [{"image": image} for image in pixels()]
    images = [image.flip(0) for image in pixels()]
    for inputs in (images, [image.float() / 255 for image in images]):
        results = ToTorchvision(detector=model, labels=[5, 6, 9])(inputs)
        for result, output in zip(results, model(given), strict=True):
            found = output["instances"]
            assert len(found) > 5
            want = {
                "boxes": found.pred_boxes.tensor,
                "labels": torch.tensor([5, 6, 9], device=model.device)[found.pred_classes],
                "scores": found.scores,
            }
            if with_masks:
                want["masks"] = found.pred_masks[:, None].to(torch.uint8)
            assert_same(result, want)


@torch.no_grad()
def test_a_batch_is_one_tensor_and_the_order_of_channels_that_of_the_config():
    cfg = tiny_cfg()
    cfg.INPUT.FORMAT = "RGB"
    torch.manual_seed(0)
    model = ToTorchvision(cfg).eval()
    batch = torch.stack(pixels([(64, 96)] * 2))
    want = model.detector([{"image": image} for image in batch])
    for result, output in zip(model(batch), want, strict=True):
        assert torch.equal(result["scores"], output["instances"].scores)


def test_no_objects():
    images, _ = images_and_targets(records(False))
    none = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    losses = ToTorchvision(detector=detector(tiny_cfg())).train()(images, [none, none])
    assert losses["loss_fcos_loc"] == 0 and losses["loss_fcos_cls"] > 0


GOOD = {"boxes": BOXES, "labels": CLASSES}


@pytest.mark.parametrize(
    ("image", "targets", "message"),
    [
        (torch.zeros(3, 64, 64), None, "targets: training needs one per image, 1; got None"),
        (torch.zeros(3, 64, 64), [GOOD, GOOD], "one per image, 1; got 2"),
        (torch.zeros(1, 64, 64), [GOOD], r"images\[0\]: expected a tensor \(3, H, W\), got \(1, 6"),
        ("a.jpg", [GOOD], r"images\[0\]: expected a tensor \(3, H, W\), got str"),
        (torch.zeros(3, 8, 8, dtype=torch.int32), [GOOD], "expected uint8 or float, got torch.int"),
        (torch.full((3, 8, 8), 200.0), [GOOD], "floats in 0..1, not normalised, or uint8; got 200"),
        (torch.full((3, 8, 8), -2.1), [GOOD], "got -2.1 to -2.1"),
        (torch.zeros(3, 64, 64), [{"boxes": BOXES}], r"targets\[0\]: \['labels'\] is missing"),
        (torch.zeros(3, 64, 64), [{"labels": CLASSES}], r"targets\[0\]: \['boxes'\] is missing"),
        (
            torch.zeros(3, 64, 64),
            [{"boxes": BOXES, "labels": CLASSES[:1]}],
            r"\['labels'\]: expected \(2,\), one for each of 'boxes', got \(1,\)",
        ),
        (
            torch.zeros(3, 64, 64),
            [{"boxes": BOXES, "labels": torch.tensor([3, 0])}],
            r"targets\[0\]\['labels'\]: \[3\] are labels of no class",
        ),
        (
            torch.zeros(3, 64, 64),
            [{**GOOD, "masks": torch.zeros(2, 32, 32)}],
            r"\['masks'\]: expected \(2, 64, 64\), got \(2, 32, 32\)",
        ),
    ],
)
@pytest.mark.cpu
def test_inputs_that_are_none(image, targets, message):
    model = ToTorchvision(detector=detector(tiny_cfg()), labels=range(3)).train()
    with pytest.raises(ValueError, match=message):
        model([image], targets)


@pytest.mark.cpu
def test_an_order_of_channels_that_is_none():
    for adapter in (
        lambda **words: ToTorchvision(detector=torch.nn.Identity(), **words),
        lambda **words: FromTorchvision(torch.nn.Identity(), **words),
    ):
        with pytest.raises(ValueError, match="expected BGR or RGB .*, got 'GRB'"):
            adapter(input_format="GRB")


@pytest.mark.parametrize("with_masks", [False, True])
def test_there_and_back_is_the_detector(with_masks):
    model = detector(cfg_of(with_masks))
    labels = [5, 6, 9]
    there = ToTorchvision(detector=model, labels=labels)
    back = FromTorchvision(there, labels=labels).eval()
    given = [{"image": image} for image in pixels()]
    with torch.no_grad():
        for ours, theirs in zip(back(given), model(given), strict=True):
            ours, theirs = ours["instances"], theirs["instances"]
            assert ours.image_size == theirs.image_size and len(ours) > 5
            assert torch.equal(ours.pred_boxes.tensor, theirs.pred_boxes.tensor)
            assert torch.equal(ours.scores, theirs.scores)
            assert torch.equal(ours.pred_classes, theirs.pred_classes)
            if with_masks:
                assert torch.equal(ours.pred_masks, theirs.pred_masks)
    back.train()
    images, targets = images_and_targets(records(with_masks), labels)
    assert_same(back(records(with_masks)), there(images, targets))


def test_what_a_model_of_torchvision_trains_on():
    class Recorded(torch.nn.Linear):
        def forward(self, images, targets):
            return images, targets

    given = records(True)
    square = [4, 4, 40, 4, 40, 30, 4, 30]
    given[1]["instances"].gt_masks = PolygonMasks([[square], [square]])
    adapter = FromTorchvision(Recorded(1, 1), labels=[1, 2, 3])
    assert adapter.training
    images, targets = adapter(given)
    want_images, want_targets = images_and_targets(given[:1], [1, 2, 3])
    assert torch.equal(images[0], want_images[0])
    assert_same(targets[0], want_targets[0])
    masks = targets[1]["masks"]
    assert masks.shape == (2, *SIZES[1]) and masks.dtype == torch.uint8
    assert torch.equal(masks[1], masks_of(SIZES[1])[0].to(torch.uint8))


def test_a_detector_of_torchvision():
    """Its boxes, scaled to the size that is asked for; labels of no class are left out."""
    torch.manual_seed(0)
    build = torchvision.models.detection.maskrcnn_resnet50_fpn
    options = {"num_classes": 4, "min_size": 64, "box_score_thresh": 0.0}
    model = build(weights=None, weights_backbone=None, box_detections_per_img=20, **options)
    torch.nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight)  # various labels
    model = model.to(DEVICE).eval()
    (image,) = pixels(SIZES[:1])
    record = {"image": image, "height": 128, "width": 288}
    with torch.no_grad():
        (want,) = model([(image.flip(0).float() / 255).to(DEVICE)])
        label = want["labels"][0].item()
        adapter = FromTorchvision(model, labels=[9, label])
        (found,) = adapter([record])
        (plain,) = adapter([{"image": image}])
    is_known = want["labels"] == label
    assert 0 < is_known.sum() < len(is_known)
    found, plain = found["instances"], plain["instances"]
    assert found.image_size == (128, 288) and found.pred_masks.shape[1:] == (128, 288)
    scaled = want["boxes"][is_known] * torch.tensor([3, 2, 3, 2], device=DEVICE)
    torch.testing.assert_close(found.pred_boxes.tensor, scaled)
    assert torch.equal(found.scores, want["scores"][is_known]) and (found.pred_classes == 1).all()
    assert torch.equal(plain.pred_masks, want["masks"][is_known, 0] > 0.5)
    assert plain.pred_masks.any()
