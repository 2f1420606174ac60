"""What a weights file filled of a model, and whether that is enough for what is about to happen."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from torch import nn

from fcos.utils.errors import UserError

__all__ = ["Coverage"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Coverage:
    """Names of a model's parameters and buffers, sorted by what a weights file did to them.

    Attributes:
        path: the weights file.
        loaded: those that got a value, from the file or, as some counters and statistics of
            normalisation layers, from torch's own rule for files without them.
        missing: those that the file does not have.
        mismatched: (name, shape in the file, shape in the model); they kept their values.
        unexpected: names in the file that the model does not have.
        family: that the file is of (:mod:`fcos.checkpoint.importers`), or "". The file of a
            detector that this model does not have all of computes something else than this model.
        dropped: names in the file that nothing is computed from, such as counters.
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
        """(classes of the file, classes of the model) where these are all that differs."""
        if not all(is_per_class(name) for name, _, _ in self.mismatched):
            return None
        for name, in_file, in_model in self.mismatched:
            if is_class_logits(name):
                return in_file[0], in_model[0]
        return None

    def require_all(self, purpose: str) -> None:
        """Accept nothing less than a value for every parameter and buffer.

        Of a detector's file (``family``), nothing may be left over either.

        Args:
            purpose: begins the message, such as "Evaluation".

        Raises:
            UserError: something is missing, left over or of another shape; the message lists it.
        """
        left_over = self.family and self.unexpected
        if not self.missing and not self.mismatched and not left_over:
            return
        if self.class_numbers and not self.missing and not left_over:
            in_file, in_model = self.class_numbers
            raise UserError(
                f"{self.path} is a detector of {in_file} classes, but MODEL.FCOS.NUM_CLASSES is "
                f"{in_model}; set it to {in_file} or give other weights."
            )
        raise UserError(
            f"{purpose} needs weights for the whole model, and {self.path} does not fit it "
            f"({self._differences()}); give the weights that belong to this config{self._hint()}."
        )

    def require_start(self, model: nn.Module, reinit_cls_logits: bool) -> str:
        """Accept what a training can start from: a detector, or at least a part of one.

        Args:
            model: the model that was loaded, to count parameters.
            reinit_cls_logits: accept a detector with another number of classes.

        Returns:
            One or two sentences that say what starts from the file and what at random.

        Raises:
            UserError: nothing of the file fits, shapes differ that should not, or a detector's
                file has more than this model.
        """
        # Only parameters tell: torch fills some buffers that a file lacks by itself.
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
                    f"{self.path} is a detector of {in_file} classes, but MODEL.FCOS.NUM_CLASSES "
                    f"is {in_model}: set it to {in_file}, or set MODEL.FCOS.REINIT_CLS_LOGITS True "
                    "to start the class-logit layer afresh."
                )
            layers = "The class-logit layer is"
            if not all(is_class_logits(name) for name, _, _ in self.mismatched):
                layers = "The class-logit layer and the last layer of the mask head are"
            said += f" {layers} re-initialised, from {in_file} classes in the file to {in_model}."
        return said

    def _start_sentence(self, model: nn.Module) -> str:
        sizes = {name: value.numel() for name, value in model.named_parameters()}
        skipped = [name for name in self.missing if name in sizes]
        if not skipped:
            return f"Weights from {self.path}."
        groups = Counter({"backbone": 0, "FPN": 0, "head": 0, "mask head": 0})
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
    """Whether a parameter belongs to the layer with one output per class."""
    return "cls_logits" in name.split(".")


def is_per_class(name: str) -> bool:
    """Whether a parameter belongs to a layer whose size depends on the number of classes."""
    return is_class_logits(name) or name.startswith("roi_heads.mask_head.predictor.")


def _part(name: str) -> str:
    """The part of the detector that a parameter belongs to, in words."""
    if name.startswith("roi_heads."):
        return "mask head"
    if name.startswith("backbone.bottom_up."):
        return "backbone"
    return "FPN" if name.startswith("backbone.") else "head"


def _some(names: list[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _size(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "scalar"
