"""Makes the folder that ``python -m benchmarks.gpu`` needs on a machine without network.

Wheels of what is missing where there are torch and torchvision with their dependencies, the demo's
pictures, larger ones, and the CPU's losses of the demo. Needs the extra "demo", and the network.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu import demo
from benchmarks.gpu.kit import LIMIT, check_size
from benchmarks.gpu.running import CPU, ROOT, commit, environment
from fcos.utils.errors import UserError

# What training, evaluation and the tests import. Not OpenCV and matplotlib, which only draw.
PACKAGES = (
    *("cloudpickle", "fvcore", "hotcoco", "iopath", "portalocker", "pycocotools", "PyYAML"),
    *("tabulate", "termcolor", "tqdm", "yacs"),
    *("pytest", "iniconfig", "packaging", "pluggy", "pygments"),
    *("tensorboard", "absl-py", "protobuf"),
)
# These have no wheels, but are made of Python alone: the wheel that is built here runs anywhere.
BUILT = ("fvcore",)
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014", "manylinux1")
ENLARGED = 2  # the demo's pictures have 256x320 pixels


def run(*words: str) -> None:
    """
    Raises:
        UserError: the command failed; with the last line of what it said.
    """
    done = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise UserError(f"{' '.join(words[:5])} ... failed: {last}")


def get_wheels(kit: Path, pythons: Sequence[str], machine: str) -> None:
    """Put wheels of all that is missing there into ``wheels/``, their names into ``wheels.txt``.

    Args:
        kit: the folder.
        pythons: versions of Python, such as "3.12"; each gets what it needs.
        machine: its processor, such as "x86_64".

    Raises:
        UserError: pip fails.
    """
    folder = str(kit / "wheels")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    plain = [name for name in PACKAGES if name not in BUILT]
    places = [word for p in PLATFORMS for word in ("--platform", f"{p}_{machine}")]
    for python in pythons:
        which = ("--only-binary=:all:", "--implementation", "cp", "--python-version", python)
        run(*pip, "download", "--no-deps", *which, *places, "--dest", folder, *plain)
    run(*pip, "wheel", "--no-deps", "--wheel-dir", folder, *BUILT, str(ROOT / "detectron2-lite"))
    (kit / "wheels.txt").write_text("\n".join([*PACKAGES, "detectron2"]) + "\n")


def make_digits(kit: Path, train: int, val: int) -> None:
    """The demo's data set in ``data/digits``."""
    words = ("--root", str(kit / "data" / "digits"), "--train", str(train), "--val", str(val))
    run(sys.executable, "-m", "fcos.data.digits", *words)


def make_photographs(kit: Path) -> None:
    """The demo's validation pictures as large as photographs, in ``data/photographs``."""
    from PIL import Image

    digits, folder = kit / "data" / "digits", kit / "data" / "photographs"
    (folder / "images").mkdir(parents=True)
    content = json.loads((digits / "annotations" / "val.json").read_text())
    for image in content["images"]:
        image["width"], image["height"] = ENLARGED * image["width"], ENLARGED * image["height"]
        with Image.open(digits / "val" / image["file_name"]) as picture:
            large = picture.resize((image["width"], image["height"]))
        large.save(folder / "images" / image["file_name"], quality=90)
    for annotation in content["annotations"]:
        annotation["bbox"] = [ENLARGED * x for x in annotation["bbox"]]
        annotation["area"] *= ENLARGED**2
        del annotation["segmentation"]
    (folder / "annotations.json").write_text(json.dumps(content))


def record_cpu(kit: Path, is_smoke: bool) -> None:
    """Losses and AP of the demo's first iterations in float32 on this CPU.

    Raises:
        UserError: the training failed.
    """
    ((_, found, problems),) = demo.train([demo.WITH_AP], "cpu", str(kit / "data"), is_smoke)
    if problems:
        raise UserError(problems[0])
    content = {"commit": commit(), "is_smoke": is_smoke, **found}
    (kit / CPU).write_text(json.dumps(content) + "\n")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.prepare", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("gpu_kit"), help="(%(default)s)")
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    parser.add_argument("--python", nargs="+", default=[here], help=f"its versions there ({here})")
    parser.add_argument("--machine", default="x86_64", help="processor there (%(default)s)")
    parser.add_argument("--no-wheels", action="store_true", help="all packages are there")
    parser.add_argument("--smoke", action="store_true", help="tiny data, for a rehearsal")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Make the folder; returns the exit code."""
    try:
        print(prepare(parse_args(argv)))
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def prepare(args: argparse.Namespace) -> str:
    """Make the folder anew; returns a sentence with its size.

    Raises:
        UserError: it exists and is something else, a part cannot be made, or it is too large.
    """
    kit = args.output.resolve()
    if kit.is_dir() and any(kit.iterdir()) and not (kit / "data" / "digits").is_dir():
        raise UserError(f"{kit} exists and is no prepared folder: choose another --output.")
    shutil.rmtree(kit, ignore_errors=True)
    kit.mkdir(parents=True)
    make_digits(kit, *((8, 4) if args.smoke else (400, 100)))
    make_photographs(kit)
    if not args.no_wheels:
        get_wheels(kit, args.python, args.machine)
        check_size(kit, LIMIT)
    record_cpu(kit, args.smoke)
    return check_size(kit, LIMIT)


if __name__ == "__main__":
    sys.exit(main())
