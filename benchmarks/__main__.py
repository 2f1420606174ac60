"""What is fast, measured beside a peer.

Each line of the table is a piece of work done by fcos and by another implementation, which first
show that they compute the same. docs/BENCHMARKS.md says how it is measured and how to read it.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence

EPILOG = """examples:
  python -m benchmarks --quick
  python -m benchmarks --only targets postprocess-1 --json before.json
  python -m benchmarks --only targets postprocess-1 --compare before.json
  python -m benchmarks --compare before.json after.json
  python -m benchmarks --growth
  python -m benchmarks --growth --only targets inference-images
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--list", action="store_true", help="name the pieces of work and leave")
    parser.add_argument(
        "--only", nargs="+", metavar="WORK", help="these alone; 'targets' means all targets-..."
    )
    parser.add_argument("--growth", action="store_true", help="how time and memory grow instead")
    size = parser.add_mutually_exclusive_group()
    for name, text in (
        ("quick", "smaller work, for a first look"),
        ("smoke", "tiny work: shows that everything runs; its figures mean nothing"),
    ):
        size.add_argument(
            f"--{name}", dest="size", action="store_const", const=name, default="full", help=text
        )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--dtype", default="float32", help="float32 (default), bfloat16 or float16")
    parser.add_argument("--batch", type=int, metavar="N", help="images at once, for all models")
    parser.add_argument(
        "--repeats",
        type=int,
        metavar="N",
        help="samples of each contestant (default: time decides)",
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="default: OMP_NUM_THREADS, or one for each core"
    )
    parser.add_argument("--json", metavar="FILE", help="write all samples and the machine's data")
    parser.add_argument(
        "--compare",
        nargs="+",
        metavar="FILE",
        help="with one file of --json: compare this run with it; with two: compare these, run none",
    )
    args = parser.parse_args(argv)
    if args.compare and len(args.compare) > 2:
        parser.error("--compare takes one file or two")
    if args.growth and args.compare:
        parser.error("--growth compares nothing: leave out --compare")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmarks; returns the exit code."""
    args = parse_args(argv)
    # torch warns of every block that a profiler saw freed and not allocated.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    warnings.filterwarnings("ignore", "torch.meshgrid")  # detectron2's
    try:
        from fcos.utils.errors import UserError
    except ImportError as error:  # no detectron2, or a package is not installed
        print(f"Error: {error}", file=sys.stderr)
        return 1
    try:
        return _run(args)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130


def _run(args: argparse.Namespace) -> int:
    import torch

    from benchmarks import record, table
    from benchmarks.growth import growth_names, growth_table, measure_growth
    from benchmarks.settings import Settings, default_threads

    width = table.columns()
    before = record.read(args.compare[0])[1] if args.compare else []
    if args.compare and len(args.compare) == 2:
        print(record.comparison(before, record.read(args.compare[1])[1], width))
        return 0
    threads = args.threads if args.threads is not None else default_threads()
    settings = Settings(args.device, args.dtype, args.batch, args.repeats, threads, args.size)
    if args.list:
        print("\n".join(growth_names(settings)) if args.growth else _listed(settings))
        return 0
    chosen = choose(growth_names(settings) if args.growth else works(settings), args.only)
    if args.json:
        record.check_writable(args.json)
    torch.set_num_threads(settings.threads)
    about = record.machine(settings)
    print(record.headline(about, settings), end="\n\n")
    results: list = []
    lines, is_whole = [], True
    if args.growth:
        lines = measure_growth(settings, chosen, _progress)
        print(growth_table(lines, width))
    else:
        is_whole = _collect(_results(settings, chosen), results)
        print(table.table(results, width), end="\n\n")
        print(table.details(results, width))
    if args.json:
        record.write(args.json, about, settings, results, lines)
    if before and not args.growth:
        print(f"\nBeside {args.compare[0]}:\n\n{record.comparison(before, results, width)}")
    if not is_whole:
        raise KeyboardInterrupt
    return 0 if all(result.agreement.same for result in results) else 3


def _collect(measured: Iterator, results: list) -> bool:
    """Fill ``results``; False if Ctrl-C or SIGTERM came, and then with what was done by then."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for result in measured:
            results.append(result)
            _say_result(result)
    except KeyboardInterrupt:
        return False
    return True


def _say_result(result) -> None:
    from benchmarks.table import seconds_text

    times = "not timed"
    if result.is_timed:
        times = " / ".join(seconds_text(m.median) for m in (result.ours, result.peer))
    start = "\r\033[K" if sys.stderr.isatty() else ""
    print(f"{start}{result.work} against {result.peer.name}: {times}", file=sys.stderr, flush=True)


def works(settings) -> list[str]:
    """Names of all pieces of work."""
    from benchmarks.rows import ROWS

    return [work for row in ROWS for work in row.works(settings)]


def choose(works: Sequence[str], only: Sequence[str] | None) -> list[str]:
    """Those of the ``works`` that are to be done; ``only`` has names, or their beginnings.

    Raises:
        UserError: one of ``only`` names none.
    """
    from fcos.utils.errors import UserError

    if only is None:
        return list(works)
    for name in only:
        if not any(_is_meant(name, work) for work in works):
            raise UserError(f"--only {name}: no such work; there are {', '.join(works)}.")
    return [work for work in works if any(_is_meant(name, work) for name in only)]


def _is_meant(name: str, work: str) -> bool:
    return work == name or work.startswith(f"{name}-")


def _listed(settings) -> str:
    from benchmarks.rows import ROWS

    lines = []
    for row in ROWS:
        lines += [row.title[0].upper() + row.title[1:], f"    {', '.join(row.works(settings))}"]
    return "\n".join(lines)


def _results(settings, chosen: Sequence[str]) -> Iterator:
    from benchmarks.measure import measure, not_built
    from benchmarks.rows import ROWS
    from fcos.utils.errors import UserError

    for row in ROWS:
        for work in row.works(settings):
            if work not in chosen:
                continue
            try:
                for match in row.matches(settings, work):
                    _progress(f"{work} against {match.peer.name}")
                    yield measure(match, settings)
                    gc.collect()
            except UserError:
                raise
            except Exception as error:  # a peer of a version that is built differently
                yield not_built(work, row.title, error)


def _progress(what: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{what} ...", end="\r", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
