from __future__ import annotations

from torch import Tensor, nn


class PerLevelNorm(nn.ModuleList):
    """Batch normalisation after a convolution that all levels share, with one layer per level.

    Features of different levels have different statistics: one layer for all of them would follow
    whichever level came last. Parameters are called ``<level>.weight`` and so on.

    Args:
        num_levels: number of feature maps.
        channels: of each.
        synchronized: SyncBN, whose statistics are those of all processes of a training.
    """

    def __init__(self, num_levels: int, channels: int, synchronized: bool = False) -> None:
        layer = nn.SyncBatchNorm if synchronized else nn.BatchNorm2d
        super().__init__(layer(channels) for _ in range(num_levels))

    def forward(self, x: Tensor, level: int) -> Tensor:
        """Normalise (N, channels, H, W) of one level; the shape stays.

        Args:
            x: (N, channels, H, W) float.
            level: index of the level in [0, num_levels).

        Returns:
            The same shape.
        """
        return self[level](x)
