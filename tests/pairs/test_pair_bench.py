"""`bnparity bench --pair`: two models that compute the same are timed, and no others."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import parity
from parity.cli import main
from parity.clock import Watch, median_interval
from parity.pair_bench import PairBenchConfig, PairBenchReport, PairRow, bench_pair, sizes, worker
from parity.pair_bench.answers import answers, groups
from parity.pair_bench.screen import cells, notes
from parity.progress import SilentProgress

PAIR = '''"""A small network."""

import parity

inputs = {"x": parity.normal(4, 3, 5), "labels": parity.integers(4, below=3)}
accept = ["biased_running_variance@*"]


def reference():
    import torch
    from torch import nn
    import bntorch

    model = nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3))
    sgd = lambda parameters: torch.optim.SGD(parameters, 0.1)
    return bntorch.port(model, loss=nn.functional.cross_entropy, optimizer=sgd)


def candidate():
    import jax.numpy as jnp
    import optax
    from flax import linen as nn
    import bnjax

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(nn.Conv(4, (3,), padding="VALID")(x))
            return nn.Dense(3)(jnp.moveaxis(nn.relu(FACTOR * x), -1, 1).reshape(len(x), -1))

    loss = lambda z, y: optax.softmax_cross_entropy_with_integer_labels(z, y).mean()
    return bnjax.port(Net(), loss=loss, optimizer=optax.sgd(0.1))
'''


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write a pair; its candidate is right if its factor is 1."""

    def write(factor: int = 1) -> str:
        path = tmp_path / "pair.py"
        path.write_text(PAIR.replace("FACTOR", str(factor)))
        return str(path)

    monkeypatch.setattr(Watch, "doubts", lambda self, rows: ())  # others may be at work here
    return write


@pytest.fixture
def without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the ways of a side that are there at once."""
    monkeypatch.setattr(worker, "begin", begin_with_first_way)


def begin_with_first_way(port: Any, inputs: Any, *given: Any) -> tuple[tuple[str, ...], dict[str, str]]:
    """Begin with the first way of a side alone; called in its process."""
    port.prepare(inputs)
    return port.ways[:1], {}


def test_a_pair_that_agrees_is_timed_in_every_way(
    pair: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ("--json", str(tmp_path / "bench.json"), "--html", str(tmp_path / "bench.html"))
    assert main(("bench", "--pair", pair(), "--batch-sizes", "4", "6", "--blocks", "2", *files)) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(
        "A small network: the two compute the same, by the forced pass and the optimizers of compare in this run\n"
    )
    written = json.loads((tmp_path / "bench.json").read_text(), parse_constant=pytest.fail)
    assert (written["schema"], written["verdict"], written["trusted"], written["complete"]) == (1, "agree", True, True)
    ways = {("reference", "torch", "eager"), ("reference", "torch", "compiled"), ("candidate", "jax", "jitted")}
    rows = written["rows"]
    assert [row["note"] for row in rows] == [""] * 12
    assert {(row["side"], row["framework"], row["way"]) for row in rows} == ways
    assert {(row["task"], row["batch_size"]) for row in rows} == {
        (t, n) for t in ("forward", "training step") for n in (4, 6)
    }
    for row in rows:
        assert row["low_us"] <= row["median_us"] <= row["high_us"]
        assert len(row["samples_us"]) == 4  # two turns of two blocks
        assert (row["paid_after"] is None) or (row["way"] != "eager" and row["paid_after"] >= 0)
    page = (tmp_path / "bench.html").read_text()
    assert page.count("<figure") == 2  # a task each
    assert [answer["answer"] in page for answer in written["answers"]] == [True, True]


def test_a_pair_that_differs_is_not_timed(pair: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ("--json", str(tmp_path / "bench.json"), "--html", str(tmp_path / "bench.html"))
    assert main(("bench", "--pair", pair(2), *files)) == 1
    assert "nothing was timed, since the two were not found to compute the same: the verdict is disagree" in (
        " ".join(capsys.readouterr().out.split())
    )
    written = json.loads((tmp_path / "bench.json").read_text())
    assert (written["verdict"], written["rows"], written["answers"]) == ("disagree", [], [])
    assert "the verdict is disagree" in (tmp_path / "bench.html").read_text()


def test_a_way_that_fails_has_a_note_and_no_time(
    pair: Any, monkeypatch: pytest.MonkeyPatch, without_compiler: None
) -> None:
    monkeypatch.setattr(worker, "judge", off)
    report = bench_pair(PairBenchConfig(pair=pair(), blocks=2))
    assert [row.note for row in report.rows if row.side == "reference"] == [
        "not what the model gives in float64: off"
    ] * 2
    assert [row.median_us for row in report.rows if row.side == "reference"] == [None] * 2
    assert all(row.median_us for row in report.rows if row.side == "candidate")
    assert answers(report) == []
    report = bench_pair(PairBenchConfig(pair=pair(), blocks=2, batch_sizes=(4, 8)))  # nor at another size of batch
    assert [row.median_us for row in report.rows if row.side == "reference"] == [None] * 4


def off(port: Any, key: Any, inputs: Any, precision: Any) -> str:
    """What a judge says of one side; called in its process."""
    return "off" if port.framework == "torch" else ""


def test_ctrl_c_keeps_the_sizes_that_are_done(
    pair: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    without_compiler: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Interrupting(SilentProgress):
        def update(self, share: float, description: str) -> None:
            if description.startswith("batches of 6"):
                raise KeyboardInterrupt

    monkeypatch.setattr("parity.commands.bench.console_progress", lambda console: Interrupting())
    path = tmp_path / "bench.json"
    arguments = ("bench", "--pair", pair(), "--batch-sizes", "4", "6", "--blocks", "2", "--json", str(path))
    assert main(arguments) == 130
    out, err = capsys.readouterr()
    assert err == "bnparity: interrupted; what was done by then is shown\n"
    assert "INTERRUPTED" in out
    written = json.loads(path.read_text())
    assert written["complete"] is False
    assert {row["batch_size"] for row in written["rows"]} == {4}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--pair", "nowhere.py"), "there is no file 'nowhere.py'"),
        (("--pair", "pair.py", "--depths", "3"), "--depths is for this project's networks, and not for --pair"),
        (("--pair", "pair.py", "--no-compiled"), "--no-compiled is for this project's networks"),
        (("--pair", "pair.py", "--batch-sizes", "0"), "batch_sizes must be an integer of at least 1"),
        (("--pair", "pair.py", "--blocks", "1"), "blocks must be an integer of at least 2"),
        (("--dtypes", "float64"), "--dtypes needs --pair"),
    ],
)
def test_bad_input_is_one_line(
    arguments: tuple[str, ...],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(("bench", *arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.count("\n") == 1


def test_dtypes_are_checked() -> None:
    with pytest.raises(parity.InputError, match="dtypes must be of float32, bfloat16, float64, got 'int8'"):
        PairBenchConfig(pair="pair.py", dtypes=("int8",))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"batch_sizes": 8}, "batch_sizes must be a tuple"),
        ({"precision": "low"}, "precision must be of highest, tf32, bfloat16, got 'low'"),
        ({"pair": 3}, "pair must be the file or module of a pair, got 3"),
    ],
)
def test_a_configuration_is_checked(given: Any, words: str) -> None:
    with pytest.raises(parity.InputError, match=words):
        PairBenchConfig(**{"pair": "pair.py", **given})


def test_a_size_of_batch_is_timed_once() -> None:
    assert PairBenchConfig(pair="pair.py", batch_sizes=(8, 4, 8)).batch_sizes == (8, 4)


def test_which_axis_holds_the_samples_must_be_sure() -> None:
    batch = {"state": np.ones((2, 8, 4)), "x": np.ones((8, 3))}
    with pytest.raises(parity.InputError, match="first axes are 2, 8: none of them is that of a batch for sure"):
        sizes.samples_in(batch)
    assert sizes.samples_in(batch | {"labels": np.ones(8)}) == 8


def test_a_batch_of_another_size_has_the_same_samples_again() -> None:
    batch = {"x": np.arange(6).reshape(3, 2), "mask": np.eye(2), "more": {"labels": np.arange(3)}}
    larger = sizes.resized(batch, 7)
    assert larger["x"][:, 0].tolist() == [0, 2, 4, 0, 2, 4, 0]
    assert larger["more"]["labels"].tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert np.array_equal(larger["mask"], np.eye(2))  # which has no axis of samples
    assert sizes.as_laid_out(batch, {"x": (1, 0)})["x"].shape == (2, 3)


def test_the_axis_of_the_samples_is_where_the_candidate_has_it() -> None:
    """What has none is not cut, though another axis is as long."""
    batch = {"x": np.ones((4, 7, 2)), "mask": np.ones((7, 4)), "more": {"labels": np.ones(4)}, "rate": np.ones(())}
    others = {"mask": -1, "more": {"labels": 0}, "rate": -1}
    for layouts, axis in (({}, 0), ({"x": (1, 0, 2)}, 1), ({"x": (2, 1, 0)}, 2)):
        assert sizes.sample_axes(batch, layouts) == {"x": axis, **others}


# answers


def row_of(side: str, way: str, size: int, microseconds: float) -> PairRow:
    samples = tuple(microseconds * factor for factor in (0.99, 1.0, 1.01, 1.0))
    median, low, high = median_interval(samples)
    return PairRow(
        side=side, framework={"reference": "torch", "candidate": "jax"}[side], way=way, task="forward", dtype="float32",
        batch_size=size, median_us=median, low_us=low, high_us=high, samples_us=samples, compile_s=1.0,
    )  # fmt: skip


def report_of(*rows: PairRow) -> PairBenchReport:
    config = PairBenchConfig(pair="pair.py")
    return PairBenchReport(
        config=config, title="A pair", verdict="agree", rows=rows, environment={}, command="", seconds=1.0
    )


def test_each_side_is_compared_at_its_best_over_the_sizes_of_batch() -> None:
    costs = {8: (30, 20, 10), 16: (60, 50, 12.5), 32: (70, 80, 100), 64: (100, 110, 100.5)}
    rows = [
        row_of(side, way, size, cost)
        for size, own in costs.items()
        for (side, way), cost in zip(
            (("reference", "eager"), ("reference", "compiled"), ("candidate", "jitted")), own, strict=True
        )
    ]
    ((question, text),) = answers(report_of(*rows))
    assert question == "forward in float32"
    assert text == (
        "the candidate, jax jitted, 2 to 4 times as fast as torch compiled (batches of 8, 16); "
        "the reference, torch eager, 1.43 times as fast as jax jitted (batches of 32); "
        "no difference that is sure (batches of 64)"
    )


def test_rows_whose_turns_differ_decide_nothing() -> None:
    apart = replace(row_of("candidate", "jitted", 8, 10), is_apart=True)
    ((_, text),) = answers(report_of(apart, row_of("reference", "eager", 8, 80)))
    assert text == "no difference that is sure (batches of 8)"


def test_rows_stand_by_what_they_answer_and_the_fastest_first() -> None:
    rows = row_of("reference", "eager", 8, 30), row_of("candidate", "jitted", 8, 10), row_of("reference", "eager", 4, 1)
    found = {name: [cells(row)[:3] for row in own] for name, own in groups(report_of(*rows))}
    assert found == {
        "forward, batches of 8, float32": [("candidate", "jax", "jitted"), ("reference", "torch", "eager")],
        "forward, batches of 4, float32": [("reference", "torch", "eager")],
    }
    assert list(notes(list(rows))) == []
