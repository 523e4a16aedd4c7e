"""Writing a file so that no reader ever sees half of it."""

import os
from pathlib import Path

from parity.errors import InputError


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: a temporary beside it takes its place once it is complete.

    Raises:
        InputError: the place cannot be written; what stood there stays as it was.
    """
    temporary = path.parent / f".{path.name}.{os.getpid()}.partial"
    try:
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot write {str(path)!r}: {reason}; choose a writable place") from error
