"""Where in the user's code something is computed."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

MODELS = "specimens"  # models of ours that are compared as a user's are


def caller_outside(own: str, *libraries: str) -> str:
    """Return file and line of the innermost frame of the user's; "" if there is none.

    It lies between the innermost frames, of our own and of libraries, and our own that called the user's code.

    Args:
        own: the package that asks.
        libraries: packages whose frames are passed over.
    """
    ours = {__name__.partition(".")[0], own}
    frame, is_outside = sys._getframe(1), False
    while frame is not None:
        package, *rest = frame.f_globals.get("__name__", "").split(".")
        module = "" if MODELS in rest else package
        if module in ours and is_outside:
            return ""
        is_outside |= module not in ours
        if module not in ours.union(libraries) and not frame.f_code.co_filename.startswith("<"):
            return f"{shortest(frame.f_code.co_filename)}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def place_outside(frames: Iterable[tuple[str, int]], *packages: str) -> str:
    """Return the first file and line of a traceback that belong to none of some packages; "" if there is none.

    Args:
        frames: file and line, innermost first.
        packages: whose files are passed over, this one's too.
    """
    hidden = {__name__.partition(".")[0], *packages}
    for file, line in frames:
        parts = Path(file).parts
        if not file.startswith("<") and (MODELS in parts or not hidden.intersection(parts)):
            return f"{shortest(file)}:{line}"
    return ""


def shortest(path: str) -> str:
    """Return a path relative to the working directory if it lies below it, else as it is."""
    relative = os.path.relpath(path)
    return path if relative.startswith(os.pardir) else relative
