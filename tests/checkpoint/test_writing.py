"""Weights as safetensors: what is written, and that other programs read it."""

from pathlib import Path

import pytest
import torch

from fcos.checkpoint.stored_config import CONFIG
from fcos.checkpoint.writing import read_safetensors, write_weights


def test_safetensors_of_the_same_content_are_the_same_file(tmp_path):
    safetensors = pytest.importorskip("safetensors")
    tensors = {"a": torch.arange(3.0), "ä": torch.ones(2, 2, dtype=torch.int8)}
    carried = {CONFIG: "A: 1\n", "class_names": ["grün", "rot"]}
    written = []
    for number in range(8):
        path = str(tmp_path / f"{number}.safetensors")
        write_weights(path, tensors, carried)
        written.append(Path(path).read_bytes())
    assert len(set(written)) == 1
    assert int.from_bytes(written[0][:8], "little") % 8 == 0
    read = read_safetensors(path)
    assert {name: read[name] for name in carried} == carried
    with safetensors.safe_open(path, "pt") as file:  # as other programs read it
        assert file.metadata()["format"] == "pt"
        assert all(torch.equal(file.get_tensor(name), tensors[name]) for name in tensors)
