"""Keys that contradict each other, which would fail late, are sentences early."""

import re

import pytest

from fcos.config import get_cfg
from fcos.config.checks import check_detector
from fcos.config.evaluation_checks import (
    check_best_class,
    check_best_metric,
    check_expected_results,
)
from fcos.config.training_checks import check_batch, check_training_keys
from fcos.utils.errors import UserError


def cfg_of(*options):
    cfg = get_cfg()
    known = ["MODEL.META_ARCHITECTURE", "OneStageDetector", "MODEL.PROPOSAL_GENERATOR.NAME", "FCOS"]
    cfg.merge_from_list([*known, "DATASETS.TRAIN", ("pets",), *options])
    return cfg


@pytest.mark.parametrize(
    "row",
    [["bbox", "AP", 38.5, 0.2], ["segm", "AP50", 38, 1], ["bbox_TTA", "AP", 40.0, 0.2]],
)
def test_expectations_that_can_be_compared(row):
    cfg = get_cfg()
    check_expected_results(cfg)
    cfg.DATASETS.TEST = ("pets",)
    cfg.MODEL.MASK_ON = cfg.TEST.AUG.ENABLED = True
    cfg.TEST.EXPECTED_RESULTS = [row]
    check_expected_results(cfg)


@pytest.mark.parametrize(
    "row, message",
    [
        (["bbox", "AP", 38.5], r"is \[\['bbox', 'AP', 38.5\]\]: set it to .* list of task, metric"),
        ("bbox", r"is \['bbox'\]: set it to"),
        (38.5, r"is \[38\.5\]: set it to"),
        (["bbox", "AP", "38.5", 0.2], "is .*: set it to"),
        (["bbox", "AP", 38.5, float("nan")], "is .*: set it to"),
        (["bbox", 50, 38.5, 0.2], "is .*: set it to"),
        (["box", "AP", 38.5, 0.2], "has the task 'box', but this evaluation gives bbox only"),
        (["bbox_TTA", "AP", 38.5, 0.2], "has the task 'bbox_TTA', but this evaluation gives bbox"),
    ],
)
def test_expectations_that_cannot(row, message):
    cfg = get_cfg()
    cfg.DATASETS.TEST = ("pets",)
    cfg.TEST.EXPECTED_RESULTS = [row]
    with pytest.raises(UserError, match=rf"^TEST\.EXPECTED_RESULTS {message}"):
        check_expected_results(cfg)


@pytest.mark.parametrize("number", [0, 2])
def test_expectations_are_for_one_data_set(number):
    cfg = get_cfg()
    cfg.DATASETS.TEST = ("pets",) * number
    cfg.TEST.EXPECTED_RESULTS = [["bbox", "AP", 38.5, 0.2]]
    with pytest.raises(UserError, match=rf"of one data set, but DATASETS\.TEST has {number}: set"):
        check_expected_results(cfg)


def test_a_batch_is_a_multiple_of_the_processes():
    check_batch(6, 3)
    for images in (4, 0, -3):
        with pytest.raises(
            UserError, match=rf"IMS_PER_BATCH is {images}, which 3 processes cannot share equally"
        ):
            check_batch(images, processes=3)


def test_a_training_that_can_be():
    check_training_keys(cfg_of(), processes=2)
    with pytest.raises(UserError, match=r"DATASETS\.TRAIN is empty"):
        check_training_keys(cfg_of("DATASETS.TRAIN", ()), processes=2)


@pytest.mark.parametrize("kind", ["value", "norm", "full_model"])
def test_types_of_clipping(kind):
    cfg = cfg_of("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", kind)
    if kind != "full_model":
        check_training_keys(cfg, 1)
        return
    with pytest.raises(UserError, match=r"CLIP_TYPE is 'full_model': set it to one of 'value', 'n"):
        check_training_keys(cfg, 1)


@pytest.mark.parametrize("norm", ["SyncBN", "nnSyncBN"])
@pytest.mark.parametrize("part", ["FCOS", "FPN", "RESNETS", "TIMM"])
def test_what_torch_trains_on_gpus_only(part, norm):
    timm = ["MODEL.BACKBONE.NAME", "build_fcos_timm_fpn_backbone"] if part == "TIMM" else []
    cfg = cfg_of("MODEL.DEVICE", "cpu", f"MODEL.{part}.NORM", norm, *timm)
    with pytest.raises(UserError, match=rf"^MODEL\.{part}\.NORM is '?{norm}'?"):
        check_training_keys(cfg, 1)


COSINE = ["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR"]


@pytest.mark.parametrize(
    "options, message",
    [
        (["SOLVER.STEPS", (30000, 40000)], r"^SOLVER\.STEPS has 40000, which is SOLVER\.MAX_ITER:"),
        (
            [*COSINE, "SOLVER.BASE_LR_END", 0.1],
            r"^SOLVER\.BASE_LR_END is 0\.1, but SOLVER\.BASE_LR is",
        ),
        (
            ["SOLVER.LR_SCHEDULER_NAME", "WarmupStepWithFixedGammaLR", "SOLVER.MAX_ITER", 10**6],
            r"^SOLVER\.MAX_ITER is 1000000, but WarmupStepWithFixedGammaLR is for fewer than",
        ),
        (
            ["SOLVER.NESTEROV", True, "SOLVER.MOMENTUM", 0.0],
            r"NESTEROV is True, but SOLVER\.MOMENTUM",
        ),
        (
            ["INPUT.MIN_SIZE_TRAIN_SAMPLING", "range"],
            r"^INPUT\.MIN_SIZE_TRAIN is \[800\], but .*_SAMPLING is 'range': set it to two lengths",
        ),
        (
            ["MODEL.META_ARCHITECTURE", "bogus"],
            r"ARCHITECTURE is 'bogus', under which nothing is reg",
        ),
        (
            ["MODEL.BACKBONE.NAME", "build_fcos_resnet_backbone"],
            r"BACKBONE\.NAME is .*; the nearest is 'build_.*resnet.*backbone'\.$",
        ),
        (
            ["MODEL.PROPOSAL_GENERATOR.NAME", "FCOSS"],
            r"\.NAME is 'FCOSS', .*; the nearest is 'FCOS'",
        ),
        (
            ["MODEL.KEYPOINT_ON", True],
            r"^MODEL\.KEYPOINT_ON is True, but OneStageDetector finds boxes",
        ),
        (["MODEL.MASK_ON", True], r"^MODEL\.MASK_ON is True, but OneStageDetector has boxes only"),
        (
            ["SOLVER.WARMUP_METHOD", "constant", "SOLVER.WARMUP_FACTOR", 0.0],
            r"^SOLVER\.WARMUP_FACTOR is 0, which is the rate of the whole warm-up",
        ),
        (
            ["DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler"],
            r"^DATALOADER\.REPEAT_THRESHOLD is 0, with which .* repeats no image: set it to",
        ),
        (
            ["TEST.EXPECTED_RESULTS", [["bbox", "bogus", 1.0, 1.0]], "DATASETS.TEST", ["a"]],
            r"^TEST\.EXPECTED_RESULTS has the metric 'bogus', which no evaluation gives: set it",
        ),
    ],
)
def test_keys_that_contradict_each_other(options, message):
    with pytest.raises(UserError, match=message):
        check_training_keys(cfg_of(*options), 1)


@pytest.mark.parametrize(
    "options, message",
    [
        (["MODEL.FPN.IN_FEATURES", []], r"FCOS\.TOP_LEVELS: P6 is computed from p5, so MODEL\.FPN"),
        (
            ["MODEL.FPN.IN_FEATURES", ["res3", "res5"]],
            r"FPN\.IN_FEATURES is .* of the strides \[8, 32",
        ),
        (["MODEL.FPN.IN_FEATURES", ["res5", "res4"]], r"of the strides \[32, 16\]: name features"),
        (
            ["MODEL.FPN.IN_FEATURES", ["res2", "res5"]],
            r"FPN\.IN_FEATURES: the backbone has no res2",
        ),
        (
            ["MODEL.FCOS.IN_FEATURES", ["p3", "p4", "p5", "p6", "p9"]],
            "the backbone has no p9; it giv",
        ),
        (["MODEL.FCOS.FPN_STRIDES", [8, 16, 32, 64]], r"FPN_STRIDES: expected one stride for each"),
        (
            ["MODEL.FCOS.FPN_STRIDES", [4, 8, 16, 32, 64]],
            r"STRIDES: expected \[8, 16, 32, 64, 128\],",
        ),
        (["MODEL.FPN.NORM", "GN", "MODEL.FPN.OUT_CHANNELS", 48], r"FPN\.NORM is 'GN', for 48 ch"),
        (["MODEL.FCOS.NORM", "GN", "MODEL.FPN.OUT_CHANNELS", 48], r"FCOS\.NORM is 'GN', for 48"),
        (
            [
                *("MODEL.RESNETS.DEFORM_ON_PER_STAGE", [False, True, True, True]),
                *("MODEL.RESNETS.DEFORM_NUM_GROUPS", 3),
            ],
            r"DEFORM_NUM_GROUPS is 3, which does not divide the 128 channels",
        ),
        (["MODEL.RESNETS.NORM", "GN", "MODEL.RESNETS.STEM_OUT_CHANNELS", 8], r"'GN', for 8 ch"),
        (
            ["MODEL.RESNETS.NUM_GROUPS", 1024, "MODEL.RESNETS.WIDTH_PER_GROUP", 4096],
            r"RESNETS\.NUM_GROUPS is 1024 and .* at most 4,096",
        ),
        (["MODEL.RESNETS.DEPTH", 18], r"RES2_OUT_CHANNELS is 256: set it to 64, the only value th"),
        (["MODEL.RESNETS.RES5_DILATION", 2], r"IN_FEATURES is .* of the strides \[8, 16, 16\]"),
    ],
)
def test_features_that_no_resnet_gives_are_found_before_it_is_built(options, message):
    resnet = [
        *("MODEL.BACKBONE.NAME", "build_fcos_resnet_fpn_backbone"),
        *("MODEL.RESNETS.OUT_FEATURES", ["res3", "res4", "res5"]),
        *("MODEL.FPN.IN_FEATURES", ["res3", "res4", "res5"]),
    ]
    check_detector(cfg_of(*resnet))
    with pytest.raises(UserError, match=rf"^MODEL\..*{message}"):
        check_detector(cfg_of(*resnet, *options))


def test_a_resnet_without_bottlenecks_has_no_width():
    small = [
        *("MODEL.BACKBONE.NAME", "build_fcos_resnet_fpn_backbone", "MODEL.RESNETS.NORM", "GN"),
        *("MODEL.RESNETS.OUT_FEATURES", ["res3", "res4", "res5"]),
        *("MODEL.FPN.IN_FEATURES", ["res3", "res4", "res5"]),
        *("MODEL.RESNETS.WIDTH_PER_GROUP", 4),
    ]
    check_detector(cfg_of(*small, "MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64))
    with pytest.raises(UserError, match="'GN', for 4 channels"):
        check_detector(cfg_of(*small))


@pytest.mark.parametrize(
    "metric", ["bbox/AP", "bbox/APl", "bbox/AP-cat", "validation/loss_fcos_cls", "total_loss"]
)
def test_metrics_to_choose_the_best_by(metric):
    check_best_metric(cfg_of("TEST.BEST_METRIC", metric))


@pytest.mark.parametrize("metric", ["bogus", "AP", "bbox", "segm/AP", "bbox/AR", "validation/AP"])
def test_metrics_that_no_evaluation_gives(metric):
    with pytest.raises(UserError, match=r"^TEST\.BEST_METRIC is '.*', which .* one of bbox/AP, bb"):
        check_best_metric(cfg_of("TEST.BEST_METRIC", metric))
    check_best_metric(cfg_of("TEST.BEST_METRIC", "segm/AP", "MODEL.MASK_ON", True))
    network = ["MODEL.META_ARCHITECTURE", "ProposalNetwork"]
    check_best_metric(cfg_of("TEST.BEST_METRIC", "box_proposals/AR@100", *network))


@pytest.mark.parametrize("loss", ["loss_bogus", "validation/loss_fcos_iou", "loss_mask"])
def test_losses_that_the_detector_has_not(loss):
    said = f"^TEST.BEST_METRIC is '{loss}', but this detector has no loss .* loss_fcos_ctr, also"
    with pytest.raises(UserError, match=said):
        check_best_metric(cfg_of("TEST.BEST_METRIC", loss))
    check_best_metric(cfg_of("TEST.BEST_METRIC", loss, "MODEL.META_ARCHITECTURE", "Another"))


def test_a_loss_that_the_detector_has_with_another_quality():
    iou = ["MODEL.FCOS.BOX_QUALITY", "iou"]
    check_best_metric(cfg_of("TEST.BEST_METRIC", "validation/loss_fcos_iou", *iou))
    with pytest.raises(UserError, match="no loss of that name"):
        check_best_metric(cfg_of("TEST.BEST_METRIC", "validation/loss_fcos_ctr", *iou))


@pytest.mark.parametrize("metric", ["bbox/AP", "bbox/AP-cat", "segm/AP-dog (id 3)", "total_loss"])
def test_classes_to_choose_the_best_by(metric):
    check_best_class(cfg_of("TEST.BEST_METRIC", metric), ["cat", "dog", "dog"])


@pytest.mark.parametrize(
    "name, classes, message",
    [
        ("horse", ["cat", "dog"], "my_val has no class 'horse': its classes are cat, dog."),
        ("cats", ["cat", "dog"], "no class 'cats': its classes are cat, dog; the nearest is 'cat'"),
        ("cat", ["cat"], "but there is one class, whose AP is bbox/AP: set it to that."),
    ],
)
def test_classes_that_the_data_set_has_not(name, classes, message):
    cfg = cfg_of("TEST.BEST_METRIC", f"bbox/AP-{name}", "DATASETS.TEST", ("my_val",))
    with pytest.raises(UserError, match=re.escape(message.removesuffix("."))):
        check_best_class(cfg, classes)
