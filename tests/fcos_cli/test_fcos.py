"""The command ``fcos``: its verbs, and that asking for help does not wait for torch."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fcos_cli import running
from fcos_cli.__main__ import VERBS, main
from fcos_cli.running import say

HELP = [["--help"], *([verb, "--help"] for verb in VERBS), ["checkpoint", "verify", "--help"]]
HELP += [["data", word, "--help"] for word in ("import", "report", "show")]


@pytest.mark.parametrize("words", HELP, ids=" ".join)
def test_help_does_not_import_torch(words):
    code = f"""
import sys
from fcos_cli.__main__ import main
try:
    sys.exit(main({words!r}))
finally:
    print("torch:", "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("torch: False\n")
    assert f"usage: fcos {words[0] if len(words) > 1 else 'VERB'}" in done.stdout
    assert "train_net.py" not in done.stdout  # nor is it there after an installation


def test_no_verb_shows_the_verbs(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {verb} " in shown for verb in VERBS)


def test_an_unknown_verb_names_the_nearest(capsys):
    assert main(["traim", "--resume"]) == 2
    assert capsys.readouterr().err == (
        "Error: fcos has no verb 'traim'. Did you mean 'train'? See fcos --help.\n"
    )


def test_eval_is_train_with_eval_only(capsys):
    assert main(["eval", "--config-file", "missing.yaml"]) == 1
    assert "missing.yaml does not exist" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", "--optimize", "auto", "--config-file", "missing.yaml"])
    assert "belongs to --eval-only" in capsys.readouterr().err
    assert main(["eval", "--optimize", "auto", "--config-file", "missing.yaml"]) == 1


@pytest.mark.parametrize(
    "module",
    [
        "fcos.detect",
        "fcos.export",
        "fcos.checkpoint",
        "fcos.evaluation.compare",
        "fcos.data.importing",
        "fcos.evaluation.dataset",
    ],
)
def test_the_names_of_the_programs_go_on_working(module):
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True
    )
    assert f"usage: python -m {module}" in done.stdout


def test_what_the_programs_repeat_is_what_the_package_has():
    """The help may not import torch, so the programs have lists of their own."""
    from fcos.checkpoint.importers import FAMILIES
    from fcos.data.importing.recognise import FORMATS
    from fcos.export import FORMATS as FILES
    from fcos.export import INPUT_TYPES
    from fcos_cli import checkpoint, data, export

    assert set(checkpoint.FAMILIES) == set(FAMILIES)
    assert set(data.FORMATS) == set(FORMATS)
    assert export.FORMATS == FILES
    assert tuple(INPUT_TYPES) == export.INPUT_TYPES


def test_programs_print_names_from_files_safely(capsys):
    """By ``say``; the others print no names, or JSON, or are told what to print by ``say``."""
    say("\x1b[31mred\u202e\tgreen\n", end="")
    assert capsys.readouterr().out == "\\x1b[31mred\\u202e\tgreen\n"
    others = [
        path.name
        for path in sorted(Path(running.__file__).parent.glob("*.py"))
        if re.search(r"(?<![\w.])print\(", path.read_text(encoding="utf-8"))
    ]
    assert others == ["__main__.py", "doctor.py", "probing.py", "running.py"]
