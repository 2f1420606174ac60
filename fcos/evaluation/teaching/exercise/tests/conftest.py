"""The tests of the exercise run on the copy of the package beside them."""

from pathlib import Path

import pytest

import fcos


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to test another package, such as the installed one."""
    here, found = Path(__file__).parents[1], Path(fcos.__file__).parents[1]
    if found.resolve() != here.resolve():
        raise pytest.UsageError(
            f"These tests would run on the fcos of {found}: "
            f"type 'python -m pytest tests' in the folder {here}."
        )
