"""What is done is kept: one SQLite file, one transaction for each finished block of trials."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from parity.errors import InputError
from parity.sweep.grid import Group
from parity.sweep.records import Status, Trial

TABLES = {
    "sweep": "CREATE TABLE sweep (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
    "trials": "CREATE TABLE trials (framework TEXT, depth INTEGER, batch_norm INTEGER, seed INTEGER,"
    " learning_rate REAL, result TEXT NOT NULL, losses BLOB NOT NULL,"
    " PRIMARY KEY (framework, depth, batch_norm, seed, learning_rate)) STRICT",
}
KEY = "framework = ? AND depth = ? AND batch_norm = ? AND seed = ?"


class Store:
    """The trials of one sweep.

    Args:
        path: the file; None for one in memory.
        identity: everything that decides the numbers. A file that was made with another identity is refused.

    Raises:
        InputError: the file cannot be opened, is no store, or belongs to another sweep.
    """

    def __init__(self, path: Path | None, identity: Mapping[str, Any]) -> None:
        self._path = path
        with self._readable():
            self._connection = sqlite3.connect(path or ":memory:")
        try:
            with self._readable():
                self._refuse_others()
                self._connection.execute("PRAGMA journal_mode = WAL")
                for sql in TABLES.values():
                    self._connection.execute(sql.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS"))
                self._claim(identity)
        except BaseException:
            self._connection.close()
            raise

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise InputError(
                f"cannot use {self._path} as the store of a sweep: {error}; choose another --out or remove that file"
            ) from error

    def _refuse_others(self) -> None:
        """Refuse another program's database before anything is written into it."""
        found = dict(self._connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
        if found and any(found.get(name) != sql for name, sql in TABLES.items()):
            raise sqlite3.DatabaseError("it is another program's database")

    def _claim(self, identity: Mapping[str, Any]) -> None:
        wanted = {key: json.dumps(value) for key, value in identity.items()}
        found = dict(self._connection.execute("SELECT key, value FROM sweep"))
        if not found:
            with self._connection:
                self._connection.executemany("INSERT INTO sweep VALUES (?, ?)", wanted.items())
            return
        differences = [
            f"{key} is {found.get(key)} there, {wanted.get(key)} here"
            for key in sorted(found.keys() | wanted.keys())
            if found.get(key) != wanted.get(key)
        ]
        if differences:
            raise InputError(
                f"{self._path} holds another sweep: {'; '.join(differences)}; choose another --out or remove that file"
            )

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.close()

    def record(self, trials: Iterable[Trial]) -> None:
        """Keep the trials of a block, all or none."""
        rows = [(*_key(t.group), t.learning_rate, _result(t), t.losses.astype("<f4").tobytes()) for t in trials]
        with self._readable(), self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO trials VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def find(self, group: Group) -> dict[float, Trial]:
        """The trials of a group that are done, by learning rate. Crashed ones are not: they are tried again."""
        query = f"SELECT learning_rate, result, losses FROM trials WHERE {KEY} ORDER BY learning_rate"
        with self._readable():
            rows = self._connection.execute(query, _key(group)).fetchall()
        trials = {rate: _trial(group, rate, result, losses) for rate, result, losses in rows}
        return {rate: trial for rate, trial in trials.items() if trial.status is not Status.ERROR}


def _key(group: Group) -> tuple[str, int, int, int]:
    return group.framework, group.depth, int(group.batch_norm), group.seed


def _result(trial: Trial) -> str:
    fields = asdict(trial)
    for name in ("group", "learning_rate", "losses"):
        del fields[name]
    return json.dumps(fields)  # Python's JSON carries nan and the infinities, which SQLite's REAL does not


def _trial(group: Group, learning_rate: float, result: str, losses: bytes) -> Trial:
    fields = json.loads(result)
    fields["status"] = Status(fields["status"])
    return Trial(group=group, learning_rate=learning_rate, losses=np.frombuffer(losses, "<f4"), **fields)
