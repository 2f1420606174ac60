"""No file is written but through :mod:`fcos.utils.files`: a program looks for other ways."""

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.cpu

ROOT = Path(__file__).parent.parent
HELPERS = [ROOT / "fcos" / "utils" / f"{name}.py" for name in ("files", "folders", "places")]
SOURCES = [
    *sorted((ROOT / "fcos").rglob("*.py")),
    *sorted((ROOT / "fcos_cli").glob("*.py")),
    ROOT / "train_net.py",
    ROOT / "demo.py",
]
# A file that is open already, as `write_whole` hands it on, or that is in memory.
OPEN = {"file", "stream", "archive"}
# Functions that write to what one of their arguments is; 1 is the second one.
TAKES_FILE = {"save": (0, 1), "savez": (0,), "savez_compressed": (0,), "savetxt": (0,)}
TAKES_FILE |= {"savefig": (0,), "ZipFile": (0,), "dump": (1,), "tofile": (0,), "save_file": (1,)}
# Functions that write to what a path names.
FORBIDDEN = {"write_bytes", "imwrite", "copy", "copy2", "copyfile", "move", "replace", "rename"}
FORBIDDEN |= {"link", "symlink", "hardlink_to", "symlink_to", "truncate", "mkfifo", "mkstemp"}
FORBIDDEN |= {"NamedTemporaryFile", "FileHandler", "RotatingFileHandler", "SummaryWriter"}
FORBIDDEN |= {"VideoWriter", "copytree", "rmtree", "make_archive", "export_chrome_trace"}
# Names that other objects have too: a text, a list, a dict, a data class.
MODULES = {"copy", "replace", "move", "link", "rename", "truncate"}

# What is written in another way, and why nothing is lost or believed.
EXCEPTIONS = {
    # a video, in a folder that `write_by_name` made; its frames are counted afterwards
    ("fcos/predict/sinks.py", "VideoWriter"),
}


def opens_to_write(call, name):
    """Whether a call of some ``open`` may write."""
    if name == "fdopen" and isinstance(call.args[0], ast.Call):
        return call.args[0].func.id != "append_to"
    mode = next((k.value for k in call.keywords if k.arg in ("mode", "flags")), None)
    if (
        mode is None and ast.unparse(call.func) == "archive.open"
    ):  # a part of a zip archive, to read
        mode = call.args[1] if len(call.args) > 1 else ast.Constant("r")
    if mode is None:
        place = 0 if isinstance(call.func, ast.Attribute) and not of_module(call.func) else 1
        mode = call.args[place] if len(call.args) > place else ast.Constant("r")
    if "os.O_" in ast.unparse(mode):
        return any(flag in ast.unparse(mode) for flag in ("O_WRONLY", "O_RDWR", "O_CREAT"))
    return not isinstance(mode, ast.Constant) or bool(set(str(mode.value)) & set("wax+"))


def of_module(function):
    """Whether a function is one of a module, as far as its name tells."""
    known = {"os", "io", "shutil", "codecs", "gzip", "PathManager", "Image", "PIL", "tokenize"}
    return isinstance(function.value, (ast.Name, ast.Attribute)) and (
        getattr(function.value, "id", getattr(function.value, "attr", "")) in known
    )


def writers(tree):
    """Yield the names of calls that may write a file, and their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("os", "shutil"):
            yield from ((n.name, node.lineno) for n in node.names if n.name in FORBIDDEN)
        if not isinstance(node, ast.Call):
            continue
        is_method = isinstance(node.func, ast.Attribute)
        name = node.func.attr if is_method else getattr(node.func, "id", "")
        if name in ("open", "fdopen", "FileIO"):
            if opens_to_write(node, name):
                yield name, node.lineno
        elif name == "write_text" and is_method:  # of a pathlib.Path; ours is a function
            yield name, node.lineno
        elif name in FORBIDDEN:
            if name not in MODULES or (is_method and of_module(node.func)):
                if not (name == "copytree" and "copy_function" in {k.arg for k in node.keywords}):
                    yield name, node.lineno
        elif name in TAKES_FILE and is_method:
            places = [node.args[i] for i in TAKES_FILE[name] if i < len(node.args)]
            if not any(isinstance(place, ast.Name) and place.id in OPEN for place in places):
                if not is_no_writer(node, name):
                    yield name, node.lineno


def is_no_writer(call, name):
    """Methods of these names that write no file by themselves, and text that is returned."""
    owner = ast.unparse(call.func.value)
    if name == "save":  # of the checkpointer, which goes through write_whole
        return owner.endswith("checkpointer")
    if name == "ZipFile":
        return len(call.args) == 1 and not call.keywords  # reads
    return name == "dump" and (owner.endswith("cfg") or len(call.args) < 2)


def test_files_are_written_in_one_place():
    others, met = [], set()
    for path in SOURCES:
        name = str(path.relative_to(ROOT))
        for call, line in writers(ast.parse(path.read_text(encoding="utf-8"))):
            if (name, call) in EXCEPTIONS:
                met.add((name, call))
            elif path not in HELPERS:
                others.append(f"{name}:{line}: {call}")
    assert not others, f"{others}: use fcos.utils.files"
    assert met == EXCEPTIONS


@pytest.mark.parametrize(
    "code",
    [
        "open(path, 'w')",
        "open(path, mode='ab')",
        "open(path, mode)",
        "Path(path).open('w')",
        "io.open(path, 'r+')",
        "PathManager.open(path, 'w')",
        "os.open(path, os.O_WRONLY | os.O_CREAT)",
        "os.fdopen(number, 'w')",
        "Path(path).write_text('x')",
        "path.write_bytes(b'x')",
        "torch.save(content, path)",
        "np.save(path, array)",
        "np.savez_compressed(path, a=array)",
        "figure.savefig('a.png')",
        "image.save(folder / name)",
        "cv2.imwrite(path, picture)",
        "cv2.VideoWriter(path, codec, fps, size)",
        "zipfile.ZipFile(path, 'w')",
        "json.dump(content, open_file)",
        "shutil.copyfile(a, b)",
        "shutil.copytree(a, b)",
        "os.replace(a, b)",
        "os.rename(a, b)",
        "from os import rename",
        "array.tofile(path)",
        "logging.FileHandler(path)",
    ],
)
def test_other_ways_are_found(code):
    assert list(writers(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "open(path)",
        "open(path, 'rb')",
        "path.open('rb')",
        "archive.open(part)",
        "os.open(path, os.O_RDONLY | os.O_CLOEXEC)",
        "os.fdopen(number, 'rb')",
        "PIL.Image.open(file)",
        "text.replace('a', 'b')",
        "dataclasses.replace(a, b=1)",
        "values.copy()",
        "cfg.dump()",
        "write_whole(path, lambda file: torch.save(content, file))",
        "os.fdopen(append_to(path), 'a')",
        "self.checkpointer.save('model_final')",
    ],
)
def test_reading_is_not_writing(code):
    assert not list(writers(ast.parse(code)))
