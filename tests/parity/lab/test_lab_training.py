"""Batch sizes, deep networks and the phase diagram: what is trained, and that the text follows it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from lab_config import small_config

from parity.backend import load_backend
from parity.data import IndexStream
from parity.lab import batch_size, deep_networks, phase_diagram
from parity.lab.config import lab_data
from parity.reference import State, sgd_step
from parity.spec import ModelSpec
from parity.sweep import Status
from parity.weights import draw_weights


def words(section: Any) -> str:
    return " ".join(block.markdown for block in section.blocks if hasattr(block, "markdown"))


def test_every_batch_size_sees_the_same_samples_and_is_trained_as_the_reference_trains(framework: Any) -> None:
    config = small_config(framework.name, batch_sizes=(2, 64), seeds=1, fraction=0.02)
    data = lab_data(config.dataset, config.data_dir, config.fraction)
    found = batch_size.measure(framework, config)
    assert {found[size, on].updates for size in (2,) for on in (False, True)} == {len(data.train_labels) // 2}
    assert found[64, True].updates == -(-len(data.train_labels) // 64)

    # Few updates in large batches are no chaos: the reference ends at the same accuracy, but for images on a border.
    spec = ModelSpec(num_hidden_layers=batch_size.DEPTH)
    state = State(spec, draw_weights(spec, 0))
    for rows in IndexStream(len(data.train_labels), 64, 0).next_pass():
        inputs = data.train_inputs[rows].astype(np.float64)
        state, _ = sgd_step(state, inputs, data.train_labels[rows], found[64, True].rate)
    logits = load_backend("numpy").learner(spec, state.weights, "float64").evaluate(data.test_inputs)
    accuracy = float((logits.argmax(axis=1) == data.test_labels).mean())
    assert abs(accuracy - found[64, True].accuracy[0]) <= 5 / len(data.test_labels)


def test_without_batch_norm_the_two_modes_are_one(framework: Any) -> None:
    config = small_config(framework.name, batch_sizes=(2, 32), seeds=1)
    found = batch_size.measure(framework, config)
    for size in config.batch_sizes:
        # Float32 against float64, through four layers of sums of up to 784 products.
        assert abs(found[size, False].gap).max() < 4 * 784 * np.finfo(np.float32).eps
    assert found[2, True].gap.mean() > found[32, True].gap.mean() + 0.01
    text = words(batch_size.section({"one": found}, config, "a command"))
    moved = {
        key: replace(outcome, gap=outcome.gap + 1, accuracy=outcome.accuracy / 2) for key, outcome in found.items()
    }
    assert text != words(batch_size.section({"one": moved}, config, "a command"))


def test_every_remedy_is_tried_at_every_rate(framework: Any) -> None:
    config = small_config(framework.name)
    found = deep_networks.measure(framework, config)
    assert set(found) == {(10, remedy.name) for remedy in deep_networks.REMEDIES}
    for curve in found.values():
        assert len(curve.accuracy) == len(curve.trained) == deep_networks.RATES.count
    assert any(found[10, "batch norm (the lab's)"].trained)
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
    cells = phase_diagram.cells(swept.report, config, True)
    assert cells.shape == (len(config.diagram_depths), config.diagram_rates.count)
    for trial in swept.report.trials:
        if trial.group.batch_norm and trial.learning_rate in config.diagram_rates.values():
            place = (
                config.diagram_depths.index(trial.group.depth),
                config.diagram_rates.values().index(trial.learning_rate),
            )
            assert cells[place] is trial
    assert all(cell is not None for cell in cells.flat)
    assert {cell.status for cell in cells.flat} >= {Status.TRAINED, Status.DIVERGED}


def test_the_divergent_rates_are_the_sweeps(swept: phase_diagram.Measured) -> None:
    found = phase_diagram.divergent({"jax": swept})
    assert found == {("jax", t.group.depth, t.group.batch_norm): t.smallest_divergent for t in swept.report.thresholds}
    assert len(found) == 4


def test_the_diagrams_words_are_counted(swept: phase_diagram.Measured) -> None:
    config = small_config("jax")
    counts = [sum(trial.status is status for trial in swept.report.trials) for status in Status]
    text = words(phase_diagram.section({"jax": swept}, config, "a command"))
    assert f"{sum(counts):,} trainings" in text
    assert f"{counts[0]:,} trained" in text
