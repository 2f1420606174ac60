"""Compare detectors on one page: ``python -m fcos.evaluation.compare --help``."""

import sys

from fcos_cli.compare import main

if __name__ == "__main__":
    sys.exit(main())
