"""What is Flax's own about training: the state is a value, and a program serves every learning rate."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bnjax
from bnjax import programs, train
from parity.spec import ModelSpec
from parity.weights import draw_weights


@pytest.fixture
def batch() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(8, 6)).astype(np.float32), rng.integers(0, 3, 8)


def make_net(hidden_width: int = 4) -> bnjax.TrainState:
    return bnjax.create_train_state(bnjax.MultiLayerPerceptron(6, 3, 2, hidden_width, True))


def test_a_step_is_a_new_state_and_the_old_ones_memory_is_given_up(batch) -> None:
    net = make_net()
    new, _ = bnjax.train_step(net, *batch, 0.1)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(net.variables))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(new.variables))


def test_a_pure_step_leaves_the_old_state_as_it_was(batch) -> None:
    net = make_net()
    before = jax.tree.map(np.array, net.variables)
    bnjax.sgd_step(net, jnp.asarray(batch[0]), jnp.asarray(batch[1]), 0.1)
    chex.assert_trees_all_equal(net.variables, before)


def test_all_learning_rates_and_equal_models_share_one_program(batch, monkeypatch) -> None:
    chex.clear_trace_counter()
    # `train_step` finds `sgd_step` by name while it is traced, so every compilation counts here.
    monkeypatch.setattr(train, "sgd_step", chex.assert_max_traces(train.sgd_step, n=1))
    for learning_rate in (0.1, 0.2, 0.3):
        bnjax.train_step(make_net(hidden_width=3), *batch, learning_rate)


def test_all_learning_rates_of_a_population_share_one_program(batch, monkeypatch) -> None:
    spec = ModelSpec(input_dim=6, output_dim=3, num_hidden_layers=1, hidden_width=5)
    chex.clear_trace_counter()
    monkeypatch.setattr(programs, "sgd_step", chex.assert_max_traces(programs.sgd_step, n=1))
    for seed, rates in enumerate(([0.1, 0.2], [0.3, 0.4], [5.0, 6.0]), start=1):
        population = bnjax.Population(spec, draw_weights(spec, seed), rates, batch[0], batch[1])
        population.run_pass(np.arange(8 * seed).reshape(-1, 4))  # of any number of updates


def test_a_float64_learning_rate_does_not_widen_float32_weights(batch) -> None:
    with jax.enable_x64(True):
        wide, _ = bnjax.train_step(make_net(), *batch, np.float64(0.1))
        narrow, _ = bnjax.train_step(make_net(), *batch, np.float32(0.1))
    assert {leaf.dtype for leaf in jax.tree.leaves(wide.variables)} == {np.dtype(np.float32)}
    # Nor may the update be computed in float64 and rounded afterwards.
    chex.assert_trees_all_equal(wide.variables, narrow.variables)


def test_the_callers_precision_is_left_alone(batch) -> None:
    spec = ModelSpec(input_dim=6, output_dim=3, num_hidden_layers=1, hidden_width=5)
    learner = bnjax.JaxBackend().learner(spec, draw_weights(spec, 0), "float64")
    learner.train_step(batch[0], batch[1], 0.1)
    assert jnp.zeros(1).dtype == jnp.float32


def test_a_model_made_by_init_starts_as_the_spec_says() -> None:
    model = bnjax.MultiLayerPerceptron(100, 10, 2, 50, True)
    variables = model.init(jax.random.key(0), jnp.zeros((2, 100)))
    chex.assert_trees_all_equal_shapes_and_dtypes(variables, bnjax.to_native(draw_weights(model.spec, 0), model.spec))
    for name, fan_in in (("linear_0", 100), ("linear_1", 50), ("head", 50)):
        for leaf in variables["params"][name].values():
            assert 0.8 / np.sqrt(fan_in) < np.abs(leaf).max() <= 1 / np.sqrt(fan_in)


def test_a_bad_model_says_which_rule_it_breaks() -> None:
    with pytest.raises(ValueError, match="num_hidden_layers must be an integer of at least 1"):
        bnjax.MultiLayerPerceptron(6, 3, 0, 4, True)


def test_float64_is_refused_where_jax_would_cut_it(batch) -> None:
    model = bnjax.MultiLayerPerceptron(6, 3, 2, 4, True)
    with pytest.raises(ValueError, match="float64 in JAX needs x64"):
        bnjax.create_train_state(model, dtype="float64")
    with jax.enable_x64(True):
        net = bnjax.create_train_state(model, dtype="float64")
    assert {leaf.dtype for leaf in jax.tree.leaves(net.variables)} == {np.dtype(np.float64)}


def test_the_variables_that_a_state_was_made_of_survive_training(batch) -> None:
    model = bnjax.MultiLayerPerceptron(6, 3, 2, 4, True)
    variables = bnjax.to_native(draw_weights(model.spec, 0), model.spec)
    bnjax.train_step(bnjax.state_from_variables(model, variables), *batch, 0.1)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(variables))


def test_float64_inputs_do_not_widen_a_float32_state(batch) -> None:
    with jax.enable_x64(True):
        net, _ = bnjax.train_step(make_net(), batch[0].astype(np.float64), batch[1], 0.1)
    assert {leaf.dtype for leaf in jax.tree.leaves(net.variables)} == {np.dtype(np.float32)}


def test_a_pass_leaves_the_net_that_it_was_given(batch) -> None:
    net = make_net()
    before = jax.tree.map(np.array, net.variables)
    bnjax.minibatch_sgd_one_pass(net, batch[0], batch[1], 0.1, 2)
    chex.assert_trees_all_equal(net.variables, before)
