"""The one error that a user's input can cause, and its remedy."""

from collections.abc import Iterable
from difflib import get_close_matches

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


def choices(name: str, known: Iterable[str]) -> str:
    """Return the remedy for a name that is not known: all that are, and the nearest if one is near.

    >>> choices("pytorch", ["jax", "torch"])
    'choose one of jax, torch; did you mean torch?'
    """
    names = list(known)
    return f"choose one of {', '.join(names)}" + "".join(f"; did you mean {near}?" for near in nearest(name, names))


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return the known name that was meant, as a list that is empty if none is near."""
    by_lower = {each.lower(): each for each in known}
    return [by_lower[each] for each in get_close_matches(name.lower(), by_lower, n=1)]
