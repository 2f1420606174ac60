"""What a model of timm is like, found out before it is built: its names, features and weights."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fcos.utils.errors import UserError, one_line

__all__ = ["Draft", "require_model", "require_weights", "what_is_known"]

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


class Draft:
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

        if pretrained:
            require_weights(self.name)
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

        is_for_one_size = what_is_known(self.name).fixed_input_size
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


def require_model(name: str) -> None:
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


def require_weights(name: str) -> None:
    """Refuse a model that timm has no weights of."""
    if not what_is_known(name).has_weights:
        raise UserError(
            f"timm has no weights for {name}: set MODEL.TIMM.PRETRAINED False, or "
            "choose another model (timm.list_pretrained() names them)."
        )


def what_is_known(name: str) -> Any:
    """Look up what timm knows of a model's weights, and of the images they were made for."""
    import timm
    from timm.models import PretrainedCfg

    return timm.get_pretrained_cfg(name) or PretrainedCfg()  # a user's own model may have none
