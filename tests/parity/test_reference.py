"""The witness itself, checked against finite differences and against the definitions."""

from typing import Any

import numpy as np
import pytest
from honest_reference import evaluate, normalize_batch, train_step
from numpy.typing import NDArray

from parity.data import draw_masks
from parity.reference.parts import cross_entropy
from parity.spec import BlockOrder, ModelSpec, RunningVariance
from parity.weights import Weights, cast_weights, draw_weights, is_statistic


def make_case(spec: ModelSpec, seed: int = 0) -> tuple[Weights, NDArray, NDArray]:
    rng = np.random.default_rng(seed)
    weights = cast_weights(draw_weights(spec, seed), "float64")
    # Away from the special values 0 and 1, which hide factors that are missing.
    for array in weights.values():
        array += rng.uniform(0.1, 0.3, array.shape)
    return weights, rng.normal(size=(7, spec.input_dim)), rng.integers(0, spec.output_dim, 7)


@pytest.mark.parametrize("use_batch_norm", [False, True])
@pytest.mark.parametrize("block_order", BlockOrder)
@pytest.mark.parametrize("remedies", [{}, {"residual": True}, {"residual": True, "dropout_rate": 0.4}])
def test_gradients_are_those_of_the_loss(use_batch_norm: bool, block_order: BlockOrder, remedies: Any) -> None:
    spec = ModelSpec(
        input_dim=5, output_dim=3, num_hidden_layers=3, hidden_width=4,
        use_batch_norm=use_batch_norm, block_order=block_order, **remedies,
    )  # fmt: skip
    weights, inputs, labels = make_case(spec)
    masks = draw_masks(spec, 7, np.random.default_rng(1))

    def loss(moved: Weights) -> float:
        return train_step(spec, moved, inputs, labels, 0.1, masks)[1].loss

    def difference(name: str, index: tuple[int, ...], h: float) -> float:
        up, down = weights[name].copy(), weights[name].copy()
        up[index] += h
        down[index] -= h
        return (loss(weights | {name: up}) - loss(weights | {name: down})) / (2 * h)

    # A central difference of step h is off by c h^2, so two of step h and 2 h differ by three times what the first is
    # off; and by the rounding of the loss over h, at most some tens of ulps.
    eps = np.finfo(np.float64).eps
    h = np.cbrt(eps)
    gradients = train_step(spec, weights, inputs, labels, 0.1, masks)[1].gradients
    for name, gradient in gradients.items():
        for index in np.ndindex(gradient.shape):
            near, far = difference(name, index, h), difference(name, index, 2 * h)
            assert abs(gradient[index] - near) <= abs(far - near) + 64 * eps / h, f"{name} {index}"


def test_the_update_is_plain_sgd() -> None:
    spec = ModelSpec(input_dim=5, output_dim=3, hidden_width=4)
    weights, inputs, labels = make_case(spec)
    updated, step = train_step(spec, weights, inputs, labels, 0.25)
    for name, gradient in step.gradients.items():
        np.testing.assert_array_equal(updated[name], weights[name] - 0.25 * gradient)


@pytest.mark.parametrize(("running_variance", "divisor"), [(RunningVariance.UNBIASED, 6), (RunningVariance.BIASED, 7)])
def test_running_statistics_follow_the_formula(running_variance: RunningVariance, divisor: int) -> None:
    spec = ModelSpec(
        input_dim=5, output_dim=3, num_hidden_layers=1, hidden_width=4, decay=0.75, running_variance=running_variance
    )
    weights, inputs, labels = make_case(spec)
    updated, _ = train_step(spec, weights, inputs, labels, 0.1)
    active = np.maximum(inputs @ weights["hidden.0.kernel"] + weights["hidden.0.bias"], 0)
    mean = active.sum(axis=0) / 7
    var = ((active - mean) ** 2).sum(axis=0) / divisor
    for statistic, batch in (("running_mean", mean), ("running_var", var)):
        expected = 0.75 * weights[f"hidden.0.{statistic}"] + 0.25 * batch
        # Sums of seven terms and a handful of operations after them.
        np.testing.assert_allclose(updated[f"hidden.0.{statistic}"], expected, rtol=20 * np.finfo(float).eps)


def test_the_normalizer_gives_mean_beta_and_the_biased_variance() -> None:
    rng = np.random.default_rng(0)
    x, gamma, beta, eps = rng.normal(3, 2, (25, 4)), np.array([1.0, 2, 3, 4]), np.array([0.0, 1, -1, 5]), 1e-5
    y, _, var = normalize_batch(x, gamma, beta, eps)
    ulps = 100 * np.finfo(float).eps
    np.testing.assert_allclose(y.mean(axis=0), beta, rtol=0, atol=ulps * np.abs(y).max())
    np.testing.assert_allclose(y.var(axis=0), gamma**2 * x.var(axis=0) / (x.var(axis=0) + eps), rtol=ulps)
    np.testing.assert_allclose(var, x.var(axis=0), rtol=ulps)


def test_a_large_mean_does_not_cancel() -> None:
    # E[x^2] - E[x]^2 would lose mean^2 / variance = 1e16 times the precision, that is all of it.
    x = 1e8 + np.array([[0.0], [1.0], [2.0], [3.0]])
    assert normalize_batch(x, np.ones(1), np.zeros(1), 1e-5)[2] == pytest.approx(1.25, rel=1e-15)


def test_evaluation_by_the_batchs_own_statistics_is_training() -> None:
    spec = ModelSpec(input_dim=5, output_dim=3, hidden_width=4, decay=0.0, running_variance=RunningVariance.BIASED)
    weights, inputs, labels = make_case(spec)
    updated, step = train_step(spec, weights, inputs, labels, 0.1)
    # With decay 0 the running statistics are the batch's.
    by_batch = {name: updated[name] if is_statistic(name) else array for name, array in weights.items()}
    np.testing.assert_allclose(evaluate(spec, by_batch, inputs), step.logits, rtol=1e3 * np.finfo(float).eps)


def test_relu_has_derivative_zero_at_zero() -> None:
    spec = ModelSpec(input_dim=2, output_dim=2, num_hidden_layers=1, hidden_width=3, use_batch_norm=False)
    weights, inputs, labels = make_case(spec)
    weights |= {"hidden.0.kernel": np.zeros((2, 3)), "hidden.0.bias": np.zeros(3)}
    gradients = train_step(spec, weights, inputs[:, :2], labels, 0.1)[1].gradients
    assert not gradients["hidden.0.bias"].any()


def test_cross_entropy_survives_large_logits() -> None:
    loss, gradient = cross_entropy(np.array([[1e4, 0.0], [0.0, 1e4]]), np.array([1, 1]))
    assert loss == 5e3
    np.testing.assert_array_equal(gradient, [[0.5, -0.5], [0.0, 0.0]])


def test_the_weights_given_stay_as_they_are() -> None:
    spec = ModelSpec(input_dim=5, output_dim=3, hidden_width=4)
    weights, inputs, labels = make_case(spec)
    before = {name: array.copy() for name, array in weights.items()}
    train_step(spec, weights, inputs, labels, 0.1)
    evaluate(spec, weights, inputs)
    for name, array in before.items():
        np.testing.assert_array_equal(weights[name], array)


def test_relu_keeps_nan_and_has_derivative_0_at_0() -> None:
    spec = ModelSpec(input_dim=1, output_dim=2, num_hidden_layers=1, hidden_width=3, use_batch_norm=False)
    weights = cast_weights(draw_weights(spec, 0), "float64")
    weights["hidden.0.kernel"][:], weights["hidden.0.bias"][:] = 0, [np.nan, 0, -np.inf]
    step = train_step(spec, weights, np.ones((2, 1)), np.array([0, 1]), 0.1)[1]
    assert step.activations is not None
    np.testing.assert_array_equal(step.activations["hidden.0.relu"], [[np.nan, 0, 0]] * 2)
    weights["hidden.0.bias"][:] = [1, 0, -1]
    gradients = train_step(spec, weights, np.ones((2, 1)), np.array([0, 0]), 0.1)[1].gradients
    assert gradients["hidden.0.bias"][0] != 0
    np.testing.assert_array_equal(gradients["hidden.0.bias"][1:], 0)
