"""How a side fails, and the line that says so."""

import sysconfig
from importlib.metadata import entry_points
from traceback import walk_tb

from parity.errors import InputError
from parity.source import shortest

LONGEST_WORDS = 1000  # characters
STANDARD_LIBRARY = sysconfig.get_path("stdlib")


class SideError(Exception):
    """A side raised, hung, or sent an invalid answer; the message says which."""


class SideEndedError(SideError):
    """The process of a side ended by itself."""


class SideHungError(SideError):
    """A side gave no answer in time, and its process was ended."""


class StartError(InputError):
    """The process of a side ended, or hung, before it could answer."""


def words_of(error: BaseException) -> str:
    """Say in one line what a side did wrong, and where in its own code; a long message is cut."""
    words = "misbehaved: " if isinstance(error, SideError) else f"raised {type(error).__name__}: "
    try:
        line = " ".join(f"{words}{error}".split())
    except Exception:  # a message that cannot be told
        line = words.rstrip(": ")
    cut = line if len(line) <= LONGEST_WORDS else f"{line[:LONGEST_WORDS]} ..."
    try:
        return cut + _place_of(error)
    except Exception:  # code without a file, a working directory that is gone
        return cut


def _place_of(error: BaseException) -> str:
    """Say where a side raised: file, line and method of the innermost frame of its own code; "" if it has none.

    The first frame outside this package is the side's. Its own code is all of that frame's top-level module, and what
    lies neither in the standard library nor among installed packages.
    """
    frames = [
        (f.f_code, line, f.f_globals.get("__name__", "").partition(".")[0]) for f, line in walk_tb(error.__traceback__)
    ]
    outside = [frame for frame in frames if frame[2] != __name__.partition(".")[0]]
    # Where a backend's package runs somebody's model, the model is what is meant.
    ours = {each.module.partition(".")[0] for each in entry_points(group="parity.backends")}
    theirs = [frame for frame in outside if frame[2] not in ours and not _is_library(frame[0].co_filename)]
    outside = theirs or outside
    own = [frame for frame in outside if frame[2] == outside[0][2] or not _is_library(frame[0].co_filename)]
    if not own or _is_standard(own[-1][0].co_filename):
        return ""
    code, line, _ = own[-1]
    return f" (at {shortest(code.co_filename)}:{line}, in {code.co_qualname})"


def _is_standard(path: str) -> bool:
    return path.startswith("<") or (path.startswith(STANDARD_LIBRARY) and not _is_installed(path))


def _is_library(path: str) -> bool:
    return _is_standard(path) or _is_installed(path)


def _is_installed(path: str) -> bool:
    return "site-packages" in path or "dist-packages" in path
