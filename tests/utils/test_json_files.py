import json
import math

import numpy as np
import pytest

from fcos.utils.errors import UserError
from fcos.utils.json_files import for_json, read_json

TEXT = '{"categories": ["Zellkörper", "細胞"]}'


def refused(path, message, **kwargs):
    with pytest.raises(UserError, match=message):
        read_json(str(path), **kwargs)


def test_utf_8(tmp_path):
    path = tmp_path / "a.json"
    for text in (TEXT, "3", "[]"):  # down to a single byte
        path.write_bytes(text.encode())
        assert read_json(str(path)) == json.loads(text)


def test_a_byte_order_mark(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(TEXT.encode("utf-8-sig"))
    refused(
        path,
        rf"^{path} begins with a byte order mark, which JSON must not have: save it as UTF-8 "
        r"without one \(in editors, 'UTF-8' instead of 'UTF-8 with BOM'\)\.$",
    )


@pytest.mark.parametrize("encoding", ["UTF-16", "UTF-16-LE", "UTF-16-BE", "UTF-32", "UTF-32-BE"])
def test_wider_encodings(tmp_path, encoding):
    path = tmp_path / "a.json"
    path.write_bytes(TEXT.encode(encoding))
    refused(path, rf"^{path} is {encoding[:6]} text: save it as UTF-8\.$")


def test_other_encodings(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes('["Zellkörper"]'.encode("latin-1"))
    refused(path, rf"^{path} is not UTF-8 text \(invalid .* byte\): save it as UTF-8\.$")


def test_broken_files(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'{"a": [')
    refused(path, rf"^{path} is not complete JSON \(Expecting value: .*\)\.$")
    refused(path, r"char 7\)\): copy it again\.$", if_broken="copy it again")
    path.write_bytes(b"")
    refused(path, rf"^{path} is empty\.$")
    refused(path, rf"^{path} is empty: copy it again\.$", if_broken="copy it again")


def test_files_that_cannot_be_read(tmp_path):
    refused(tmp_path, rf"^{tmp_path} cannot be read: Is a directory\.$")


def test_files_that_would_end_the_reader(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("[" * 100_000)
    refused(path, rf"^{path} cannot be read: lists lie too deep inside each other\.$")
    path.write_text("9" * 5000)
    refused(
        path, rf"^{path} cannot be read: Exceeds the limit \(4300( digits)?\) for integer string"
    )


def test_what_json_cannot_hold():
    given = {
        "array": np.array([[0.5, np.nan]]),
        "number": np.float32(0.25),
        "inside": ({"far": math.inf, "text": "a", "flag": True, "none": None},),
        "count": np.int64(3),
    }
    assert for_json(given) == {
        "array": [[0.5, None]],
        "number": 0.25,
        "inside": [{"far": None, "text": "a", "flag": True, "none": None}],
        "count": 3,
    }
    assert for_json([0.123456, 7, math.nan], digits=4) == [0.1235, 7, None]
