"""Write a file so that no reader ever sees half of it."""

import json
import math
import secrets
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from parity.errors import InputError

PARTIAL = ".partial"


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: a temporary beside it takes its place once it is complete.

    Raises:
        InputError: the place cannot be written; what stood there stays as it was.
    """
    # A random name: at a predictable one, somebody could place a link to another file.
    temporary = path.parent / f".{secrets.token_hex(8)}{PARTIAL}"
    try:
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot write {str(path)!r}: {reason}; choose a writable place") from error


def write_object(value: Mapping[str, Any], path: Path) -> None:
    """Write an object as JSON, its values as `plain` makes them.

    Raises:
        InputError: the place cannot be written.
    """
    replace_file(path, (json.dumps(plain(value), indent=2, allow_nan=False) + "\n").encode())


def plain(value: Any) -> Any:
    """Return a value of JSON's types: NumPy's are converted, NaN and infinities are None, anything else is its text."""
    if value is None or isinstance(value, bool | int) or type(value) is str:
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return str(value)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of a process that was killed while it wrote."""
    for left in folder.glob(f".{'[0-9a-f]' * 16}{PARTIAL}"):
        with suppress(OSError):
            left.unlink()


def make_folder(folder: Path, files: Iterable[str] = (), *, option: str) -> None:
    """Make a folder for results and its `figures`; refuse one that cannot be written, before any work is done.

    Args:
        folder: to make, unless it is there.
        files: names of the files that will be written into it.
        option: the command line's option that names it.

    Raises:
        InputError: it cannot be made or written, or a folder stands in a file's place.
    """
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        for place in (folder, folder / "figures"):
            with tempfile.TemporaryFile(dir=place):
                pass
        if taken := [name for name in files if (folder / name).is_dir()]:
            raise IsADirectoryError(None, f"{taken[0]} is a folder there")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot write to {option} {str(folder)!r}: {reason}; choose a writable folder") from error
