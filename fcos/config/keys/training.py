"""The keys of SOLVER, and those of a run as a whole."""

from __future__ import annotations

import math

from fcos.config.keys.key import Group, Key, group
from fcos.config.keys.kinds import Choice, Either, Number, Several, Switch, Text, Whole

__all__ = ["GROUPS", "LOGGERS"]

LOGGERS = ("wandb", "mlflow")

# Ten times the iterations of a training on COCO for 100 epochs, one image at a time, are more.
_ITERATIONS = 50_000_000
_PERIOD = 1_000_000_000  # larger ones stand for never, too
_RATE = Number(0.000_000_001, 10)
_DECAY = Number(0, 1)

_SCHEDULE = group(
    "SOLVER",
    "batches and schedule",
    Key("IMS_PER_BATCH", Whole(1, 100_000), "Images of an iteration, in all processes together."),
    Key(
        "ACCUMULATION_STEPS",
        Whole(1, 100_000),
        "Compute the gradients of the IMS_PER_BATCH images of an iteration in so many passes, for "
        "large batches in little memory. Losses and gradients are those of one pass, up to "
        "rounding, but for batch normalisation with statistics of the batch and the loss of a "
        "mask head.",
        default=1,
    ),
    Key(
        "REFERENCE_WORLD_SIZE",
        Whole(0, 100_000),
        "Number of processes that batch, rate and iterations are written for; with another number "
        "they are scaled. 0: they are what they are.",
    ),
    Key("MAX_ITER", Whole(1, _ITERATIONS), "Iterations of the training."),
    Key(
        "BASE_LR",
        _RATE,
        "The learning rate, after the warm-up. For SGD, 0.01 for 16 images is usual here, and in "
        "proportion to IMS_PER_BATCH.",
    ),
    Key("BASE_LR_END", Number(0, 10), "Where WarmupCosineLR ends; at most BASE_LR."),
    Key(
        "LR_SCHEDULER_NAME",
        Choice("WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR"),
        "How the rate falls: at STEPS, as a cosine, or NUM_DECAYS times at equal distances.",
    ),
    Key(
        "STEPS",
        Several(Whole(1, _PERIOD), 0, 1000, "increasing"),
        "Iterations at which the rate is multiplied by GAMMA; those from MAX_ITER on do nothing.",
    ),
    Key("GAMMA", Number(0.0001, 1), "See STEPS; 0.1 is usual."),
    Key("NUM_DECAYS", Whole(1, 1000), "Of WarmupStepWithFixedGammaLR."),
    Key("WARMUP_METHOD", Choice("linear", "constant"), "How the rate rises to BASE_LR."),
    Key("WARMUP_ITERS", Whole(0, _ITERATIONS), "Iterations of the warm-up."),
    Key("WARMUP_FACTOR", Number(0, 1), "What BASE_LR is multiplied by in the first iteration."),
    Key(
        "RESCALE_INTERVAL",
        Switch(),
        "Fit the whole schedule between the warm-up and the end, instead of replacing its start.",
    ),
)

_OPTIMIZER = group(
    "SOLVER",
    "optimizer",
    Key(
        "OPTIMIZER",
        Choice("SGD", "AdamW"),
        '"SGD", with MOMENTUM and NESTEROV, or "AdamW", as for transformers: usual are a BASE_LR '
        "of 0.0001 for 16 images and a WEIGHT_DECAY of 0.05. AdamW does not decay norms and biases "
        "(unless WEIGHT_DECAY_NORM, WEIGHT_DECAY_BIAS say so), other parameters of one dimension, "
        "and those that timm names, such as the positions of a transformer.",
        default="SGD",
    ),
    Key("MOMENTUM", Number(0, 0.9999), "Of SGD."),
    Key("NESTEROV", Switch(), "Nesterov's momentum, of SGD; it needs a MOMENTUM above 0."),
    Key("WEIGHT_DECAY", _DECAY, "Of all parameters but those of the next two keys."),
    Key("WEIGHT_DECAY_NORM", _DECAY, "Of normalisation layers."),
    Key("WEIGHT_DECAY_BIAS", Either(_DECAY, Choice(None)), "Of biases. None: WEIGHT_DECAY."),
    Key("BIAS_LR_FACTOR", Number(0, 10), "What the rate of biases is multiplied by."),
    Key("CLIP_GRADIENTS.ENABLED", Switch(), "Limit gradients."),
    Key(
        "CLIP_GRADIENTS.CLIP_TYPE",
        Choice("value", "norm"),
        'Limit each number of a gradient, or the "norm" of the gradient of each parameter.',
        read_with="CLIP_GRADIENTS.ENABLED",
    ),
    Key(
        "CLIP_GRADIENTS.CLIP_VALUE",
        Number(0.000_001, 1_000_000),
        "The limit.",
        read_with="CLIP_GRADIENTS.ENABLED",
    ),
    Key(
        "CLIP_GRADIENTS.NORM_TYPE",
        Either(Number(1, 10), Choice(math.inf)),
        "The power of that norm; infinity is the largest number.",
        read_with="CLIP_GRADIENTS.ENABLED",
    ),
    Key("AMP.ENABLED", Switch(), "Compute the forward pass in the precision of AMP.PRECISION."),
    Key(
        "AMP.PRECISION",
        Choice("float16", "bfloat16"),
        '"float16", with a gradient scaler, on GPUs only; or "bfloat16", which has the range of '
        "float32 and needs no scaler. Losses are computed, and weights kept, in float32.",
        default="float16",
        read_with="AMP.ENABLED",
    ),
    Key(
        "EMA_DECAY",
        Number(0, 1, is_open=True),
        "Average the weights over the training, too, and evaluate and save the average beside "
        "them: how much of it each iteration keeps, such as 0.999. Less in the first iterations, "
        "so that short trainings have a good average. 0: no average.",
        default=0.0,
    ),
    Key("CHECKPOINT_PERIOD", Whole(1, _PERIOD), "Iterations between two checkpoints."),
)

_RUN = group(
    "",
    "The run",
    Key(
        "OUTPUT_DIR",
        Text("the path of a folder", is_path=True),
        "Where checkpoints, logs and results are written.",
    ),
    Key(
        "SEED",
        Whole(-(2**31), 4_000_000_000),
        "Of all random numbers. Negative: another one each time.",
    ),
    Key(
        "VIS_PERIOD",
        Whole(0, _PERIOD),
        "Iterations between two pictures of a training in its event log. 0: none.",
    ),
    Key(
        "LOGGERS",
        Several(Choice(*LOGGERS), 0, len(LOGGERS), "without repetition"),
        'Where scalars and pictures of a training go, beside metrics.json and TensorBoard: "wandb" '
        '(Weights & Biases), "mlflow". The environment variables of their packages say to which '
        "project and server (docs/TRAINING.md).",
        default=[],
    ),
    Key("CUDNN_BENCHMARK", Switch(), "Let cuDNN try its ways to convolve for each size of images."),
    Key(
        "FLOAT32_PRECISION",
        Choice("", "highest", "high", "medium"),
        "Of products of matrices, as torch names it. Empty: torch's own.",
    ),
)

GROUPS: tuple[Group, ...] = (_SCHEDULE, _OPTIMIZER, _RUN)
