"""The files that a command is to write: looked at before the work, so that none is lost and none is stale."""

import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import tyro

from parity.errors import InputError

NOTHING = "\0"  # the default of options that are left out: no shell can pass it, so an empty value is still noticed
OutputFile = Annotated[str, tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: none)")]


def paths_of(**files: str) -> dict[str, Path]:
    """Return the files that options name, by option; `NOTHING` is left out.

    Args:
        files: by the option's name without its dashes.

    Raises:
        InputError: an option names nothing.
    """
    given = {f"--{name}": file for name, file in files.items()}
    for option, file in given.items():
        if not file:
            raise InputError(f"{option} must name a file, got nothing; leave it out for none")
    return {option: Path(file) for option, file in given.items() if file != NOTHING}


@contextmanager
def cleared(
    paths: Mapping[str, Path], restored_after: tuple[type[BaseException], ...] = (InputError,)
) -> Iterator[None]:
    """Take away what an earlier run left, while the work goes on that will write anew.

    If the work ends in bad input, the files come back as they were; however else it ends, they are gone.

    Args:
        paths: by option.
        restored_after: how the work must end for the files to come back.

    Raises:
        InputError: a path cannot be written, or two are the same; no file has changed.
    """
    _check_distinct(paths)
    for option, path in paths.items():
        _check_writable(option, path)
    aside: dict[Path, Path] = {}
    try:
        for option, path in paths.items():
            _move_aside(option, path, aside)
        yield
    except restored_after:
        for path, kept in aside.items():
            kept.replace(path)
        raise
    finally:
        for kept in aside.values():
            kept.unlink(missing_ok=True)


def _check_distinct(paths: Mapping[str, Path]) -> None:
    options: dict[Path, str] = {}
    for option, path in paths.items():
        other = options.setdefault(_where(path), option)
        if other != option:
            raise InputError(f"{other} and {option} must be different files, got {str(path)!r} for both")


def _where(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError):  # a loop of links, a null byte
        return path.absolute()


def _check_writable(option: str, path: Path) -> None:
    problem = _problem(path)
    if problem:
        raise InputError(f"cannot write {option} {str(path)!r}: {problem}; choose a writable place")


def _problem(path: Path) -> str:
    try:
        if path.is_dir():
            return "it is a folder"
        if path.exists() and not path.is_file():
            return "it is no regular file"
        if not path.parent.is_dir():
            return f"there is no folder {str(path.parent)!r}"
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""


def _move_aside(option: str, path: Path, aside: dict[Path, Path]) -> None:
    kept = path.parent / f".{secrets.token_hex(8)}.previous"  # a random name, which no other file has
    try:
        path.rename(kept)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:  # ValueError: no file can have such a name
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot replace {option} {str(path)!r}: {reason}; choose another place") from error
    aside[path] = kept
