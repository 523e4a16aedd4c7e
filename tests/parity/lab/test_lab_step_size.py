"""Largest Hessian eigenvalues of networks, and how their gradients grow with depth."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from lab_config import small_config

from parity.lab import step_size
from parity.lab.config import lab_data
from parity.lab.step_size import GROWTH, ORDERS, TOLERANCE, TRACED, growth
from parity.reference import train_step
from parity.spec import ModelSpec
from parity.weights import cast_weights, draw_weights, is_statistic


@pytest.fixture(scope="module", params=["jax", "torch"])
def measured(request: pytest.FixtureRequest) -> step_size.Measured:
    from parity.backend import load_backend

    return step_size.measure(load_backend(request.param), small_config(request.param))


@pytest.mark.parametrize("on", [False, True])
def test_the_eigenvalue_is_that_of_the_dense_hessian_of_the_reference(framework: Any, on: bool) -> None:
    spec = ModelSpec(input_dim=5, output_dim=3, num_hidden_layers=2, hidden_width=4, use_batch_norm=on)
    rng = np.random.default_rng(0)
    batch = rng.normal(size=(32, 5)), rng.integers(0, 3, 32)
    weights = draw_weights(spec, 0)
    found, _ = step_size.hessian_eigenvalue(framework, spec, weights, batch)
    point, step = step_size.flatten(weights, spec), 1e-5

    def gradient(moved: np.ndarray) -> np.ndarray:
        tensors, start = dict(cast_weights(weights, "float64")), 0
        for name, value in tensors.items():
            if not is_statistic(name):
                tensors[name] = moved[start : start + value.size].reshape(value.shape)
                start += value.size
        return step_size.flatten(train_step(spec, tensors, *batch, 0.0)[1].gradients, spec)

    columns = [(gradient(point + step * e) - gradient(point - step * e)) / (2 * step) for e in np.eye(point.size)]
    values = np.linalg.eigvalsh((np.array(columns) + np.array(columns).T) / 2)
    assert values[-1] * (1 - 50 * TOLERANCE) <= found <= values[-1] * (1 + 1e-4)


def test_the_trace_begins_at_the_initial_weights_and_follows_training(measured: step_size.Measured) -> None:
    assert set(measured.traced) == {False, True}
    for trace in measured.traced.values():
        assert len(trace) == len(TRACED)
        assert (trace > 0).all()
        assert len(set(trace)) == len(TRACED)  # the weights do move


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


def test_the_gradients_are_the_references(measured: step_size.Measured) -> None:
    config = small_config()
    data = lab_data(config.dataset, config.data_dir, config.fraction)
    rows = slice(config.gradient_samples)
    for words, order in ORDERS.items():
        spec = ModelSpec(
            num_hidden_layers=config.gradient_depth, hidden_width=config.gradient_width, block_order=order,
            initialization="lecun_normal",
        )  # fmt: skip
        weights = cast_weights(draw_weights(spec, 0), "float64")
        step = train_step(spec, weights, data.train_inputs[rows].astype(np.float64), data.train_labels[rows], 0.0)[1]
        expected = [np.linalg.norm(step.gradients[f"hidden.{i}.kernel"]) for i in range(1, config.gradient_depth)]
        np.testing.assert_allclose(measured.gradients[words], expected, rtol=1e-10)


def test_what_it_says_turns_with_what_was_measured(measured: step_size.Measured) -> None:
    config = small_config()

    def text(found: Any) -> str:
        section = step_size.section({"one": found}, config, "a command")
        return " ".join(block.markdown for block in section.blocks if hasattr(block, "markdown"))

    smaller = {(d, on): 2.0 if on else 5.0 for d in config.curvature_depths for on in (False, True)}
    larger = {(d, on): 7.0 if on else 5.0 for d in config.curvature_depths for on in (False, True)}
    assert "smaller at every depth" in text(replace(measured, initial=smaller))
    assert "larger at every depth" in text(replace(measured, initial=larger))
    assert "larger at depth 3" in text(replace(measured, initial=smaller | {(3, True): 7.0}))


def test_the_sweeps_divergent_rate_stands_beside_it(measured: step_size.Measured) -> None:
    section = step_size.section({"one": measured}, small_config(), "a command", {("one", 3, True): 1.25})
    rows = section.blocks[0].rows  # type: ignore[union-attr]
    assert [row[-1] for row in rows] == ["none", "none", "none", "1.25"]
