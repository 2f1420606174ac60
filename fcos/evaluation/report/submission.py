"""Pack what is handed in: the report, the code and the best weights."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import fcos
from fcos.evaluation.report.pdf import find_browser, print_pdf
from fcos.evaluation.report.rows import RETINANET
from fcos.utils.errors import UserError
from fcos.utils.files import check_writable, write_whole
from fcos.utils.json_files import read_json
from fcos.utils.reading import WEIGHTS, sha256_of

__all__ = ["Submission", "pack"]

_NOT_OURS = {RETINANET, "mask_rcnn"}  # what FCOS is compared with
_ROOT = Path(fcos.__file__).parents[1]
_CODE = (
    *("fcos", "fcos_cli", "configs", "tests"),
    *("train_net.py", "demo.py", "setup.py", "README.md"),
)
_SUFFIXES = {".py", ".html", ".css", ".yaml", ".md", ".json", ".npz"}


@dataclasses.dataclass(frozen=True)
class Submission:
    """What was packed.

    Attributes:
        path: of the ZIP file.
        lines: sentences on what is in it.
    """

    path: str
    lines: list[str]


def pack(name: str, report: str, output: str, most_megabytes: float) -> Submission:
    """Pack a report, the code, and the weights of the FCOS with the best box AP in the report.

    Args:
        name: of the ZIP file and of the folder in it.
        report: folder with ``report.html`` and ``report.json``.
        output: folder to write to.
        most_megabytes: refuse to write a larger file.

    Raises:
        UserError: a piece is missing, the name is no name of a file, or the file is too large.
    """
    if not name or name != os.path.basename(name) or name.startswith("."):
        raise UserError(f"NAME {name!r} cannot be the name of a file: give one such as jane_doe.")
    page, file = (os.path.join(report, f"report.{kind}") for kind in ("html", "json"))
    for path in (page, file):
        if not os.path.isfile(path):
            raise UserError(f"{path} does not exist: write the report first, with make report.")
    best = _best(read_json(file), file)
    check_writable(output)
    path = os.path.join(output, f"{name}.zip")
    with tempfile.TemporaryDirectory() as folder:
        document, said = _document(page, folder)
        files = {os.path.basename(document): document, "report.json": file}
        files |= {f"code/{inner}": str(_ROOT / inner) for inner in _code()}
        files["model_best.pth"] = best["weights"]
        _check_size(files, most_megabytes)
        line = _line(best, read_json(file)["data_set"]["name"])
        _write(path, name, files, line)
    number = sum(inner.startswith("code/") for inner in files)
    size = os.path.getsize(path) / 1e6
    return Submission(
        path,
        [f"{path}: {size:.1f} MB.", said, f"The code is {number:,} files, without data.", line],
    )


def _best(numbers: dict[str, Any], file: str) -> dict[str, Any]:
    """Return the run with the best box AP, of an FCOS."""
    runs = [
        run
        for run in numbers["runs"]
        if _is_ours(run) and (run["figures"].get("box") or {}).get("AP") is not None
    ]
    if not runs:
        raise UserError(f"{file} has no finished run of FCOS with an AP, so there are no weights.")
    best: dict[str, Any] = max(runs, key=lambda run: run["figures"]["box"]["AP"])
    if not os.path.isfile(best["weights"]):
        raise UserError(
            f"The best weights, {best['weights'] or 'of ' + best['label']}, do not exist any more: "
            "train that run again, or write the report without it."
        )
    return best


def _is_ours(run: dict[str, Any]) -> bool:
    if run["kind"] == "other":  # an FCOS that is no row of the paper, or another detector
        return run.get("proposal_generator") == "FCOS"
    return run["kind"] not in _NOT_OURS


def _document(page: str, folder: str) -> tuple[str, str]:
    """Print the page where a browser is installed; return the file and a sentence on it."""
    browser = find_browser()
    if browser is None:
        return page, (
            "The report is an HTML page, because no Chromium is installed that prints it as a PDF: "
            "print it from a browser where a PDF is asked for."
        )
    pdf = os.path.join(folder, "report.pdf")
    print_pdf(browser, page, pdf)
    return pdf, "The report is a PDF."


def _code() -> list[str]:
    """Return the files of the code, relative to the folder that has the package.

    In a checkout these are all files that git does not ignore; data and runs are ignored there.
    Elsewhere, and where git ignores the folder itself, they are those of ``_CODE``.
    """
    try:
        done = subprocess.run(
            ["git", "-C", str(_ROOT), "ls-files", "-zco", "--exclude-standard"],
            capture_output=True,
            check=True,
        )
        names = [name for name in done.stdout.decode().split("\0") if name]
    except (OSError, subprocess.CalledProcessError):  # no git, or no repository
        names = []
    if not names:
        paths = [_ROOT / name for name in _CODE]
        found = [
            inner for path in paths for inner in ([path] if path.is_file() else path.rglob("*"))
        ]
        names = [str(path.relative_to(_ROOT)) for path in found if path.suffix in _SUFFIXES]
    return sorted(name for name in names if (_ROOT / name).is_file())


def _check_size(files: dict[str, str], most_megabytes: float) -> None:
    sizes = {name: os.path.getsize(path) / 1e6 for name, path in files.items()}
    largest = max(sizes, key=sizes.__getitem__)
    if sum(sizes.values()) > most_megabytes:
        raise UserError(
            f"The submission would have {sum(sizes.values()):.1f} MB, more than "
            f"{most_megabytes:g}; the largest piece is {files[largest]} with {sizes[largest]:.1f} "
            "MB. Allow more with --most-megabytes."
        )


def _line(best: dict[str, Any], dataset: str) -> str:
    """Say which row the weights belong to."""
    iterations, seed = best["budget"]["iterations"], best["seed"]
    after = f" after {iterations:,} iterations" if iterations else ""
    with_seed = "" if seed is None else f", seed {seed}"
    digest = sha256_of(best["weights"], WEIGHTS)
    return (
        f"model_best.pth belongs to {best['title']} ({best['label']}{with_seed}): box AP "
        f"{best['figures']['box']['AP']:.1f} on {dataset}{after}. It is {best['weights']}, SHA-256 "
        f"{digest[:16]}."
    )


def _write(path: str, name: str, files: dict[str, str], line: str) -> None:
    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{name}/README.txt", f"{line}\n")
            for inner, source in files.items():
                # Weights do not become smaller.
                how = zipfile.ZIP_STORED if inner.endswith(".pth") else zipfile.ZIP_DEFLATED
                archive.write(source, f"{name}/{inner}", how)

    write_whole(path, write)
