"""Batch sizes, deep networks and the phase diagram: what is trained, and that the text follows it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from lab_config import small_config, words

from parity.backend import load_backend
from parity.data import IndexStream
from parity.lab import batch_size, deep_networks, phase_diagram
from parity.lab.config import lab_data
from parity.machine import usable_cores
from parity.reference import State, sgd_step
from parity.spec import ModelSpec
from parity.sweep import Status, SweepConfig, sweep
from parity.weights import draw_weights


def test_batch_sizes_are_compared_fairly_and_trained_as_the_reference_trains(framework: Any) -> None:
    config = small_config(framework.name, batch_sizes=(2, 64), seeds=1, fraction=0.064)  # ten whole batches of 64
    data = lab_data(config.dataset, config.data_dir, config.fraction)
    found = batch_size.measure(framework, config)
    assert {found[size, on].updates for size in (2,) for on in (False, True)} == {len(data.train_labels) // 2}
    assert found[64, True].updates == len(data.train_labels) // 64

    # Few updates in large batches are no chaos: the reference ends at the same accuracy, but for images on a border.
    spec = ModelSpec(num_hidden_layers=batch_size.DEPTH)
    state = State(spec, draw_weights(spec, 0))
    for rows in IndexStream(len(data.train_labels), 64, 0).next_pass():
        inputs = data.train_inputs[rows].astype(np.float64)
        state, _ = sgd_step(state, inputs, data.train_labels[rows], found[64, True].rate)
    logits = load_backend("numpy").learner(spec, state.weights, "float64").evaluate(data.test_inputs)
    accuracy = float((logits.argmax(axis=1) == data.test_labels).mean())
    assert abs(accuracy - found[64, True].accuracy[0]) <= 5 / len(data.test_labels)

    # Without batch norm the two modes are one.
    for size in config.batch_sizes:
        # Float32 against float64, through four layers of sums of up to 784 products.
        assert abs(found[size, False].gap).max() < 4 * 784 * np.finfo(np.float32).eps
        assert abs(found[size, True].gap).max() > 1000 * abs(found[size, False].gap).max()
    assert found[2, True].accuracy.mean() < found[64, True].accuracy.mean()
    text = words(batch_size.section({"one": found}, config, "a command"))
    moved = {
        key: replace(outcome, gap=outcome.gap + 1, accuracy=outcome.accuracy / 2) for key, outcome in found.items()
    }
    assert text != words(batch_size.section({"one": moved}, config, "a command"))


def test_every_remedy_is_tried_at_every_rate(framework: Any) -> None:
    config = small_config(framework.name, remedy_depths=(2,))
    found = deep_networks.measure(framework, config)
    assert set(found) == {(2, remedy.name) for remedy in deep_networks.REMEDIES}
    for curve in found.values():
        assert len(curve.accuracy) == len(curve.trained) == len(deep_networks.RATES)
    assert any(found[2, "batch norm (the lab's)"].trained)
    assert len({curve.accuracy for curve in found.values()}) == len(found)  # no two are the same network
    text = words(deep_networks.section({"one": found}, config, "a command"))
    nothing = {key: replace(curve, trained=(False,) * len(curve.trained)) for key, curve in found.items()}
    assert "nothing trains" in words(deep_networks.section({"one": nothing}, config, "a command")) != text


def test_the_remedies_are_those_of_the_model() -> None:
    made = [remedy.spec(10) for remedy in deep_networks.REMEDIES]
    assert {spec.initialization for spec in made} == {"uniform_fan_in", "he_normal", "orthogonal"}
    assert any(spec.residual for spec in made)
    assert any(spec.dropout_rate for spec in made)
    assert {spec.block_order for spec in made} == {"activation_first", "norm_first"}


@pytest.fixture(scope="module")
def swept() -> phase_diagram.Measured:
    return phase_diagram.measure(load_backend("jax"), small_config("jax"))


def test_the_phase_diagram_has_a_cell_for_every_training(swept: phase_diagram.Measured) -> None:
    config = small_config("jax")
    for on in (False, True):
        cells = phase_diagram.cells(swept, config, on)
        assert [len(row) for row in cells] == [config.diagram_rates.count] * len(config.diagram_depths)
        for depth, row in zip(config.diagram_depths, cells, strict=True):
            assert [trial.learning_rate for trial in row] == list(config.diagram_rates.values())
            assert {(trial.group.depth, trial.group.batch_norm) for trial in row} == {(depth, on)}
    statuses = {trial.status for own in swept.trials.values() for trial in own}
    assert statuses >= {Status.TRAINED, Status.DIVERGED}


def test_its_trials_are_the_sweeps(swept: phase_diagram.Measured) -> None:
    config = small_config("jax")
    lane = -(-config.diagram_rates.count // usable_cores())  # rounding depends on it
    sweep_config = SweepConfig(
        frameworks=("jax",),
        depths=config.diagram_depths,
        learning_rates=config.diagram_rates,
        num_passes=1,
        dataset=config.dataset,
        fraction=config.fraction,
        population_size=lane,
    )
    report = sweep(sweep_config)
    grid = set(config.diagram_rates.values())
    expected = {
        (t.group, t.learning_rate): (t.status, t.steps, t.final_loss) for t in report.trials if t.learning_rate in grid
    }
    found = {(t.group, t.learning_rate): (t.status, t.steps, t.final_loss) for o in swept.trials.values() for t in o}
    assert found == expected


def test_the_divergent_rates_are_the_first_that_failed(swept: phase_diagram.Measured) -> None:
    rates = small_config().diagram_rates.values()
    for (name, depth, on), rate in phase_diagram.divergent({"jax": swept}).items():
        (row,) = (own for group, own in swept.trials.items() if (group.depth, group.batch_norm) == (depth, on))
        trained = [trial.status is Status.TRAINED for trial in row]
        assert name == "jax"
        failed = next((i for i in range(1, len(rates)) if trained[i - 1] and not trained[i]), None)
        assert rate == (None if failed is None else rates[failed])


def test_the_diagrams_words_are_counted(swept: phase_diagram.Measured) -> None:
    trials = [trial for own in swept.trials.values() for trial in own]
    text = words(phase_diagram.section({"jax": swept}, small_config("jax"), "a command"))
    assert f"{len(trials):,} trainings" in text
    assert f"{sum(trial.status is Status.TRAINED for trial in trials):,} trained" in text
