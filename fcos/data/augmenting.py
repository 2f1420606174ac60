"""What INPUT.AUGMENTATIONS says. Without an entry, torchvision's transforms are not imported.

Their import takes as long as that of torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from detectron2.config import CfgNode

if TYPE_CHECKING:
    from fcos.data.augment import Augment

__all__ = ["augment_of", "check_augmentations", "choose_sizes"]


def augment_of(cfg: CfgNode) -> Augment | None:
    """Return what INPUT.AUGMENTATIONS does to an image; None: nothing.

    Raises:
        UserError: something in the list is wrong.
    """
    if not cfg.INPUT.AUGMENTATIONS:
        return None
    from fcos.data import augment

    return augment.augment_of(cfg)


def check_augmentations(cfg: CfgNode) -> None:
    """Refuse INPUT.AUGMENTATIONS that would fail, on an image of 640x480 at least.

    Raises:
        UserError: something in the list is wrong, or a transform refuses its arguments when it is
            used.
    """
    if cfg.INPUT.AUGMENTATIONS:
        from fcos.data import augmentations

        augmentations.check_augmentations(cfg)


def choose_sizes(cfg: CfgNode) -> bool:
    """Return whether INPUT.AUGMENTATIONS, and not INPUT.MIN_SIZE_TRAIN, chooses sizes of images."""
    if not cfg.INPUT.AUGMENTATIONS:
        return False
    from fcos.data import augmentations

    return augmentations.choose_sizes(cfg)
