"""README and docs: every command parses, every config, key, file and link in them exists."""

import ast
import contextlib
import functools
import importlib
import importlib.util
import io
import re
import shlex
from pathlib import Path

import pytest

import fcos_cli.demo
import fcos_cli.train
from fcos.config import get_cfg, read_cfg
from fcos_cli.__main__ import VERBS

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "datasets/README.md")),
    ROOT / "detectron2-lite" / "README.md",
    ROOT / "tests" / "golden" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
EXERCISE = ROOT / "fcos" / "evaluation" / "teaching" / "exercise" / "README.md"
SCRIPTS = {"train_net.py": fcos_cli.train, "demo.py": fcos_cli.demo}
SHELL = {"cd", "export", "source", ".", "[", "unset"}  # nothing of ours to check
# What the pages tell to write, or have written, and what stands in for it here.
TO_WRITE = dict.fromkeys(["configs/cells.yaml", "my_data/config.yaml"], "configs/bccd.yaml")
# Of docs/RECIPES.md, where tests/test_recipes.py runs them if they are installed.
TOOLS = {"accelerate", "lightning", "onnxruntime", "openvino", "sahi", "supervision"}
FOLDERS = "benchmarks configs detectron2-lite docs examples fcos fcos_cli tests".split()

# ---------------------------------------------------------------- what stands on a page


def fences(text):
    """(language, contents) of the blocks between lines of ```."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)


def without_fences(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def indented_blocks(text):
    """Blocks of lines that begin with four spaces, behind an empty line: all of them commands."""
    found = re.findall(r"(?<=\n\n)((?: {4}.*\n|\n(?= {4}))+)", without_fences(text))
    return [re.sub(r"^ {4}", "", block, flags=re.M) for block in found]


def spans(text):
    """What stands in `backticks` within sentences and tables."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^ {4}.*$", "", without_fences(text), flags=re.M))


def commands_of(text):
    """Words of each command of a page: in blocks, in shell scripts and within sentences."""
    blocks = [block for block in indented_blocks(text) if not block.startswith(">>>")]
    blocks += [block for language, block in fences(text) if language == "bash"]
    typed = [span for span in spans(text) if re.match(r"(fcos|make|python|pip) \S", span)]
    # A name alone stands for the program, not for what one would type.
    blocks += [
        re.sub(r"^(fcos (data |checkpoint )?\w+|python -m [\w.]+)$", r"\1 --help", span)
        for span in typed
    ]
    for block in blocks:
        for line in _whole_lines(block):
            words = shlex.split(line, comments=True)
            if words and "=$(" not in line:
                yield _innermost(words)


def _whole_lines(block):
    """Lines without their line ends behind a backslash, nor those inside of quotes."""
    block = re.sub(r"\s*\\\n\s*", " ", block)
    whole = ""
    for line in block.splitlines():
        whole += line
        if not line.lstrip().startswith("#") and whole.count("'") % 2:
            whole += " "
            continue
        yield whole
        whole = ""


def _innermost(words):
    """The command that another one starts: ``srun bash -c 'exec python -m fcos.detect ...'``."""
    if words[0] == "torchrun":
        return ["python", *words[words.index("train_net.py") :]]
    if words[0] == "srun" and words[1] == "python":
        return words[1:]
    if words[0] == "srun":
        words = shlex.split(re.sub(r"\$\w+", "1", words[words.index("-c") + 1]))
    return words[1:] if words[0] == "exec" else words


# ---------------------------------------------------------------- whether it is right


def program_behind(module):
    """The module with ``parse_args`` behind ``python -m module``."""
    if importlib.util.find_spec(f"{module}.__main__" if _is_package(module) else module) is None:
        raise AssertionError(f"python -m {module}: there is no such program")
    main = importlib.import_module(f"{module}.__main__" if _is_package(module) else module).main
    return importlib.import_module(main.__module__)


def _is_package(module):
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"python -m {module}: there is no such module"
    return spec.submodule_search_locations is not None


def check_command(words):
    """Fail where a command of a page could not be typed."""
    program, *rest = words
    if program == "fcos" and rest[0] in VERBS:
        name, fixed, _ = VERBS[rest[0]]
        check_arguments(importlib.import_module(f"fcos_cli.{name}"), [*fixed, *rest[1:]])
    elif program == "python":
        check_python_command(*rest)
    elif program == "make":
        check_make(rest)
    elif program == "pip" and rest[0] == "install":
        check_install(rest[1:])
    elif program == "pip" and rest[0] == "uninstall":
        assert rest[1:] in (["detectron2"], ["detectron2-lite"])
    else:
        assert program in SHELL, f"unknown command: {shlex.join(words)}"


def check_python_command(first, *rest):
    if first in SCRIPTS:
        check_arguments(SCRIPTS[first], rest)
    elif first == "-m" and rest[0] == "pytest":
        assert all((ROOT / path).exists() for path in rest[1:] if not path.startswith("-")), rest
    elif first == "-m":
        check_arguments(program_behind(rest[0]), rest[1:])
    elif first == "-c":
        check_python(rest[0])
    else:
        assert first.startswith("examples/"), f"unknown command: python {first}"
        usage = ast.get_docstring(ast.parse((ROOT / first).read_text())).splitlines()[-1]
        assert len(rest) == len(usage.split()) - 2, f"expected: {usage}"


def check_make(words):
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
    assert all(word in targets or re.match(r"[A-Z]+=", word) for word in words), words


def check_install(words):
    for word in words:
        path, _, extras = word.partition("[")
        if path.startswith("."):
            assert (ROOT / path).is_dir(), word
        for extra in filter(None, extras.rstrip("]").split(",")):
            assert f'"{extra}": [' in (ROOT / "setup.py").read_text(), word


def check_arguments(program, words):
    """Parse them as the program does, and merge the keys into the config that is named."""
    if "--help" in words:
        return
    parse_args = getattr(program, "parse_args", None)
    assert parse_args is not None, f"{program.__name__} has no parse_args"
    error = io.StringIO()
    try:
        with contextlib.redirect_stderr(error):
            args = parse_args(words)
    except SystemExit:
        raise AssertionError(f"{shlex.join(words)}: {error.getvalue()}") from None
    check_config(getattr(args, "config_file", None), getattr(args, "opts", []))


def check_config(file, options):
    if file:
        file = TO_WRITE.get(file, file)
        assert (ROOT / file).is_file(), f"{file} does not exist"
        read_cfg(str(ROOT / file), options)


def check_python(code):
    """Compile it, and import what it imports, where that is ours."""
    for node in ast.walk(ast.parse(code)):
        names = [alias.name for alias in getattr(node, "names", [])]
        if isinstance(node, ast.Import):
            assert all(importlib.util.find_spec(name) for name in names if name not in TOOLS)
        elif isinstance(node, ast.ImportFrom) and node.module.split(".")[0] not in TOOLS:
            module = importlib.import_module(node.module)
            assert all(hasattr(module, name) for name in names), f"{node.module}: {names}"


@functools.cache
def all_options():
    """Every --option of every program, as their help shows them."""
    shown = io.StringIO()
    helps = [(importlib.import_module(f"fcos_cli.{name}"), []) for name, _, _ in VERBS.values()]
    of_checkpoint = ("inspect", "convert", "record", "verify", "thresholds")
    helps += [(fcos_cli.checkpoint, [word]) for word in of_checkpoint]
    of_data = ("import", "report", "show")
    helps += [(importlib.import_module("fcos_cli.data"), [word]) for word in of_data]
    programs = ("benchmarks", "benchmarks.gpu", "benchmarks.gpu.prepare", "fcos.data.digits")
    programs += ("fcos_cli.report_runs", "fcos_cli.submission")
    helps += [(program_behind(name), []) for name in programs]
    for program, words in helps:
        with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
            program.parse_args([*words, "--help"])
    return set(re.findall(r"--[a-z][\w-]*", shown.getvalue()))


def slug(heading):
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")


def name_of(page):
    return str(page.relative_to(ROOT))


# ---------------------------------------------------------------- the tests

pages = pytest.mark.parametrize("page", PAGES, ids=name_of)


@pages
def test_commands_can_be_typed(page):
    for words in commands_of(page.read_text()):
        check_command(words)


def test_there_are_commands_to_check():
    readme = list(commands_of((ROOT / "README.md").read_text()))
    assert len(readme) >= 15
    typed = {words[1] for words in readme if words[0] == "fcos"} - {"train", "eval", "demo"}
    assert typed == {
        *("data", "detect", "export", "compare", "curves", "diagnose", "checkpoint", "skeleton"),
        *("zoo", "doctor"),
    }
    (script,) = [
        words
        for words in commands_of((ROOT / "docs" / "DETECTION.md").read_text())
        if "--dist-url" in words
    ]
    assert script[:3] == ["python", "-m", "fcos.detect"]


@pages
def test_code_and_configs_are_sound(page, tmp_path):
    for language, block in fences(page.read_text()):
        assert language in ("bash", "python", "text", "yaml"), f"a block of {language!r}"
        if language == "python":
            check_python(block)
        if language == "yaml":
            path = tmp_path / "page.yaml"
            path.write_text(re.sub(r'(_BASE_: ")', rf"\g<1>{ROOT}/configs/", block))
            read_cfg(str(path))


@pages
def test_links_lead_somewhere(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", without_fences(other.read_text()), re.M)
            assert anchor in map(slug, headings), target


@pytest.mark.parametrize("page", [*PAGES, EXERCISE], ids=name_of)
def test_files_options_and_keys_of_sentences_exist(page):
    keys = get_cfg()
    for span in spans(page.read_text()):
        if span.split("/")[0] in FOLDERS and "/" in span and " " not in span:
            span = TO_WRITE.get(span, span)
            roots = (ROOT, ROOT / "fcos" / "modeling")  # of the table of the paper
            assert any(list(root.glob(span.rstrip("/"))) for root in roots), span
        elif span.startswith("--"):
            assert span.split()[0] in all_options() | {"--help"}, span
        elif re.match(r"(MODEL|SOLVER|INPUT|TEST|DATASETS|DATALOADER)\.[A-Z_.0-9]+( |$)", span):
            pairs = span.split()
            for key in pairs[::2]:
                assert _has(keys, key), key
            if len(pairs) % 2 == 0:
                keys.clone().merge_from_list(pairs)


def _has(node, key):
    for part in key.split("."):
        if part not in node:
            return False
        node = node[part]
    return True


def test_files_of_the_table_of_the_paper_exist():
    readme = (ROOT / "README.md").read_text().split("## The paper and the code")[1]
    rows = re.findall(r"^\| [^|]+ \| (`[^|]+`) \| (`[^|]+`) \|$", readme, re.M)
    assert len(rows) >= 8
    for files, tests in rows:
        for folder, names in (("fcos/modeling", files), ("tests/modeling", tests)):
            for name in re.findall(r"`([^`]+)`", names):
                assert (ROOT / folder / name).exists(), name


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


WRONG = [
    "fcos train --config-file configs/R_50_1x.yaml --num-gpu-cores 4",
    "fcos train --config-file configs/R_51_1x.yaml",
    "fcos train --config-file configs/R_50_1x.yaml MODEL.FCOS.NUM_CLASES 3",
    "fcos traim --config-file configs/R_50_1x.yaml",
    "python demo.py --config-file configs/R_50_1x.yaml --input a.jpg --opts MODEL.WEIGHTS x --json",
    "python -m fcos.detects --list files.txt",
    "python -m fcos.export --config-file configs/R_50_1x.yaml --format tensorrt --output x",
    "python tran_net.py",
    "make demos",
    "pip install -e '.[exports]'",
    "srun bash -c 'exec python -m fcos.detect --config-file configs/R_50_1x.yaml --lists x'",
]


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_command_is_found(line):
    (words,) = commands_of(f"Type this:\n\n    {line}\n\nand wait.\n")
    with pytest.raises((AssertionError, ValueError)):
        check_command(words)


def test_what_a_program_says_of_a_wrong_option_is_shown():
    with pytest.raises(AssertionError, match="unrecognized arguments: --colour"):
        check_command("fcos train --colour --config-file configs/R_50_1x.yaml".split())
