"""Step 1: the towers and their three outputs (arXiv:1904.01355, Fig. 2 and Sec. 3.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from fcos.layers import (
    Conv3x3,
    DeformConv,
    DeformConvLayer,
    PerLevelNorm,
    Scale,
    at_least_float32,
    normal_init,
)
from fcos.utils.errors import UserError

NORMS = ("none", "GN", "BN", "SyncBN")

# exp(16) is about 9 million pixels: far beyond any image, and its area is still exact enough in
# float32. Without a limit, one large output is an infinite box.
_MAX_EXPONENT = 16.0


class Tower(nn.Sequential):
    """Layers one after the other, some of which differ between levels."""

    def forward(self, x: Tensor, level: int) -> Tensor:  # type: ignore[override]
        """(N, channels, H, W) of one level to the same shape."""
        for layer in self:
            x = layer(x, level) if isinstance(layer, PerLevelNorm) else layer(x)
        return x


class FCOSHead(nn.Module):
    """The head that all levels share.

    Two towers of 3x3 convolutions run on a feature map. Class logits come from the first, the
    distances l, t, r, b from the second, and centerness from the first (the paper's baseline) or,
    with ``centerness_on_reg``, from the second.

    Args:
        in_channels: channels of every feature map.
        num_levels: number of feature maps.
        num_classes: C, without background.
        num_shared_convs: convolutions in front of both towers.
        num_convs: convolutions in each tower.
        norm: after each convolution of the towers. "none"; "GN", group normalisation with 32
            groups; "BN" or "SyncBN", batch normalisation with statistics and factors for each
            level, of one process or of all.
        use_deformable: the last convolution of each tower is deformable.
        deform_modulated: as in v2 (arXiv:1811.11168), else as in v1.
        use_scale: each level has its own learnable factor on the distances.
        centerness_on_reg: predict centerness from the box tower.
        normalize_reg_targets: distances are in strides and at least 0 by relu, instead of in
            pixels and positive by exp.
        prior_prob: the score of every class everywhere before training, in (0, 1).
        prior_distance: the distances everywhere before training, in strides, at least 0; for
            ``normalize_reg_targets`` alone.

    Raises:
        ValueError: there are no channels, levels or classes, ``norm`` is unknown, ``prior_prob``
            lies outside (0, 1), ``prior_distance`` is negative or not finite, a number of
            convolutions is negative, GN is asked for channels that 32 does not divide, or
            deformable convolution for towers without any.
    """

    @configurable
    def __init__(
        self,
        *,
        in_channels: int,
        num_levels: int = 5,
        num_classes: int = 80,
        num_shared_convs: int = 0,
        num_convs: int = 4,
        norm: str = "none",
        use_deformable: bool = False,
        deform_modulated: bool = True,
        use_scale: bool = True,
        centerness_on_reg: bool = False,
        normalize_reg_targets: bool = False,
        prior_prob: float = 0.01,
        prior_distance: float = 1.0,
    ) -> None:
        super().__init__()
        for name, number in (
            ("in_channels", in_channels),
            ("num_levels", num_levels),
            ("num_classes", num_classes),
        ):
            if number < 1:
                raise ValueError(f"{name}: expected at least 1, got {number}")
        _check_towers(in_channels, num_shared_convs, num_convs, norm, use_deformable)
        if not 0 < prior_prob < 1:
            raise ValueError(f"prior_prob: expected within (0, 1), got {prior_prob}")
        if not 0 <= prior_distance < math.inf:
            raise ValueError(f"prior_distance: expected at least 0, got {prior_distance}")
        self.in_channels = in_channels
        self.num_levels = num_levels
        self.num_classes = num_classes
        self.num_shared_convs = num_shared_convs
        self.num_convs = num_convs
        self.norm = norm
        self.use_deformable = use_deformable
        self.deform_modulated = deform_modulated
        self.use_scale = use_scale
        self.centerness_on_reg = centerness_on_reg
        self.normalize_reg_targets = normalize_reg_targets
        self.prior_prob = prior_prob
        self.prior_distance = prior_distance
        self._init_layers()
        self._init_weights()

    @classmethod
    def from_config(cls, cfg, input_shape: Sequence[ShapeSpec]) -> dict:
        channels = {shape.channels for shape in input_shape}
        if len(channels) != 1:
            raise ValueError(
                "MODEL.FCOS.IN_FEATURES: the head is shared by all features, so they need the same "
                f"number of channels, got {sorted(channels)}"
            )
        return {
            "in_channels": channels.pop(),
            "num_levels": len(input_shape),
            "num_classes": cfg.MODEL.FCOS.NUM_CLASSES,
            "num_shared_convs": cfg.MODEL.FCOS.NUM_SHARED_CONVS,
            "num_convs": cfg.MODEL.FCOS.NUM_STACKED_CONVS,
            "norm": cfg.MODEL.FCOS.NORM,
            "use_deformable": cfg.MODEL.FCOS.USE_DEFORMABLE,
            "deform_modulated": cfg.MODEL.FCOS.DEFORM_MODULATED,
            "use_scale": cfg.MODEL.FCOS.USE_SCALE,
            "centerness_on_reg": cfg.MODEL.FCOS.CTR_ON_REG,
            "normalize_reg_targets": cfg.MODEL.FCOS.NORMALIZE_REG_TARGETS,
            "prior_prob": cfg.MODEL.FCOS.PRIOR_PROB,
            "prior_distance": cfg.MODEL.FCOS.PRIOR_DISTANCE,
        }

    def _init_layers(self) -> None:
        """Make the layers, under the names that checkpoints have.

        * ``share_tower``, ``cls_tower`` and ``bbox_tower``: each a :class:`Tower`. The first has
          ``num_shared_convs`` convolutions and runs before the other two, which have
          ``num_convs``. Every convolution is 3x3, from ``in_channels`` to ``in_channels``, and is
          followed by its normalisation, if there is one, and by relu; each of these is an entry of
          the tower of its own, so names count all of them: ``cls_tower.0.weight`` is of the first
          convolution, with GN ``cls_tower.1.weight`` of its normalisation. With
          ``use_deformable``, the last convolution of ``cls_tower`` and of ``bbox_tower`` is a
          :class:`fcos.layers.DeformConvLayer`. BN and SyncBN are
          :class:`fcos.layers.PerLevelNorm`.
        * ``cls_logits``, ``bbox_pred`` and ``ctrness``: 3x3 convolutions to ``num_classes``, 4 and
          1 channels.
        * ``scales``: a list of ``num_levels`` :class:`fcos.layers.Scale`; without ``use_scale``, of
          layers that change nothing.
        """
        self.share_tower = self._tower(self.num_shared_convs)
        self.cls_tower = self._tower(self.num_convs, self.use_deformable)
        self.bbox_tower = self._tower(self.num_convs, self.use_deformable)
        self.cls_logits = Conv3x3(self.in_channels, self.num_classes)
        self.bbox_pred = Conv3x3(self.in_channels, 4)
        self.ctrness = Conv3x3(self.in_channels, 1)
        self.scales = nn.ModuleList(
            Scale() if self.use_scale else nn.Identity() for _ in range(self.num_levels)
        )

    def _tower(self, num_convs: int, last_is_deformable: bool = False) -> Tower:
        """Make one tower, as :meth:`_init_layers` says: (N, in_channels, H, W) to the same shape.

        Args:
            num_convs: convolutions in it; 0 makes a tower that changes nothing.
            last_is_deformable: the last of them is.
        """
        layers: list[nn.Module] = []
        for index in range(num_convs):
            if last_is_deformable and index == num_convs - 1:
                layers.append(DeformConvLayer(self.in_channels, self.deform_modulated))
            else:
                layers.append(Conv3x3(self.in_channels, self.in_channels))
            if self.norm == "GN":
                layers.append(nn.GroupNorm(32, self.in_channels))
            elif self.norm != "none":
                is_synchronized = self.norm == "SyncBN"
                layers.append(PerLevelNorm(self.num_levels, self.in_channels, is_synchronized))
            layers.append(nn.ReLU(inplace=True))
        return Tower(*layers)

    def _init_weights(self) -> None:
        """Fill the layers that :meth:`_init_layers` made.

        Weights of all convolutions, deformable ones too, are normal with a mean of 0 and a standard
        deviation of 0.01; those that predict the offsets of a deformable convolution are 0. Biases
        are 0, with two exceptions: the sigmoid of that of ``cls_logits`` is ``prior_prob``, and
        with ``normalize_reg_targets`` that of ``bbox_pred`` is ``prior_distance``. Normalisations
        and scales stay as they are made.
        """
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, DeformConv)):
                normal_init(module, std=0.01)
        for module in self.modules():
            if isinstance(module, DeformConvLayer):
                normal_init(module.offset, std=0.0)
        # sigmoid(bias) is the prior, so that background does not dominate the first steps.
        prior_logit = math.log(self.prior_prob / (1 - self.prior_prob))
        normal_init(self.cls_logits, std=0.01, bias=prior_logit)
        if self.normalize_reg_targets:
            # Boxes without a size have no gradient. Those of one stride are still below most
            # targets: from far above, the scales' gradients (the distance times its own) are so
            # large that steps end below 0, where relu has none.
            nn.init.constant_(self.bbox_pred.get_parameter("bias"), self.prior_distance)

    def forward(
        self, features: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Compute the raw outputs of every level.

        Args:
            features: per level (N, in_channels, Hi, Wi) float, finest level first.

        Returns:
            cls_scores: per level (N, C, Hi, Wi), class logits, before the sigmoid.
            bbox_preds: per level (N, 4, Hi, Wi), distances l, t, r, b, at least 0, float32 or
                wider: in pixels of the network input, or in strides with
                ``normalize_reg_targets``.
            centernesses: per level (N, 1, Hi, Wi), logits, before the sigmoid.

        Raises:
            ValueError: there are not ``num_levels`` features.
            UserError: a group of GN would have a single value.
        """
        if len(features) != self.num_levels:
            raise ValueError(f"features: expected {self.num_levels} levels, got {len(features)}")
        if self.norm == "GN" and self.in_channels == 32:  # larger heads never have such a group
            _check_groups(features)
        cls_scores, bbox_preds, centernesses = [], [], []
        for level, (feature, scale) in enumerate(zip(features, self.scales, strict=True)):
            feature = self.share_tower(feature, level)
            cls_feature = self.cls_tower(feature, level)
            bbox_feature = self.bbox_tower(feature, level)
            cls_scores.append(self.cls_logits(cls_feature))
            bbox_preds.append(self._distances(self.bbox_pred(bbox_feature), scale))
            centernesses.append(
                self.ctrness(bbox_feature if self.centerness_on_reg else cls_feature)
            )
        return cls_scores, bbox_preds, centernesses

    def _distances(self, raw: Tensor, scale: nn.Module) -> Tensor:
        """Turn the outputs of ``bbox_pred`` into distances, (N, 4, Hi, Wi) of one level.

        Args:
            raw: of ``bbox_pred``, in any floating point type.
            scale: of the level; it multiplies before exp or relu.

        Returns:
            The shape of ``raw``, float32 or wider, finite: exp, in pixels, of at most 16; with
            ``normalize_reg_targets`` relu, in strides.
        """
        # Half precision has too few digits for pixels, and exp soon leaves its range.
        scaled = scale(at_least_float32(raw))
        if self.normalize_reg_targets:
            return scaled.relu()
        return scaled.clamp(max=_MAX_EXPONENT).exp()


def _check_groups(features: Sequence[Tensor]) -> None:
    """Refuse groups of a single value; torch's own error names neither key nor reason."""
    if any(feature.numel() == 32 for feature in features):
        raise UserError(
            "MODEL.FCOS.NORM: GN has 32 groups, each of a single channel with "
            "MODEL.FPN.OUT_CHANNELS 32, and a feature of this one image is a single cell, which "
            "leaves nothing to normalise over: set MODEL.FPN.OUT_CHANNELS to 64 or more, or use "
            "larger images."
        )


def _check_towers(
    channels: int, num_shared_convs: int, num_convs: int, norm: str, use_deformable: bool
) -> None:
    if norm not in NORMS:
        raise ValueError(f"norm: expected one of {NORMS}, got {norm!r}")
    if norm == "GN" and channels % 32:
        raise ValueError(
            f"MODEL.FCOS.NORM: GN has 32 groups, which do not divide {channels} channels"
        )
    for name, number in (("num_shared_convs", num_shared_convs), ("num_convs", num_convs)):
        if number < 0:
            raise ValueError(f"{name}: expected at least 0, got {number}")
    if use_deformable and num_convs == 0:
        raise ValueError("use_deformable: needs a convolution in each tower, but num_convs is 0")
