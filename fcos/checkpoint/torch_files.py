"""Look at a file of torch before torch reads it: its tensors are what the file holds.

torch believes what a file says of them: a length beyond the end of a record is read all the same,
from whatever lies there in memory.
"""

from __future__ import annotations

import io
import zipfile
from typing import Any, BinaryIO

from fcos.checkpoint.pickle_calls import Name
from fcos.checkpoint.plain_pickle import read_pickle
from fcos.checkpoint.sums import expect_no_sums

__all__ = ["check_archive", "check_old_file"]

_MOST_LIST = 2**28  # bytes of the pickle that lists the tensors; it has 100 kB
_MOST_COMPRESSED = 50  # times; weights are compressed to 90%, and zeros to a thousandth

# Bytes of a number, by the storages of torch that do not begin so.
_BYTES = {
    **dict.fromkeys(("ComplexDouble",), 16),
    **dict.fromkeys(("Double", "Long", "ComplexFloat"), 8),
    **dict.fromkeys(("Float", "Int", "QInt32"), 4),
    **dict.fromkeys(("Half", "BFloat16", "Short"), 2),
}


def check_archive(file: BinaryIO, length: int) -> bool:
    """Check an archive, as torch writes it since version 1.6.

    Args:
        file: the open file.
        length: how many bytes it has.

    Returns:
        Whether the tensors lie in it as they are, not compressed.

    Raises:
        Forbidden, ValueError, zipfile.BadZipFile, ...: torch must not read it.
    """
    with zipfile.ZipFile(file) as archive:
        expect_no_sums(archive.infolist())
        members = {member.filename: member for member in archive.infolist()}
        if len(members) < len(archive.infolist()):
            raise ValueError("it has two records of one name")
        is_stored = all(m.compress_type == zipfile.ZIP_STORED for m in members.values())
        size = sum(member.file_size for member in members.values())
        if size > length * (1 if is_stored else _MOST_COMPRESSED):
            raise ValueError(f"its records claim {size:,} bytes")
        listing = next(name for name in members if name.rpartition("/")[2] == "data.pkl")
        if members[listing].file_size > _MOST_LIST:
            raise ValueError(f"its list of tensors has more than {_MOST_LIST:,} bytes")
        content = archive.read(listing)
    folder = listing.removesuffix("data.pkl")

    def check(identity: Any) -> None:
        key, size = _storage(identity)
        member = members.get(f"{folder}data/{key}")
        if member is None or member.file_size < size:
            raise ValueError(f"the record {key} has not the {size:,} bytes of its tensor")

    read_pickle(io.BytesIO(content), len(content), check)
    return is_stored


def check_old_file(file: BinaryIO, length: int) -> None:
    """Check a file of an older torch: five pickles, the fourth of which lists the tensors.

    Raises:
        Forbidden, ValueError, ...: torch must not read it.
    """
    sizes: dict[Any, int] = {}

    def check(identity: Any) -> None:
        key, size = _storage(identity)
        sizes[key] = size
        if sum(sizes.values()) > length:
            raise ValueError(f"its tensors claim {sum(sizes.values()):,} bytes")

    for _ in range(5):
        read_pickle(file, length, check)


def _storage(identity: Any) -> tuple[str, int]:
    """Return the key and the bytes of what a pickle says of a storage."""
    kind, type_, key, _, number = identity[:5]
    if kind != "storage" or not isinstance(type_, Name) or type(number) is not int or number < 0:
        raise ValueError("a tensor without its storage")
    return str(key), number * _BYTES.get(type_.name.removesuffix("Storage"), 1)
