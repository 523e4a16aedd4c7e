"""One driver for one folder."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from parity.errors import InputError

try:
    import fcntl
except ImportError:  # no POSIX: SQLite's own lock still keeps two from writing at once
    fcntl = None

LOCK = ".sweep.lock"
MARK = b"bnparity sweep, process "


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep every other sweep out of a folder. The system opens the lock when this process ends, however it does.

    Raises:
        InputError: another sweep has it, or it cannot be made.
    """
    if fcntl is None:
        yield
        return
    path = folder / LOCK
    try:
        descriptor = _lock(path)
    except OSError as error:
        full = error.errno == errno.ENOSPC
        remedy = (
            "free some space, and the same command goes on" if full else "choose a folder of your own on a local disk"
        )
        raise InputError(f"cannot lock --out {str(folder)!r}: {error.strerror}; {remedy}") from error
    try:
        yield
    finally:
        with suppress(OSError):  # unlink before unlocking, so that no process can lock a deleted file
            if os.fstat(descriptor).st_ino == path.stat().st_ino:  # or the folder was removed, and another is there
                path.unlink()
        os.close(descriptor)


def refuse_second(folder: Path | None) -> None:
    """Refuse a folder that another sweep has, without making anything.

    Raises:
        InputError: another sweep has it, or its lock cannot be had.
    """
    there = None
    with suppress(OSError, ValueError):  # making the folder fails again, and reports it
        there = folder if folder is not None and (folder / LOCK).exists() else None
    if there is not None:
        with locked(there):
            pass


def _lock(path: Path) -> int:
    assert fcntl is not None
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            holder = os.pread(descriptor, 200, 0)
            if holder and not holder.startswith(MARK):
                raise OSError(errno.EEXIST, f"{path.name} is there, and no sweep made it")
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, MARK + f"{os.getpid()} on {socket.gethostname()}".encode(), 0)
                return descriptor
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).removeprefix(MARK).decode(errors="replace") or "unknown"
            os.close(descriptor)
            raise InputError(
                f"another sweep (process {' '.join(holder.split())}) is writing to --out {str(path.parent)!r}; "
                "wait until it has ended, or choose another folder"
            ) from None
        except FileNotFoundError:  # the one who had it has just let it go
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
