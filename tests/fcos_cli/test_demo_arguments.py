"""What demo.py answers before any model is built."""

import os
import subprocess
import sys

import pytest

from fcos_cli import demo

ROOT = os.path.dirname(demo.__file__)


@pytest.mark.parametrize(
    "line, message",
    [
        ("--input a", "name the trained weights, such as output/my_data/model_best.pth"),
        ("", "name the trained weights, such as output/my_data/model_best.pth"),
        ("model.pth", "one of the arguments --input --video-input --webcam --dataset is required"),
        ("model.pth a --input b", "--input, or images behind the weights: a is neither"),
        ("model.pth a --webcam", "one of the arguments --input --video-input --webcam --dataset"),
        ("--config-file c", "one of the arguments --input --video-input --webcam --dataset"),
        ("--config-file c --input a --dataset d", "--dataset: not allowed with argument --input"),
        ("--config-file c --input a --confidence-threshold 1.5", "'1.5' is not a score between"),
        ("--config-file c --input a --confidence-threshold nan", "'nan' is not a score between"),
        ("--config-file c --input a --confidence-threshold x", "'x' is not a score between 0 and"),
        ("--config-file c --input a --num-images 3", "--num-images belongs to --dataset"),
        ("--config-file c --dataset d --num-images 0", "'0' is not a whole number of at least 1"),
        (f"--config-file c --dataset d --num-images {'9' * 400}", "is more than 1,000,000,000"),
        (f"--config-file c --dataset d --num-images {'9' * 5000}", "is not a whole number of at"),
        ("--config-file c --input a --opts A b --output o", "put --output before it"),
        ("--config-file c --input a --compile", "--compile belongs to --optimize"),
        ("--config-file c --input a --optimize int8", "invalid choice: 'int8' (choose from"),
    ],
)
def test_mistakes_in_the_arguments(line, message, capsys):
    with pytest.raises(SystemExit) as error:
        demo.parse_args(line.split())
    assert error.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        "model.pth a.jpg b.jpg --output o --optimize",
        "model.pth --output o a.jpg --optimize float32 b.jpg",
        "--output o model.pth a.jpg b.jpg --opts MODEL.DEVICE cpu",
        "model.pth --input a.jpg b.jpg --output o",
    ],
)
def test_weights_and_images_without_a_config(line):
    args = demo.parse_args(line.split())
    assert (args.weights, args.config_file, args.output) == ("model.pth", None, "o")
    assert args.input == ["a.jpg", "b.jpg"]
    assert args.opts == (["MODEL.DEVICE", "cpu"] if "--opts" in line else [])


def test_webcam_numbers():
    assert demo.parse_args(["--config-file", "c", "--webcam"]).webcam == 0
    assert demo.parse_args(["--config-file", "c", "--webcam", "2"]).webcam == 2


@pytest.mark.parametrize(
    "words, want", [("", None), ("--optimize", "auto"), ("--optimize float32", "float32")]
)
def test_the_precision_of_a_faster_copy(words, want):
    args = demo.parse_args(["--config-file", "c", *words.split(), "--input", "a"])
    assert args.optimize == want


def run_python(code):
    code = f"import sys\n{code}"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(
    "code, not_needed",
    [
        (
            "from fcos_cli import demo; demo.parse_args(['--config-file', 'c', '--input', 'a'])",
            {"torch", "numpy", "cv2", "fcos", "detectron2"},
        ),
        ("import fcos.predict.demo", {"tensorboard", "sklearn", "skimage", "scipy", "pandas"}),
    ],
)
def test_what_is_not_needed_is_not_imported(code, not_needed):
    done = run_python(f"{code}\nassert not {not_needed} & set(sys.modules)")
    assert done.returncode == 0, done.stderr


def test_no_detectron2():
    done = run_python(
        "sys.modules['detectron2'] = None  # as if it were not installed\n"
        "from fcos_cli import demo\n"
        "sys.exit(demo.main(['--config-file', 'c', '--input', 'a']))"
    )
    assert done.returncode == 1 and done.stderr.startswith("Error: fcos needs detectron2")
    assert done.stderr.count("\n") == 1
