"""What several keys have to agree on in a training; each check raises a ``UserError``.

:mod:`fcos.engine.preflight` calls them before the first iteration; see :mod:`fcos.config.checks`.
"""

from __future__ import annotations

from fcos.config.checks import check_detector
from fcos.config.config import CfgNode
from fcos.config.data_checks import check_input, check_loader
from fcos.config.evaluation_checks import check_best_metric, check_evaluations, check_results
from fcos.config.keys import check_keys
from fcos.utils.errors import UserError


def check_training_keys(cfg: CfgNode, processes: int) -> None:
    """Refuse values that would make a training fail, deep in it or after it.

    Args:
        cfg: after ``REFERENCE_WORLD_SIZE`` was applied.
        processes: number of processes that share a batch.
    """
    check_keys(cfg)
    check_batch(cfg.SOLVER.IMS_PER_BATCH, processes)
    check_detector(cfg)
    check_input(cfg)
    check_loader(cfg)
    check_schedule(cfg)
    check_optimizer(cfg)
    check_evaluations(cfg)
    check_best_metric(cfg)
    check_accumulation(cfg, processes)
    _check_cpu(cfg)
    check_acceleration(cfg)
    check_results(cfg)


def check_schedule(cfg: CfgNode) -> None:
    """Refuse a schedule that contradicts itself, or a warm-up that leaves none."""
    check_keys(cfg, "SOLVER.")
    solver = cfg.SOLVER
    name, end = solver.LR_SCHEDULER_NAME, solver.get("BASE_LR_END", 0.0)
    if name == "WarmupCosineLR" and end > solver.BASE_LR:
        raise UserError(
            f"SOLVER.BASE_LR_END is {end}, but SOLVER.BASE_LR is {solver.BASE_LR}, from which "
            "WarmupCosineLR falls: set the former to less, such as 0.0."
        )
    if name == "WarmupMultiStepLR" and solver.MAX_ITER in solver.STEPS:
        raise UserError(
            f"SOLVER.STEPS has {solver.MAX_ITER}, which is SOLVER.MAX_ITER: no iteration would be "
            "left for the rate after it; take it out."
        )
    # fvcore's counts a millionth of the training too many, and has no rate for the last iterations.
    if name == "WarmupStepWithFixedGammaLR" and solver.MAX_ITER >= 1_000_000:
        raise UserError(
            f"SOLVER.MAX_ITER is {solver.MAX_ITER}, but {name} is for fewer than 1,000,000 "
            "iterations: set SOLVER.LR_SCHEDULER_NAME to WarmupMultiStepLR."
        )
    is_off = solver.WARMUP_METHOD == "constant" and not solver.WARMUP_FACTOR
    if is_off and solver.WARMUP_ITERS:
        raise UserError(
            "SOLVER.WARMUP_FACTOR is 0, which is the rate of the whole warm-up, as "
            "SOLVER.WARMUP_METHOD is constant: set one of them to another value, or "
            "SOLVER.WARMUP_ITERS to 0."
        )
    is_left = solver.WARMUP_ITERS < solver.MAX_ITER or solver.RESCALE_INTERVAL
    if name == "WarmupStepWithFixedGammaLR" and not is_left:
        raise UserError(
            f"SOLVER.WARMUP_ITERS is {solver.WARMUP_ITERS}, but SOLVER.MAX_ITER is "
            f"{solver.MAX_ITER}: WarmupStepWithFixedGammaLR needs a shorter warm-up; a twentieth "
            "of the training is usual."
        )


def check_optimizer(cfg: CfgNode) -> None:
    """Refuse values of SOLVER that no optimizer can have."""
    check_keys(cfg, "SOLVER.")
    if cfg.SOLVER.OPTIMIZER == "SGD" and cfg.SOLVER.NESTEROV and cfg.SOLVER.MOMENTUM == 0:
        raise UserError(
            "SOLVER.NESTEROV is True, but SOLVER.MOMENTUM is 0: set that to 0.9, say, or "
            "SOLVER.NESTEROV to False."
        )


def check_accumulation(cfg: CfgNode, processes: int) -> None:
    """Refuse a number of parts that the images of a process cannot be divided into."""
    check_keys(cfg, "SOLVER.ACCUMULATION_STEPS", "SOLVER.IMS_PER_BATCH")
    steps, batch = cfg.SOLVER.ACCUMULATION_STEPS, cfg.SOLVER.IMS_PER_BATCH
    share = batch // processes
    if share % steps:
        divisors = [n for n in range(1, share + 1) if share % n == 0]
        raise UserError(
            f"SOLVER.ACCUMULATION_STEPS is {steps}, which cannot divide the {share} images that "
            f"each process has of SOLVER.IMS_PER_BATCH {batch}: set it to one of "
            f"{', '.join(map(str, divisors))}."
        )


def check_acceleration(cfg: CfgNode) -> None:
    """Refuse MODEL.COMPILE together with MODEL.ACTIVATION_CHECKPOINTING."""
    if cfg.MODEL.ACTIVATION_CHECKPOINTING and cfg.MODEL.COMPILE:
        raise UserError(
            "MODEL.COMPILE and MODEL.ACTIVATION_CHECKPOINTING are both True, but compiled code "
            "itself chooses what it computes again; set one of them to False."
        )


def check_reference(cfg: CfgNode) -> None:
    """Refuse a batch that the processes of SOLVER.REFERENCE_WORLD_SIZE could not have shared."""
    check_keys(cfg, "SOLVER.")
    batch, reference = cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.REFERENCE_WORLD_SIZE
    if reference and batch % reference:
        raise UserError(
            f"SOLVER.REFERENCE_WORLD_SIZE is {reference}, by which SOLVER.IMS_PER_BATCH {batch} "
            "cannot be divided; set it to the number of processes that the config was written "
            "for, or to 0."
        )


def check_batch(images: int, processes: int) -> None:
    """Refuse a batch that cannot be shared.

    Args:
        images: the value of SOLVER.IMS_PER_BATCH.
        processes: number of processes that share a batch.
    """
    if images < 1 or images % processes:
        raise UserError(
            f"SOLVER.IMS_PER_BATCH is {images}, which {processes} processes cannot share equally; "
            f"set it to a multiple of {processes}, and scale SOLVER.BASE_LR with it."
        )


def _check_cpu(cfg: CfgNode) -> None:
    """Refuse what torch cannot train on the CPU."""
    if cfg.MODEL.DEVICE != "cpu":
        return
    backbone = "TIMM" if "timm" in cfg.MODEL.BACKBONE.NAME else "RESNETS"
    for part in ("FCOS", "FPN", backbone):
        norm = cfg.MODEL[part].NORM
        if norm in ("SyncBN", "nnSyncBN"):
            raise UserError(
                f"MODEL.{part}.NORM is {norm}, which torch trains on GPUs only, but MODEL.DEVICE "
                f"is cpu; set MODEL.{part}.NORM to BN."
            )
    # torch 2.11 takes the gradient of a 3x3 convolution of stride 2 on a single cell from memory
    # that nothing was written to, in bfloat16. Images of at most 64 pixels have such a P6.
    amp, least = cfg.SOLVER.AMP, min(cfg.INPUT.MIN_SIZE_TRAIN)
    if amp.ENABLED and amp.PRECISION == "bfloat16" and 0 < least <= 64:
        raise UserError(
            f"INPUT.MIN_SIZE_TRAIN has {least}, but torch's bfloat16 on the CPU has wrong "
            "gradients for images of at most 64 pixels; set it above 64, or SOLVER.AMP.ENABLED "
            "False."
        )
