"""The tables and the configuration that a sweep leaves: other programs read from them what was written."""

import csv
import io
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from fake_sweep import fake_report
from hostile_cases import hostile, texts
from hypothesis import strategies as st

from parity.divergence import LearningRates, Status
from parity.sweep.grid import Group
from parity.sweep.output import write_tables
from parity.sweep.records import Outcome, SweepReport, Threshold, Trial

REPORT = fake_report(depths=(1,), frameworks=("a",), rates=LearningRates(0.1, 1.0, 2))
numbers = st.one_of(st.none(), st.floats())
trials = st.builds(
    Trial, group=st.builds(Group, texts, st.integers(1, 50), st.booleans(), st.integers(0, 9)),
    learning_rate=st.floats(5e-324, 1.7e308), status=st.sampled_from(Status),
    steps=st.one_of(st.none(), st.integers(0)),
    initial_loss=numbers, final_loss=numbers, train_loss=numbers, train_accuracy=numbers, test_loss=numbers,
    test_accuracy=numbers, message=texts,
)  # fmt: skip
thresholds = st.builds(
    Threshold, group=st.builds(Group, texts, st.integers(1, 50), st.booleans(), st.integers(0, 9)),
    outcome=st.sampled_from(Outcome), largest_stable=numbers, smallest_divergent=numbers,
    largest_useful=numbers, survivors_above=st.integers(0, 99), best_learning_rate=numbers, best_test_accuracy=numbers,
)  # fmt: skip


def shown(text: str) -> str:
    """A text in a file: half a surrogate pair, which UTF-8 has not, is its escape."""
    return "".join(f"\\u{ord(char):04x}" if "\ud800" <= char <= "\udfff" else char for char in text)


def cell(value: Any) -> str:
    if value is None or isinstance(value, str):
        return shown(value or "")
    return repr(value)


def split_rows(text: str) -> list[list[str]]:
    """RFC 4180 by hand, a character at a time: rows end in a line break outside quotes, of any of the three kinds."""
    rows: list[list[str]] = []
    row: list[str] = []
    field, place = "", 0
    while place < len(text):
        if text[place] == '"':
            place += 1
            while text[place] != '"' or text[place : place + 2] == '""':
                field += text[place]
                place += 1 + (text[place] == '"')
            place += 1
        elif text[place] == ",":
            row, field, place = [*row, field], "", place + 1
        elif text[place] in "\r\n":
            rows, row, field = [*rows, [*row, field]], [], ""
            place += 1 + (text[place : place + 2] == "\r\n")
        else:
            field, place = field + text[place], place + 1
    return rows


def assert_table(path: Path, records: tuple[Any, ...]) -> None:
    text = path.read_bytes().decode()
    read = list(csv.DictReader(io.StringIO(text, newline="")))
    header, *rows = split_rows(text)
    assert [dict(zip(header, row, strict=True)) for row in rows] == read
    assert len(read) == len(records)
    for row, record in zip(read, records, strict=True):
        group = record.group
        assert row["framework"] == shown(group.framework)
        assert (row["depth"], row["seed"]) == (str(group.depth), str(group.seed))
        assert row["batch_norm"] == ("on" if group.batch_norm else "off")
        for name in header[4:]:
            assert row[name] == cell(getattr(record, name)), name


@hostile(
    sample=100, many=12000, trials=st.lists(trials, max_size=3).map(tuple),
    thresholds=st.lists(thresholds, max_size=2).map(tuple),
)  # fmt: skip
def test_tables(trials: tuple[Trial, ...], thresholds: tuple[Threshold, ...], tmp_path: Path) -> None:
    write_tables(replace(REPORT, trials=trials, thresholds=thresholds), tmp_path)
    assert_table(tmp_path / "trials.csv", trials)
    assert_table(tmp_path / "thresholds.csv", thresholds)


@st.composite
def reports(draw: st.DrawFn) -> SweepReport:
    low = draw(st.floats(1e-300, 1e300))
    config = replace(
        REPORT.config,
        frameworks=tuple(draw(st.lists(texts, min_size=1, max_size=3))),
        dataset=draw(texts),
        device=draw(texts),
        fraction=draw(st.floats(5e-324, 1.0)),
        dropout_rate=draw(st.floats(0.0, 1.0, exclude_max=True)),
        num_passes=draw(st.integers(1, 1_000_000)),
        learning_rates=LearningRates(low, low * draw(st.floats(2, 1e6)), draw(st.integers(2, 9))),
    )
    environment = draw(st.dictionaries(texts.map(shown), texts, max_size=3))
    return replace(
        REPORT,
        config=config,
        command=draw(texts),
        environment=environment,
        complete=draw(st.booleans()),
        trials=(),
        thresholds=(),
    )


@hostile(sample=100, many=9000, report=reports())
def test_configuration(report: SweepReport, tmp_path: Path) -> None:
    write_tables(report, tmp_path)
    config, read = report.config, tomllib.loads((tmp_path / "config.toml").read_bytes().decode())
    assert read.keys() == {"sweep", "environment"}
    assert read["environment"] == {name: shown(value) for name, value in report.environment.items()}
    found = read["sweep"]
    assert found["command"] == shown(report.command)
    assert found["complete"] is report.complete
    assert found["framework"] == [shown(name) for name in config.frameworks]
    assert (found["dataset"], found["device"]) == (shown(config.dataset), shown(config.device))
    assert (found["fraction"], found["dropout_rate"]) == (config.fraction, config.dropout_rate)
    assert (found["passes"], found["depths"], found["batch_norm"]) == (config.num_passes, [1], ["off", "on"])
    assert LearningRates.parse(found["learning_rates"]) == config.learning_rates
