"""Look at data sets before training: ``python -m fcos.evaluation.dataset --help``."""

import sys

from fcos_cli.data import REPORT_PROGRAM, main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]], prog=REPORT_PROGRAM))
