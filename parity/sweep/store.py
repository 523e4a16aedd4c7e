"""What is done is kept: one SQLite file, one transaction for each finished block of trials."""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from parity.divergence import Status
from parity.errors import InputError
from parity.sweep.grid import Group
from parity.sweep.identity import Identity
from parity.sweep.records import Trial

APPLICATION_ID = 0x626E7061  # "bnpa", in the file's header
TABLES = {
    "sweep": "CREATE TABLE sweep (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
    # The key is the hash of `spec`; `checksum` is that of key, result and losses.
    "trials": "CREATE TABLE trials (key TEXT PRIMARY KEY, framework TEXT, depth INTEGER, batch_norm INTEGER,"
    " seed INTEGER, learning_rate REAL, status TEXT NOT NULL, spec TEXT NOT NULL, result TEXT NOT NULL,"
    " losses BLOB NOT NULL, checksum TEXT NOT NULL,"
    " UNIQUE (framework, depth, batch_norm, seed, learning_rate)) STRICT",
    "blocks": "CREATE TABLE blocks (framework TEXT, cost REAL, seconds REAL) STRICT",
}
RECORD = (
    "INSERT INTO trials VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET"
    " status = excluded.status, result = excluded.result, losses = excluded.losses, checksum = excluded.checksum"
    f" WHERE status = '{Status.ERROR}'"  # what has ended is never changed
)
FIND = (
    "SELECT key, learning_rate, result, losses, checksum FROM trials"
    " WHERE framework = ? AND depth = ? AND batch_norm = ? AND seed = ? ORDER BY learning_rate"
)
REMEDIES = {
    sqlite3.SQLITE_FULL: "free some space, and the same command goes on",
    sqlite3.SQLITE_READONLY: "make the file and its folder writable",
    sqlite3.SQLITE_CANTOPEN: "make the file and its folder readable and writable",
    sqlite3.SQLITE_IOERR: "see to its disk, and the same command goes on",
    sqlite3.SQLITE_BUSY: "end the other program that uses it",
}


class Store:
    """The trials of one sweep.

    Args:
        path: the file; None for one in memory.
        identity: everything that decides the numbers. A file that was made with another identity is refused.
        extend: whether the grid of a file may be smaller; it is the larger one afterwards.
        read_only: whether the file is only looked at.

    Raises:
        InputError: the file cannot be opened, is damaged, is no store, or belongs to another sweep.
    """

    def __init__(self, path: Path | None, identity: Identity, *, extend: bool = False, read_only: bool = False) -> None:
        self._path, self._identity = path, identity
        with self._readable():
            self._connection = _connect(path, read_only)
        try:
            with self._readable():
                self._open(extend, read_only)
        except BaseException:
            self._connection.close()
            raise

    def _open(self, extend: bool, read_only: bool) -> None:
        found = dict(self._connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
        if found:
            _refuse_others(self._connection, found)
            _check(self._connection)
            self._identity.check_same(_words(self._connection), self._path, extend)
        if read_only:
            return
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")  # a finished block outlives a loss of power
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            if not found:
                self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                for sql in TABLES.values():
                    self._connection.execute(sql)
            words = self._identity.words()
            self._connection.executemany("INSERT OR REPLACE INTO sweep VALUES (?, ?)", words.items())
        self._file = None if self._path is None else _file_number(self._path)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        with _readable(self._path):
            yield

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.close()

    def record(self, trials: Iterable[Trial], cost: float = 0.0, seconds: float = 0.0) -> None:
        """Keep the trials of a block, all or none. One that has ended before stays as it was.

        Args:
            trials: of one framework.
            cost: of the block, in a sweep's own unit of work.
            seconds: that it took.
        """
        rows = [self._row(trial) for trial in trials]
        if self._path is not None and _file_number(self._path) != self._file:
            raise InputError(f"{self._path} was removed or replaced while a sweep was at work on it; leave it alone")
        with self._readable(), self._connection:
            self._connection.executemany(RECORD, rows)
            if seconds and rows:
                self._connection.execute("INSERT INTO blocks VALUES (?, ?, ?)", (rows[0][1], cost, seconds))

    def find(self, group: Group, *more: Status) -> dict[float, Trial]:
        """The trials of a group that are done, by learning rate. Crashed ones are not: they are tried again.

        Args:
            group: whose they are.
            more: `Status.ERROR`, for the crashed ones too.

        Raises:
            InputError: a trial is not what was recorded.
        """
        with self._readable():
            rows = self._connection.execute(FIND, _place(group)).fetchall()
            trials = [self._trial(group, *row) for row in rows]
        return {
            trial.learning_rate: trial for trial in trials if trial.status is not Status.ERROR or trial.status in more
        }

    def seconds_for(self, framework: str) -> float | None:
        """What a unit of work took a framework so far; None if nothing is known."""
        with self._readable():
            query = "SELECT sum(seconds) / sum(cost) FROM blocks WHERE framework = ?"
            return self._connection.execute(query, (framework,)).fetchone()[0]

    def _row(self, trial: Trial) -> tuple[Any, ...]:
        fields = asdict(trial)
        for name in ("group", "learning_rate", "losses"):
            del fields[name]
        result = json.dumps(fields)  # Python's JSON carries nan and the infinities, which SQLite's REAL does not
        losses = trial.losses.astype("<f4").tobytes()
        key = self._identity.trial_key(trial.group, trial.learning_rate)
        spec = json.dumps(self._identity.trial_spec(trial.group, trial.learning_rate), sort_keys=True)
        place = (*_place(trial.group), trial.learning_rate)
        return key, *place, str(trial.status), spec, result, losses, _checksum(key, result, losses)

    def _trial(self, group: Group, key: str, learning_rate: float, result: str, losses: bytes, checksum: str) -> Trial:
        if checksum != _checksum(key, result, losses) or key != self._identity.trial_key(group, learning_rate):
            raise sqlite3.DatabaseError(f"{group}, learning rate {learning_rate!r} is not what was recorded")
        fields = json.loads(result)
        fields["status"] = Status(fields["status"])
        return Trial(group=group, learning_rate=learning_rate, losses=np.frombuffer(losses, "<f4"), **fields)


def stored_words(path: Path) -> dict[str, str]:
    """What a store says of its sweep, by name, each as JSON; nothing if there is no store.

    Raises:
        InputError: it cannot be read, or is none.
    """
    try:
        if not path.exists():
            return {}
    except (OSError, ValueError):  # an impossible file name; making the folder reports it
        return {}
    with _readable(path):
        connection = _connect(path, read_only=True)
        try:
            found = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
            if not found:
                return {}
            _refuse_others(connection, found)
            return _words(connection)
        finally:
            connection.close()


def _connect(path: Path | None, read_only: bool) -> sqlite3.Connection:
    if path is None:
        return sqlite3.connect(":memory:")
    if not read_only:
        return sqlite3.connect(path, timeout=1.0)
    # A file without a log beside it is whole; looking at it as such leaves no log, and needs no writable folder.
    whole = not path.with_name(f"{path.name}-wal").exists()
    name = quote(str(path.absolute()).encode(errors="surrogateescape"))
    return sqlite3.connect(f"file:{name}?mode=ro{'&immutable=1' if whole else ''}", uri=True)


def _refuse_others(connection: sqlite3.Connection, found: Mapping[str, str]) -> None:
    """Refuse another program's database before anything is written into it."""
    if any(found.get(name) != sql for name, sql in TABLES.items()):
        ours = "trials" in found and "sweep" in found
        raise sqlite3.DatabaseError(
            "it was made by another version of bnparity" if ours else "it is another program's database"
        )
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise sqlite3.DatabaseError("it is another program's database")


def _check(connection: sqlite3.Connection) -> None:
    (answer, *_) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if answer != "ok":
        raise sqlite3.DatabaseError(f"it is damaged ({' '.join(str(answer).split())})")


def _words(connection: sqlite3.Connection) -> dict[str, str]:
    words = dict(connection.execute("SELECT name, value FROM sweep"))
    for value in words.values():
        json.loads(value)
    return words


@contextmanager
def _readable(path: Path | None) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, ValueError) as error:  # a ValueError is JSON, or text, that is none
        if isinstance(error, InputError):
            raise
        code = getattr(error, "sqlite_errorcode", 0) or 0
        remedy = REMEDIES.get(code & 0xFF, "restore a copy of it, choose another --out, or remove that file")
        raise InputError(f"cannot use {path} as the store of a sweep: {error}; {remedy}") from error


def _file_number(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _place(group: Group) -> tuple[str, int, int, int]:
    return group.framework, group.depth, int(group.batch_norm), group.seed


def _checksum(key: str, result: str, losses: bytes) -> str:
    return hashlib.sha256(b"\0".join((key.encode(), result.encode(), losses))).hexdigest()
