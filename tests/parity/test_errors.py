"""The message of bad input is one line that a terminal does not obey, whatever was given."""

import pickle

import pytest

from parity.commands.terminal import print_error
from parity.errors import LONGEST_LINE, InputError, one_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("as it is", "as it is"),
        ("two  spaces", "two  spaces"),
        ("broken\r\n  line\x0bagain\u2028", "broken line again"),
        ("red \x1b[31m, bell \a, \x9b0m", r"red \x1b[31m, bell \x07, \x9b0m"),
        ("no text \udcff, turned \u202e", r"no text \udcff, turned \u202e"),
        ("日本語 ✔", "日本語 ✔"),
    ],
)
def test_a_line_is_shown_and_not_obeyed(text: str, line: str) -> None:
    assert one_line(text) == line == str(InputError(text))


def test_a_long_value_keeps_its_ends_and_the_message_its_rule_and_remedy() -> None:
    message = str(InputError(f"the rule, got {'a' * 10**6 + 'z'}; the remedy"))
    assert len(message) <= LONGEST_LINE
    assert message.startswith("the rule, got aaa")
    assert message.endswith("aaz; the remedy")


def test_whatever_is_complained_of_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("a part failed:\n  bell \a")
    assert capsys.readouterr().err == "bnparity: a part failed: bell \\x07\n"


def test_an_error_crosses_processes_unchanged() -> None:
    error = InputError("bell \a " * 1000)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
