"""Run a job and end the program: with an exit code and, after an error, one sentence."""

from __future__ import annotations

import argparse
import contextlib
import gc
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from fcos.config import CfgNode

__all__ = ["detector_of", "run_program", "say"]


def run_program(
    load: Callable[[], Callable[[], int]], debug: bool = False, several: bool = False
) -> int:
    """Import a program's job and run it. Print an error of the user as one sentence.

    Args:
        load: imports what the job needs and returns the job, which returns an exit code. The
            import is separate because importing torch takes seconds, and --help must not wait.
        debug: raise an error of the user instead, so that Python shows where it was found.
        several: the job may be shared by the processes of torchrun; otherwise it is refused there.

    Returns:
        The exit code: that of the job, 1 after an error that was printed, or 130 after Ctrl-C.
    """
    # From torch 2.14 on: how fvcore compiles its losses is nothing that a user can change.
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
    try:
        try:
            with _no_garbage_collection():
                job = load()
        except ImportError as error:  # no detectron2, or a package is not installed
            print(f"Error: {error}", file=sys.stderr)
            return 1
        return _run(job, debug, several)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 128 + signal.SIGINT


def detector_of(args: argparse.Namespace, log: Literal["stdout", "stderr"] = "stdout") -> CfgNode:
    """Show the log, and read the config of the detector on a command line.

    Args:
        args: of :func:`fcos_cli.arguments.parse_detector`.
        log: where it is shown.
    """
    from fcos.checkpoint import detector_cfg
    from fcos.utils.terminal import show_log

    show_log(stream=log)
    return detector_cfg(args.weights, args.config_file, args.opts)


def say(text: str, **more: Any) -> None:
    """Print a text at once; names in it, which come from files, do nothing to the terminal.

    Args:
        text: of a job, which has imported what it needs.
        more: as of ``print``.
    """
    from fcos.utils.errors import printable

    print(printable(text), flush=True, **more)


def _run(job: Callable[[], int], debug: bool, several: bool) -> int:
    # Imported by now.
    from fcos.utils.errors import UserError, of_exercise, of_system
    from fcos.utils.launched import torchrun_rank

    place = None if several else torchrun_rank()
    if place is not None:
        rank, number = place
        if rank == 0:
            print(
                f"Error: this program is one process, but torchrun started {number}; run it "
                "without torchrun.",
                file=sys.stderr,
            )
        return int(rank == 0)  # torchrun ends the others after the first that fails
    try:
        return job()
    except (NotImplementedError, OSError, ValueError) as error:
        said = error if isinstance(error, UserError) else of_system(error) or of_exercise(error)
        if debug or said is None:
            raise
        print(f"Error: {said}", file=sys.stderr)
        return 1


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Do not search for garbage among the imported objects: some 200,000, and none is ever freed.

    Python would search them many times during the import and once more at its end: a third of the
    time that the demo takes for a small image.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
