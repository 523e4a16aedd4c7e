"""The one error that a user's input can cause."""

LONGEST_LINE = 4000  # characters; the ends of a longer value are enough to recognize it


class InputError(ValueError):
    """Bad input, or something that could not start because of it.

    The message is one line that names the value, the rule and the remedy, whatever was given: see `one_line`. The
    command line prints it and exits with status 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    r"""Text that a terminal shows and does not obey: line breaks are spaces, what cannot be printed is its escape.

    The middle of what is longer than `LONGEST_LINE` is left out, and with it the middle of the long value in it.

    >>> print(one_line("no\nbell: \a"))
    no bell: \x07
    """
    line = " ".join(filter(None, (part.strip() for part in text.splitlines())))
    if not line.isprintable():
        line = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)
    half = LONGEST_LINE // 2 - 1
    return line if len(line) <= LONGEST_LINE else f"{line[:half]}…{line[-half:]}"
