"""Every program that writes files: killed at any time and on a small disk, what is found is whole.

``python -m tests.programs`` runs it in some minutes, as a part of ``make torture``. A file that is
found after a program was ended is one that a whole run writes, byte for byte, or it has a name that
says that it is not finished; with a limit to the size of files, a program that cannot write says so
in a sentence; and the same command then ends as one that was not disturbed.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import cv2
import numpy as np

from fcos_cli.__main__ import main as fcos
from tests.helpers import tiny_cfg, write_model
from tests.limits import in_child, limited_files
from tests.tiny import write_project

MOST_SECONDS = 300.0

# What each program is called, with its arguments; {out} is the folder that it writes to.
PROGRAMS = {
    "digits": "data digits --root {out}/digits --train 5 --val 2",
    "import": "data import labels --output {out}/data --copy-images --overwrite",
    "report on data": "data report tiny.yaml --output {out}/data.html",
    "show": "data show tiny_train --config-file tiny.yaml --output {out}/labels",
    "demo": "demo --config-file model/config.yaml --input images --output {out}/pictures "
    "--json {out}/found.json",
    "video": "demo --config-file model/config.yaml --video-input clip.avi --output {out}/clip.mp4",
    "detect": "detect --config-file model/config.yaml --input images --output {out}/found "
    "--labels voc",
    # All formats are written by the same lines; this one is the fastest to make.
    "TorchScript": "export --config-file model/config.yaml --format torchscript "
    "--output {out}/model.pt",
    "eval": "eval trained/model_final.pth OUTPUT_DIR {out}/evaluated",
    "curves": "curves trained --output {out}/curves.html",
    "report": "report trained --output {out}/report",
    "thresholds": "checkpoint thresholds trained/model_final.pth --output {out}/cut.pth "
    "--results run/coco_instances_results.json",
    "convert": "checkpoint convert model/model.pth {out}/model.safetensors --to adelaidet",
    "compare": "compare run other --output {out}/page --annotations datasets/tiny/val.json "
    "--images datasets/tiny/images",
    "diagnose": "diagnose run --output {out}/page --annotations datasets/tiny/val.json "
    "--images datasets/tiny/images",
    "skeleton": "skeleton --output {out}/exercise",
}
# A line in a log, a lock, and what is done so far are not files that anybody believes.
UNFINISHED = (".unfinished", ".replaced", "/lock", "/.lock", "/log.txt", "/shards/")
# They have the time, a random number or the name of a folder in them.
DIFFERENT = ("run.json", "images.jsonl", ".mp4")


def prepare(root: Path) -> None:
    """Write what the programs read."""
    write_project(root)
    (root / "model").mkdir()
    write_model(root / "model", tiny_cfg())
    os.chdir(root)
    fcos("train --config-file tiny.yaml OUTPUT_DIR trained SOLVER.MAX_ITER 4".split())
    shutil.copytree(root / "datasets" / "tiny", root / "labels")
    rng = np.random.default_rng(0)
    (root / "images").mkdir()
    video = cv2.VideoWriter(str(root / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    for number in range(20):
        picture = rng.integers(0, 256, (48, 64, 3), np.uint8)
        cv2.imwrite(str(root / "images" / f"{number}.png"), picture)
        video.write(picture)
    video.release()
    truth = json.loads((root / "datasets" / "tiny" / "val.json").read_text())
    for run in ("run", "other"):
        results = [
            {
                "image_id": image["id"],
                "category_id": 1 + int(rng.integers(2)),
                "bbox": [*rng.integers(0, 30, 2).tolist(), 20, 20],
                "score": float(rng.random()),
            }
            for image in truth["images"]
        ]
        keys = ("image_id", "category_id", "bbox")
        results += [
            {**{key: thing[key] for key in keys}, "score": float(rng.random())}
            for thing in truth["annotations"]
        ]
        (root / run).mkdir()
        (root / run / "coco_instances_results.json").write_text(json.dumps(results))


# ---- running -------------------------------------------------------------------------------------


def begin(name: str, out: str, most: int | None = None) -> int:
    """Start a program in a process of its own, which has all modules already; return its number."""
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process:
        return process
    code, said = 70, io.StringIO()
    try:
        os.setsid()
        os.makedirs(out, exist_ok=True)
        argv = PROGRAMS[name].format(out=out).split()
        if "--config-file" in argv and argv[0] != "data":
            argv += ["--opts", "MODEL.WEIGHTS", "model/model.pth", "DATALOADER.NUM_WORKERS", "1"]
        with redirect_stdout(said), redirect_stderr(said):
            if most is None:
                code = fcos(argv)
            else:
                with limited_files(most):
                    code = fcos(argv)
    except BaseException:
        said.write(traceback.format_exc())
    finally:
        Path(f"{out}.said").write_text(said.getvalue())
        os._exit(code)


def finish(process: int) -> int:
    """Wait for the end of a program; return its exit code, or minus a signal."""
    limit = time.monotonic() + MOST_SECONDS
    while time.monotonic() < limit:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.killpg(process, signal.SIGKILL)
    raise SystemExit(f"a program takes more than {MOST_SECONDS:g} s")


def run(name: str, out: str, most: int | None = None) -> tuple[int, str]:
    """Run a program; return its exit code and what it said."""
    code = finish(begin(name, out, most))
    return code, Path(f"{out}.said").read_text()


def kill(name: str, out: str, delay: float) -> bool:
    """Start a program and kill it ``delay`` seconds after its first file; say whether it was."""
    process, since = begin(name, out), None
    while True:
        ended, _ = os.waitpid(process, os.WNOHANG)
        if ended:
            return False
        now = time.monotonic()
        if since is None and any(files(out)):
            since = now
        if since is not None and now - since >= delay:
            os.killpg(process, signal.SIGKILL)
            return finish(process) == -signal.SIGKILL
        time.sleep(0.0005)


# ---- what is found -------------------------------------------------------------------------------


def files(out: str) -> Iterator[Path]:
    return (path for path in Path(out).rglob("*") if path.is_file())


def contents(out: str) -> dict[str, bytes]:
    """Return the files that somebody may believe."""
    found = {}
    for path in files(out):
        name = str(path.relative_to(out))
        if not any(part in f"/{name}" for part in UNFINISHED):
            text = path.read_bytes()
            found[name] = text.replace(os.path.abspath(out).encode(), b"").replace(
                out.encode(), b""
            )
    return found


def problems(found: dict[str, bytes], whole: dict[str, bytes], *, all_of_them: bool) -> list[str]:
    """Compare what is found with what a whole run writes."""
    said = [f"{name} is new" for name in found if name not in whole]
    said += [f"{name} is missing" for name in whole if name not in found and all_of_them]
    for name in found.keys() & whole.keys():
        if name == "found.json" and not all_of_them:  # what was done until then, which it says
            done = json.loads(found[name])
            is_same = done == json.loads(whole[name])[: len(done)]
        elif name.endswith(".pt"):  # torch notes where code was called from, which has any length
            is_same = is_sound_archive(found[name])
        elif name.endswith(DIFFERENT):
            is_same = len(found[name]) == len(whole[name])
        else:
            is_same = found[name] == whole[name]
        said += [] if is_same else [f"{name} differs"]
    return said


def is_sound_archive(content: bytes) -> bool:
    try:
        return zipfile.ZipFile(io.BytesIO(content)).testzip() is None
    except (EOFError, zipfile.BadZipFile):
        return False


def limits_of(whole: dict[str, bytes], draw: random.Random, number: int) -> list[int]:
    """Choose sizes that some file of a program, or its check of the disk, does not keep to."""
    sizes = sorted({len(content) for content in whole.values()} | {2**16})
    chosen = [draw.choice(sizes) - draw.choice([1, 7, 4096]) for _ in range(number)]
    return [max(0, size) for size in chosen] or [0]


def limited(name: str, out: str, whole: dict[str, bytes], most: int) -> list[str]:
    """Run a program with a limit, and then without; return what is wrong."""
    code, said = run(name, out, most)
    wrong = problems(contents(out), whole, all_of_them=code == 0)
    if code and "Error: " not in said.splitlines()[-1]:
        wrong.append(f"it ends with {code} and says {said[-300:]!r}")
    return wrong + again(name, out, whole)


def again(name: str, out: str, whole: dict[str, bytes]) -> list[str]:
    """Run the same command once more; return what is wrong."""
    code, said = run(name, out)
    wrong = problems(contents(out), whole, all_of_them=True)
    return wrong + ([f"then it ends with {code}: {said[-300:]!r}"] if code else [])


def torture(name: str, kills: int, limits: int, draw: random.Random) -> int:
    """Run all cases of a program; return how many went wrong."""
    begun = time.monotonic()
    code, said = run(name, "xq-whole")
    seconds, whole = time.monotonic() - begun, contents("xq-whole")
    print(f"{name}: {len(whole)} files in {seconds:.1f} s", flush=True)
    if code or not whole:
        raise SystemExit(f"{name} ends with {code}: {said}")
    wrong = 0
    for number in range(kills):
        out, delay = f"xq-killed{number}", draw.uniform(0, seconds)
        for _ in range(10):
            if kill(name, out, delay):
                break
            shutil.rmtree(out)
            delay = draw.uniform(0, delay)  # it had ended before
        found = problems(contents(out), whole, all_of_them=False) + again(name, out, whole)
        wrong += report(f"{name}, killed {delay:.2f} s after its first file", found)
    for number, most in enumerate(limits_of(whole, draw, limits)):
        found = limited(name, f"xq-limited{number}", whole, most)
        wrong += report(f"{name}, files of at most {most:,} bytes", found)
    for path in [*Path().glob("xq-*")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return wrong


def report(case: str, found: list[str]) -> bool:
    print(f"{case}: {'; '.join(found) or 'whole or absent'}", flush=True)
    return bool(found)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.programs", description=__doc__)
    parser.add_argument("--kills", type=int, default=3, help="of each program (%(default)s)")
    parser.add_argument("--limits", type=int, default=3, help="sizes of files (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the times and sizes")
    parser.add_argument("--only", choices=PROGRAMS, nargs="+", default=list(PROGRAMS))
    args = parser.parse_args()
    draw, wrong = random.Random(args.seed), 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["DETECTRON2_DATASETS"] = "datasets"
        in_child(lambda: prepare(Path(folder)))
        for name in args.only:
            wrong += torture(name, args.kills, args.limits, draw)
    cases = len(args.only) * (args.kills + args.limits)
    print(f"{cases - wrong} of {cases}: whole or absent, and as it should be after the next start.")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
