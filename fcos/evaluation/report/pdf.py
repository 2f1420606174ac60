"""Print a page as a PDF with a browser that is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from fcos.utils.errors import UserError

__all__ = ["find_browser", "print_pdf"]

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_LONGEST = 300  # seconds


def find_browser() -> str | None:
    """Return the path of a browser that prints without a window, if there is one."""
    return next(filter(None, map(shutil.which, _BROWSERS)), None)


def print_pdf(browser: str, page: str, pdf: str) -> None:
    """Print an HTML file.

    Args:
        browser: from :func:`find_browser`.
        page: path of the file.
        pdf: path of the PDF to write.

    Raises:
        UserError: the browser does not write it.
    """
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, "--headless", "--disable-gpu", f"--user-data-dir={profile}"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--no-sandbox")  # which a browser of root does not have
        command += ["--no-pdf-header-footer", f"--print-to-pdf={os.path.abspath(pdf)}"]
        command.append(f"file://{os.path.abspath(page)}")
        try:
            done = subprocess.run(command, capture_output=True, timeout=_LONGEST, check=False)
            reason = f"it ended with exit code {done.returncode}"
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = str(error)
    if not _is_whole(pdf):
        raise UserError(f"{browser} did not print {page}: {reason}.")


def _is_whole(pdf: str) -> bool:
    """Look for the mark at the end."""
    try:
        return b"%%EOF" in Path(pdf).read_bytes()[-1024:]
    except FileNotFoundError:
        return False
