"""Writing a file so that no reader ever sees half of it."""

import secrets
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from parity.errors import InputError

PARTIAL = ".partial"


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: a temporary beside it takes its place once it is complete.

    Raises:
        InputError: the place cannot be written; what stood there stays as it was.
    """
    # A name that nobody knows: at one that can be foretold there might be a link to a file of someone's.
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


def remove_leftovers(folder: Path) -> None:
    """Remove what a process that was killed while it wrote has left of its temporaries."""
    for left in folder.glob(f".{'[0-9a-f]' * 16}{PARTIAL}"):
        with suppress(OSError):
            left.unlink()


def make_folder(folder: Path, files: Iterable[str] = (), *, option: str) -> None:
    """Make a folder for results and its `figures`, or say that they cannot be written there, before any work is done.

    Args:
        folder: to make, unless it is there.
        files: what will be written into it.
        option: of the command line that names it.

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
