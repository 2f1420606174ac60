"""TorchScript and torch.export, loaded again, beside the detector."""

import io
import json
import subprocess
import sys

import pytest
import torch

from fcos.export import build_graph
from fcos.export.checking import check
from fcos.export.torch_files import (
    can_write_programs,
    load_program,
    load_torchscript,
    write_program,
    write_torchscript,
)
from fcos.utils.errors import UserError
from tests.export.small import noise, small_cfg, small_model

EXAMPLE = (torch.zeros(2, 3, 130, 200, dtype=torch.uint8), torch.tensor([[130, 200]] * 2))
WRITERS = {
    "torchscript": (write_torchscript, load_torchscript),
    **({"torch_export": (write_program, load_program)} if can_write_programs() else {}),
}


@pytest.fixture(scope="module")
def files():
    """The detector, its graph, and the content of a file by the name of the format."""
    model = small_model(small_cfg("masks"))
    graph = build_graph(model)
    metadata = {"input_format": "BGR"}
    return (
        model,
        graph,
        {name: write(graph, EXAMPLE, metadata) for name, (write, _) in WRITERS.items()},
    )


@pytest.fixture(scope="module", params=WRITERS)
def written(request, files):
    model, graph, contents = files
    content = contents[request.param]
    return request.param, model, graph, content, WRITERS[request.param][1](content)


def test_three_sizes_alone_and_in_a_batch(written):
    _, model, graph, _, run = written
    sizes = [(64, 96), (100, 75), (33, 210)]
    images = [noise(3, *size, seed=i) for i, size in enumerate(sizes)]
    found = check(run, model, graph, [*([image] for image in images), images])
    assert found.expected > 100 and found.unmatched == 0
    assert found.boxes < 0.01 and found.scores < 1e-4 and found.masks < 1e-4


def test_smaller_than_a_stride(written):
    _, model, graph, _, run = written
    found = check(run, model, graph, [[noise(3, 5, 3)]])
    assert found.expected > 0 and found.unmatched == 0 and found.boxes < 0.01


def test_no_detections(written):
    """In a batch of an image and one that is nothing but padding, and in the latter alone."""
    run = written[4]
    images = torch.stack([noise(3, 40, 50), noise(3, 40, 50)])
    boxes, _, _, image_index, masks = run(images, torch.tensor([[0, 0], [40, 50]]))
    assert len(boxes) == len(masks) > 5 and {*image_index.tolist()} == {1}
    outputs = run(images[:1], torch.tensor([[0, 0]]))
    assert [tuple(x.shape) for x in outputs] == [(0, 4), (0,), (0,), (0,), (0, 14, 14)]


def test_metadata_goes_along(written):
    name, _, _, content, _ = written
    files = {"metadata.json": ""}
    file = io.BytesIO(content)
    if name == "torchscript":
        torch.jit.load(file, _extra_files=files)
    else:
        torch.export.load(file, extra_files=files)
    assert json.loads(files["metadata.json"]) == {"input_format": "BGR"}


@pytest.mark.skipif(not can_write_programs(), reason="this torch is too old")
def test_nothing_of_this_package_is_needed(files, tmp_path):
    """But torchvision, whose operators the files call."""
    _, graph, contents = files
    for name, content in contents.items():
        (tmp_path / f"{name}.pt2").write_bytes(content)
    program = (
        "import sys; sys.modules['fcos'] = sys.modules['detectron2'] = None\n"
        "import torch, torchvision\n"
        "images = (torch.arange(3 * 40 * 50) * 7919 % 256).to(torch.uint8).view(1, 3, 40, 50)\n"
        "sizes = torch.tensor([[40, 50]])\n"
        "script = torch.jit.load('torchscript.pt2')\n"
        "program = torch.export.load('torch_export.pt2').module()\n"
        "with torch.no_grad():\n"
        "    print([[tuple(x.shape) for x in call(images, sizes)] for call in (script, program)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    images = (torch.arange(3 * 40 * 50) * 7919 % 256).to(torch.uint8).view(1, 3, 40, 50)
    with torch.no_grad():
        want = [tuple(x.shape) for x in graph(images)]
    assert done.stdout.splitlines()[-1] == str([want, want]) and want[0][0] > 5


@pytest.mark.parametrize("name", WRITERS)
def test_what_an_exporter_cannot_do_is_a_sentence(name):
    class Loop(torch.nn.Module):
        def forward(self, images):
            raise RuntimeError("no such operator\nwith a long story")

    with pytest.raises(
        UserError, match=rf"^This detector cannot be written as {name}: .*no such operator$"
    ):
        WRITERS[name][0](Loop(), EXAMPLE[:1], {})


def test_a_torch_that_is_too_old_is_said(monkeypatch):
    monkeypatch.delattr("torch.fx.experimental._config.backed_size_oblivious", raising=False)
    with pytest.raises(
        UserError, match=r"^torch 2\S+ is too old to write torch_export files: .*torchscript"
    ):
        write_program(torch.nn.Identity(), EXAMPLE[:1], {})
