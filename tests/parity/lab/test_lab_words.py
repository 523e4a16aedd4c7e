"""What the gallery says and tabulates is what was measured: each part on results that are made up."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from lab_config import small_config, words

from parity.backend import Listing
from parity.lab import (
    Table,
    batch_norm,
    batch_size,
    convolution,
    deep_networks,
    phase_diagram,
    standardization,
    step_size,
)
from parity.lab.blocks import Section, furthest
from parity.lab.config import lab_data
from parity.lab.power_iteration import Eigenvalue
from parity.sweep import Group, LearningRates, Status, Trial


def table(section: Section, name: str = "") -> list[dict[str, str]]:
    """The rows of a section's table, by column; of its only one, if it is not named."""
    (found,) = (block for block in section.blocks if isinstance(block, Table) and name in (block.name, ""))
    return [dict(zip(found.header, row, strict=True)) for row in found.rows]


def test_furthest_is_the_largest_difference_of_any_two() -> None:
    results = {"a": [0.0, 1.0], "b": [0.5, 1.0], "c": [0.0, -1.0]}
    assert furthest(results, lambda values: values) == 2.0
    assert furthest({"a": [1.0]}, lambda values: values) == 0.0


def test_batch_norm() -> None:
    config = small_config()
    measured = {name: _batch_norm(shift) for name, shift in (("one", 0.0), ("other", 0.25))}
    text = words(batch_norm.section(measured, config, "a command"))
    assert "no two of one and other are further apart than 2e-01" in text or "further apart than 3e-01" in text
    # The mean of n samples of standard deviation 1, averaged with weights (1 - d) d**k.
    weights = 0.1 * 0.9 ** np.arange(500)
    assert f"standard deviation is {np.sqrt(np.square(weights).sum() / 25):.3f} of its feature's" in text


def _batch_norm(shift: float) -> batch_norm.Measured:
    batch = batch_norm.make_source().batch(0)
    traces = {decay: np.ones((101, 2, 10)) for decay in batch_norm.DECAYS}
    trained = (batch - batch.mean(axis=0)) / batch.std(axis=0) + shift
    return batch_norm.Measured(batch, trained, traces, batch, batch, Listing("source"))


def test_convolution(framework: Any) -> None:
    one = convolution.measure(framework, small_config())
    other = replace(one, outputs=(one.outputs[0] + 0.125, *one.outputs[1:]), statistics=one.statistics + 0.5)
    text = words(convolution.section({"one": one, "other": other}, small_config(), "a command"))
    assert "their values are at most 1e-01 apart" in text
    assert "variances of one and other are at most 5e-01 apart" in text


def test_standardization() -> None:
    config = small_config()
    problems = standardization.problems(config)
    made_up = {p.name: Eigenvalue(float(3 + i), np.ones(1), 1, True) for i, p in enumerate(problems)}
    losses: Any = {name: np.linspace(1, 2, standardization.STEPS + 1) for name, _ in standardization.CURVES}
    result = standardization.Measured(made_up, losses, 0.5)
    section = standardization.section({"one": result}, config, "a command")
    rows = table(section, "smoothness")
    for i, (row, problem) in enumerate(zip(rows, problems, strict=True)):
        exact = np.linalg.svd(problem.inputs, compute_uv=False) ** 2 / len(problem.inputs)
        assert float(row["L by one"]) == 3 + i
        assert float(row["L by NumPy"]) == pytest.approx(exact[0], rel=1e-5)
        assert float(row["trace"]) == pytest.approx(exact.sum(), rel=1e-5)
        varying = int((problem.inputs.std(axis=0) > 0).sum())
        assert int(row["columns that vary"]) == varying
        assert float(row["L / median"].replace(",", "")) == pytest.approx(
            exact[0] / np.median(exact[:varying]), abs=0.6, rel=1e-3
        )
    pixels, half, full = rows[3], *table(section, "bound")
    columns = int(pixels["columns that vary"])
    assert (half["L"], half["L is at most"]) == ("6", f"d = {columns}")  # L of the fourth problem is made up
    assert (full["L"], full["L is at most"]) == ("12", f"2d = {2 * columns}")
    labels = lab_data(config.dataset, config.data_dir, config.fraction).train_labels
    assert (problems[0].targets == np.where(labels % 2 == 0, 1, -1)).all()
    assert (problems[0].inputs == np.rint(problems[0].inputs)).all()
    assert problems[0].inputs.max() > 200


def test_step_size() -> None:
    config = small_config()
    settings = [(depth, on) for depth in config.curvature_depths for on in (False, True)]
    result = step_size.Measured(
        {setting: 4.0 + i for i, setting in enumerate(settings)},
        {run: np.ones(len(config.watched_updates)) for run in step_size.TRACED_RUNS},
        {order: 1.5 ** -np.arange(float(config.gradient_depth - 1)) for order in step_size.ORDERS},
    )
    rows = table(step_size.section({"one": result}, config, "a command"))
    assert [float(row["2 / eigenvalue"]) for row in rows] == pytest.approx([2 / (4.0 + i) for i in range(4)], rel=5e-3)
    assert [row["batch norm"] for row in rows] == ["off", "on"] * 2
    text = words(step_size.section({"one": result}, config, "a command"))
    assert f"Over 50 layers 1.5000 makes a factor of {1.5**50:,.0f}" in text


def test_batch_size() -> None:
    config = small_config(batch_sizes=(2, 8), batch_size_rates=LearningRates(0.01, 1, 3))

    def outcome(rate: float, accuracy: float, gap: float) -> batch_size.Outcome:
        return batch_size.Outcome(rate, np.array([accuracy, accuracy + 0.1]), np.array([gap, gap]), 40)

    result = {
        (2, True): outcome(0.01, 0.4, -0.5), (2, False): outcome(0.1, 0.6, 0), (8, True): outcome(1.0, 0.7, 0.25),
        (8, False): outcome(0.1, 0.6, 0),
    }  # fmt: skip
    section = batch_size.section({"one": result}, config, "a command")
    first, second = table(section)
    assert (first["test accuracy"], first["gap (nats)"], first["best rate, batch norm"]) == (
        "0.450",
        "-0.500",
        "≤ 0.01",
    )
    assert (second["best rate, batch norm"], second["best rate, no batch norm"]) == ("≥ 1", "0.1")
    text = words(section)
    assert "batch norm costs accuracy at batches of 2 (by 0.200) and gains accuracy at batches of 8 (by 0.100)" in text
    assert "batches of 8 at 0.750, which is the best, with a gap of +0.250" in text
    assert f"{0.9**40:.0%} of the running averages is still their start" in text


def test_deep_networks() -> None:
    config = small_config(remedy_depths=(2,), remedy_rates=LearningRates(0.01, 1, 3))
    statuses = Status.TRAINED, Status.TRAINED, Status.DIVERGED
    result = {
        (2, remedy.name): deep_networks.Curve(statuses, (0.1, 0.2, np.nan), (0.3, i / 10, np.nan))
        for i, remedy in enumerate(deep_networks.REMEDIES)
    }
    rows = table(deep_networks.section({"one": result}, config, "a command"))
    assert [row["depth 2, at its best rate"] for row in rows] == [f"{i / 10:.3f} at 0.1" for i in range(len(rows))]


def test_phase_diagram() -> None:
    config = small_config(diagram_depths=(1, 2), diagram_rates=LearningRates(0.01, 1, 3))

    def trials(depth: int, on: bool, seed: int, trained: int) -> tuple[Group, tuple[Trial, ...]]:
        group, rates = Group("one", depth, on, seed), config.diagram_rates.values()
        statuses = [Status.TRAINED] * trained + [Status.DIVERGED] * (3 - trained)
        return group, tuple(
            Trial(group=group, learning_rate=rate, status=status, test_accuracy=0.5, final_loss=1.0)
            for rate, status in zip(rates, statuses, strict=True)
        )

    counts = {(1, False): (1, 1), (1, True): (1, 2), (2, False): (3, 3), (2, True): (0, 0)}
    found = dict(trials(*key, seed, count) for key, both in counts.items() for seed, count in enumerate(both))
    section = phase_diagram.section({"One": phase_diagram.Measured(found, 2.3)}, config, "a command")
    rows = [[*row.values()] for row in table(section)]
    assert rows == [
        ["1", "off", "0.100", "0.0100"],
        ["1", "on", "0.316 (0.100 to 1.00)", "0.0316 (0.0100 to 0.100)"],
        ["2", "off", "> 1", "> 1"],
        ["2", "on", "none trained", "none"],
    ]
    assert phase_diagram.rate_words([0.0, 0.1], phase_diagram.DIVERGENT, config) == "none trained or 0.100"
    assert "11 trained, 0 got stuck, 13 diverged" in words(section)
    assert "3.2 to 3.2 times that without" in words(section)


def test_the_claim_about_batch_sizes_is_held_against_what_was_measured() -> None:
    def result(*accuracies: tuple[float, float]) -> batch_size.Measured:
        sizes = (2, 16, 64)
        outcomes = [batch_size.Outcome(0.1, np.array(pair), np.zeros(2), 40) for pair in accuracies]
        return {(size, on): own for size, own in zip(sizes, outcomes, strict=True) for on in (True, False)}

    def text(*results: batch_size.Measured) -> str:
        names = ("one", "other")[: len(results)]
        config = small_config(batch_sizes=(2, 16, 64), batch_size_rates=LearningRates(0.01, 1, 3))
        return words(batch_size.section(dict(zip(names, results, strict=True)), config, "a command"))

    small, large = result((0.5, 0.5), (0.79, 0.82), (0.8, 0.82)), result((0.5, 0.5), (0.6, 0.9), (0.8, 0.82))
    assert "the best is 16 in one. So the claim does not hold here." in text(small)
    assert "the best is 64 in one. So the claim holds here." in text(large)
    assert "16 in one and 64 in other. So the claim holds in some of the frameworks." in text(small, large)
