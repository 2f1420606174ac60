"""The name of an exported file says what it is."""

import pytest

from fcos.export import export_detector
from fcos.utils.errors import UserError
from fcos_cli.export import main
from tests.export.small import small_cfg


@pytest.mark.parametrize(
    ("name", "file_format", "better"),
    [
        ("a.pt", "torch_export", "a.pt2"),
        ("a.onnx", "torch_export", "a.pt2"),
        ("a", "torch_export", "a.pt2"),
        ("a.v1", "torch_export", "a.v1.pt2"),
        ("a.PT2", "torch_export", "a.PT2.pt2"),
        ("a.pt2", "torchscript", "a.pt"),
        ("a.PT2", "torchscript", "a.pt"),
        ("a.onnx", "torchscript", "a.pt"),
        ("a.pt", "onnx", "a.onnx"),
        ("a.pt2", "onnx", "a.onnx"),
    ],
)
def test_the_ending_of_another_format(tmp_path, name, file_format, better):
    path = str(tmp_path / name)
    with pytest.raises(UserError) as error:
        export_detector(small_cfg(), path, file_format)
    ending = "." + better.rpartition(".")[2]
    assert str(error.value) == (
        f"--output {path}: a file of --format {file_format} ends in {ending}: "
        f"name it {tmp_path / better}."
    )


@pytest.mark.parametrize(
    ("name", "file_format"),
    [("a.pt2", "torch_export"), ("a.v1.pt2", "torch_export"), ("a.onnx", "onnx")]
    + [(f"a{ending}", "torchscript") for ending in ("", ".pt", ".ts", ".pth", ".torchscript")],
)
def test_a_name_that_can_be(tmp_path, name, file_format):
    """The next mistake is reported: there are no weights."""
    if file_format == "onnx":
        pytest.importorskip("onnxruntime")
    with pytest.raises(UserError, match=r"MODEL.WEIGHTS is empty"):
        export_detector(small_cfg(), str(tmp_path / name), file_format)


def test_the_command_says_so(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text(small_cfg().dump())
    words = ["--config-file", str(tmp_path / "a.yaml"), "--format", "torch_export"]
    words += ["--output", str(tmp_path / "a.pt"), "--opts", "MODEL.WEIGHTS", "model.pth"]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert error.startswith("Error: --output ") and error.endswith(f"name it {tmp_path}/a.pt2.\n")
