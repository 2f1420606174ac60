"""Any backbone of timm (pytorch-image-models) that gives features, below the FPN of FCOS.

timm is imported when such a backbone is built; nothing else of the package needs it.
"""

from __future__ import annotations

import difflib
import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone
from fcos.config.keys import check_keys
from fcos.modeling.backbone.fpn import add_fpn
from fcos.utils.errors import UserError, one_line

__all__ = ["TimmBackbone", "build_fcos_timm_fpn_backbone", "starts_from_timm"]

logger = logging.getLogger(__name__)

_NORMS = ("FrozenBN", "BN", "SyncBN")
# How models that are made for one size of image are told to take any: Swin's way and that of
# plain transformers. Those that take any size by themselves need none.
_ANY_SIZE: tuple[dict[str, Any], ...] = (
    {"strict_img_size": False},
    {"dynamic_img_size": True},
    {},
)
# The size that a model is tried with, in pixels: multiples of 32, but of nothing that a model
# for one size has.
_TRIAL_SIZE = (96, 160)


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
    is_timm = build_fcos_timm_fpn_backbone.__name__ == cfg.MODEL.BACKBONE.NAME
    return bool(is_timm and cfg.MODEL.TIMM.PRETRAINED and not cfg.MODEL.WEIGHTS)


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
        _require_model(name)
        self.name = name
        self.is_pretrained = pretrained
        draft = _Draft(name, in_channels)
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
        if names:
            number = sum(parameters[name].numel() for name in names)
            whole = sum(p.numel() for p in parameters.values())
            logger.info(f"{self.name}: {number:,} of {whole:,} parameters are frozen.")


class _Draft:
    """A model of timm without memory for its weights, to learn about it before it is built."""

    def __init__(self, name: str, in_channels: int) -> None:
        self.name = name
        self._options: dict[str, Any] = {"features_only": True, "in_chans": in_channels}
        self._in_channels = in_channels
        model = self._try_to_build()
        self._info = [dict(entry) for entry in model.feature_info.info]
        # Only models that differ from the usual (N, C, H, W) have to say so.
        self.is_channels_last = str(getattr(model, "output_fmt", "NCHW")).endswith("NHWC")

    def build(self, indices: Sequence[int], pretrained: bool) -> Any:
        """Build the model itself, on the CPU."""
        import timm

        if pretrained and not _what_is_known(self.name).has_weights:
            raise UserError(
                f"timm has no weights for {self.name}: set MODEL.TIMM.PRETRAINED False, or "
                "choose another model (timm.list_pretrained() names them)."
            )
        options = {**self._options, "out_indices": tuple(indices)}
        if not pretrained:
            return timm.create_model(self.name, **options)
        try:
            return timm.create_model(self.name, pretrained=True, **options)
        except Exception as error:  # of the network, the disk or the file: many libraries' errors
            raise UserError(
                f"timm's weights of {self.name} could not be loaded ({one_line(error)}); they "
                "need a network or an earlier download, or give MODEL.WEIGHTS a file instead."
            ) from error

    def indices(self, strides: dict[str, int], what: str) -> list[int]:
        """Find the model's features of these strides; of several with one stride, the last."""
        last = {entry["reduction"]: index for index, entry in enumerate(self._info)}
        missing = [str(stride) for stride in strides.values() if stride not in last]
        if missing:
            raise UserError(
                f"timm's {self.name} has features of stride {', '.join(map(str, last))}, but "
                f"{what} need stride {', '.join(missing)}; choose another model or other features."
            )
        return [last[stride] for stride in strides.values()]

    def check_sizes(self, indices: Sequence[int]) -> list[int]:
        """Check that images of any size give whole strides; return the features' channels."""
        features = self._features(indices)
        height, width = _TRIAL_SIZE
        for index, feature in zip(indices, features, strict=True):
            stride, channels = self._info[index]["reduction"], self._info[index]["num_chs"]
            axes = (0, 2, 3, 1) if self.is_channels_last else (0, 1, 2, 3)
            expected = (1, channels, height // stride, width // stride)
            got = tuple(feature.shape)
            if got != tuple(expected[axis] for axis in axes):
                raise UserError(
                    f"timm's {self.name} makes {'x'.join(map(str, got))} of an image of {height}x"
                    f"{width} where stride {stride} should give {'x'.join(map(str, expected))}, "
                    "which no FPN can join; choose another model."
                )
        return [self._info[index]["num_chs"] for index in indices]

    def parameters_below(self, stride: int) -> set[str]:
        """Name the parameters that the feature of this stride is computed from."""
        what = f"the parts that MODEL.BACKBONE.FREEZE_AT {int(math.log2(stride))} freezes"
        indices = self.indices({"": stride}, what)
        model = self._create(indices)
        named = dict(model.named_parameters())
        (feature,) = self._run(model)
        gradients = torch.autograd.grad(feature.sum(), [*named.values()], allow_unused=True)
        return {name for name, g in zip(named, gradients, strict=True) if g is not None}

    def _features(self, indices: Sequence[int]) -> list[Tensor]:
        model = self._create(indices)
        with torch.no_grad():
            try:
                return list(self._run(model))
            except Exception as error:  # whatever the model trips over
                raise UserError(
                    f"timm's {self.name} does not take an image of {_TRIAL_SIZE[0]}x"
                    f"{_TRIAL_SIZE[1]} ({one_line(error)}), and a detector's images come in all "
                    "multiples of 32; choose another model."
                ) from error

    def _run(self, model: nn.Module) -> Sequence[Tensor]:
        with torch.device("meta"):
            return model(torch.zeros(1, self._in_channels, *_TRIAL_SIZE))

    def _create(self, indices: Sequence[int]) -> nn.Module:
        """Make a draft with these features alone, in evaluation mode."""
        import timm

        with torch.device("meta"):
            return timm.create_model(self.name, **self._options, out_indices=tuple(indices)).eval()

    def _try_to_build(self) -> Any:
        import timm

        is_for_one_size = _what_is_known(self.name).fixed_input_size
        for any_size in _ANY_SIZE if is_for_one_size else ({},):
            options = {**self._options, **any_size}
            try:
                with torch.device("meta"):
                    model = timm.create_model(self.name, **options)
            except Exception as error:  # as many kinds as there are models without features
                if isinstance(error, TypeError) and any(key in str(error) for key in any_size):
                    continue  # it has no such option
                raise UserError(
                    f"timm's {self.name} cannot be a backbone, because it does not give the "
                    f"features of its stages ({one_line(error)}); choose another model."
                ) from error
            self._options = options
            return model
        raise AssertionError("the last of _ANY_SIZE has no option to be refused")


def _require_model(name: str) -> None:
    """Refuse a name that timm does not know, or a machine without timm."""
    try:
        import timm
    except ImportError as error:
        raise UserError(
            f"The backbone {name or 'of MODEL.TIMM'} needs timm ({error}): pip install timm"
        ) from None
    arch, _, tag = name.partition(".")
    if not name or not timm.is_model(arch):
        names = timm.list_models()
        near = [n for n in names if arch and n.startswith(arch)]
        near = near or difflib.get_close_matches(arch, names, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near[:3])}?" if near else ""
        raise UserError(
            f"MODEL.TIMM.NAME: timm {timm.__version__} has no model {name!r}.{hint} "
            "timm.list_models() names all."
        )
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{arch}.*")]
    if tag and tag not in tags:
        raise UserError(
            f"MODEL.TIMM.NAME: timm has no weights {tag!r} of {arch}; it has "
            f"{', '.join(tags) or 'none'}."
        )


def _what_is_known(name: str) -> Any:
    """Look up what timm knows of a model's weights, and of the images they were made for."""
    import timm
    from timm.models import PretrainedCfg

    return timm.get_pretrained_cfg(name) or PretrainedCfg()  # a user's own model may have none


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
    known = _what_is_known(bottom_up.name)
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
