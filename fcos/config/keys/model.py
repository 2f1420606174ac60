"""The keys of MODEL for the detector as a whole and for its backbone."""

from __future__ import annotations

from fcos.config.keys.key import Group, Key, group
from fcos.config.keys.kinds import Choice, Number, Several, Switch, Text, Whole

__all__ = ["GROUPS"]

_CHANNELS = Whole(1, 4096)
# torch 2.11 corrupts the memory in the gradient of a 1x1 convolution of stride 2 with fewer input
# channels, on the CPU with MODEL.CHANNELS_LAST; res3 has such a one.
_RES2 = Whole(8, 2048)
# Those of detectron2's get_norm.
_NORMS = ("", "BN", "SyncBN", "nnSyncBN", "naiveSyncBN", "naiveSyncBN_N", "FrozenBN", "GN", "LN")
_STAGES = ("stem", "res2", "res3", "res4", "res5")

_DETECTOR = group(
    "MODEL",
    "the detector",
    Key(
        "META_ARCHITECTURE",
        Text("the name of a kind of detector"),
        '"OneStageDetector" for FCOS; "GeneralizedRCNN" for FCOS with ROI heads, such as masks; or '
        "another one that is registered.",
    ),
    Key(
        "DEVICE",
        Text("a device such as 'cuda', 'cuda:1' or 'cpu'"),
        "Where the detector is trained and run.",
    ),
    Key(
        "WEIGHTS",
        Text("a path or an address", may_be_empty=True, is_path=True),
        "The file to start from, or to detect with: a path, https://... or detectron2://...",
    ),
    Key("MASK_ON", Switch(), "Learn and predict masks; this takes ROI heads."),
    Key("KEYPOINT_ON", Switch(), "Learn and predict keypoints, in detectors that can."),
    Key("LOAD_PROPOSALS", Switch(), "Read proposals from files instead of computing them."),
    Key(
        "PIXEL_MEAN",
        Several(Number(-1000, 1000), 3, 3),
        "Taken off the three channels of every pixel, in the order of INPUT.FORMAT; pixels are "
        "0 to 255.",
    ),
    Key(
        "PIXEL_STD",
        Several(Number(0.001, 1000), 3, 3),
        "What the three channels are divided by after that. 1 where the weights of the backbone "
        "were made so.",
    ),
    Key(
        "CHANNELS_LAST",
        Switch(),
        "Keep images, features and weights in memory with the channels of a location side by "
        "side, in which order convolutions are faster. Weights files stay the same; results, up "
        "to rounding.",
        default=True,
    ),
    Key(
        "COMPILE",
        Switch(),
        "Train the backbone and the head as torch.compile makes them: compiled once, which takes "
        "minutes, for images of all sizes. Needs Triton on a GPU, and a C++ compiler on the CPU, "
        "where it makes a ResNet slower.",
        default=False,
    ),
    Key(
        "ACTIVATION_CHECKPOINTING",
        Switch(),
        "Forget what the stages of the backbone and the towers of the head computed, and compute "
        "it again in the backward pass: the same bits, half of the memory, a third more time "
        "(R-50).",
        default=False,
    ),
)

_BACKBONE = group(
    "MODEL",
    "which backbone",
    Key(
        "BACKBONE.NAME",
        Text("the name of a backbone"),
        "build_fcos_resnet_fpn_backbone, build_fcos_timm_fpn_backbone, or another one that is "
        "registered.",
    ),
    Key(
        "BACKBONE.FREEZE_AT",
        Whole(0, 10),
        "How many of its first parts are not trained: 0 none, 1 the stem, 2 the stem and res2, ...",
    ),
    Key(
        "PROPOSAL_GENERATOR.NAME",
        Text("the name of a proposal generator"),
        '"FCOS", or another one that is registered.',
    ),
    Key(
        "PROPOSAL_GENERATOR.MIN_SIZE",
        Number(0, 100_000),
        "Shortest side of a proposal, in pixels of the network input.",
    ),
)

_RESNETS = group(
    "MODEL.RESNETS",
    "a ResNet as backbone",
    Key("DEPTH", Choice(18, 34, 50, 101, 152), "Number of layers."),
    Key(
        "OUT_FEATURES",
        Several(Choice(*_STAGES), 1, 5, "without repetition"),
        "The stages whose features it gives.",
    ),
    Key(
        "NORM",
        Choice(*_NORMS),
        'Normalisation: "FrozenBN" keeps the statistics and factors of the weights, because a GPU '
        'has too few images for statistics; "BN", "SyncBN" and "GN" train theirs; "" is none.',
    ),
    Key("NUM_GROUPS", Whole(1, 1024), "Groups of the 3x3 convolutions; more than one: ResNeXt."),
    Key("WIDTH_PER_GROUP", _CHANNELS, "Channels of each group in res2; later stages have more."),
    Key("STEM_OUT_CHANNELS", _CHANNELS, "Channels that the stem gives."),
    Key("RES2_OUT_CHANNELS", _RES2, "Channels that res2 gives; each later stage, twice."),
    Key(
        "STRIDE_IN_1X1",
        Switch(),
        "Bottlenecks have their stride in the first 1x1 convolution, as MSRA's weights do; False "
        "for those of torchvision and ResNeXt.",
    ),
    Key("RES5_DILATION", Choice(1, 2), "Dilation of res5; with 2 it keeps the stride of res4."),
    Key(
        "DEFORM_ON_PER_STAGE",
        Several(Switch(), 4, 4),
        "For each of res2, res3, res4, res5, whether its 3x3 convolutions are deformable.",
    ),
    Key("DEFORM_MODULATED", Switch(), "These are v2 (modulated), or v1."),
    Key("DEFORM_NUM_GROUPS", Whole(1, 1024), "Groups of channels with offsets of their own."),
)

_FPN = group(
    "MODEL.FPN",
    "the feature pyramid",
    Key(
        "IN_FEATURES",
        Several(Text("a name of a feature"), 0, 20, "without repetition"),
        "The features of the backbone that it is built on, finest first.",
    ),
    Key("OUT_CHANNELS", _CHANNELS, "Channels of each of its levels."),
    Key("NORM", Choice(*_NORMS), 'Normalisation after its convolutions; "" is none.'),
    Key("FUSE_TYPE", Choice("sum", "avg"), "How the coarser level is joined with the finer one."),
)

_TIMM = group(
    "MODEL.TIMM",
    "a model of timm as backbone",
    Key(
        "NAME",
        Text("the name of a model of timm", may_be_empty=True),
        "With MODEL.BACKBONE.NAME build_fcos_timm_fpn_backbone: the model of timm below the FPN, "
        'such as "convnext_tiny", also with the tag of its weights ("convnext_tiny.fb_in22k"). '
        "The feature of stride 8 is called res3, that of 16 res4, ...; MODEL.FPN.IN_FEATURES "
        "chooses among them, and those that MODEL.BACKBONE.FREEZE_AT counts are not trained.",
        default="",
    ),
    Key(
        "PRETRAINED",
        Switch(),
        "Start from timm's weights, downloaded once. MODEL.WEIGHTS, if given, takes their place.",
        default=False,
    ),
    Key(
        "NORM",
        Choice("FrozenBN", "BN", "SyncBN"),
        'Batch normalisation in it: "FrozenBN" keeps the pretrained statistics and scales, as '
        'MODEL.RESNETS.NORM does, because a GPU has too few images for statistics; "BN" and '
        '"SyncBN" train them, which random weights need. Other kinds of normalisation are left '
        "alone.",
        default="FrozenBN",
    ),
)

_REGIONS = group(
    "MODEL",
    "masks on the boxes of FCOS",
    Key(
        "ROI_HEADS.BATCH_SIZE_PER_IMAGE",
        Whole(1, 100_000),
        "Regions of an image that a training samples.",
    ),
    Key(
        "ROI_HEADS.POSITIVE_FRACTION",
        Number(0.001, 1),
        "At most so much of them are objects, which masks are learnt from.",
    ),
    Key(
        "ROI_MASK_HEAD.POOLER_RESOLUTION",
        Whole(1, 128),
        "Side of the grid that a region is cut out as; Mask R-CNN has 14.",
        read_with="MASK_ON",
    ),
)

GROUPS: tuple[Group, ...] = (_DETECTOR, _BACKBONE, _RESNETS, _FPN, _TIMM, _REGIONS)
