"""Largest Hessian eigenvalues of networks, and how their gradients grow with depth."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from honest_reference import train_step
from lab_config import small_config, words

from parity.data import IndexStream
from parity.lab import Table, step_size
from parity.lab.config import lab_data
from parity.lab.step_size import GROWTH, ORDERS, TOLERANCE, growth
from parity.reference import State, sgd_step
from parity.spec import Initialization, ModelSpec
from parity.weights import cast_weights, draw_weights, is_statistic, weight_shapes


def made_up(**changes: Any) -> step_size.Measured:
    """What the text is written from."""
    config = small_config()
    initial = {(depth, on): 2.0 if on else 5.0 for depth in config.curvature_depths for on in (False, True)}
    traced = {run: np.array([8.0, 4.0]) for run in step_size.TRACED_RUNS}
    gradients = {blocks: 2.0 ** -np.arange(5) for blocks in ORDERS}
    return replace(step_size.Measured(initial, traced, gradients), **changes)


@pytest.mark.parametrize("on", [False, True])
def test_the_eigenvalue_is_that_of_the_dense_hessian_of_the_reference(framework: Any, on: bool) -> None:
    spec = ModelSpec(input_dim=5, output_dim=3, num_hidden_layers=2, hidden_width=4, use_batch_norm=on)
    rng = np.random.default_rng(0)
    batch = rng.normal(size=(32, 5)), rng.integers(0, 3, 32)
    weights = draw_weights(spec, 0)
    found, _ = step_size.hessian_eigenvalue(framework, spec, weights, batch)
    point, step = step_size.flatten(weights, spec), 1e-7

    def gradient(moved: np.ndarray) -> np.ndarray:
        tensors, start = dict(cast_weights(weights, "float64")), 0
        for name in weight_shapes(spec):
            if not is_statistic(name):
                size = tensors[name].size
                tensors[name] = moved[start : start + size].reshape(tensors[name].shape)
                start += size
        return step_size.flatten(train_step(spec, tensors, *batch, 0.0)[1].gradients, spec)

    columns = [(gradient(point + step * e) - gradient(point - step * e)) / (2 * step) for e in np.eye(point.size)]
    values = np.linalg.eigvalsh((np.array(columns) + np.array(columns).T) / 2)
    assert values[-1] * (1 - 50 * TOLERANCE) <= found <= values[-1] * (1 + 1e-4)


def test_it_is_followed_along_training(framework: Any) -> None:
    config = small_config()
    data = lab_data(config.dataset, config.data_dir, config.fraction)
    batch = data.train_inputs[:32], data.train_labels[:32]
    found = step_size.eigenvalues_in_training(framework, config, True, 0.1, batch)
    spec = ModelSpec(num_hidden_layers=step_size.TRACED_DEPTH)
    state = State(spec, cast_weights(draw_weights(spec, 0), "float64"))
    expected = [step_size.hessian_eigenvalue(framework, spec, state.weights, batch)[0]]
    for rows in IndexStream(len(data.train_labels), 32, 0).next_pass()[:3]:
        state, _ = sgd_step(state, data.train_inputs[rows].astype(np.float64), data.train_labels[rows], 0.1)
    expected.append(step_size.hessian_eigenvalue(framework, spec, state.weights, batch)[0])
    np.testing.assert_allclose(found, expected, rtol=10 * TOLERANCE)
    assert abs(found[1] / found[0] - 1) > 100 * TOLERANCE


def test_gradients_of_a_wide_network_grow_as_theory_says(framework: Any) -> None:
    wide = small_config(framework.name, gradient_width=256, gradient_samples=512, gradient_depth=12)
    norm_first, lab = (step_size.gradient_norms(framework, wide, order) for order in ORDERS.values())
    # A layer's factor wavers by some 1 / sqrt(width) about a mean that is off by as much as 1 / width per unit; a line
    # through ten layers averages the former.
    slack = 4 / np.sqrt(256) / np.sqrt(10)
    assert abs(np.log(growth(norm_first)) - np.log(GROWTH)) < slack < np.log(GROWTH) / 2
    assert f"{GROWTH:.2f}" == "1.21"
    assert (np.diff(np.log(norm_first))[:-2] < 0).all()
    assert growth(lab) != growth(norm_first)


def test_the_gradients_are_the_references(framework: Any) -> None:
    config = small_config()
    data = lab_data(config.dataset, config.data_dir, config.fraction)
    rows = slice(config.gradient_samples)
    for order in ORDERS.values():
        spec = ModelSpec(
            num_hidden_layers=config.gradient_depth, hidden_width=config.gradient_width, block_order=order,
            initialization=Initialization.LECUN_NORMAL,
        )  # fmt: skip
        weights = cast_weights(draw_weights(spec, 0), "float64")
        step = train_step(spec, weights, data.train_inputs[rows].astype(np.float64), data.train_labels[rows], 0.0)[1]
        expected = [np.linalg.norm(step.gradients[f"hidden.{i}.kernel"]) for i in range(1, config.gradient_depth)]
        np.testing.assert_allclose(step_size.gradient_norms(framework, config, order), expected, rtol=1e-10)


def test_what_it_says_turns_with_what_was_measured() -> None:
    config = small_config()

    def text(found: Any) -> str:
        return words(step_size.section({"one": found}, config, "a command"))

    initial = made_up().initial
    assert "smaller at every depth" in text(made_up())
    assert "larger at every depth" in text(made_up(initial={(d, on): 1 + on for d, on in initial}))
    assert "larger at depth 3" in text(made_up(initial=dict(initial) | {(3, True): 7.0}))
    assert "from 8 to 4 with batch norm" in text(made_up())
    assert "grows by 2.0000, where theory" in text(made_up())
    assert f"{GROWTH:.4f}" in text(made_up())


def test_the_divergent_rate_stands_beside_it() -> None:
    section = step_size.section({"one": made_up()}, small_config(), "a command", {("one", 3, True): "none failed"})
    (table,) = (block for block in section.blocks if isinstance(block, Table))
    assert [row[-1] for row in table.rows] == ["not measured", "not measured", "not measured", "none failed"]
