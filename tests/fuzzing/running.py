"""Give a reader damaged files, and note what is neither a result nor a ``UserError``.

The text of an error has to be short, and show nothing but itself in a terminal.
"""

from __future__ import annotations

import contextlib
import faulthandler
import itertools
import logging
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fcos.utils.errors import UserError
from tests.fuzzing.mutating import mutated
from tests.fuzzing.readers import READERS

__all__ = ["Outcome", "fuzz", "limit_memory", "try_file", "try_kept"]

CORPUS = Path(__file__).with_name("corpus")
MOST_SECONDS = 20.0  # for a file of at most 1 MiB, on a busy machine
MOST_BYTES = 2 * 2**30  # of memory, more than the program has without the file


class Outcome(NamedTuple):
    """What was wrong, where, and with which file."""

    reader: str
    problem: str
    content: bytes


def limit_memory() -> None:
    """Let this process have only so much more memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MOST_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def try_file(reader: str, content: bytes) -> Outcome | None:
    """Let a reader read a file; return what is wrong, None if nothing is."""
    folder = tempfile.mkdtemp(prefix="fuzz")
    start, before = time.process_time(), _peak()
    try:
        with contextlib.redirect_stdout(None), contextlib.redirect_stderr(None):
            READERS[reader].read(content, Path(folder))
        problem = ""
    except UserError as error:
        text = str(error)
        problem = "" if text.isprintable() and len(text) < 5_000 else f"says {text[:200]!r}"
    except (Exception, MemoryError) as error:
        *_, place = traceback.extract_tb(error.__traceback__)
        ours = [f for f in traceback.extract_tb(error.__traceback__) if "/fcos/" in f.filename]
        last = ours[-1] if ours else place
        problem = (
            f"{type(error).__name__}: {str(error)[:200]!r} at {place.filename}:{place.lineno}, "
            f"{last.filename}:{last.lineno}"
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    seconds, grown = time.process_time() - start, _peak() - before
    if not problem and seconds > MOST_SECONDS:
        problem = f"takes {seconds:.0f} s"
    if not problem and grown > MOST_BYTES:
        problem = f"takes {grown:,} bytes"
    return Outcome(reader, problem, content) if problem else None


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def try_kept(reader: str) -> list[Outcome]:
    """Give a reader the files that it has failed on before."""
    kept = sorted(CORPUS.glob(f"{reader.replace(' ', '-')}-*.bin"))
    return [found for path in kept if (found := try_file(reader, path.read_bytes()))]


def fuzz(reader: str, seed: int, files: int, seconds: float = float("inf")) -> Iterator[Outcome]:
    """Damage files and read them, until there were enough of them or time is over.

    A file that ends the process is left in ``fuzz-<reader>.bin`` of the temporary folder.
    """
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    draw, sources = random.Random(f"{reader} {seed}"), READERS[reader].sources()
    current = Path(tempfile.gettempdir()) / f"fuzz-{reader.replace(' ', '-')}.bin"
    end, known = time.monotonic() + seconds, set()
    number = 0
    for number in itertools.count():
        if number >= files or time.monotonic() > end:
            break
        content = mutated(sources, draw)
        current.write_bytes(content)
        faulthandler.dump_traceback_later(15 * MOST_SECONDS, exit=True, file=sys.__stderr__)
        outcome = try_file(reader, content)
        faulthandler.cancel_dump_traceback_later()
        if outcome and (key := outcome.problem.rpartition(" at ")[2]) not in known:
            known.add(key)
            yield outcome
    current.unlink(missing_ok=True)
    print(f"{reader}: {number} files", file=sys.__stderr__, flush=True)
