"""detectron2's checkpointer with safe reading, atomic writing and a report of what was loaded."""

from __future__ import annotations

import logging
import os
from typing import Any

import torch
from torch import nn

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.utils import comm
from fcos.checkpoint.content import without_prefix
from fcos.checkpoint.coverage import Coverage
from fcos.checkpoint.importers import (
    FAMILIES,
    HEAD,
    Imported,
    check_backbone,
    choose_classes,
    leave_masks,
    recognise,
)
from fcos.checkpoint.last import find_last_checkpoint, name_last_checkpoint
from fcos.checkpoint.reading import DamagedFile, local_file, read_file
from fcos.checkpoint.stored_config import CONFIG
from fcos.checkpoint.sums import how_to_go_on
from fcos.checkpoint.thresholds import THRESHOLDS
from fcos.utils.agree import in_all, raise_together
from fcos.utils.errors import UserError
from fcos.utils.files import write_whole

__all__ = ["AdetCheckpointer"]

logger = logging.getLogger(__name__)

_ADVICE = (
    "Earlier checkpoints are as they were; make room or choose another OUTPUT_DIR, then go on with "
    "--resume."
)


class AdetCheckpointer(DetectionCheckpointer):
    """Saves and loads a detector together with what its training needs to go on.

    Differences from its base: reading never runs code from a file; parameters of other
    implementations of FCOS are renamed to ours (:mod:`fcos.checkpoint.importers`); a file in
    ``save_dir`` is either complete or not there; :attr:`coverage` tells what the last :meth:`load`
    filled; and :attr:`class_names` and :attr:`config` are saved in every file.

    Args:
        model: the detector, wrapped for several processes or not.
        save_dir: folder on this machine that checkpoints are written to.
        save_to_disk: whether this process writes; by default only the main one.
        checkpointables: further objects with ``state_dict()`` and ``load_state_dict()``.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        save_to_disk: bool | None = None,
        **checkpointables: Any,
    ) -> None:
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        #: names of the classes in the order of the model's outputs; saved when not empty
        self.class_names: list[str] = []
        #: of the detector, as :func:`fcos.checkpoint.stored_text`; saved when not empty
        self.config = ""
        self._filled: Coverage | None = None
        self._by_heuristics = False
        self._read: dict[str, tuple[int, ...]] = {}
        self._family = ""
        self._dropped: tuple[str, ...] = ()
        self._names: dict[str, str] = {}  # ours -> in the file

    @property
    def coverage(self) -> Coverage:
        """Tell what the last call of :meth:`load` filled.

        Raises:
            RuntimeError: nothing has been loaded yet.
        """
        if self._filled is None:
            raise RuntimeError("coverage: nothing has been loaded yet")
        return self._filled

    # ---- reading -----------------------------------------------------------------------------

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load a weights file or checkpoint; every process of a training must call this.

        Args:
            path: file or address; with ``?matching_heuristics=True`` at its end, names are matched
                by their ends. Empty: nothing is loaded.
            args, kwargs: as in the base class (``checkpointables``).

        Returns:
            What else is in the file, without the weights and the checkpointables.

        Raises:
            UserError: the file cannot be used (see :func:`fcos.checkpoint.read_checkpoint`), or has
                weights that are not finite.
        """
        self._filled = None
        if not path:
            return super().load(path, *args, **kwargs)
        name, _, query = path.partition("?")
        self._by_heuristics = query == "matching_heuristics=True"
        # Other processes may be on a machine that does not have the file.
        local = in_all(lambda: local_file(name) if comm.is_main_process() else name)

        def note(_: nn.Module, keys: Any) -> None:  # before any checkpointable is loaded
            self._filled = self._compare(name, keys.missing_keys, keys.unexpected_keys)

        handle = self.model.register_load_state_dict_post_hook(note)
        try:
            extra = super().load(local, *args, **kwargs)
        finally:
            handle.remove()
        self._filled = comm.all_gather(self._filled)[0]
        raise_together(_not_finite(name, self.model, self._filled))
        return extra

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """Load the last checkpoint of ``save_dir``, or ``path``.

        Raises:
            UserError: as for :meth:`load`. Of a damaged checkpoint, it names the one before.
        """
        try:
            return super().resume_or_load(path, resume=resume)
        except DamagedFile as error:
            if not (resume and self.has_checkpoint()):
                raise
            raise DamagedFile(f"{error} {how_to_go_on(self.get_checkpoint_file())}") from error

    def get_checkpoint_file(self) -> str:
        """Return the last checkpoint of ``save_dir``, "" if there is none yet.

        Raises:
            UserError: see :func:`fcos.checkpoint.last.find_last_checkpoint`.
        """
        return find_last_checkpoint(self.save_dir)

    def _load_file(self, filename: str) -> dict[str, Any]:
        # Without checkpointables only the weights are used; the rest can stay in the file.
        checkpoint = read_file(filename, mmap=not self.checkpointables)
        if self._by_heuristics:
            checkpoint["matching_heuristics"] = True
        weights = self._import(checkpoint, filename)
        self._read = {name: tuple(value.shape) for name, value in weights.items()}
        return checkpoint

    def _import(self, checkpoint: dict[str, Any], path: str) -> dict[str, Any]:
        """Rename the weights of a known family to ours; return them without any prefix."""
        weights = without_prefix(checkpoint["model"])
        family = recognise(weights)
        self._family = family.name if family else ""
        self._dropped, self._names = (), {}
        if family is None:
            return weights
        imported: Imported = family.to_ours(weights)
        self._dropped, self._names = imported.dropped, imported.names
        check_backbone(imported.weights, family, path)
        wanted = self.model.state_dict()
        logits = wanted.get(f"{HEAD}cls_logits.bias")
        weights, choice = choose_classes(
            imported.weights, family, None if logits is None else len(logits)
        )
        weights, masks = leave_masks(weights, wanted)
        self._dropped += masks
        # Our own training checkpoints have AdelaiDet's names, but hold more than weights.
        is_published = checkpoint.keys() <= {"model", "__author__", "meta", THRESHOLDS}
        said = [family.note if is_published else "", choice]
        if masks:
            said.append(
                f"The file is of a detector with masks and this config has none: its {len(masks)} "
                "parameters of the mask head are left out, which changes no box."
            )
        if family is not FAMILIES["adelaidet"]:
            folder = f"configs/published/{family.name}"
            said.insert(0, f"The file is of {family.name}; what that computes is in {folder}.")
        if any(said) and comm.is_main_process():
            logger.info(" ".join(sentence for sentence in said if sentence))
        checkpoint["model"] = weights
        return weights

    def _compare(self, path: str, missing: list[str], unexpected: list[str]) -> Coverage:
        shapes = {name: tuple(value.shape) for name, value in self.model.state_dict().items()}
        mismatched = tuple(
            (name, shape, shapes[name])
            for name, shape in self._read.items()
            if name in shapes and shape != shapes[name]
        )
        unfilled = {*missing, *(name for name, _, _ in mismatched)}
        left_over = [self._names.get(name, name) for name in unexpected]
        # The proposals of a two-stage detector are evaluated without its ROI heads.
        is_part = type(self.model).__name__ == "ProposalNetwork"
        spare = [name for name in left_over if is_part and name.startswith("roi_heads.")]
        return Coverage(
            path=path,
            loaded=tuple(name for name in shapes if name not in unfilled),
            missing=tuple(m for m in missing if m not in {name for name, _, _ in mismatched}),
            mismatched=mismatched,
            unexpected=tuple(name for name in left_over if name not in spare),
            family=self._family,
            dropped=(*self._dropped, *spare),
        )

    # ---- writing -----------------------------------------------------------------------------

    def save(self, name: str, *, tag: bool = True, **kwargs: Any) -> None:
        """Write ``<save_dir>/<name>.pth``, completely or not at all.

        Args:
            name: name of the file without its ending.
            tag: make it the checkpoint that ``--resume`` starts from.
            kwargs: further entries of the file, made of tensors and plain values.

        Raises:
            UserError: the file cannot be written, for example on a full disk. Earlier checkpoints
                are unchanged, and so is an earlier file of this name.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        content: dict[str, Any] = {"model": self.model.state_dict()}
        content.update({key: obj.state_dict() for key, obj in self.checkpointables.items()})
        content.update(kwargs)
        if self.class_names:
            content["class_names"] = list(self.class_names)
        if self.config:
            content[CONFIG] = self.config
        path = os.path.join(self.save_dir, f"{name}.pth")
        self.logger.info(f"Writing {path}")
        write_whole(path, lambda file: torch.save(content, file), _ADVICE)
        if tag:
            self.tag_last_checkpoint(f"{name}.pth")

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Make a file of ``save_dir`` the one that ``--resume`` starts from.

        Args:
            last_filename_basename: name of the file, with its ending.
        """
        name_last_checkpoint(self.save_dir, last_filename_basename, _ADVICE)


def _not_finite(path: str, model: nn.Module, filled: Coverage) -> UserError | None:
    """Refuse weights that would silently find nothing, or fail much later."""
    values = model.state_dict()
    broken = [name for name in filled.loaded if not values[name].isfinite().all()]
    if not broken:
        return None
    return UserError(
        f"{path} has {len(broken)} weights that are not finite, such as {broken[0]}: it comes from "
        "a training that failed; take an earlier checkpoint of it."
    )
