"""The faulty parts of the witness: their gradients are those of their own loss, and each is what its name says."""

from dataclasses import fields, replace

import numpy as np
import pytest
from honest_reference import train_step
from numpy.typing import NDArray

from parity.backend import Step
from parity.errors import InputError
from parity.faults import NEUTRAL_FAULTS
from parity.reference import NumpyBackend, State, sgd_step
from parity.reference.faults import FAULTS, round_mantissa
from parity.spec import BlockOrder, ModelSpec
from parity.weights import Weights, cast_weights, draw_weights

NUMPY = NumpyBackend()
SPEC = ModelSpec(input_dim=5, output_dim=3, num_hidden_layers=2, hidden_width=4)
BATCH = 7
CATALOGUE = NEUTRAL_FAULTS | dict(FAULTS)
# The parts of which the loss is made; other conventions are the honest network of another spec.
OF_THE_LOSS = ("weight_import", "linear", "batch_moments", "normalize", "apply", "objective")
# Faults that give another gradient than that of their loss.
NOT_THE_LOSSES = {
    "detached_statistics": "that is the fault",
    "bfloat16_matmul": "its loss is a staircase, and the gradient passes through the rounding",
    "tf32_matmul": "the same",
}
DIFFERENTIABLE = [name for name, (part, _) in CATALOGUE.items() if part in OF_THE_LOSS and name not in NOT_THE_LOSSES]


def make_case(spec: ModelSpec = SPEC, seed: int = 0) -> tuple[Weights, NDArray, NDArray]:
    """A state away from 0 and 1, and a batch that is no multiple of 32."""
    rng = np.random.default_rng(seed)
    weights = cast_weights(draw_weights(spec, seed), "float64")
    for array in weights.values():
        array += rng.uniform(0.1, 0.3, array.shape)
    return weights, rng.normal(size=(BATCH, spec.input_dim)), rng.integers(0, spec.output_dim, BATCH)


def take_step(backend: NumpyBackend, spec: ModelSpec, weights: Weights, inputs: NDArray, labels: NDArray) -> Step:
    return backend.learner(spec, weights, "float64").train_step(inputs, labels, 0.1)


def central_difference(backend: NumpyBackend, spec: ModelSpec, case: tuple, name: str, h: float) -> NDArray:
    weights, inputs, labels = case
    found = np.empty_like(weights[name])
    for index in np.ndindex(found.shape):
        losses = []
        for step in (h, -h):
            moved = weights | {name: weights[name].copy()}
            moved[name][index] += step
            losses.append(take_step(backend, spec, moved, inputs, labels).loss)
        found[index] = (losses[0] - losses[1]) / (2 * h)
    return found


def excess(gradient: NDArray, backend: NumpyBackend, spec: ModelSpec, case: tuple, name: str) -> float:
    """How far a gradient is from the loss's own, over how far differences may be off; above 1 it is another gradient.

    A difference of step h is off by h^2 times a sixth of the third derivative, and by the loss's rounding over h. That
    of step 2h is off by four times the former, so the two differ by three times what that of step h is off by.
    """
    h = np.cbrt(np.finfo(np.float64).eps)
    numeric, coarse = (central_difference(backend, spec, case, name, k * h) for k in (1, 2))
    rounding = 100 * np.finfo(np.float64).eps * take_step(backend, spec, *case).loss / h
    return float(np.max(np.abs(gradient - numeric) / (np.abs(coarse - numeric) + rounding)))


@pytest.mark.parametrize("block_order", BlockOrder)
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_of_a_fault_are_those_of_its_loss(name: str, block_order: BlockOrder) -> None:
    spec = replace(SPEC, block_order=block_order)
    backend, case = NUMPY.with_fault(name), make_case(spec)
    for weight, gradient in take_step(backend, spec, *case).gradients.items():
        assert excess(gradient, backend, spec, case, weight) < 1, weight


def test_detached_statistics_give_another_gradient_than_the_losses() -> None:
    backend, case = NUMPY.with_fault("detached_statistics"), make_case()
    step, honest = take_step(backend, SPEC, *case), take_step(NUMPY, SPEC, *case)
    assert step.loss == honest.loss
    # The head stands above every norm, and gamma and beta of the last norm beside it.
    above = ("head.kernel", "head.bias", "hidden.1.gamma", "hidden.1.beta")
    for name, gradient in step.gradients.items():
        if name in above:
            np.testing.assert_array_equal(gradient, honest.gradients[name])
        else:
            assert excess(gradient, backend, SPEC, case, name) > 1e3, name


def test_gradient_that_leaks_is_that_of_all_members_losses() -> None:
    weights, inputs, labels = make_case()
    rng = np.random.default_rng(1)
    stacked: Weights = {name: array + 0.2 * rng.random((3, *array.shape)) for name, array in weights.items()}
    parts, h = NUMPY.with_fault("population_leak").parts, np.cbrt(np.finfo(np.float64).eps)

    def losses(moved: Weights) -> NDArray:
        return np.asarray(sgd_step(State(SPEC, moved), inputs, labels, np.full(3, 0.1), parts)[1].loss)

    gradients = sgd_step(State(SPEC, stacked), inputs, labels, np.full(3, 0.1), parts)[1].gradients
    leaked = 0.0
    for name in ("hidden.0.kernel", "hidden.1.bias", "hidden.0.gamma"):
        for index in np.ndindex(stacked[name].shape):
            up, down = stacked[name].copy(), stacked[name].copy()
            up[index] += h
            down[index] -= h
            slopes = (losses(stacked | {name: up}) - losses(stacked | {name: down})) / (2 * h)
            assert gradients[name][index] == pytest.approx(slopes.sum(), rel=0, abs=3e3 * h**2)
            leaked = max(leaked, np.abs(np.delete(slopes, index[0])).max())
    assert leaked > 1e-3


# Faults whose population is more than its members: by definition, and those of `carry`, which a population has not.
NOT_ALONE = {"population_leak"} | {name for name, (part, _) in CATALOGUE.items() if part in ("carry", "inputs")}


@pytest.mark.parametrize("name", ["", *(name for name in CATALOGUE if name not in NOT_ALONE)])
def test_a_population_is_its_members_bit_for_bit(name: str) -> None:
    backend, (weights, _, _) = NUMPY.with_fault(name) if name else NUMPY, make_case()
    rng, rates = np.random.default_rng(1), (0.05, 0.4, 1.5)
    inputs, labels = rng.normal(size=(20, SPEC.input_dim)), rng.integers(0, SPEC.output_dim, 20)
    indices = rng.permutation(20)[:18].reshape(3, 6)
    population = backend.population(SPEC, weights, rates, inputs, labels, "float64")
    losses = population.run_pass(indices).losses
    for member, rate in enumerate(rates):
        learner = backend.learner(SPEC, weights, "float64")
        alone = [learner.train_step(inputs[batch], labels[batch], rate).loss for batch in indices]
        np.testing.assert_array_equal(losses[:, member], alone)
        for key, array in learner.weights().items():
            np.testing.assert_array_equal(population.weights(member)[key], array, err_msg=key)


def test_members_that_leak_are_not_alone() -> None:
    weights, inputs, labels = make_case()

    def run(rates: tuple[float, ...]) -> NDArray:
        backend = NUMPY.with_fault("population_leak")
        population = backend.population(SPEC, weights, rates, inputs, labels, "float64")
        return population.run_pass(np.arange(6).reshape(2, 3)).losses

    assert run((0.1, 1.0))[1, 0] != pytest.approx(run((0.1,))[1, 0], rel=1e-3)


@pytest.mark.parametrize("block_order", BlockOrder)
def test_its_own_pattern_changes_nothing(block_order: BlockOrder) -> None:
    spec = replace(SPEC, block_order=block_order)
    weights, inputs, labels = make_case(spec)
    learner, free = (NUMPY.learner(spec, weights, "float64") for _ in range(2))
    expected = free.train_step(inputs, labels, 0.1)
    assert expected.activations is not None
    pattern = {name: array > 0 for name, array in expected.activations.items() if name.endswith("relu")}
    step = learner.train_step(inputs, labels, 0.1, pattern=pattern)
    assert step.loss == expected.loss
    for name, array in free.weights().items():
        np.testing.assert_array_equal(learner.weights()[name], array)


def test_a_pattern_decides_which_units_are_active() -> None:
    weights, inputs, labels = make_case()
    rng = np.random.default_rng(2)
    pattern = {f"hidden.{i}.relu": rng.random((BATCH, 4)) < 0.5 for i in range(2)}
    learner = NUMPY.learner(SPEC, weights, "float64")
    evaluated = learner.activations(inputs, pattern=pattern)
    activations = learner.train_step(inputs, labels, 0.1, pattern=pattern).activations
    assert activations is not None
    for shown in (evaluated, activations):
        for i in range(2):
            z, active = shown[f"hidden.{i}.linear"], pattern[f"hidden.{i}.relu"]
            np.testing.assert_array_equal(shown[f"hidden.{i}.relu"], np.where(active, z, 0))
            assert (z[active] < 0).any()
            assert (z[~active] > 0).any()


def test_no_gradient_flows_through_a_unit_that_is_imposed_off() -> None:
    weights, inputs, labels = make_case()
    pattern = {f"hidden.{i}.relu": np.ones((BATCH, 4), bool) for i in range(2)}
    pattern["hidden.1.relu"][:, 2] = False
    step = NUMPY.learner(SPEC, weights, "float64").train_step(inputs, labels, 0.1, pattern=pattern)
    gradient = step.gradients["hidden.1.kernel"]
    assert not gradient[:, 2].any()
    assert gradient[:, [0, 1, 3]].all()


def test_a_pattern_leaves_the_rows_that_a_fault_adds_as_they_are() -> None:
    weights, inputs, labels = make_case()
    backend = NUMPY.with_fault("padded_batch", size=8)
    free = take_step(backend, SPEC, weights, inputs, labels)
    assert free.activations is not None
    pattern = {name: array > 0 for name, array in free.activations.items() if name.endswith("relu")}
    step = backend.learner(SPEC, weights, "float64").train_step(inputs, labels, 0.1, pattern=pattern)
    assert step.loss == free.loss


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_fault_replaces_exactly_one_part(name: str) -> None:
    faulty = NUMPY.with_fault(name).parts
    changed = [f.name for f in fields(faulty) if getattr(faulty, f.name) != getattr(NUMPY.parts, f.name)]
    of_several = {"tied_kernels": ["weight_import", "collect"], "gradients_after_update": ["shows_gradients_late"]}
    assert changed == of_several.get(name, [CATALOGUE[name][0]])


def test_faults_of_different_parts_come_together() -> None:
    both = NUMPY.with_fault("wrong_axis").with_fault("summed_loss").parts
    assert both.normalize == NUMPY.with_fault("wrong_axis").parts.normalize != NUMPY.parts.normalize
    assert both.objective == NUMPY.with_fault("summed_loss").parts.objective != NUMPY.parts.objective


def test_unknown_fault_is_refused_with_the_choices() -> None:
    with pytest.raises(InputError, match=r"no fault is named 'wrong_epsilom'; choose one of .*wrong_epsilon"):
        NUMPY.with_fault("wrong_epsilom")


def test_padding_enters_the_statistics_and_nothing_else_that_is_shown() -> None:
    weights, inputs, labels = make_case()
    padded = np.concatenate([inputs, np.zeros((1, SPEC.input_dim))])
    step = take_step(NUMPY.with_fault("padded_batch", size=4), SPEC, weights, inputs, labels)
    longer = take_step(NUMPY, SPEC, weights, padded, np.append(labels, 0))
    assert step.logits.shape == (BATCH, SPEC.output_dim)
    np.testing.assert_array_equal(step.logits, longer.logits[:BATCH])
    assert take_step(NUMPY.with_fault("padded_batch", size=7), SPEC, weights, inputs, labels).loss == train_step(
        SPEC, weights, inputs, labels, 0.1
    )[1].loss  # fmt: skip


@pytest.mark.parametrize(("bits", "above"), [(7, 1 + 2.0**-7), (10, 1 + 2.0**-10)])
def test_mantissa_is_rounded_to_nearest_and_ties_to_even(bits: int, above: float) -> None:
    half = (above - 1) / 2
    exact = np.array([1, 1 + half, above + half, 1 + 1.01 * half, -1 - half, 0.0, 3 * 2.0**-149])
    rounded = np.array([1, 1, above + 2 * half, above, -1, 0.0, 3 * 2.0**-149])
    np.testing.assert_array_equal(round_mantissa(exact, bits), rounded)
