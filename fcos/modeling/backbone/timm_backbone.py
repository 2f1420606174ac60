"""Any backbone of timm (pytorch-image-models) that gives features, below the FPN of FCOS.

timm is imported when such a backbone is built; nothing else of the package needs it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone, build_backbone
from fcos.config.checks import check_levels
from fcos.config.detector_keys import is_of_fcos
from fcos.config.keys import check_keys
from fcos.modeling.backbone.fpn import add_fpn
from fcos.modeling.backbone.timm_draft import (
    Draft,
    require_model,
    require_weights,
    what_is_known,
)
from fcos.utils.errors import UserError

__all__ = [
    "TimmBackbone",
    "build_fcos_timm_fpn_backbone",
    "check_timm_backbone",
    "starts_from_timm",
]

logger = logging.getLogger(__name__)

_NORMS = ("FrozenBN", "BN", "SyncBN")


@BACKBONE_REGISTRY.register()
def build_fcos_timm_fpn_backbone(cfg, input_shape: ShapeSpec) -> FPN:
    """Build the model of timm that ``MODEL.TIMM`` names, with the FPN of FCOS on top.

    Args:
        cfg: a config with the keys of detectron2 and FCOS.
        input_shape: the channels of the image.

    Returns:
        The backbone; its outputs are called p3, p4, ... by the logarithm of their strides.

    Raises:
        UserError: see :class:`TimmBackbone`.
        ValueError: see :func:`fcos.modeling.backbone.fpn.add_fpn`.
    """
    check_keys(cfg, "MODEL.TIMM.", "MODEL.FPN.", "MODEL.BACKBONE.", "MODEL.FCOS.TOP_")
    features = {*cfg.MODEL.FPN.IN_FEATURES}
    if cfg.MODEL.FCOS.TOP_LEVELS > 0 and cfg.MODEL.FCOS.TOP_IN_FEATURE == "res5":
        features.add("res5")
    bottom_up = TimmBackbone(
        cfg.MODEL.TIMM.NAME,
        out_features=sorted(features),
        in_channels=input_shape.channels,
        pretrained=starts_from_timm(cfg),
        norm=cfg.MODEL.TIMM.NORM,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )
    if bottom_up.is_pretrained:
        _warn_of_other_pixels(cfg, bottom_up)
    return add_fpn(cfg, bottom_up)


def starts_from_timm(cfg) -> bool:
    """Say whether the backbone starts from weights that timm downloads.

    With ``MODEL.WEIGHTS`` it does not: these are loaded over them anyway, and a trained detector
    has to run on a machine without a network.
    """
    return bool(_is_timm(cfg) and cfg.MODEL.TIMM.PRETRAINED and not cfg.MODEL.WEIGHTS)


def check_timm_backbone(cfg) -> None:
    """Refuse what building the backbone would refuse, if it is a model of timm.

    It takes no memory for weights, and no random numbers; nothing is downloaded.

    Args:
        cfg: a config with the keys of detectron2 and FCOS.

    Raises:
        UserError: see :class:`TimmBackbone` and :func:`fcos.config.checks.check_levels`.
    """
    if not _is_timm(cfg):
        return
    draft = cfg.clone()
    draft.defrost()
    draft.MODEL.TIMM.PRETRAINED = False
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        shapes = build_backbone(draft).output_shape()
    if starts_from_timm(cfg):
        require_weights(cfg.MODEL.TIMM.NAME)
    if is_of_fcos(cfg):
        check_levels(cfg, {name: shape.stride for name, shape in shapes.items()})


def _is_timm(cfg) -> bool:
    return build_fcos_timm_fpn_backbone.__name__ == cfg.MODEL.BACKBONE.NAME


class TimmBackbone(Backbone):
    """The features of a model of timm, named by their strides: "res3" has 2**3 pixels.

    Where several features have one stride, the last of them is taken, as FPN does.

    Args:
        name: of the model, with or without the tag of its weights.
        out_features: names of the features, each once.
        in_channels: channels of the image.
        pretrained: start from timm's weights; their first layer is adapted to ``in_channels``.
        norm: batch normalisation is fixed ("FrozenBN": neither statistics nor scales change),
            trained ("BN"), or trained over all processes together ("SyncBN"). Layers of other
            kinds are trained in any case.
        freeze_at: nothing is trained that the feature of stride 2**freeze_at is computed from, nor
            are statistics of its batch normalisation. 0 freezes nothing; on a ResNet 1 means the
            stem, 2 the stem and res2, as ``MODEL.BACKBONE.FREEZE_AT`` of detectron2.

    Attributes:
        name: of the model.
        is_pretrained: whether timm's weights were loaded.

    Raises:
        UserError: timm is not installed or has no such model; the model gives no features, or
            lacks a stride, or takes images of some sizes only; there are no weights of it, or
            they cannot be downloaded.
    """

    def __init__(
        self,
        name: str,
        *,
        out_features: Sequence[str] = ("res3", "res4", "res5"),
        in_channels: int = 3,
        pretrained: bool = False,
        norm: str = "FrozenBN",
        freeze_at: int = 0,
    ) -> None:
        super().__init__()
        if norm not in _NORMS:
            raise UserError(f"MODEL.TIMM.NORM: expected one of {', '.join(_NORMS)}, got {norm!r}")
        require_model(name)
        self.name = name
        self.is_pretrained = pretrained
        draft = Draft(name, in_channels)
        strides = _strides(out_features)
        indices = draft.indices(strides, f"the features {', '.join(strides)}")
        channels = draft.check_sizes(indices)
        frozen = draft.parameters_below(2**freeze_at) if freeze_at > 0 else set()

        # Not called "model": the name is part of every parameter's, and timm's own come below.
        self.net = draft.build(indices, pretrained)
        self._is_channels_last = draft.is_channels_last
        if norm == "SyncBN":
            from timm.layers import convert_sync_batchnorm

            self.net = convert_sync_batchnorm(self.net)
        self._fixed_norms: list[str] = []
        self._freeze(frozen, all_batch_norms=norm == "FrozenBN")
        self._out_features = list(strides)
        self._out_feature_strides = strides
        self._out_feature_channels = dict(zip(strides, channels, strict=True))

    @property
    def size_divisibility(self) -> int:
        """The coarsest stride, so that every feature has a whole number of cells."""
        return max(self._out_feature_strides.values())

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (N, C, H, W), H and W multiples of ``size_divisibility``, to the features.

        Each is (N, channels, H / stride, W / stride).
        """
        features = self.net(x)
        if self._is_channels_last:
            features = [feature.permute(0, 3, 1, 2).contiguous() for feature in features]
        return dict(zip(self._out_features, features, strict=True))

    def train(self, mode: bool = True) -> TimmBackbone:
        """Switch to training or evaluation; fixed batch normalisation stays fixed."""
        super().train(mode)
        for name in self._fixed_norms:
            self.net.get_submodule(name).eval()
        return self

    def _freeze(self, names: set[str], all_batch_norms: bool) -> None:
        parameters = dict(self.net.named_parameters())
        for name in names:
            parameters[name].requires_grad_(False)
        for name, layer in self.net.named_modules():
            # The layer stays and is only held in evaluation mode: replacing it would lose the
            # activation that timm's have inside, and files would depend on the setting.
            if isinstance(layer, (nn.BatchNorm2d, nn.SyncBatchNorm)):
                if all_batch_norms or f"{name}.weight" in names:
                    self._fixed_norms.append(name)
                    layer.requires_grad_(False)
        self.train(self.training)
        if names and not any(p.is_meta for p in parameters.values()):  # a draft is not trained
            number = sum(parameters[name].numel() for name in names)
            whole = sum(p.numel() for p in parameters.values())
            logger.info(f"{self.name}: {number:,} of {whole:,} parameters are frozen.")


def _strides(out_features: Sequence[str]) -> dict[str, int]:
    """Map each feature to its stride, in pixels, from fine to coarse."""
    if not out_features:
        raise UserError(
            "MODEL.FPN.IN_FEATURES is empty: name the features that the FPN takes, such as "
            "res3, res4, res5."
        )
    strides = {}
    for name in out_features:
        number = name.removeprefix("res")
        if number == name or not number.isdecimal():
            raise UserError(
                f"MODEL.FPN.IN_FEATURES: {name!r} is not a feature; res3 is the one of stride "
                "2**3, res4 that of 2**4, and so on."
            )
        strides[name] = 2 ** int(number)
    return dict(sorted(strides.items(), key=lambda item: item[1]))


def _warn_of_other_pixels(cfg, bottom_up: TimmBackbone) -> None:
    """Warn where pixels are not normalised as they were for the pretrained weights."""
    known = what_is_known(bottom_up.name)
    mean, std = ([round(255 * value, 3) for value in values] for values in (known.mean, known.std))
    given = cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD
    close = all(
        len(a) == len(b) and all(abs(x - y) < 1 for x, y in zip(a, b, strict=True))
        for a, b in zip((mean, std), given, strict=True)
    )
    if not close or cfg.INPUT.FORMAT != "RGB":
        logger.warning(
            f"timm's weights of {bottom_up.name} expect INPUT.FORMAT RGB, MODEL.PIXEL_MEAN "
            f"{mean}, MODEL.PIXEL_STD {std}, but the config says {cfg.INPUT.FORMAT}, "
            f"{list(given[0])}, {list(given[1])}."
        )
