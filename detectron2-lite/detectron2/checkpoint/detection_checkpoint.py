"""``DetectionCheckpointer``: detectron2's, torch's and Caffe2's files into a model."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import IO, Any
from urllib.parse import parse_qs

import numpy as np
import torch
from fvcore.common.checkpoint import Checkpointer
from torch import nn

from detectron2._missing import missing_names
from detectron2.checkpoint._reading import read_file
from detectron2.checkpoint.c2_model_loading import align_and_update_state_dicts
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

__all__ = ["DetectionCheckpointer"]

__getattr__ = missing_names(__name__)

# Constants of a model, from its config; a checkpoint need not have them.
_CONSTANTS = ("pixel_mean", "pixel_std")
# What a published file may have of them, and no model takes: anchors follow from the config.
_ANCHORS = "anchor_generator.cell_anchors"


class DetectionCheckpointer(Checkpointer):
    """Saves a model with its training state, and loads it or weights from elsewhere.

    It reads ``.pth`` files and detectron2's ``.pkl`` files, among these the ImageNet models with
    Caffe2's names.  What is in a file is only ever data; see ``_reading.py``.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        save_to_disk: bool | None = None,
        **checkpointables: Any,
    ):
        """
        Args:
            model: the model; one wrapped for data-parallel training is unwrapped.
            save_dir: where ``save`` puts its files.
            save_to_disk: None to save on process 0 only.
            checkpointables: what is saved and loaded besides the model, by name: anything with
                ``state_dict()`` and ``load_state_dict()``.
        """
        if save_to_disk is None:
            save_to_disk = comm.is_main_process()
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self.path_manager = PathManager
        self._match_names = False

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load a checkpoint; log which weights are missing, unexpected or of another shape.

        Args:
            path: a file, ``detectron2://...`` or ``https://...``; "" loads nothing. At its end,
                ``?matching_heuristics=True`` lets weights match whose name in the model only ends
                in theirs, as ``.pkl`` files from Caffe2 do anyway.
            args: of fvcore's ``Checkpointer.load``: ``checkpointables``, the names of what else
                to load; None for all, [] for the model only.
            kwargs: the same.

        Returns:
            What else is in the file.

        Raises:
            FileNotFoundError: there is no such file.
            OSError: it could not be fetched.
            ValueError: it cannot be read, would run code, or has something else than weights.
        """
        path, _, query = path.partition("?")
        options = parse_qs(query)
        match_names = options.pop("matching_heuristics", ["False"]) == ["True"]
        if options:
            raise ValueError(
                f"'{path}?{query}': only ?matching_heuristics=True may follow a checkpoint's path"
            )
        if path:
            self._check_exists(path)
        self._match_names = match_names
        try:
            return super().load(path, *args, **kwargs)
        finally:
            self._match_names = False

    def _check_exists(self, path: str) -> None:
        try:
            found = os.path.isfile(path) or os.path.isfile(self.path_manager.get_local_path(path))
        except OSError as error:
            raise OSError(f"Checkpoint '{path}' could not be fetched: {error}") from error
        if not found:
            raise FileNotFoundError(f"Checkpoint '{path}' does not exist")

    def _load_file(self, filename: str) -> dict[str, Any]:
        content = read_file(filename)
        if not isinstance(content, dict):
            raise ValueError(
                f"Checkpoint '{filename}' holds a {type(content).__name__}, not weights by name"
            )
        if "model" not in content:
            # Weights alone: Caffe2's in a .pkl, a state dict in a .pth.
            if filename.endswith(".pkl"):
                blobs = content.get("blobs", content)
                weights = {k: v for k, v in blobs.items() if not k.endswith("_momentum")}
                content = {"model": weights, "__author__": "Caffe2", "matching_heuristics": True}
            else:
                content = {"model": content}
        _check_weights(content["model"], filename)
        if self._match_names:
            content["matching_heuristics"] = True
        return content

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        if checkpoint.get("matching_heuristics"):
            checkpoint["model"] = align_and_update_state_dicts(
                self.model.state_dict(),
                checkpoint["model"],
                c2_conversion=checkpoint.get("__author__") == "Caffe2",
            )
        incompatible = super()._load_model(checkpoint)
        missing = incompatible.missing_keys
        missing[:] = [name for name in missing if name not in _CONSTANTS]
        unexpected = incompatible.unexpected_keys
        unexpected[:] = [name for name in unexpected if _ANCHORS not in name]
        return incompatible

    def save(self, name: str, **kwargs: Any) -> None:
        """Write ``<save_dir>/<name>.pth`` and point ``last_checkpoint`` to it.

        A file appears, or is replaced, only when the new one is complete: an interrupted save
        leaves the earlier checkpoint unchanged.

        Args:
            name: file name without its ending.
            kwargs: what else to save, such as the iteration.

        Raises:
            OSError: the folder cannot be written, or the disk is full.
        """
        if not (self.save_dir and self.save_to_disk):
            return
        assert os.path.basename(name) == name, f"name: a file name without folders, got '{name}'"
        content = {key: item.state_dict() for key, item in self.checkpointables.items()}
        content = {"model": self.model.state_dict(), **content, **kwargs}
        target = os.path.join(self.save_dir, f"{name}.pth")
        self.logger.info("Saving checkpoint to %s", target)
        with _replacing(target) as file:
            torch.save(content, file)
        self.tag_last_checkpoint(f"{name}.pth")

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Make a checkpoint in ``save_dir`` the one that training is resumed from."""
        with _replacing(os.path.join(self.save_dir, "last_checkpoint")) as file:
            file.write(last_filename_basename.encode())


@contextlib.contextmanager
def _replacing(target: str) -> Iterator[IO[bytes]]:
    """Open a file that replaces ``target`` at the end, unless writing it fails."""
    temporary = f"{target}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except (OSError, RuntimeError) as error:  # torch turns some of the former into the latter
        raise OSError(
            f"'{target}' could not be written, and what was there is unchanged: {error}"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            os.remove(temporary)


def _check_weights(weights: Any, filename: str) -> None:
    if not isinstance(weights, dict):
        raise ValueError(
            f"Checkpoint '{filename}': 'model' is a {type(weights).__name__}, not weights by name"
        )
    for name, value in weights.items():
        if not isinstance(value, (torch.Tensor, np.ndarray)):
            raise ValueError(
                f"Checkpoint '{filename}': '{name}' is a {type(value).__name__}, not a tensor or "
                "array; weights are expected under 'model', or alone in the file"
            )
