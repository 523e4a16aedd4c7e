"""What is JAX's own about parts and settings: they are read while a program is traced, and restored after it."""

from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bnjax
from bnjax.device import find_device
from bnjax.linear import Linear
from bnjax.parts import HONEST, linear
from parity.spec import ModelSpec
from parity.weights import draw_weights

SPEC = ModelSpec(input_dim=6, output_dim=3, num_hidden_layers=1, hidden_width=5)

Batch = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def batch() -> Batch:
    rng = np.random.default_rng(0)
    return rng.normal(size=(8, 6)).astype(np.float32), rng.integers(0, 3, 8)


@pytest.mark.parametrize(
    ("precision", "name"), [("highest", "highest"), ("tf32", "tensorfloat32"), ("bfloat16", "bfloat16")]
)
def test_the_precision_is_set_around_every_computation_and_restored(batch: Batch, precision, name: str) -> None:
    seen = []

    def spy(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        seen.append(jax.config.values["jax_default_matmul_precision"])
        return linear(x, kernel, bias)

    backend = bnjax.JaxBackend(precision=precision, parts=replace(HONEST, linear=spy))
    with jax.default_matmul_precision("float32"):
        learner = backend.learner(SPEC, draw_weights(SPEC, 0), "float32")
        population = backend.population(SPEC, draw_weights(SPEC, 0), [0.1], *batch, "float32")
        for compute in (
            lambda: learner.train_step(*batch, 0.1),
            lambda: learner.evaluate(batch[0]),
            lambda: learner.activations(batch[0]),
            lambda: population.run_pass(np.arange(8)[None]),
            lambda: population.evaluate(*batch),
        ):
            seen.clear()
            compute()
            assert set(seen) == {name}
            assert jax.config.values["jax_default_matmul_precision"] == "float32"


def test_arrays_lie_on_the_device_that_was_asked_for() -> None:
    variables = bnjax.JaxBackend(device="cpu").to_native(draw_weights(SPEC, 0), SPEC, "float32")
    assert {device for leaf in jax.tree.leaves(variables) for device in leaf.devices()} == {find_device("cpu")}


def test_ours_and_flaxs_dense_take_each_others_variables() -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 6)), jnp.float32)
    variables = Linear(5).init(jax.random.key(0), x)
    np.testing.assert_array_equal(Linear(5).apply(variables, x), nn.Dense(5).apply(variables, x))


def test_activations_are_kept_only_for_who_asks(batch: Batch) -> None:
    model = bnjax.MultiLayerPerceptron(6, 3, 1, 5, True)
    variables = model.init(jax.random.key(0), jnp.asarray(batch[0]))
    assert set(variables) == {"params", "batch_stats"}
    _, changed = model.apply(variables, batch[0], train=True, mutable=["batch_stats"])
    assert set(changed) == {"batch_stats"}


def test_what_a_program_does_not_return_is_not_computed(batch: Batch) -> None:
    def lines(*outputs: str) -> int:
        net = bnjax.create_train_state(bnjax.MultiLayerPerceptron(6, 3, 2, 5, True))
        step = jax.jit(lambda net, x, y: [getattr(bnjax.sgd_step(net, x, y, 0.1)[1], name) for name in outputs])
        text = step.lower(net, *map(jnp.asarray, batch)).compile().as_text()
        return len((text or "").splitlines())

    assert lines("loss") < lines("loss", "activations")


def test_a_net_of_a_working_dtype_is_one_by_the_labs_functions(batch: Batch) -> None:
    net = bnjax.create_train_state(bnjax.MultiLayerPerceptron(6, 3, 1, 5, True), dtype="bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(net.variables)} == {np.dtype(np.float32)}
    assert net.model.dtype == jnp.bfloat16
    net, metrics = bnjax.train_step(net, *batch, 0.1)
    assert {leaf.dtype for leaf in jax.tree.leaves((net.variables, metrics))} == {np.dtype(np.float32)}
