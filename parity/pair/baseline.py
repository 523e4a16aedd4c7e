"""`parity-baseline.toml`: the differences that are accepted, each with its reason.

[[accept]]
cause = "biased_running_variance"
place = "features.*"
reason = "Flax keeps the biased variance, and so do the weights we shipped"
pair = "pairs/cnn.py"
"""

import glob
import json
import math
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from parity.errors import InputError, choices
from parity.files import replace_file
from parity.pair.aside import SET_ASIDE
from parity.pair.explain import Accepted, acceptable
from parity.pair.findings import FindingKind
from parity.pair.records import Finding, place_words
from parity.verdict.verdict import UNEXPLAINED

NAME = "parity-baseline.toml"
KEYS = ("cause", "place", "reason", "pair", "at_most")
HEADER = re.compile(r"""^[ \t]*\[\[[ \t]*(?:accept|"accept"|'accept')[ \t]*\]\]""", re.MULTILINE)
LINE = re.compile(r"\s*\(at line (\d+), column \d+\)")
ACCEPTED = (*SET_ASIDE, FindingKind.STATISTICS, FindingKind.UPDATE)


def read_baseline(file: str | Path, pair: str | None = None) -> tuple[Accepted, ...]:
    """Return the differences that a file accepts for a pair.

    Args:
        file: its path.
        pair: the pair's file or module; without one, entries for certain pairs are left out.

    Raises:
        InputError: the file cannot be read, or an entry breaks a rule. All entries are checked.
    """
    if not isinstance(file, str | Path):
        raise InputError(f"baseline must be the path of a TOML file, got {file!r}")
    path = Path(file)
    text = _text(path)
    table = _table(text, path)
    entries = table.pop("accept", [])
    if table:
        raise InputError(f"{path}: {next(iter(table))!r} is no key of a baseline; it has [[accept]] tables alone")
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise InputError(f"{path}: accept must be [[accept]] tables, got {entries!r}")
    lines = [text.count("\n", 0, each.start()) + 1 for each in HEADER.finditer(text)]
    places = [f"{path}:{line}" for line in lines]
    if len(places) != len(entries):  # written as one list, or quoted in a text
        places = [f"{path}, entry {number}" for number, _ in enumerate(entries, 1)]
    every = [(_entry(each, place), each.get("pair")) for each, place in zip(entries, places, strict=True)]
    return tuple(entry for entry, pattern in every if pattern is None or _is_for(pattern, pair, path))


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")  # a line break as it is
    except (OSError, ValueError) as error:  # ValueError: no text, or no file can have such a name
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"the baseline {str(path)!r} cannot be read: {reason}; give a TOML file") from error


def _table(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        found = LINE.search(str(error))
        where = f"{path}:{found[1]}" if found else str(path)
        words = "it is nested too deeply" if isinstance(error, RecursionError) else LINE.sub("", str(error))
        raise InputError(f"{where}: this is not TOML: {words}; an entry is [[accept]] and lines below it") from error


def _is_for(pattern: str, pair: str | None, path: Path) -> bool:
    return pair is not None and fnmatchcase(name_beside(pair, path), pattern)


def name_beside(pair: str, path: Path) -> str:
    """Return the path of a pair's file relative to the folder of a baseline; a module's name as it is."""
    if pair.endswith(".py"):
        with suppress(OSError, ValueError):  # no file can have such a name
            return Path(os.path.relpath(Path(pair).resolve(), path.resolve().parent)).as_posix()
    return pair


def _entry(given: Mapping[str, Any], where: str) -> Accepted:
    """Read an entry."""
    for key in given:
        if key not in KEYS:
            raise InputError(f"{where}: {key!r} is no key of an entry; it may have {', '.join(KEYS)}")
    for key in ("cause", "place", "reason", "pair"):
        if key in given and not isinstance(given[key], str):
            raise InputError(f"{where}: {key} must be a text, got {given[key]!r}")
    if "cause" not in given:
        raise InputError(f"{where}: an entry needs a cause, as a finding names it")
    if not given.get("reason", "").strip():
        raise InputError(f"{where}: an entry needs a reason: why is this difference meant?")
    cause, place, at_most = given["cause"], given.get("place"), given.get("at_most")
    if cause == UNEXPLAINED:
        _check_unexplained(place, at_most, where)
        return Accepted(cause, place or "", given["reason"], float(at_most or 0))
    if at_most is not None:
        raise InputError(f'{where}: at_most goes with cause = "{UNEXPLAINED}" alone; a known cause is held exactly')
    if cause not in acceptable():
        raise InputError(f"{where}: no difference is named {cause!r}; {choices(cause, (*acceptable(), UNEXPLAINED))}")
    return Accepted(cause, "*" if place is None else place, given["reason"])


def _check_unexplained(place: str | None, at_most: Any, where: str) -> None:
    """An unexplained difference is accepted at one place, up to a size that hides nothing large."""
    if not place or "*" in place:
        raise InputError(
            f"{where}: what is unexplained is accepted at one place; copy that of the finding, got {place!r}"
        )
    if not isinstance(at_most, int | float) or not 0 < at_most < 1:
        raise InputError(
            f"{where}: what is unexplained needs at_most, the largest part of its size that it may be off by, between "
            f"0 and 1; got {at_most!r}"
        )


def entries_of(findings: Iterable[Finding], pair: str, path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the entries that would accept findings, and how many findings no entry can.

    Args:
        findings: of a comparison.
        pair: its file or module.
        path: of the baseline.
    """
    entries: list[dict[str, Any]] = []
    left = 0
    for each in findings:
        place = _place(each)
        if place is None:
            left += 1
            continue
        entry = {"cause": each.cause.name, **place, "reason": "", "pair": glob.escape(name_beside(pair, path))}
        if entry not in entries:
            entries.append(entry)
    return entries, left


def _place(finding: Finding) -> dict[str, Any] | None:
    """Where and up to which size a finding would be accepted; None if it cannot be."""
    name, kind = finding.cause.name, finding.kind
    if name == UNEXPLAINED:
        size = finding.largest
        if kind not in SET_ASIDE or size is None or not (limit := _rounded_up(size)) < 1:
            return None
        return {"place": place_words(finding), "at_most": limit}
    if kind not in ACCEPTED or name not in acceptable():
        return None
    is_of_all = kind is FindingKind.UPDATE and not finding.reference
    return {"place": "*" if is_of_all else glob.escape(finding.reference)}


def _rounded_up(size: float) -> float:
    """Return the next number of two digits; 1 of what has no such number below it."""
    if not 0 < size < 1:
        return 1.0
    unit = 10.0 ** (math.floor(math.log10(size)) - 1)
    return min(1.0, float(f"{math.ceil(size / unit) * unit:.2g}"))


def write_baseline(entries: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write entries as TOML; their reasons are for somebody to fill in.

    Raises:
        InputError: the place cannot be written.
    """
    said = "# Differences that bnparity found. To accept one, give its reason. at_most is as in this run: leave room."
    tables = [
        "\n".join(("[[accept]]", *(f"{key} = {_value(value)}" for key, value in entry.items()))) for entry in entries
    ]
    text = "\n\n".join((said, *tables)) + "\n"
    replace_file(path, text.encode(errors="replace"))  # of a path that is no text, "?" matches any character


def _value(value: Any) -> str:
    """A value as TOML has it: JSON's texts are TOML's too, but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
