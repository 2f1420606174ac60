"""Fuzz readers: ``python -m tests.fuzzing [READER ...] --seconds 600``."""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import itertools
import sys
from pathlib import Path

from tests.fuzzing.readers import READERS
from tests.fuzzing.running import fuzz, limit_memory, try_kept


def main() -> int:
    """Print each kind of problem once, and keep a file of each; return whether there was any."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=__doc__)
    parser.add_argument("readers", nargs="*", metavar="READER", help=", ".join(READERS))
    parser.add_argument("--seconds", type=float, default=600, help="for each (%(default)s)")
    parser.add_argument("--files", type=int, default=10**9, help="for each, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--found", type=Path, default=None, help="folder for files that fail")
    args = parser.parse_args()
    faulthandler.enable()
    limit_memory()
    number = 0
    for reader in args.readers or READERS:
        found = fuzz(reader, args.seed, args.files, args.seconds)
        for outcome in itertools.chain(try_kept(reader), found):
            number += 1
            print(f"{reader}: {outcome.problem}", flush=True)
            if args.found:
                args.found.mkdir(parents=True, exist_ok=True)
                name = hashlib.sha256(outcome.content).hexdigest()[:12]
                path = args.found / f"{reader.replace(' ', '-')}-{name}.bin"
                path.write_bytes(outcome.content)
    print(f"{number} problems.")
    return int(number > 0)


if __name__ == "__main__":
    sys.exit(main())
