"""Which checkpoint a training goes on from."""

import os

import pytest
from torch import nn

from fcos.checkpoint import AdetCheckpointer
from fcos.checkpoint.last import find_last_checkpoint
from fcos.utils.errors import UserError


def test_it_is_named_and_found(tmp_path):
    checkpointer = AdetCheckpointer(nn.Linear(1, 1), str(tmp_path))
    assert find_last_checkpoint(str(tmp_path)) == checkpointer.get_checkpoint_file() == ""
    checkpointer.save("model_0000003")
    path = str(tmp_path / "model_0000003.pth")
    assert find_last_checkpoint(str(tmp_path)) == checkpointer.get_checkpoint_file() == path
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth\n")  # by a user's echo
    assert find_last_checkpoint(str(tmp_path)) == str(tmp_path / "model_0000001.pth")


BROKEN = {
    "empty": (b"", "holds nothing instead of a name"),
    "spaces": (b" \n", r"holds b' \\n' instead of a name"),
    "not text": (b"\xff\xfe.pth", r"holds b'\\xff\\xfe.pth' instead of a name"),
    "escape sequence": (b"\x1b[31m.pth", r"holds b'\\x1b\[31m.pth' instead of a name"),
    "NUL": (b"a\0b", "cannot be read: it has NUL bytes"),
    "long": (b"x" * 5000, "cannot be read: it has 5,000 bytes"),
}


@pytest.mark.parametrize("kind", [*BROKEN, "folder", "pipe"])
def test_one_that_is_no_name_is_a_sentence(kind, tmp_path):
    tag = tmp_path / "last_checkpoint"
    if kind == "folder":
        tag.mkdir()
        said = "cannot be read: Is a directory"
    elif kind == "pipe":
        os.mkfifo(tag)
        said = "cannot be read: it is a named pipe"
    else:
        content, said = BROKEN[kind]
        tag.write_bytes(content)
    advice = r"\. It names the checkpoint that --resume goes on from: write the name of one into it"
    checkpointer = AdetCheckpointer(nn.Linear(1, 1), str(tmp_path))
    for go_on in (checkpointer.get_checkpoint_file, lambda: checkpointer.resume_or_load("")):
        with pytest.raises(UserError, match=f"^{tag} {said}.*{advice}"):
            go_on()
