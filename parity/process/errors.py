"""How a side fails, and the line that says so."""

from parity.errors import InputError

LONGEST_WORDS = 1000  # characters


class SideError(Exception):
    """A side raised, hung, or sent an invalid answer; the message says which."""


class SideEndedError(SideError):
    """The process of a side ended by itself."""


class SideHungError(SideError):
    """A side gave no answer in time, and its process was ended."""


class StartError(InputError):
    """The process of a side ended, or hung, before it could answer."""


def words_of(error: BaseException) -> str:
    """Return what a side did wrong, in one line of limited length."""
    words = "misbehaved: " if isinstance(error, SideError) else f"raised {type(error).__name__}: "
    try:
        line = " ".join(f"{words}{error}".split())
    except Exception:  # the error's own __str__ failed
        line = words.rstrip(": ")
    return line if len(line) <= LONGEST_WORDS else f"{line[:LONGEST_WORDS]} ..."
