"""The lists of an annotation file in COCO's format, and what makes a file no such file."""

from __future__ import annotations

import os
import reprlib
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from detectron2.utils.file_io import PathManager
from fcos.utils.errors import UserError
from fcos.utils.json_files import is_id, read_json
from fcos.utils.reading import ANNOTATIONS, open_file
from fcos.utils.values import LONGEST_NAME, is_name, is_text

__all__ = ["equal_ids", "import_advice", "mixed_ids", "read_lists"]


class _Kind(NamedTuple):
    """What the members of a list have."""

    called: str
    needed: tuple[str, ...]
    ids: tuple[str, ...]
    texts: tuple[str, ...]


_KINDS = {
    "images": _Kind("image", ("id",), ids=("id",), texts=("file_name",)),
    "categories": _Kind("category", ("id", "name"), ids=("id",), texts=("name",)),
    "annotations": _Kind("annotation", (), ids=("id", "image_id", "category_id"), texts=()),
}


_EXPECTED = {
    is_text: "a text",
    is_name: f"a text of at most {LONGEST_NAME} characters that can be shown",
}


def read_lists(json_file: str) -> dict[str, list[dict[str, Any]]]:
    """Return the lists "images", "categories" and, if it is there, "annotations" of a file.

    Every member is a mapping whose ids and names, where it has any, are valid.

    Raises:
        UserError: it is not JSON in UTF-8, lacks a list, or a member is not as it has to be.
    """
    contents = _read(json_file)
    if not isinstance(contents, dict):
        contents = {}
    keys = ["images", "categories", *(["annotations"] if "annotations" in contents else ())]
    missing = [key for key in keys if not isinstance(contents.get(key), list)]
    if missing:
        raise UserError(
            f"{json_file} is not in COCO's format: it has no list {' and no list '.join(missing)}. "
            f"{import_advice(json_file)}"
        )
    for key in keys:
        _check_members(json_file, key, contents[key])
    return {key: contents[key] for key in keys}


def import_advice(path: str) -> str:
    """Say how labels at ``path`` in another format become annotations in COCO's."""
    folder = path if os.path.isdir(path) else os.path.dirname(path) or "."
    return (
        f"Labels in another format become such a file by: fcos data import {folder} "
        "--output my_data."
    )


def _read(json_file: str) -> Any:
    try:
        return read_json(json_file)
    except UserError as error:
        if kind := _other_kind(json_file):
            raise UserError(
                f"{json_file} is {kind}, not JSON in COCO's format. {import_advice(json_file)}"
            ) from error
        raise


def _other_kind(path: str) -> str:
    """What a file is, by its first character, that does not begin as JSON does; else ""."""
    try:
        with open_file(PathManager.get_local_path(path), ANNOTATIONS) as file:
            start = file.read(1000).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError:
        return ""
    if start.startswith(b"<"):
        return "XML (as of Pascal VOC or CVAT)"
    if start[:1] in (b"", b"{", b"[") or b"\0" in start:
        return ""
    return "a table or a text (as of YOLO or CSV)"


def _check_members(json_file: str, key: str, members: list[Any]) -> None:
    kind = _KINDS[key]
    if set(map(type, members)) - {dict}:
        index, member = next((i, m) for i, m in enumerate(members) if not isinstance(m, dict))
        raise UserError(
            f"{json_file} is not in COCO's format: {key}[{index}] is {reprlib.repr(member)}, "
            "expected a mapping."
        )
    for name in kind.needed:
        for member in members:
            if name not in member:
                raise UserError(f"{json_file}: {kind.called} {reprlib.repr(member)} has no {name}.")
    for name in kind.ids:
        _check_values(json_file, key, members, name, "a number or a text", is_id)
    for name in kind.texts:
        is_sound = is_name if name == "name" else is_text
        _check_values(json_file, key, members, name, _EXPECTED[is_sound], is_sound)
    if kind.needed:
        ids = [member["id"] for member in members]
        if problem := equal_ids(key, ids) or mixed_ids(key, ids):
            raise UserError(f"{json_file}: {problem}")


def _check_values(
    json_file: str,
    key: str,
    members: list[dict[str, Any]],
    name: str,
    expected: str,
    is_sound: Callable[[Any], bool],
) -> None:
    types = {type(member[name]) for member in members if name in member}
    if is_sound is is_id and types <= {int, str}:  # almost always, and quick to see
        return
    for index, member in enumerate(members):
        value = member.get(name, "")
        if not is_sound(value):
            raise UserError(
                f"{json_file}: {key}[{index}] has the {name} {reprlib.repr(value)}; expected "
                f"{expected}."
            )


def equal_ids(key: str, ids: list[Any]) -> str:
    """Return a sentence if some ids are equal: the later one would silently replace the earlier."""
    if len(set(ids)) == len(ids):
        return ""
    doubled = [repr(number) for number, count in Counter(ids).items() if count > 1]
    more = ", ..." if len(doubled) > 5 else ""
    return f"{key} with the same id: {', '.join(doubled[:5])}{more}. Give each an id of its own."


def mixed_ids(key: str, ids: list[Any]) -> str:
    """Return a sentence if some ids are numbers and some texts: they are sorted, to be in order."""
    texts = [id_ for id_ in ids if isinstance(id_, str)]
    numbers = [id_ for id_ in ids if not isinstance(id_, str)]
    if not (texts and numbers):
        return ""
    return (
        f"some {key} have a number as id and some a text, such as {numbers[0]} and {texts[0]!r}. "
        "Make all of them numbers."
    )
