"""The output folder: the run in it, whether a command goes on with that run, and its results."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import uuid
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import numpy as np

from fcos.checkpoint.reading import local_file
from fcos.config import CfgNode
from fcos.predict.many.shards import FinishedImages
from fcos.utils.errors import UserError, printable, short
from fcos.utils.files import write_whole
from fcos.utils.folders import subfolder
from fcos.utils.locks import FolderLock
from fcos.utils.nested import flat
from fcos.utils.reading import STATE, WEIGHTS, read_bytes, sha256_of

__all__ = ["DETECTIONS", "IMAGES", "LEFT_OUT", "DetectionFolder", "run_settings"]

logger = logging.getLogger(__name__)

Settings = dict[str, Any]

DETECTIONS, IMAGES, LEFT_OUT = "detections.json", "images.json", "left_out.txt"
_ADVICE = "When it can, the same command goes on where it stopped."
_PART = re.compile(r"part-\d{5,9}-\d{5,9}\.jsonl")
_NAMED = 3  # changed settings that a message names


def run_settings(cfg: CfgNode, **more: Any) -> Settings:
    """Return all that the results depend on, to tell two runs apart.

    Args:
        cfg: its nodes MODEL, INPUT and TEST are taken; of the weights the content, not the path;
            and not the device, so that a run can go on elsewhere.
        more: further settings, JSON values.

    Raises:
        UserError: the weights file cannot be read.
    """
    settings: Settings = {"weights": _fingerprint(cfg.MODEL.WEIGHTS), **more}
    for name in ("MODEL", "INPUT", "TEST"):
        settings.update(flat(cfg[name], f"{name}."))
    for name in ("MODEL.WEIGHTS", "MODEL.DEVICE"):
        settings.pop(name, None)
    whole: Settings = json.loads(json.dumps(settings, default=str))  # tuples become lists
    return whole


def _fingerprint(weights: str) -> str:
    name, *_ = weights.partition("?")
    try:
        return sha256_of(local_file(name), WEIGHTS)
    except OSError as error:
        raise UserError(f"The weights file {name} cannot be read: {error.strerror}.") from error


class DetectionFolder:
    """The output folder of a run.

    ``shards/run.json`` has the settings, ``shards/images.jsonl`` the paths of all images in the
    order of their numbers, ``shards/sizes.npy`` their sizes. Each start of the run adds files of
    :class:`fcos.predict.many.shards.ShardWriter`, one for each process.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._shards = os.path.join(folder, "shards")
        self._lock = FolderLock(folder, os.path.join("shards", "lock"))

    def __enter__(self) -> DetectionFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.__exit__()

    def path_of(self, name: str) -> str:
        """Return the path of a file of the results."""
        return os.path.join(self.folder, name)

    def lock(self) -> None:
        """Make the folder, and let no other run write to it until this context is left.

        The operating system releases the lock however the process ends.

        Raises:
            UserError: it cannot be written to, or another run is writing to it.
        """
        subfolder(self.folder, "shards")
        self._lock.acquire(
            f"Another run is writing to {self.folder}: wait for its end, or name another --output."
        )

    def begin(
        self, settings: Settings, list_images: Callable[[], Sequence[str]], fresh: bool
    ) -> str:
        """Go on with the run in the folder, or begin a new one.

        Args:
            settings: as :func:`run_settings` returns them.
            list_images: returns the paths of the images.
            fresh: throw away an earlier run.

        Returns:
            The token of the run, which no other run has.

        Raises:
            UserError: the folder has a run with other settings, or results without a run.
        """
        if not fresh and os.path.exists(self._shard("run.json")):
            token, earlier = self._run()
            self._compare(earlier, settings)
            self._compare_images(list_images())
            return token
        if not fresh and os.path.exists(self.path_of(DETECTIONS)):
            raise UserError(
                f"{self.folder} has results already: name another --output, or add --fresh to "
                "replace them."
            )
        paths = list_images()
        self._remove_shards()
        text = "".join(json.dumps(path) + "\n" for path in paths)
        self._write("images.jsonl", text.encode())
        token = uuid.uuid4().hex
        run = {"token": token, "settings": settings}
        self._write("run.json", json.dumps(run, indent=1).encode())  # last: with it, the run exists
        return token

    def _remove_shards(self) -> None:
        names = set(os.listdir(self._shards)) - {"lock"}
        # run.json first: without it, the other files are ignored.
        for name in sorted(names, key=lambda name: name != "run.json"):
            try:
                os.remove(self._shard(name))
            except OSError as error:
                text = f"{self._shard(name)} cannot be removed: {error.strerror}."
                raise UserError(text) from error

    def _run(self) -> tuple[str, Settings]:
        """Return the token and the settings of the run in the folder."""
        content = self._read("run.json")
        try:
            run = json.loads(content)
            token, settings = run["token"], run["settings"]
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise self._damaged("run.json") from error
        if not isinstance(token, str) or not isinstance(settings, dict):
            raise self._damaged("run.json")
        return token, settings

    def _damaged(self, name: str) -> UserError:
        return UserError(
            f"{self._shard(name)} is damaged, so that nobody knows what is done: name another "
            "--output, or add --fresh to begin anew."
        )

    def _compare(self, earlier: Settings, now: Settings) -> None:
        changed = [k for k in {**earlier, **now} if earlier.get(k) != now.get(k)]
        if not changed:
            return
        words = [
            "other weights" if key == "weights" else short(f"{key} was {earlier.get(key)}")
            for key in changed[:_NAMED]
        ] + [f"{len(changed) - _NAMED} more differences"] * (len(changed) > _NAMED)
        raise UserError(
            f"{self.folder} has a run with other settings ({', '.join(words)}): name another "
            "--output, or add --fresh to throw that run away."
        )

    def _compare_images(self, now: Sequence[str]) -> None:
        earlier, found = set(self.paths()), set(now)
        if earlier != found:
            logger.warning(
                f"{len(found - earlier)} images came and {len(earlier - found)} went since this "
                "run began. It goes on with those that it began with; --fresh begins anew."
            )

    def check_token(self, token: str) -> None:
        """Check that this process sees the folder of the main process.

        Raises:
            UserError: it sees another one.
        """
        if not os.path.exists(self._shard("run.json")) or self._run()[0] != token:
            raise UserError(
                f"--output {self.folder} is not the same folder on all machines: name one that "
                "they share."
            )

    def paths(self) -> list[str]:
        """Return the paths of all images.

        Raises:
            UserError: their file is damaged.
        """
        lines = self._read("images.jsonl").splitlines()
        try:
            paths = [json.loads(line) for line in lines]
        except (ValueError, RecursionError) as error:
            raise self._damaged("images.jsonl") from error
        if not paths or not all(map(_is_path, paths)):
            raise self._damaged("images.jsonl")
        return paths

    def has_sizes(self) -> bool:
        """Say whether the sizes of the images are known."""
        return os.path.exists(self._shard("sizes.npy"))

    def sizes(self, number: int) -> np.ndarray:
        """Return (N, 2) int32, height and width of each image; (0, 0) where they are unknown.

        Args:
            number: of images, N.

        Raises:
            UserError: their file is damaged, or of another number of images.
        """
        content = io.BytesIO(self._read("sizes.npy"))
        try:
            sizes: np.ndarray = np.lib.format.read_array(content, allow_pickle=False)
        except Exception as error:  # numpy parses the header as Python code
            raise self._damaged("sizes.npy") from error
        if sizes.shape != (number, 2) or sizes.dtype != np.int32 or (sizes < 0).any():
            raise self._damaged("sizes.npy")
        return sizes

    def save_sizes(self, sizes: np.ndarray) -> None:
        """Write the sizes, for :meth:`sizes` to return."""
        write_whole(self._shard("sizes.npy"), lambda file: np.save(file, sizes), _ADVICE)

    def shards(self) -> list[str]:
        """Return the files with lines, those of earlier starts first."""
        names = [name for name in os.listdir(self._shards) if _PART.fullmatch(name)]
        return [self._shard(name) for name in sorted(names)]

    def new_shards(self, processes: int) -> list[str]:
        """Choose the shards of a new start, one for each process."""
        starts = {os.path.basename(path).split("-")[1] for path in self.shards()}
        start = 1 + max(map(int, starts), default=-1)
        return [self._shard(f"part-{start:05}-{rank:05}.jsonl") for rank in range(processes)]

    def write_results(
        self, finished: FinishedImages, paths: Sequence[str], categories: Sequence[dict[str, Any]]
    ) -> None:
        """Write the files for the user, each whole or not at all.

        Args:
            finished: the lines of all images.
            paths: of all images.
            categories: for ``images.json``, in COCO's form.

        Raises:
            UserError: they cannot be written.
        """

        def images(file: BinaryIO) -> None:
            # pycocotools reads no data set without "info" and "annotations".
            head = {"info": {}, "categories": list(categories), "annotations": []}
            file.write(json.dumps(head)[:-1].encode() + b', "images": ')
            _write_json_list(file, (_image(i) for i in np.flatnonzero(finished.is_done).tolist()))
            file.write(b"}\n")

        def _image(image: int) -> bytes:
            height, width = finished.sizes[image].tolist()
            record = {"id": image, "file_name": paths[image], "width": width, "height": height}
            return json.dumps(record).encode()

        def left_out(file: BinaryIO) -> None:
            for image, problem in finished.problems():
                # Encoded as file names are, so that --list finds the file again.
                line = f"# {printable(' '.join(problem.split()))}\n{_as_line(paths[image])}\n"
                file.write(line.encode("utf-8", errors="surrogateescape"))

        self._result(IMAGES, images)
        if finished.is_left_out.any():
            self._result(LEFT_OUT, left_out)
        elif os.path.exists(self.path_of(LEFT_OUT)):
            os.remove(self.path_of(LEFT_OUT))
        self._result(DETECTIONS, lambda file: _write_json_list(file, finished.results()))

    def _result(self, name: str, write: Callable[[BinaryIO], None]) -> None:
        write_whole(self.path_of(name), write, _ADVICE)

    def _shard(self, name: str) -> str:
        return os.path.join(self._shards, name)

    def _read(self, name: str) -> bytearray:
        try:
            return read_bytes(self._shard(name), STATE)
        except OSError as error:
            raise UserError(f"{self._shard(name)} cannot be read: {error.strerror}.") from error

    def _write(self, name: str, content: bytes) -> None:
        write_whole(self._shard(name), lambda file: file.write(content), _ADVICE)


def _write_json_list(file: BinaryIO, items: Any) -> None:
    separator = b"[\n"
    for item in items:
        file.write(separator + item)
        separator = b",\n"
    file.write(b"[]\n" if separator == b"[\n" else b"\n]\n")


def _is_path(value: Any) -> bool:
    try:
        return isinstance(value, str) and value != "" and b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:  # half of a character, as JSON may have it
        return False


def _as_line(path: str) -> str:
    return os.path.join(".", path) if path.startswith("#") else path
