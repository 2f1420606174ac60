"""Write the demo data set: ``python -m fcos.data.digits --help``."""

import sys

from fcos_cli.digits import main

if __name__ == "__main__":
    sys.exit(main())
