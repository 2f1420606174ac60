"""The command ``fcos``: one verb for each job."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence

# Verb -> module of fcos_cli, arguments that are always passed to it, line of the help.
VERBS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "data": ("data", (), "import labels of any usual format, look at data sets"),
    "train": ("train", (), "train a detector"),
    "eval": ("train", ("--eval-only",), "evaluate a detector on DATASETS.TEST"),
    "demo": ("demo", (), "draw detections on images, a video, a webcam or a data set"),
    "detect": ("detect", (), "write the detections of very many images"),
    "export": ("export", (), "write a detector as ONNX, TorchScript or torch.export"),
    "compare": ("compare", (), "compare evaluated detectors on one page"),
    "diagnose": ("diagnose", (), "say on one page where a detector fails"),
    "curves": ("curves", (), "draw the losses, AP and times of trainings on one page"),
    "report": ("report", (), "write the report of a course from finished runs"),
    "checkpoint": (
        "checkpoint",
        (),
        "inspect, convert or verify a weights file, find scores to cut at",
    ),
    "zoo": ("zoo", (), "list published models, whose names stand for their weights"),
    "doctor": ("doctor", (), "say what is installed here and what is wrong with it"),
    "skeleton": ("skeleton", (), "write an exercise: this package without the steps of the paper"),
}

_HELP = """usage: fcos VERB ...

verbs:
{verbs}

'fcos VERB --help' shows the arguments of a verb.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; return its exit code, or 2 if there is no such verb."""
    words = list(sys.argv[1:] if argv is None else argv)
    verb = words[0] if words else "--help"
    if verb in ("-h", "--help"):
        lines = (f"  {name:<12}{text}" for name, (_, _, text) in VERBS.items())
        print(_HELP.format(verbs="\n".join(lines)), end="")
        return 0
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        print(f"Error: fcos has no verb {verb!r}.{hint} See fcos --help.", file=sys.stderr)
        return 2
    module, fixed, _ = VERBS[verb]
    program = importlib.import_module(f"fcos_cli.{module}")
    code: int = program.main([*fixed, *words[1:]], prog=f"fcos {verb}")
    return code


if __name__ == "__main__":
    sys.exit(main())
