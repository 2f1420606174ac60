"""Is what a weights file filled enough to evaluate, to start a training?"""

import logging

import pytest
import torch

from detectron2.modeling import build_model
from fcos.checkpoint import AdetCheckpointer
from fcos.utils.errors import UserError
from tests.helpers import tiny_cfg, tiny_mask_cfg


@pytest.fixture(scope="module")
def detector():
    return build_model(tiny_cfg())  # 3 classes


def coverage_of(model, weights, tmp_path):
    torch.save({"model": weights}, tmp_path / "a.pth")
    checkpointer = AdetCheckpointer(model)
    checkpointer.load(str(tmp_path / "a.pth"))
    return checkpointer.coverage


def only(weights, prefix):
    return {name: value for name, value in weights.items() if name.startswith(prefix)}


def with_classes(weights, number):
    weights = dict(weights)
    for name in weights:
        if ".cls_logits." in name or ".predictor." in name:
            weights[name] = torch.zeros(number, *weights[name].shape[1:])
    return weights


def test_all_of_it(detector, tmp_path):
    coverage = coverage_of(detector, detector.state_dict(), tmp_path)
    coverage.require_all("Evaluation")
    assert coverage.require_start(detector, False) == f"Weights from {tmp_path}/a.pth."


def test_what_is_no_weight_is_dropped(detector, tmp_path):
    weights = detector.state_dict() | {"pixel_mean": torch.zeros(3, 1, 1)}
    coverage = coverage_of(detector, weights, tmp_path)
    coverage.require_all("Evaluation")
    assert (coverage.dropped, coverage.unexpected) == (("pixel_mean",), ())


def test_a_detector_with_more_than_the_model_is_another_one(detector, tmp_path):
    weights = detector.state_dict() | {"roi_heads.box_head.bias": torch.zeros(3)}
    coverage = coverage_of(detector, weights, tmp_path)
    with pytest.raises(UserError, match=r"1 unexpected: roi_heads\.box_head\.bias"):
        coverage.require_all("Evaluation")
    with pytest.raises(UserError, match=r"is for another model \(1 unexpected: roi_heads"):
        coverage.require_start(detector, False)


def test_an_evaluation_needs_every_parameter_and_buffer(detector, tmp_path):
    weights = detector.state_dict()
    del weights["backbone.bottom_up.stem.conv1.norm.running_var"]
    weights["proposal_generator.fcos_head.bbox_pred.weight"] = torch.zeros(8, 32, 3, 3)
    weights["proposal_generator.fcos_head.extra.bias"] = torch.zeros(1)
    with pytest.raises(UserError) as error:
        coverage_of(detector, weights, tmp_path).require_all("Evaluation")
    message = str(error.value)
    assert message.startswith(f"Evaluation needs weights for the whole model, and {tmp_path}/a.pth")
    assert "1 missing: backbone.bottom_up.stem.conv1.norm.running_var;" in message
    assert (
        "1 of another shape: proposal_generator.fcos_head.bbox_pred.weight 8x32x3x3 instead of "
        "4x32x3x3;" in message
    )
    assert "1 unexpected: proposal_generator.fcos_head.extra.bias" in message


def test_a_long_list_is_cut(detector, tmp_path):
    weights = only(detector.state_dict(), "backbone.bottom_up.")
    with pytest.raises(UserError, match=r"\d\d missing: (\S+, ){9}\S+ and \d+ more"):
        coverage_of(detector, weights, tmp_path).require_all("Evaluation")


def test_an_evaluation_with_another_number_of_classes(detector, tmp_path):
    coverage = coverage_of(detector, with_classes(detector.state_dict(), 80), tmp_path)
    with pytest.raises(UserError, match="detector of 80 classes, but .*NUM_CLASSES is 3; set it"):
        coverage.require_all("Evaluation")


def test_a_training_starts_from_a_backbone(detector, tmp_path):
    weights = only(detector.state_dict(), "backbone.bottom_up.")
    said = coverage_of(detector, weights, tmp_path).require_start(detector, False)
    head = sum(p.numel() for p in detector.proposal_generator.parameters())
    rest = sum(p.numel() for n, p in detector.backbone.named_parameters() if "bottom_up" not in n)
    assert said == (
        f"Backbone from {tmp_path}/a.pth; {head + rest:,} parameters start at random "
        f"(FPN {rest:,}, head {head:,})."
    )


def test_half_a_backbone_is_said_to_be_half(detector, tmp_path):
    weights = only(detector.state_dict(), "backbone.bottom_up.res2")
    said = coverage_of(detector, weights, tmp_path).require_start(detector, False)
    assert said.startswith(f"Only a part of the backbone from {tmp_path}/a.pth;")
    assert "(backbone " in said


def test_a_training_does_not_start_from_a_file_that_fits_nowhere(detector, tmp_path):
    coverage = coverage_of(detector, {"layer1.0.conv1.weight": torch.zeros(1)}, tmp_path)
    with pytest.raises(UserError, match=r"Nothing in .*a\.pth fits this model .*layer1"):
        coverage.require_start(detector, False)


def test_a_training_does_not_start_from_another_model(detector, tmp_path):
    weights = detector.state_dict()
    weights["backbone.fpn_output3.weight"] = torch.zeros(64, 64, 3, 3)
    with pytest.raises(UserError, match=r"is for another model .*fpn_output3.weight 64x64x3x3"):
        coverage_of(detector, weights, tmp_path).require_start(detector, True)


def test_another_number_of_classes_needs_a_decision(detector, tmp_path):
    coverage = coverage_of(detector, with_classes(detector.state_dict(), 80), tmp_path)
    with pytest.raises(UserError) as error:
        coverage.require_start(detector, False)
    assert str(error.value) == (
        f"{tmp_path}/a.pth is a detector of 80 classes, but MODEL.FCOS.NUM_CLASSES is 3: set it to "
        "80, or set MODEL.FCOS.REINIT_CLS_LOGITS True to start the class-logit layer afresh."
    )


def test_class_logits_are_initialised_afresh_on_request(tmp_path):
    torch.manual_seed(1)
    model = build_model(tiny_cfg())
    layer = model.proposal_generator.fcos_head.cls_logits
    weight, bias = layer.weight.clone(), layer.bias.clone()
    others = {k: v + 1 for k, v in model.state_dict().items() if "cls_logits" not in k}
    weights = with_classes(model.state_dict(), 80) | others
    said = coverage_of(model, weights, tmp_path).require_start(model, True)
    assert said == (
        f"Weights from {tmp_path}/a.pth. The class-logit layer is re-initialised, from 80 classes "
        "in the file to 3."
    )
    assert layer.weight.equal(weight)
    assert layer.bias.equal(bias)
    for name, value in others.items():
        assert model.state_dict()[name].equal(value)


# ---- with masks ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mask_detector():
    return build_model(tiny_mask_cfg())


def test_masks_start_from_a_detector_without(detector, mask_detector, tmp_path):
    coverage = coverage_of(mask_detector, detector.state_dict(), tmp_path)
    number = sum(p.numel() for p in mask_detector.roi_heads.parameters())
    assert coverage.require_start(mask_detector, False) == (
        f"Detector without masks from {tmp_path}/a.pth; {number:,} parameters start at random "
        f"(mask head {number:,})."
    )
    with pytest.raises(UserError, match=r"6 missing: roi_heads\.mask_head\."):
        coverage.require_all("Evaluation")


def test_boxes_start_from_a_detector_with_masks(mask_detector, tmp_path, caplog):
    logger = logging.getLogger("fcos.checkpoint.checkpointer")
    logger.addHandler(caplog.handler)
    caplog.set_level("INFO", logger=logger.name)
    detector = build_model(tiny_cfg()).eval()
    try:
        coverage = coverage_of(detector, mask_detector.state_dict(), tmp_path)
    finally:
        logger.removeHandler(caplog.handler)
    said = [record.getMessage() for record in caplog.records if "masks" in record.getMessage()]
    assert said[0].endswith(
        "The file is of a detector with masks and this config has none: its 6 parameters of the "
        "mask head are left out, which changes no box."
    )
    coverage.require_all("Evaluation")
    assert coverage.require_start(detector, False) == f"Weights from {tmp_path}/a.pth."
    assert sorted(coverage.dropped) == sorted(only(mask_detector.state_dict(), "roi_heads."))
    # Which changes no box indeed.
    given = [{"image": torch.arange(3 * 64 * 96).view(3, 64, 96) % 251, "height": 64, "width": 96}]
    head = "proposal_generator.fcos_head.cls_logits.bias"
    for model in (detector, mask_detector):
        model.get_parameter(head).data.fill_(-1.0)
    with torch.no_grad():
        mine, other = (m.eval()(given)[0]["instances"] for m in (detector, mask_detector))
    assert len(mine) > 3
    assert mine.scores.equal(other.scores)
    assert mine.pred_boxes.tensor.equal(other.pred_boxes.tensor)
    # A mask head of this name in a model that has one is not left out.
    coverage = coverage_of(build_model(tiny_mask_cfg()), mask_detector.state_dict(), tmp_path)
    assert coverage.dropped == ()


def test_masks_of_another_number_of_classes(mask_detector, tmp_path):
    weights = with_classes(mask_detector.state_dict(), 80)
    coverage = coverage_of(mask_detector, weights, tmp_path)
    with pytest.raises(UserError, match="is a detector of 80 classes, but .* is 3: set it to 80"):
        coverage.require_start(mask_detector, False)
    said = coverage.require_start(mask_detector, True)
    assert said == (
        f"Weights from {tmp_path}/a.pth. The class-logit layer and the last layer of the mask head "
        "are re-initialised, from 80 classes in the file to 3."
    )


def test_a_mask_head_of_another_kind_is_no_matter_of_classes(mask_detector, tmp_path):
    weights = dict(mask_detector.state_dict())
    for name in ("weight", "bias"):  # as of a head with one mask for all classes
        name = f"roi_heads.mask_head.predictor.{name}"
        weights[name] = weights[name][:1]
    with pytest.raises(UserError, match=r"is for another model .*predictor\.weight 1x16x1x1"):
        coverage_of(mask_detector, weights, tmp_path).require_start(mask_detector, True)
