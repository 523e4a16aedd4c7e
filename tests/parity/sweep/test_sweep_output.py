"""What a sweep writes is read as it was meant, in every version of Python."""

import csv
import io
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from fake_sweep import fake_report

from parity.sweep.output import write_tables

REPORT = fake_report(depths=(1,), frameworks=("a",))


@pytest.mark.parametrize("message", ["lone \r", "\n", 'say ""', "=cmd()", "\0", "a,b", "日本語"])
def test_a_message_is_one_cell_of_one_row(message: str, tmp_path: Path) -> None:
    write_tables(replace(REPORT, trials=(replace(REPORT.trials[0], message=message), *REPORT.trials[1:])), tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "trials.csv").read_bytes().decode(), newline="")))
    assert len(rows) == len(REPORT.trials)
    assert rows[0]["message"] == message


@pytest.mark.parametrize(("command", "read"), [("\x7f", "\x7f"), ("\0\r\n\t", "\0\r\n\t"), ("\udcff", r"\udcff")])
def test_a_command_is_one_string(command: str, read: str, tmp_path: Path) -> None:
    write_tables(replace(REPORT, command=command, environment={command: command}), tmp_path)
    found = tomllib.loads((tmp_path / "config.toml").read_text())
    assert (found["sweep"]["command"], found["environment"]) == (read, {read: read})
