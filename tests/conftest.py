"""One computing thread per process: tests run side by side, and some start processes."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, which is later
