"""What a run of ``fcos detect`` is asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from fcos.checkpoint import DEFAULT_SCORE
from fcos.config import CfgNode
from fcos.predict.inputs import find_images, read_list
from fcos.predict.predictor import Predictor

__all__ = ["DetectionJob"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectionJob:
    """What to detect in, how, and where to write the results.

    Attributes:
        output: the folder of the results.
        inputs: images, folders and patterns, as :func:`fcos.predict.inputs.find_images` takes them.
        recursive: search the subfolders of ``inputs``, too.
        list_file: a text file of paths instead of ``inputs``.
        threshold: score in [0, 1] that a detection must have at least; ``None``: that of its class
            in the checkpoint, or 0.5 where it has none.
        batch_size: images in a batch, at most.
        optimize, compile: as of :class:`fcos.predict.Predictor`.
        fresh: throw away an earlier run in ``output`` instead of going on with it.
        retry: read images again that an earlier run left out.
        labels: format of labels to write as well, a key of
            :data:`fcos.data.label_files.LABEL_FORMATS`; "": none.
        debug: let a process raise its errors instead of printing a sentence.
    """

    output: str
    inputs: Sequence[str] = ()
    recursive: bool = False
    list_file: str | None = None
    threshold: float | None = None
    batch_size: int = 8
    optimize: str | None = None
    compile: bool = False
    fresh: bool = False
    retry: bool = False
    labels: str = ""
    debug: bool = False

    def image_files(self) -> list[str]:
        """Find the images.

        Raises:
            UserError: an input or the list cannot be read, or there is no image.
        """
        if self.list_file is not None:
            return read_list(self.list_file)
        return find_images(self.inputs, self.recursive)

    def predictor(self, cfg: CfgNode) -> Predictor:
        """Build the detector.

        Raises:
            UserError: it cannot be built.
        """
        least, default = self.threshold, DEFAULT_SCORE
        return Predictor(cfg, self.optimize, self.compile, threshold=least, default=default)
