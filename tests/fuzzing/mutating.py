"""Damage files at random: bytes, numbers, values of JSON, brackets, parts of other files."""

from __future__ import annotations

import random
import re

__all__ = ["mutated"]

_NUMBERS = [
    *(b"0", b"-1", b"1", b"-0.0", b"0.5", b"2147483648", b"-9223372036854775809", b"1e999"),
    *(b"1e-400", b"NaN", b"Infinity", b"-Infinity", b"1" * 400, b"9" * 5000, b"1e308", b"0x10"),
]
_VALUES = [
    *(b"null", b"true", b"[]", b"{}", b'""', b'"a"', b"[[]]", b'{"a": 1}', b"[null]", b"[1, 2]"),
    *(b'"\\u0000"', b'"\\ud800"', b'"\\u001b[31m"', b"[0, 0, 0, 0]", b"[1e308, 1e308, 1e308, 1]"),
    *(b"[-5, -5, 20, 20]", b'"1"', b'{"counts": "0", "size": [1, 1]}', b"[[1, 2, 3, 4, 5, 6]]"),
]
_TOKENS = [
    *_NUMBERS,
    *_VALUES,
    *(b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\r", b"\n", b"\t", b"'", b'"', b"\\", b"%"),
    *(b"&a ", b"*a", b"<<: ", b"!!python/none ", b"!!int ", b"? ", b"- ", b": ", b"{", b"[", b"#"),
    *(b"<a>", b"</a>", b"<![CDATA[", b"&#0;", b"&amp;", b"<!DOCTYPE a>", b"../", b"/dev/zero"),
    *(b"\x85", b"\x94", b"R", b"b", b"(", b"t", b".", b"2", b"\x80\x02", b"q\x00", b"h\x00"),
    *(b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\xff" * 8),
]
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_VALUE = re.compile(rb'"[^"\n]{0,80}"|\[[^\[\]]{0,200}\]|\{[^{}]{0,400}\}|true|false|null|-?\d+')
_OPENING = [b"[", b"{", b'{"a":', b"<a>", b"(", b"- ", b"\x5d", b"&a [*a, "]


def mutated(sources: list[bytes], draw: random.Random) -> bytes:
    """Return one of some files, with one damage or a few."""
    content = draw.choice(sources)
    for _ in range(draw.choice([1, 1, 1, 2, 3, 8])):
        content = draw.choice(_DAMAGES)(content, sources, draw)
    return content[: 1 << 20]


def _place(content: bytes, draw: random.Random) -> int:
    return draw.randrange(len(content) + 1)


def _flip(content: bytes, _: list[bytes], draw: random.Random) -> bytes:
    if not content:
        return content
    changed = bytearray(content)
    changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _put(content: bytes, _: list[bytes], draw: random.Random) -> bytes:
    at = _place(content, draw)
    return content[:at] + draw.choice(_TOKENS) + content[at + draw.choice([0, 0, 1, 4]) :]


def _cut(content: bytes, _: list[bytes], draw: random.Random) -> bytes:
    at = _place(content, draw)
    end = len(content) if draw.random() < 0.3 else at + draw.choice([1, 2, 4, 16, 100])
    return content[:at] + content[end:]


def _repeat(content: bytes, _: list[bytes], draw: random.Random) -> bytes:
    at = _place(content, draw)
    part = content[at : at + draw.choice([1, 4, 20, 100])]
    return content[:at] + part * draw.choice([2, 10, 1000]) + content[at:]


def _splice(content: bytes, sources: list[bytes], draw: random.Random) -> bytes:
    other = draw.choice(sources)
    return content[: _place(content, draw)] + other[_place(other, draw) :]


def _nest(content: bytes, _: list[bytes], draw: random.Random) -> bytes:
    at = _place(content, draw)
    opening = draw.choice(_OPENING) * draw.choice([10, 60, 1000, 200_000])
    return content[:at] + opening + content[at:]


def _replace(pattern: re.Pattern[bytes], values: list[bytes]) -> object:
    def damage(content: bytes, sources: list[bytes], draw: random.Random) -> bytes:
        found = list(pattern.finditer(content[: 1 << 16]))
        if not found:
            return _put(content, sources, draw)
        match = draw.choice(found)
        return content[: match.start()] + draw.choice(values) + content[match.end() :]

    return damage


_DAMAGES = [_flip, _put, _cut, _repeat, _splice, _nest]
_DAMAGES += [_replace(_NUMBER, _NUMBERS), _replace(_VALUE, _VALUES), _replace(_VALUE, _NUMBERS)] * 2
