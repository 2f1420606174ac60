"""The published models of FCOS: the one table that programs and docs/MODEL_ZOO.md take them from.

AP and times are those published by the source, on its data and GPU. The address of the weights is
MODEL.WEIGHTS of the config.
"""

from __future__ import annotations

import dataclasses
import re

__all__ = ["MODELS", "Published", "Source"]


@dataclasses.dataclass(frozen=True)
class Source:
    """Who published models, and what they say of the weights.

    Attributes:
        title: the name of the program.
        stated_in: where it states the figures.
        licence: of the weights.
        missing: why no weights can be fetched; "" if they can.
    """

    title: str
    stated_in: str
    licence: str
    missing: str = ""


_SOURCES = {
    "original": Source(
        "tianzhi0549/FCOS",
        "README.md",
        "non-commercial use only (tianzhi0549/FCOS)",
        "the server that had them is gone: give MODEL.WEIGHTS your copy of the file",
    ),
    "adelaidet": Source(
        "AdelaiDet", "configs/FCOS-Detection/README.md", "non-commercial use only (AdelaiDet)"
    ),
    "torchvision": Source(
        "torchvision",
        "FCOS_ResNet50_FPN_Weights.COCO_V1",
        "none stated for the weights; the code is BSD-3-Clause (torchvision)",
    ),
    "mmdetection": Source("mmdetection", "configs/fcos/README.md", "Apache-2.0 (mmdetection)"),
    "detectron2": Source(
        "detectron2's own FCOS",
        "-",
        "-",
        "detectron2 publishes none: give MODEL.WEIGHTS what you trained with it",
    ),
}

# Hosts that put the first digits of a file's sha256 at the end of its name, as torch.hub does.
_WITH_SHA256 = ("https://download.pytorch.org/", "https://download.openmmlab.com/")


@dataclasses.dataclass(frozen=True)
class Published:
    """A published model.

    Attributes:
        name: below configs/published/, without the ending.
        ap: in percent on ``data``, if it was published.
        data: "val2017" or "minival" of COCO.
        test_dev: AP on COCO's test-dev, if it was published.
        speed: of inference, with the GPU, if it was published.
    """

    name: str
    ap: float | None = None
    data: str = ""
    test_dev: float | None = None
    speed: str = ""

    @property
    def source(self) -> Source:
        """Who published it."""
        return _SOURCES[self.name.partition("/")[0]]

    @property
    def config(self) -> str:
        """Return the config that computes what the source computes."""
        return f"configs/published/{self.name}.yaml"

    @property
    def figures(self) -> str:
        """Return the APs, such as "38.7 (val2017), test-dev 38.8"."""
        if self.ap is None:
            return "none"
        return f"{self.ap} ({self.data})" + (f", test-dev {self.test_dev}" if self.test_dev else "")


def sha256_start(address: str) -> str:
    """Return the first digits of the sha256 of the file at an address; "" where it is not known."""
    found = re.search(r"-([0-9a-f]{8,64})\.pth$", address)
    return found[1] if found and address.startswith(_WITH_SHA256) else ""


MODELS = (
    Published("original/R_101_FPN_2x", 41.4, "minival", None, "59 ms, GPU not named"),
    Published("original/R_50_FPN_1x", 37.1, "minival", None, "45 ms, GPU not named"),
    Published("original/X_101_32x8d_FPN_2x", 42.5, "minival", None, "110 ms, GPU not named"),
    Published("original/X_101_64x4d_FPN_2x", 43.0, "minival", None, "113 ms, GPU not named"),
    Published("original/imprv_R_101_FPN_2x", 43.0, "minival", None, "57 ms, GPU not named"),
    Published("original/imprv_R_50_FPN_1x", 38.7, "minival", None, "44 ms, GPU not named"),
    Published("original/imprv_X_101_32x8d_FPN_2x", 44.0, "minival", None, "110 ms, GPU not named"),
    Published("original/imprv_X_101_64x4d_FPN_2x", 44.7, "minival", None, "112 ms, GPU not named"),
    Published("original/imprv_dcnv2_R_101_FPN_2x", 45.6, "minival", None, "73 ms, GPU not named"),
    Published("original/imprv_dcnv2_R_50_FPN_1x", 42.3, "minival", None, "54 ms, GPU not named"),
    Published(
        "original/imprv_dcnv2_X_101_32x8d_FPN_2x", 46.4, "minival", None, "143 ms, GPU not named"
    ),
    Published(
        "original/imprv_dcnv2_X_101_64x4d_FPN_2x", 46.6, "minival", None, "144 ms, GPU not named"
    ),
    Published("adelaidet/MS_R_101_2x", 43.1, "val2017", 43.2, "12 images/s, 1080 Ti"),
    Published("adelaidet/MS_R_101_2x_iou", 43.5, "val2017", None, "12 images/s, 1080 Ti"),
    Published("adelaidet/MS_R_50_2x", 41.0, "val2017", 41.4, "16 images/s, 1080 Ti"),
    Published("adelaidet/MS_R_50_2x_iou", 41.5, "val2017", None, "16 images/s, 1080 Ti"),
    Published("adelaidet/MS_X_101_32x8d_2x", 43.9, "val2017", 44.1, "6.6 images/s, 1080 Ti"),
    Published("adelaidet/MS_X_101_32x8d_2x_dcnv2", 46.6, "val2017", 46.6, "4.6 images/s, 1080 Ti"),
    Published(
        "adelaidet/MS_X_101_32x8d_2x_dcnv2_iou", 47.4, "val2017", None, "4.6 images/s, 1080 Ti"
    ),
    Published("adelaidet/MS_X_101_32x8d_2x_iou", 44.5, "val2017", None, "6.6 images/s, 1080 Ti"),
    Published("adelaidet/MS_X_101_64x4d_2x", 44.7, "val2017", 44.8, "6.1 images/s, 1080 Ti"),
    Published("adelaidet/RT_MS_DLA_34_4x", 40.3, "val2017", 40.3, "46 images/s, 1080 Ti"),
    Published("adelaidet/RT_MS_DLA_34_4x_bn_head", 39.4, "val2017", 39.9, "48 images/s, 1080 Ti"),
    Published("adelaidet/RT_MS_DLA_34_4x_shtw", 39.1, "val2017", 39.2, "52 images/s, 1080 Ti"),
    Published(
        "adelaidet/RT_MS_DLA_34_4x_shtw_bn_head", 38.9, "val2017", 39.1, "52 images/s, 1080 Ti"
    ),
    Published("adelaidet/RT_MS_R_50_4x", 40.2, "val2017", 40.2, "38 images/s, 1080 Ti"),
    Published("adelaidet/RT_MS_R_50_4x_bn_head", 39.3, "val2017", 39.7, "40 images/s, 1080 Ti"),
    Published("adelaidet/R_50_1x", 38.7, "val2017", 38.8, "16 images/s, 1080 Ti"),
    Published("adelaidet/R_50_1x_iou", 39.4, "val2017", None, "16 images/s, 1080 Ti"),
    Published("torchvision/R_50_FPN", 39.2, "val2017"),
    Published("mmdetection/R_101_caffe_1x", 39.1, "val2017", None, "17.3 images/s, V100"),
    Published("mmdetection/R_101_caffe_ms_2x", 40.8, "val2017", None, "17.3 images/s, V100"),
    Published("mmdetection/R_50_caffe_1x", 36.6, "val2017", None, "22.7 images/s, V100"),
    Published("mmdetection/R_50_caffe_ms_2x", 38.5, "val2017", None, "22.9 images/s, V100"),
    Published("mmdetection/R_50_caffe_tricks_1x", 38.7, "val2017"),
    Published("mmdetection/R_50_caffe_tricks_dcn_1x", 42.3, "val2017"),
    Published("mmdetection/X_101_64x4d_ms_2x", 42.6, "val2017", None, "9.7 images/s, V100"),
    Published("detectron2/R_50_FPN_1x"),
)
