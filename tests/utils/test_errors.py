"""What a refused config is told."""

import pytest

from fcos.utils.errors import UserError, config_errors, one_line


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("DEPTH: expected 50,\n  got 19"), "DEPTH: expected 50, got 19"),
        (KeyError("No object named 'x'"), "No object named 'x'"),  # without a KeyError's quotes
        (KeyError(19), "KeyError 19 (train_net.py --debug shows where)"),
        (AssertionError(), "AssertionError (train_net.py --debug shows where)"),
    ],
)
def test_each_kind_of_error_is_a_sentence(error, message):
    with pytest.raises(UserError) as caught, config_errors():
        raise error
    assert str(caught.value) == f"This config cannot be used: {message}"
    assert caught.value.in_all_processes and caught.value.__cause__ is error


def test_what_is_said_already_and_what_is_a_bug_stay_as_they_are():
    for error in (UserError("no such file"), TypeError("a bug")):
        with pytest.raises(type(error)) as caught, config_errors():
            raise error
        assert caught.value is error


def test_the_text_of_an_error_on_one_line():
    assert one_line(ValueError("one\n  two")) == "one two"
    assert one_line(ValueError("x" * 9), most=5) == "xxxxx..."
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"
