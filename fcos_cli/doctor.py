"""Say what is installed here and what is wrong with it, each with the command that mends it.

exit codes: 0 all can work; 1 something is wrong; 2 wrong arguments
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence

from fcos_cli.findings import examine
from fcos_cli.health import WRONG, Finding

PROGRAM = "fcos doctor"


def parse_args(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> argparse.Namespace:
    """Parse the command line; mistakes end the program with exit code 2."""
    parser = argparse.ArgumentParser(
        prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> int:
    """Print the findings; return the exit code."""
    args = parse_args(argv, prog)
    findings = examine()
    if args.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
    else:
        print("\n".join(map(_line, findings)))
    wrong = [finding for finding in findings if finding.status == WRONG]
    if not args.json:
        number = f"{len(wrong)} thing{'s are' if len(wrong) > 1 else ' is'} wrong"
        print(number if wrong else "Nothing is wrong.")
    return 1 if wrong else 0


def _line(finding: Finding) -> str:
    line = f"{finding.status:<6}{finding.name:<14}{finding.text}"
    return f"{line}\n{'':<20}-> {finding.mend}" if finding.mend else line
