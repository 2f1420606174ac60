"""``PathManager``: opens local files, and ``detectron2://`` and ``https://`` ones through a cache.

What is fetched is kept in ``$FVCORE_CACHE`` (default ``~/.torch/iopath_cache``).
"""

from __future__ import annotations

from typing import Any

from iopath.common.file_io import HTTPURLHandler, PathHandler
from iopath.common.file_io import PathManager as _PathManager

from detectron2._missing import missing_names

__all__ = ["Detectron2Handler", "PathHandler", "PathManager"]

__getattr__ = missing_names(__name__)


class Detectron2Handler(PathHandler):
    """``detectron2://NAME`` is NAME on the server that detectron2's files are published on."""

    SCHEME = "detectron2://"
    SERVER = "https://dl.fbaipublicfiles.com/detectron2/"

    def _get_supported_prefixes(self) -> list[str]:
        return [self.SCHEME]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        url = self.SERVER + path.removeprefix(self.SCHEME)
        return PathManager.get_local_path(url, force=force, **kwargs)

    def _open(
        self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any
    ) -> Any:  # a text or a binary file, as `mode` says
        return open(self._get_local_path(path), mode, buffering, **kwargs)


PathManager = _PathManager()
PathManager.register_handler(HTTPURLHandler())
PathManager.register_handler(Detectron2Handler())
