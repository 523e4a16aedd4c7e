"""What a framework offers to the lab: layers alone and derivatives, the same numbers in every framework."""

from typing import Any

import numpy as np
import pytest
from honest_reference import normalize_batch, train_step

from parity.spec import ModelSpec
from parity.weights import cast_weights, draw_weights, is_statistic, weight_shapes

EPS = np.finfo(np.float64).eps


def flat(weights: Any, spec: ModelSpec) -> np.ndarray:
    return np.concatenate([np.ravel(weights[name]) for name in weight_shapes(spec) if not is_statistic(name)])


@pytest.mark.parametrize("images", [False, True])
def test_a_norm_layer_is_the_formula(framework: Any, images: bool) -> None:
    rng = np.random.default_rng(0)
    shape = (4, 5, 3, 6) if images else (20, 6)
    layer = framework.tools().norm_layer(6, eps=1e-3, decay=0.75, images=images)
    mean, var, x, rows = np.zeros(6), np.ones(6), np.empty(0), np.empty(0)
    for _ in range(3):
        x = rng.normal(3, 2, shape)
        rows = x.reshape(-1, 6)
        expected, m, v = normalize_batch(rows, np.ones(6), np.zeros(6), 1e-3)
        mean, var = 0.75 * mean + 0.25 * m, 0.75 * var + 0.25 * v * len(rows) / (len(rows) - 1)
        # A sum of n terms is off by at most n ulps, and each output by some.
        np.testing.assert_allclose(layer.train(x).reshape(-1, 6), expected, rtol=0, atol=8 * len(rows) * EPS)
    for shown, wanted in zip(layer.statistics(), (mean, var), strict=True):
        np.testing.assert_allclose(shown, wanted, rtol=4 * len(x.reshape(-1, 6)) * EPS)
    before = [array.copy() for array in layer.statistics()]
    evaluated = layer.evaluate(x).reshape(-1, 6)
    np.testing.assert_allclose(evaluated, (rows - mean) / np.sqrt(var + 1e-3), rtol=0, atol=64 * len(rows) * EPS)
    np.testing.assert_array_equal(layer.statistics(), before)


SETTINGS = [{}, {"stride": 3, "padding": 3}, {"dilation": 2}, {"stride": 2, "padding": 1, "dilation": 3}]


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_convolution_is_its_sum(framework: Any, settings: dict[str, int]) -> None:
    rng = np.random.default_rng(1)
    images, kernel, bias = rng.normal(size=(2, 11, 9, 3)), rng.normal(size=(3, 2, 3, 4)), rng.normal(size=4)
    stride, padding, dilation = (settings.get(name, d) for name, d in (("stride", 1), ("padding", 0), ("dilation", 1)))
    padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    reach = [dilation * (size - 1) + 1 for size in (3, 2)]
    rows, columns = ((padded.shape[1 + axis] - reach[axis]) // stride + 1 for axis in (0, 1))
    expected = np.empty((2, rows, columns, 4))
    for i in range(rows):
        for j in range(columns):
            patch = padded[:, i * stride :, j * stride :][:, : reach[0] : dilation, : reach[1] : dilation]
            expected[:, i, j] = np.einsum("nhwc,hwco->no", patch, kernel) + bias
    found = framework.tools().convolve(images, kernel, bias, **settings)
    limit = 18 * EPS * 18 * np.abs(images).max() * np.abs(kernel).max()  # a sum of 18 products
    np.testing.assert_allclose(found.output, expected, rtol=0, atol=limit)
    assert sorted(found.own_output_shape) == sorted(found.output.shape)
    assert sorted(found.own_kernel_shape) == sorted(kernel.shape)


def test_an_image_may_be_in_either_precision(framework: Any) -> None:
    arrays = [np.ones(shape, np.float32) for shape in ((1, 4, 4, 2), (2, 2, 2, 3), (3,))]
    assert framework.tools().convolve(*arrays).output.dtype == np.float32
    assert framework.tools().convolve(*(array.astype(float) for array in arrays)).output.dtype == np.float64


@pytest.mark.parametrize(
    "conventions", [{}, {"use_batch_norm": False}, {"block_order": "norm_first", "residual": True}]
)
def test_a_networks_objective_has_the_references_gradient(framework: Any, conventions: dict[str, Any]) -> None:
    spec = ModelSpec(input_dim=6, output_dim=3, num_hidden_layers=2, hidden_width=5, **conventions)
    rng = np.random.default_rng(2)
    weights = cast_weights(draw_weights(spec, 0), "float64")
    inputs, labels = rng.normal(size=(16, 6)), rng.integers(0, 3, 16)
    _, step = train_step(spec, weights, inputs, labels, 0.0)
    objective, point = framework.tools().network_objective(spec, weights, inputs, labels), flat(weights, spec)
    assert abs(objective.value(point) - step.loss) <= 64 * EPS * step.loss
    gradient = objective.gradient(point)
    np.testing.assert_allclose(gradient, flat(step.gradients, spec), rtol=0, atol=1e4 * EPS * np.abs(gradient).max())
    # The Hessian along v is the slope of the gradient: a central difference is off by h^2 and by rounding over h, so
    # that of step 2 h differs by three times what that of step h is off by.
    vector, h = rng.normal(size=point.size), EPS ** (1 / 3)
    near, far = (
        (objective.gradient(point + k * h * vector) - objective.gradient(point - k * h * vector)) / (2 * k * h)
        for k in (1, 2)
    )
    product = objective.hessian_vector_product(point, vector)
    rounding = 1e3 * EPS * np.abs(gradient).max() / h
    assert np.all(np.abs(product - near) <= np.abs(far - near).max() + rounding)
    # Two calls, one answer: nothing that training mode updates is kept.
    np.testing.assert_array_equal(objective.gradient(point), gradient)


def test_a_regressions_hessian_is_that_of_its_inputs(framework: Any) -> None:
    rng = np.random.default_rng(3)
    inputs, targets, w, v = rng.normal(size=(40, 5)), rng.normal(size=40), rng.normal(size=5), rng.normal(size=5)
    objective = framework.tools().regression_objective(inputs, targets)
    residual = inputs @ w - targets
    assert abs(objective.value(w) - residual @ residual / 80) <= 64 * EPS * objective.value(w)
    np.testing.assert_allclose(objective.gradient(w), inputs.T @ residual / 40, rtol=0, atol=1e3 * EPS)
    np.testing.assert_allclose(
        objective.hessian_vector_product(w, v), inputs.T @ inputs @ v / 40, rtol=0, atol=1e3 * EPS
    )
