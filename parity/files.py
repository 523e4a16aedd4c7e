"""Writing a file so that no reader ever sees half of it."""

import secrets
from pathlib import Path

from parity.errors import InputError


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: a temporary beside it takes its place once it is complete.

    Raises:
        InputError: the place cannot be written; what stood there stays as it was.
    """
    # A name that nobody knows: at one that can be foretold there might be a link to a file of someone's.
    temporary = path.parent / f".{secrets.token_hex(8)}.partial"
    try:
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot write {str(path)!r}: {reason}; choose a writable place") from error
