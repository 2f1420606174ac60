"""The keys of TEST."""

from __future__ import annotations

from fcos.config.keys.key import Group, Key, group
from fcos.config.keys.kinds import Choice, Either, Fields, Number, Several, Switch, Text, Whole

__all__ = ["GROUPS"]

_PERIOD = Whole(0, 1_000_000_000)
_FIGURE = Number(-1_000_000, 1_000_000)
_TOLERANCE = Number(0, 1_000_000)

_EVALUATION = group(
    "TEST",
    "evaluation",
    Key("EVAL_PERIOD", _PERIOD, "Iterations between two evaluations. 0: only after the last one."),
    Key(
        "IMS_PER_BATCH",
        Whole(1, 10_000),
        "Images that each process detects in at once, in evaluation and in the demo. They are "
        "padded to one size, on which results depend a little, by group normalization for "
        "instance. Published results are of 1.",
        default=1,
    ),
    Key(
        "BEST_METRIC",
        Text("the name of a result, such as 'bbox/AP'"),
        "The best checkpoint is the one with the best value of this metric on DATASETS.TEST: the "
        "largest or, of a loss, the smallest.",
        default="bbox/AP",
    ),
    Key(
        "VALIDATION_LOSS",
        Switch(),
        "Compute the losses of DATASETS.TEST too at every evaluation, which takes about as long "
        "again. They are logged as validation/total_loss, validation/loss_fcos_cls, ...",
        default=False,
    ),
    Key(
        "PATIENCE",
        _PERIOD,
        "End the training when so many evaluations in a row have been no better than the best one "
        "by BEST_METRIC (with SOLVER.EMA_DECAY, neither those of the weights nor those of the "
        "average). 0: go on up to SOLVER.MAX_ITER.",
        default=0,
    ),
    Key(
        "DETECTIONS_PER_IMAGE",
        Either(Choice(-1), Whole(1, 100_000_000)),
        "Detections of an image that are kept, in detectors other than FCOS. -1: all.",
    ),
    Key(
        "EXPECTED_RESULTS",
        Several(
            Fields(
                "a list of task, metric, number and tolerance, such as ['bbox', 'AP', 38.5, 0.2]",
                (Text("a task"), Text("a metric"), _FIGURE, _TOLERANCE),
            )
        ),
        "Results that the evaluation has to have; otherwise the program fails.",
    ),
    Key(
        "KEYPOINT_OKS_SIGMAS",
        Several(Number(0.0001, 10)),
        "For each keypoint, how far it may be off, in COCO's measure of keypoints.",
    ),
    Key("AUG.ENABLED", Switch(), "Detect in several views of each image, and join the detections."),
    Key(
        "AUG.MIN_SIZES",
        Several(Whole(8, 10_000), 1, 1000),
        "Lengths of the shorter side of the views, in pixels.",
        read_with="AUG.ENABLED",
    ),
    Key(
        "AUG.MAX_SIZE",
        Whole(8, 100_000),
        "Longest side of a view, in pixels.",
        read_with="AUG.ENABLED",
    ),
    Key("AUG.FLIP", Switch(), "Mirror each view too.", read_with="AUG.ENABLED"),
    Key(
        "PRECISE_BN.ENABLED",
        Switch(),
        "Before an evaluation, compute the statistics of batch normalisation again.",
    ),
    Key(
        "PRECISE_BN.NUM_ITER",
        Whole(1, 1_000_000),
        "Of so many batches.",
        read_with="PRECISE_BN.ENABLED",
    ),
)

GROUPS: tuple[Group, ...] = (_EVALUATION,)
