"""Ours and Flax's own batch norm are the same under the matching spec."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import ModifyScopeVariableError

from bnjax import BatchNorm
from bnjax.layers import ChannelNorm
from parity.errors import InputError
from parity.spec import RunningVariance

DECAY = 0.8


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def stock(train: bool) -> nn.BatchNorm:
    return nn.BatchNorm(
        use_running_average=not train, momentum=DECAY, epsilon=1e-3, use_fast_variance=False,
        force_float32_reductions=False, param_dtype=jnp.float64,
    )  # fmt: skip


def ours(running_variance: str = "biased") -> BatchNorm:
    return BatchNorm(1e-3, DECAY, RunningVariance(running_variance), jnp.float64)


def make_case() -> tuple[jax.Array, jax.Array, dict]:
    rng = np.random.default_rng(0)
    x, cotangent = jnp.asarray(rng.normal(2, 3, (16, 5))), jnp.asarray(rng.normal(size=(16, 5)))
    variables = {
        "params": {"scale": jnp.asarray(rng.uniform(0.5, 2, 5)), "bias": jnp.asarray(rng.normal(size=5))},
        "batch_stats": {"mean": jnp.asarray(rng.normal(size=5)), "var": jnp.asarray(rng.uniform(0.5, 2, 5))},
    }
    return x, cotangent, variables


def assert_equal_to_rounding(left, right) -> None:
    # The same few operations and sums of 16 terms, in whatever order XLA takes them.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=64 * np.spacing(np.abs(a).max())), left, right
    )


def test_training_output_statistics_and_gradients_equal_flaxs() -> None:
    x, cotangent, variables = make_case()

    def run(apply):
        def objective(params, x):
            y, updates = apply({"params": params, "batch_stats": variables["batch_stats"]}, x)
            return (y * cotangent).sum(), (y, updates["batch_stats"])

        (_, outputs), gradients = jax.value_and_grad(objective, argnums=(0, 1), has_aux=True)(variables["params"], x)
        return outputs, gradients

    mine = run(lambda v, x: ours().apply(v, x, train=True, mutable=["batch_stats"]))
    theirs = run(lambda v, x: stock(train=True).apply(v, x, mutable=["batch_stats"]))
    assert_equal_to_rounding(mine, theirs)


def test_evaluation_equals_flaxs() -> None:
    x, _, variables = make_case()
    assert_equal_to_rounding(ours().apply(variables, x), stock(train=False).apply(variables, x))


def test_unbiased_running_variance_is_what_flax_does_not_do() -> None:
    x, _, variables = make_case()
    _, mine = ours("unbiased").apply(variables, x, train=True, mutable=["batch_stats"])
    _, theirs = stock(train=True).apply(variables, x, mutable=["batch_stats"])
    old = DECAY * variables["batch_stats"]["var"]
    ratio = (mine["batch_stats"]["var"] - old) / (theirs["batch_stats"]["var"] - old)
    np.testing.assert_allclose(ratio, 16 / 15, rtol=64 * np.finfo(float).eps)


def test_initializing_in_train_mode_leaves_the_statistics_at_their_start() -> None:
    x, _, _ = make_case()
    statistics = ours().init(jax.random.key(0), x, train=True)["batch_stats"]
    np.testing.assert_array_equal(statistics["mean"], np.zeros(5))
    np.testing.assert_array_equal(statistics["var"], np.ones(5))


def test_statistics_in_float64_are_float64_from_the_start() -> None:
    x, _, _ = make_case()
    assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(ours().init(jax.random.key(0), x)))


def test_training_without_leave_to_change_the_statistics_is_an_error() -> None:
    x, _, variables = make_case()
    with pytest.raises(ModifyScopeVariableError):
        ours().apply(variables, x, train=True)


@pytest.mark.parametrize("make", [BatchNorm, ChannelNorm])
def test_an_unknown_running_variance_is_refused_with_the_choices(make: Any) -> None:
    with pytest.raises(InputError, match="running_variance must be one of unbiased, biased, got 'Unbiased'"):
        make(running_variance="Unbiased").init(jax.random.key(0), jnp.zeros((1, 1, 1, 5)))
    make(running_variance="biased").init(jax.random.key(0), jnp.zeros((1, 1, 1, 5)))
