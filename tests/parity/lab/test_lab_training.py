"""Batch sizes, deep networks and the phase diagram: what is trained, and that the text follows it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from lab_config import small_config, words

from parity.backend import load_backend
from parity.data import IndexStream, StandardizedData
from parity.lab import batch_size, deep_networks, phase_diagram
from parity.lab.config import lab_data
from parity.machine import usable_cores
from parity.reference import State, sgd_step
from parity.spec import ModelSpec
from parity.sweep import Group, LearningRates, Status, SweepConfig, Trial, sweep
from parity.weights import draw_weights

NAME = "orthogonal initial weights"  # which are trained beside others, that differ in their initial weights


def train_on(state: State, data: StandardizedData, rows: Any, rate: float) -> tuple[State, Any]:
    return sgd_step(state, data.train_inputs[rows].astype(np.float64), data.train_labels[rows], rate)


def accuracy_of(state: State, data: StandardizedData, rows: slice) -> float:
    logits = load_backend("numpy").learner(state.spec, state.weights, "float64").evaluate(data.test_inputs[rows])
    return float((logits.argmax(axis=1) == data.test_labels[rows]).mean())


def test_batch_sizes_are_compared_fairly_and_trained_as_the_reference_trains(framework: Any) -> None:
    config = small_config(framework.name, batch_sizes=(2, 64), seeds=2, fraction=0.064)  # ten whole batches of 64
    data = lab_data(config.dataset, config.data_dir, config.fraction)
    found = batch_size.measure(framework, config)
    assert {found[size, on].updates for size in (2,) for on in (False, True)} == {len(data.train_labels) // 2}
    assert found[64, True].updates == len(data.train_labels) // 64

    # Few updates in large batches are no chaos: the reference ends at the same accuracy, but for images on a border.
    spec, size = ModelSpec(num_hidden_layers=batch_size.DEPTH), len(data.train_labels)
    shown = slice(len(data.test_labels) // 2, None)  # the other half has chosen the learning rate
    for seed in range(config.seeds):
        state = State(spec, draw_weights(spec, seed))
        for rows in IndexStream(size, 64, seed).next_pass():
            state, _ = train_on(state, data, rows, found[64, True].rate)
        assert abs(accuracy_of(state, data, shown) - found[64, True].accuracy[seed]) <= 5 / len(data.test_labels)
        # Of ten updates the gap is large; float32's roundings are not.
        batches = [slice(start, start + 64) for start in range(0, min(batch_size.GAP_SAMPLES, size) // 64 * 64, 64)]
        training = np.mean([train_on(state, data, rows, 0.0)[1].loss for rows in batches])
        logits = (
            load_backend("numpy")
            .learner(spec, state.weights, "float64")
            .evaluate(data.train_inputs[: 64 * len(batches)])
        )
        shifted = logits - logits.max(axis=1, keepdims=True)
        losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(logits)), data.train_labels[: len(logits)]]
        np.testing.assert_allclose(found[64, True].gap[seed], losses.mean() - training, atol=1e-3)

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
        assert len(curve.accuracy) == len(curve.chosen_by) == len(curve.statuses) == config.remedy_rates.count
    assert found[2, "batch norm (the lab's)"].has_trained
    assert len({curve.accuracy for curve in found.values()}) == len(found)  # no two are the same network
    # One of them by the reference: few updates of a shallow network are no chaos.
    remedy = next(remedy for remedy in deep_networks.REMEDIES if remedy.name == NAME)
    data, spec = lab_data(config.dataset, config.data_dir, config.fraction), remedy.spec(2)
    state = State(spec, draw_weights(spec, 0))
    for rows in IndexStream(len(data.train_labels), deep_networks.BATCH_SIZE, 0).next_pass():
        state, _ = train_on(state, data, rows, config.remedy_rates.values()[1])
    half = min(deep_networks.TEST_SAMPLES, len(data.test_labels)) // 2
    for accuracy, rows in (
        (found[2, NAME].chosen_by, slice(half)),
        (found[2, NAME].accuracy, slice(half, 2 * half)),
    ):
        assert abs(accuracy[1] - accuracy_of(state, data, rows)) <= 5 / half
    text = words(deep_networks.section({"one": found}, config, "a command"))
    for depth in config.remedy_depths:
        assert f"**At depth {depth}** the best is" in text
    nothing = {key: replace(curve, statuses=(Status.STUCK,) * len(curve.statuses)) for key, curve in found.items()}
    assert "nothing trains" in words(deep_networks.section({"one": nothing}, config, "a command")) != text


def test_a_remedy_is_as_good_as_at_its_best_rate_that_trained() -> None:
    curve = deep_networks.Curve(
        (Status.TRAINED, Status.TRAINED, Status.STUCK, Status.DIVERGED),
        (0.5, 0.6, 0.9, float("nan")),
        (0.8, 0.7, 0.9, float("nan")),
    )
    assert (curve.best, curve.best_accuracy, curve.has_trained) == (1, 0.7, True)
    assert not deep_networks.Curve((Status.STUCK,), (0.5,), (0.5,)).has_trained


def test_what_differs_less_than_the_frameworks_is_no_ranking() -> None:
    def curves(*accuracies: float) -> dict[tuple[int, str], deep_networks.Curve]:
        names = [remedy.name for remedy in deep_networks.REMEDIES]
        lost = dict.fromkeys(names[len(accuracies) :], (Status.DIVERGED, 0.0))
        ended = dict(zip(names, ((Status.TRAINED, accuracy) for accuracy in accuracies), strict=False)) | lost
        return {
            (2, name): deep_networks.Curve((status,) * 2, (a, 0.0), (a, 0.0)) for name, (status, a) in ended.items()
        }

    config = small_config(remedy_rates=LearningRates(0.1, 1, 2))
    first, second, third, *lost = (remedy.name for remedy in deep_networks.REMEDIES)
    one, other = curves(0.8, 0.79, 0.6), curves(0.78, 0.75, 0.6)
    text = words(deep_networks.section({"one": one, "other": other}, config, "a command"))
    assert f"the best is *{first}*, at 0.800 in one and at 0.780 in other." in text
    assert f"differs by up to 0.040 between the frameworks, and by no more from the best: *{second}*." in text
    turned = words(deep_networks.section({"one": one, "other": curves(0.7, 0.75, 0.6)}, config, "a command"))
    assert f"the best is *{first}* at 0.800 in one and *{second}* at 0.750 in other." in turned
    assert "At none of 2 learning rates from 0.1 to 1 does training begin with" in text
    assert [name for name in lost if f"*{name}*" not in text] == []
    assert f"*{third}*" not in text


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
        num_seeds=config.seeds,
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


def test_none_failed_and_none_trained_are_told_apart() -> None:
    def diagram(status: Status) -> phase_diagram.Measured:
        group = Group("one", 1, True, 0)
        trials = tuple(Trial(group=group, learning_rate=rate, status=status, test_accuracy=0.5) for rate in (0.1, 1.0))
        return phase_diagram.Measured({group: trials}, 2.3)

    for status, expected in (
        (Status.TRAINED, "> 100"),
        (Status.STUCK, "none trained"),
        (Status.ERROR, "all crashed"),
    ):
        assert phase_diagram.divergent_words({"one": diagram(status)}, small_config()) == {("one", 1, True): expected}


def test_the_divergent_rates_are_the_first_that_failed(swept: phase_diagram.Measured) -> None:
    rates = small_config().diagram_rates.values()
    for (name, depth, on), rate in phase_diagram.divergent({"Jax": swept}).items():
        assert name == "Jax"
        first = []
        for row in (own for group, own in swept.trials.items() if (group.depth, group.batch_norm) == (depth, on)):
            trained = [trial.status is Status.TRAINED for trial in row]
            first += [rates[i] for i in range(1, len(rates)) if trained[i - 1] and not trained[i]][:1]
        if len(first) == small_config().seeds:
            assert rate == pytest.approx(np.exp(np.mean(np.log(first))), rel=1e-12)  # two seeds: the geometric mean


def test_the_diagrams_words_are_counted(swept: phase_diagram.Measured) -> None:
    trials = [trial for own in swept.trials.values() for trial in own]
    text = words(phase_diagram.section({"jax": swept}, small_config("jax"), "a command"))
    assert f"{len(trials):,} trainings" in text
    assert f"{sum(trial.status is Status.TRAINED for trial in trials):,} trained" in text
