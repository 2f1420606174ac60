"""``ROIAlign``: features of a region, sampled to a fixed size."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["ROIAlign", "roi_align"]


def roi_align(
    input: Tensor,
    boxes: Tensor | list[Tensor],
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """torchvision's ``roi_align``, which is imported when it is used.

    Args:
        input: (N, C, H, W) features.
        boxes: (R, 5): index of the image, then x1, y1, x2, y2; or (R_i, 4) for each image.
        output_size, spatial_scale, sampling_ratio, aligned: as of :class:`ROIAlign`.

    Returns:
        (R, C, *output_size)
    """
    from torchvision.ops import roi_align as operator  # it takes as long to import as torch

    return operator(input, boxes, output_size, spatial_scale, sampling_ratio, aligned)


class ROIAlign(nn.Module):
    """Average of bilinear samples in each of the bins that a region is divided into."""

    def __init__(
        self,
        output_size: int | tuple[int, int],
        spatial_scale: float,
        sampling_ratio: int,
        aligned: bool = True,
    ):
        """
        Args:
            output_size: bins, (height, width) or one number for both.
            spatial_scale: by which regions are multiplied to be in cells of the feature map.
            sampling_ratio: samples per bin and side; zero: as many as the bin has cells.
            aligned: sample so that a pixel's value lies at its centre. False keeps the half pixel
                of shift of the first Mask R-CNN implementation.
        """
        super().__init__()
        self.spatial_scale = spatial_scale
        self.aligned = aligned
        self.output_size = output_size
        self.sampling_ratio = sampling_ratio

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """
        Args:
            input: (N, C, H, W) features.
            rois: (R, 5): index of the image, then x1, y1, x2, y2 before ``spatial_scale``.

        Returns:
            (R, C, *output_size)
        """
        assert rois.dim() == 2 and rois.shape[1] == 5, (
            f"rois: expected (R, 5), got {tuple(rois.shape)}"
        )
        features = input.dequantize() if input.is_quantized else input
        return roi_align(
            features,
            rois.to(features.dtype),
            output_size=self.output_size,
            spatial_scale=self.spatial_scale,
            sampling_ratio=self.sampling_ratio,
            aligned=self.aligned,
        )

    def extra_repr(self) -> str:
        return (
            f"output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
            f"sampling_ratio={self.sampling_ratio}, aligned={self.aligned}"
        )
