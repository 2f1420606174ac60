"""The keys of INPUT, DATASETS and DATALOADER."""

from __future__ import annotations

from fcos.config.keys.key import Group, Key, group
from fcos.config.keys.kinds import (
    Choice,
    Either,
    Fields,
    Mappings,
    Number,
    Several,
    Switch,
    Text,
    Whole,
)

__all__ = ["GROUPS"]

# A shorter one is less than a location of the finest level.
_LEAST_SIDE = 8
_LONGER = Whole(_LEAST_SIDE, 100_000)
_SHORTER = Either(Choice(0), Whole(_LEAST_SIDE, 10_000))
_PROPOSALS = Whole(1, 100_000)
_DATASETS = Several(Text("a name of a data set"))
_FILES = Several(Text("a path or an address", is_path=True))

_INPUT = group(
    "INPUT",
    "images",
    Key("FORMAT", Choice("BGR", "RGB"), "Order of the channels that the detector sees."),
    Key(
        "MIN_SIZE_TRAIN",
        Several(_SHORTER, 1, 1000),
        "Lengths of the shorter side that images of a training are resized to, in pixels. One is "
        "drawn for each image, see MIN_SIZE_TRAIN_SAMPLING. 0: images keep their size.",
    ),
    Key(
        "MIN_SIZE_TRAIN_SAMPLING",
        Choice("choice", "range"),
        '"choice": one of the lengths; "range": any between the two of them.',
    ),
    Key(
        "MAX_SIZE_TRAIN",
        _LONGER,
        "Longest side that images of a training may have after that; images that would be longer "
        "are made smaller.",
    ),
    Key("MIN_SIZE_TEST", _SHORTER, "The shorter side, in evaluation and detection. 0: as it is."),
    Key("MAX_SIZE_TEST", _LONGER, "The longer side, in evaluation and detection, at most."),
    Key(
        "RANDOM_FLIP",
        Choice("none", "horizontal", "vertical"),
        "How half of the images of a training are mirrored.",
    ),
    Key("CROP.ENABLED", Switch(), "Cut a part out of each image of a training."),
    Key(
        "CROP.TYPE",
        Choice("relative", "relative_range", "absolute", "absolute_range"),
        "What the two numbers of CROP.SIZE are: height and width as parts of the image's, the "
        "least of such parts, height and width in pixels, the least and the most pixels of both "
        "sides.",
        read_with="CROP.ENABLED",
    ),
    Key(
        "CROP.SIZE",
        Fields(
            "two numbers, as INPUT.CROP.TYPE says: parts from 0.001 to 1, or whole pixels",
            (Number(0.001, 100_000),) * 2,
        ),
        "See CROP.TYPE.",
        read_with="CROP.ENABLED",
    ),
    Key("MASK_FORMAT", Choice("polygon", "bitmask"), "How masks are held in a training."),
    Key(
        "STRETCH_RANGE",
        Switch(),
        "Stretch the range from the lowest to the highest value of each image of 16 bits, as "
        "cameras of 10 or 12 bits need it. Off: 65,535 is white. Images of 8 bits stay as they "
        "are.",
        default=False,
    ),
    Key(
        "MAX_PIXELS",
        Whole(1, 2**31 - 1),
        "Pixels of the largest image that is read: a larger one, by its header, is refused before "
        "it is decoded, so that no file can fill the memory. Decoding takes 8 bytes a pixel, more "
        "of some formats.",
        default=178_956_970,
    ),
    Key(
        "AUGMENTATIONS",
        Several(
            Either(Text("a name of a transform"), Mappings("a mapping of one to its arguments"))
        ),
        "What is done to the images of a training before CROP, resizing and RANDOM_FLIP: names of "
        "transforms of torchvision.transforms.v2, or Mosaic, alone or with their arguments: "
        "`[Mosaic, {RandomZoomOut: {p: 0.3}}, {ColorJitter: {brightness: 0.2}}]`. "
        "docs/TRAINING.md lists them. After one that chooses the size of images (ScaleJitter, "
        "Resize, ...), MIN_SIZE_TRAIN and MAX_SIZE_TRAIN do nothing.",
        default=[],
    ),
)

_SETS = group(
    "DATASETS",
    "data sets",
    Key("TRAIN", _DATASETS, "Names of the data sets to train on."),
    Key("TEST", _DATASETS, "Names of the data sets to evaluate on."),
    Key(
        "CUSTOM",
        Mappings("a mapping of names to where their labels and images are"),
        "Data sets in COCO's format, registered before training, evaluation or the demo: "
        "`{my_train: {JSON: my/train.json, IMAGES: my/images}}`, or in another format of labels "
        "(docs/CUSTOM_DATA.md), by its name in capitals: `{my_train: {VOC: my, SPLIT: train}}`, "
        "with IMAGES where the images are elsewhere, and CLASSES, names in their order. A relative "
        'path starts at the folder in the variable DETECTRON2_DATASETS ("datasets").',
        default={},
    ),
    Key("PROPOSAL_FILES_TRAIN", _FILES, "With MODEL.LOAD_PROPOSALS: one file for each of TRAIN."),
    Key("PROPOSAL_FILES_TEST", _FILES, "With MODEL.LOAD_PROPOSALS: one file for each of TEST."),
    Key(
        "PRECOMPUTED_PROPOSAL_TOPK_TRAIN",
        _PROPOSALS,
        "Proposals of an image that are kept of these.",
    ),
    Key("PRECOMPUTED_PROPOSAL_TOPK_TEST", _PROPOSALS, "The same in evaluation."),
)

_LOADER = group(
    "DATALOADER",
    "loading",
    Key(
        "NUM_WORKERS",
        Whole(0, 512),
        "Processes that load images, for each process that trains. 0: that one itself.",
    ),
    Key(
        "ASPECT_RATIO_GROUPING",
        Switch(),
        "Put only wide images, or only tall ones, into a batch: less padding.",
    ),
    Key(
        "SAMPLER_TRAIN",
        Choice("TrainingSampler", "RepeatFactorTrainingSampler"),
        "All images equally often, or those with rare classes more often.",
    ),
    Key(
        "REPEAT_THRESHOLD",
        Number(0, 1),
        "With RepeatFactorTrainingSampler: classes in less than this part of the images are rare.",
    ),
    Key("REPEAT_SQRT", Switch(), "Repeat them by the square root of how rare they are."),
    Key("FILTER_EMPTY_ANNOTATIONS", Switch(), "Do not train on images without objects."),
    Key(
        "SKIP_UNREADABLE",
        Switch(),
        "Leave images out of training and evaluation that are missing, broken, of a kind that "
        "cannot be read or of another size than annotated. All images are decoded first to find "
        "them. Off: the first one ends the program.",
        default=False,
    ),
)

GROUPS: tuple[Group, ...] = (_INPUT, _SETS, _LOADER)
