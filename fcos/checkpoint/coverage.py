"""What a weights file filled of a model, and whether this is enough to evaluate or to train."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from torch import nn

from fcos.utils.errors import UserError

__all__ = ["Coverage"]

Shape = tuple[int, ...]

# The last layers of Faster R-CNN and Mask R-CNN.
_BOX_PREDICTOR = "roi_heads.box_predictor."


@dataclass(frozen=True)
class Coverage:
    """What a weights file did to each parameter and buffer of a model.

    Attributes:
        path: the weights file.
        loaded: names that got a value from the file. Some counters and statistics of normalisation
            layers are among them, because torch fills them if the file lacks them.
        missing: names that the file does not have.
        mismatched: (name, shape in the file, shape in the model); they kept their values.
        unexpected: names in the file that the model does not have.
        family: family of the file (:mod:`fcos.checkpoint.importers`), or "". If a detector's file
            has more parameters than the model, the model computes something else.
        dropped: names in the file that are not needed to compute anything, such as counters.
    """

    path: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    mismatched: tuple[tuple[str, Shape, Shape], ...]
    unexpected: tuple[str, ...]
    family: str = ""
    dropped: tuple[str, ...] = ()

    @property
    def class_numbers(self) -> tuple[int, int] | None:
        """Return (classes in the file, classes in the model) if nothing else differs."""
        if not all(is_per_class(name) for name, _, _ in self.mismatched):
            return None
        for name, in_file, in_model in self.mismatched:
            if is_class_logits(name):
                background = name.startswith(_BOX_PREDICTOR)  # has a logit there
                return in_file[0] - background, in_model[0] - background
        return None

    @property
    def _classes_key(self) -> str:
        """The key of the number of classes, where that differs."""
        is_ours = not any(name.startswith(_BOX_PREDICTOR) for name, _, _ in self.mismatched)
        return "MODEL.FCOS.NUM_CLASSES" if is_ours else "MODEL.ROI_HEADS.NUM_CLASSES"

    def require_all(self, purpose: str) -> None:
        """Check that every parameter and buffer got a value.

        Of a detector's file (``family``), nothing may be left over.

        Args:
            purpose: first word of the message, such as "Evaluation".

        Raises:
            UserError: names are missing, left over or of another shape; the message lists them.
        """
        left_over = self.family and self.unexpected
        if not self.missing and not self.mismatched and not left_over:
            return
        if self.class_numbers and not self.missing and not left_over:
            in_file, in_model = self.class_numbers
            raise UserError(
                f"{self.path} is a detector of {in_file} classes, but {self._classes_key} is "
                f"{in_model}; set it to {in_file} or give other weights."
            )
        raise UserError(
            f"{purpose} needs weights for the whole model, and {self.path} does not fit it "
            f"({self._differences()}); give the weights that belong to this config{self._hint()}."
        )

    def require_start(self, model: nn.Module, reinit_cls_logits: bool) -> str:
        """Check that a training can start from the file: a detector, or at least a part of one.

        Args:
            model: the loaded model, to count parameters.
            reinit_cls_logits: accept a detector with another number of classes.

        Returns:
            One or two sentences: what starts from the file, and what at random.

        Raises:
            UserError: no parameter of the file fits, shapes differ apart from the number of
                classes, or a detector's file has more parameters than this model.
        """
        # Compare parameters only: torch fills some buffers that the file lacks.
        if not {name for name, _ in model.named_parameters()}.intersection(self.loaded):
            raise UserError(
                f"Nothing in {self.path} fits this model ({self._differences()}); check "
                "MODEL.WEIGHTS and the backbone of the config."
            )
        if (self.mismatched and self.class_numbers is None) or (self.family and self.unexpected):
            raise UserError(
                f"{self.path} is for another model ({self._differences()}); use the config that "
                f"belongs to it, or other weights{self._hint()}."
            )
        said = self._start_sentence(model)
        if self.class_numbers:
            in_file, in_model = self.class_numbers
            if not reinit_cls_logits:
                raise UserError(
                    f"{self.path} is a detector of {in_file} classes, but {self._classes_key} "
                    f"is {in_model}: set it to {in_file}, or set MODEL.FCOS.REINIT_CLS_LOGITS True "
                    "to start the class-logit layer afresh."
                )
            layers = "The class-logit layer is"
            if any(name.startswith(_BOX_PREDICTOR) for name, _, _ in self.mismatched):
                layers = "The layers with outputs of each class are"
            elif not all(is_class_logits(name) for name, _, _ in self.mismatched):
                layers = "The class-logit layer and the last layer of the mask head are"
            said += f" {layers} re-initialised, from {in_file} classes in the file to {in_model}."
        return said

    def _start_sentence(self, model: nn.Module) -> str:
        sizes = {name: value.numel() for name, value in model.named_parameters()}
        skipped = [name for name in self.missing if name in sizes]
        if not skipped:
            return f"Weights from {self.path}."
        groups = Counter({"backbone": 0, "FPN": 0, "head": 0, "box head": 0, "mask head": 0})
        for name in skipped:
            groups[_part(name)] += sizes[name]
        parts = ", ".join(f"{part} {number:,}" for part, number in groups.items() if number)
        whole = all(not name.startswith("backbone.bottom_up.") for name in skipped)
        source = "Backbone" if whole else "Only a part of the backbone"
        if set(+groups) == {"mask head"}:
            source = "Detector without masks"
        return (
            f"{source} from {self.path}; {sum(groups.values()):,} parameters start at random "
            f"({parts})."
        )

    def _hint(self) -> str:
        if not self.family:
            return ""
        return f" ('python -m fcos.checkpoint inspect {self.path}' tells which config that is)"

    def _differences(self) -> str:
        shapes = [f"{name} {_size(a)} instead of {_size(b)}" for name, a, b in self.mismatched]
        kinds = [
            ("missing", list(self.missing)),
            ("of another shape", shapes),
            ("unexpected", list(self.unexpected)),
        ]
        return "; ".join(f"{len(v)} {kind}: {_some(v)}" for kind, v in kinds if v)


def is_class_logits(name: str) -> bool:
    """Say whether a parameter belongs to the layer with one output per class."""
    return "cls_logits" in name.split(".") or name.startswith(f"{_BOX_PREDICTOR}cls_score.")


def is_per_class(name: str) -> bool:
    """Say whether a parameter belongs to a layer whose size depends on the number of classes."""
    own = (_BOX_PREDICTOR, "roi_heads.mask_head.predictor.")
    return is_class_logits(name) or name.startswith(own)


def _part(name: str) -> str:
    """Name the part of the detector that a parameter belongs to."""
    if name.startswith("roi_heads."):
        return "box head" if name.startswith("roi_heads.box_") else "mask head"
    if name.startswith("backbone.bottom_up."):
        return "backbone"
    return "FPN" if name.startswith("backbone.") else "head"


def _some(names: list[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _size(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "scalar"
