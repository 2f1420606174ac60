"""What several keys of images and data sets have to agree on; see :mod:`fcos.config.checks`."""

from __future__ import annotations

from fcos.config.config import CfgNode
from fcos.config.keys import check_keys
from fcos.utils.errors import UserError

# What INPUT.CROP.SIZE is for each INPUT.CROP.TYPE.
_CROP_SIZES = {
    "relative": "two numbers above 0 and at most 1",
    "relative_range": "two numbers above 0 and at most 1",
    "absolute": "two whole numbers of at least 1",
    "absolute_range": "two whole numbers of at least 1, the smaller one first",
}


def check_input(cfg: CfgNode) -> None:
    """Refuse values of INPUT that no image can be made of."""
    check_keys(cfg, "INPUT.", "MODEL.PIXEL_")
    sizes, how = cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING
    if how == "range" and (len(sizes) != 2 or sizes[0] > sizes[1]):
        raise UserError(
            f"INPUT.MIN_SIZE_TRAIN is {list(sizes)}, but INPUT.MIN_SIZE_TRAIN_SAMPLING is 'range': "
            "set it to two lengths, the smaller one first, or the latter to 'choice'."
        )
    check_crop(cfg)


def check_crop(cfg: CfgNode) -> None:
    """Refuse an enabled INPUT.CROP whose type or size is invalid."""
    check_keys(cfg, "INPUT.CROP.")
    node = cfg.INPUT.CROP
    if node.ENABLED and not _fits(node.TYPE, *node.SIZE):
        raise UserError(
            f"INPUT.CROP.SIZE is {list(node.SIZE)}: INPUT.CROP.TYPE {node.TYPE} needs "
            f"{_CROP_SIZES[node.TYPE]}."
        )


def _fits(kind: str, first: float, second: float) -> bool:
    if kind.startswith("relative"):
        return max(first, second) <= 1
    are_pixels = isinstance(first, int) and isinstance(second, int)
    return are_pixels and (kind == "absolute" or first <= second)


def check_loader(cfg: CfgNode) -> None:
    """Refuse an empty DATASETS.TRAIN and values of DATALOADER that cannot load it."""
    check_keys(cfg, "DATASETS.", "DATALOADER.")
    if not cfg.DATASETS.TRAIN:
        raise UserError("DATASETS.TRAIN is empty: there is nothing to train on.")
    node = cfg.DATALOADER
    if node.SAMPLER_TRAIN == "RepeatFactorTrainingSampler" and not node.REPEAT_THRESHOLD:
        raise UserError(
            "DATALOADER.REPEAT_THRESHOLD is 0, with which RepeatFactorTrainingSampler repeats no "
            "image: set it to 0.001, as for LVIS, or DATALOADER.SAMPLER_TRAIN to TrainingSampler."
        )
