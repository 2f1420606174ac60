"""What a refused config is told."""

import contextlib
import errno
import os
import pickle

import pytest

from fcos.utils.errors import UserError, config_errors, of_exercise, of_system, one_line
from fcos_cli.running import run_program


def code_of(module):
    """Return a function that raises an error, and one that calls another, of a module's code."""
    scope = {"__name__": module}
    code = "def fail(error):\n    raise error\n\ndef call(other, error):\n    other(error)\n"
    exec(compile(code, f"/home/ada/{module}.py", "exec"), scope)
    return scope["fail"], scope["call"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("DEPTH: expected 50,\n  got 19"), "DEPTH: expected 50, got 19"),
        (KeyError("No object named 'x'"), "No object named 'x'"),  # without a KeyError's quotes
        (KeyError(19), "KeyError 19 in detectron2.modeling.norms, line 2"),
        (AssertionError(), "AssertionError in detectron2.modeling.norms, line 2"),
    ],
)
def test_each_kind_of_error_is_a_sentence(error, message):
    with pytest.raises(UserError) as caught, config_errors():
        code_of("detectron2.modeling.norms")[0](error)
    assert str(caught.value) == f"This config cannot be used: {message}"
    assert caught.value.in_all_processes and caught.value.__cause__ is error


@pytest.mark.parametrize("error", [KeyError("res9"), AssertionError(), ValueError()])
def test_a_mistake_in_code_of_the_users_own_keeps_its_traceback(error):
    with pytest.raises(type(error)) as caught, config_errors():
        code_of("my_backbone")[0](error)
    assert caught.value is error


def test_code_of_the_users_own_is_named_with_its_line():
    own, theirs = code_of("my_backbone"), code_of("torch.nn")
    unpacked = ValueError("too many values to unpack (expected 2)")
    with pytest.raises(UserError) as caught, config_errors():
        own[0](unpacked)
    said = "The code at /home/ada/my_backbone.py, line 2 cannot be used: too many values"
    assert str(caught.value).startswith(said)
    groups = ValueError("in_channels must be divisible by groups")
    said = r"^The code at /home/ada/my_backbone\.py, line 5 cannot be used: in_channels must"
    with pytest.raises(UserError, match=said), config_errors():
        theirs[1](lambda error: own[1](theirs[0], error), groups)


def test_a_terminal_is_not_told_what_to_do():
    error = UserError("weights\x1b[31m of\r\n\u202eevil\x07: layer\xa01, größer")
    assert str(error) == "weights\\x1b[31m of\\r\n\\u202eevil\\x07: layer\\xa01, größer"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert str(UserError()) == ""


def test_the_middle_of_an_endless_value_is_left_out():
    said = str(UserError(f"pets.json: the name {'[' * 10**6}; expected 3 to 4 words."))
    assert len(said) < 4100
    assert said.startswith("pets.json: the name [[[") and "[ ... [" in said
    assert said.endswith("[; expected 3 to 4 words.")
    assert str(UserError("a" * 4000)) == "a" * 4000


def test_what_is_said_already_and_what_is_a_bug_stay_as_they_are():
    for error in (UserError("no such file"), TypeError("a bug")):
        with pytest.raises(type(error)) as caught, config_errors():
            raise error
        assert caught.value is error


def test_the_text_of_an_error_on_one_line():
    assert one_line(ValueError("one\n  two")) == "one two"
    assert one_line(ValueError("x" * 9), most=5) == "xxxxx..."
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_errors_of_the_system():
    said = {
        "/nowhere/a": "/nowhere/a: No such file or directory.",
        "a\0b": "A name of a file has a NUL character, which none can have.",
        "\ud800": "'\\ud800' is no text that a file or its name can be.",
    }
    for path, sentence in said.items():
        with pytest.raises((OSError, ValueError)) as error:
            os.stat(path)
        assert str(of_system(error.value)) == sentence
    for other in (ValueError("not a UserError"), OSError("without a reason")):
        assert of_system(other) is None


def test_a_program_says_what_the_system_said(capsys):
    def fail(error):
        raise error

    missing = FileNotFoundError(errno.ENOENT, "No such file or directory", "/nowhere/a")
    assert run_program(lambda: lambda: fail(missing)) == 1
    assert capsys.readouterr().err == "Error: /nowhere/a: No such file or directory.\n"
    with pytest.raises(FileNotFoundError):
        run_program(lambda: lambda: fail(missing), debug=True)
    with pytest.raises(ValueError, match="of ours"):
        run_program(lambda: lambda: fail(ValueError("of ours")))


@pytest.mark.parametrize("around", [contextlib.nullcontext, config_errors])
def test_what_a_student_has_not_written_is_one_sentence(around, capsys):
    def job():
        with around():
            raise NotImplementedError("Step 2, the targets: candidate_cells")

    assert run_program(lambda: job) == 1
    assert capsys.readouterr().err == (
        "Error: This needs candidate_cells, which is not written yet (Step 2, the targets; see "
        "README.md).\n"
    )


def test_other_things_that_are_not_implemented_keep_their_traceback():
    error = NotImplementedError("Could not run 'aten::nonzero'")
    assert of_exercise(error) is None and of_exercise(ValueError("Step 1: a")) is None

    def job():
        raise error

    with pytest.raises(NotImplementedError, match="aten"):
        run_program(lambda: job)
