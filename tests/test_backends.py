"""The contract of `parity.backend`, kept by every backend."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from noise import Twins, excesses, observed

from parity.backend import (
    Backend,
    Learner,
    Population,
    backend_names,
    installed_siblings,
    load_backend,
    sibling_names,
)
from parity.data import MaskStream, draw_masks, mask_arguments
from parity.errors import InputError
from parity.reference import NumpyBackend
from parity.reference.parts import cross_entropy
from parity.spec import ModelSpec
from parity.weights import Weights, activation_names, cast_weights, draw_weights, is_statistic

LEARNING_RATE = 0.1
CONVENTIONS = {
    "the lab's": {},
    "no batch norm": {"use_batch_norm": False},
    "biased running variance": {"running_variance": "biased"},
    "norm first": {"block_order": "norm_first"},
    "norm first, no batch norm": {"block_order": "norm_first", "use_batch_norm": False},
    "large eps, small decay": {"eps": 0.1, "decay": 0.25},
    "no memory": {"decay": 0.0},
    "he_normal": {"initialization": "he_normal"},
    "orthogonal": {"initialization": "orthogonal"},
    "width 1": {"hidden_width": 1},
    "residual": {"residual": True},
    "residual, norm first": {"residual": True, "block_order": "norm_first"},
    "dropout": {"dropout_rate": 0.3},
    "all remedies": {"dropout_rate": 0.5, "residual": True, "initialization": "orthogonal"},
    "dropout, no batch norm": {"dropout_rate": 0.3, "use_batch_norm": False},
}


def make_spec(**conventions: Any) -> ModelSpec:
    sizes: dict[str, Any] = {"input_dim": 12, "output_dim": 5, "num_hidden_layers": 3, "hidden_width": 8}
    return ModelSpec(**sizes | conventions)


def masks_of(spec: ModelSpec, seed: int = 0) -> dict[str, Any]:
    """What training is given beside a minibatch of 32."""
    return {"masks": draw_masks(spec, 32, np.random.default_rng(seed))} if spec.dropout_rate else {}


@pytest.fixture
def batches() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    return rng.normal(size=(4, 32, 12)), rng.integers(0, 5, size=(4, 32))


def held(dtype: str) -> np.dtype:
    """The dtype of weights, statistics and whatever crosses the protocol."""
    return np.dtype("float64" if dtype == "float64" else "float32")


def same(left: Weights, right: Weights) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("conventions", CONVENTIONS.values(), ids=CONVENTIONS.keys())
def test_every_convention_means_what_the_reference_says(framework: Backend, batches, conventions) -> None:
    spec = make_spec(**conventions)
    weights = draw_weights(spec, seed=3)
    learner, twins = framework.learner(spec, weights, "float64"), Twins(spec, cast_weights(weights, "float64"))
    for t, (inputs, labels) in enumerate(zip(*batches, strict=True)):
        expected, limits = twins.step(inputs, labels, LEARNING_RATE, **masks_of(spec, t))
        step = learner.train_step(inputs, labels, LEARNING_RATE, **masks_of(spec, t))
        actual = observed(step, learner.weights())
        assert not excesses(actual, expected, limits)


@pytest.mark.parametrize("conventions", CONVENTIONS.values(), ids=CONVENTIONS.keys())
def test_evaluation_uses_the_running_statistics_and_leaves_the_state(backend: Backend, batches, conventions) -> None:
    spec = make_spec(**conventions)
    learner = backend.learner(spec, draw_weights(spec, seed=3), "float64")
    inputs, labels = batches[0][0], batches[1][0]
    learner.train_step(inputs, labels, LEARNING_RATE, **masks_of(spec))
    before = learner.weights()
    together = learner.evaluate(inputs)
    assert same(learner.weights(), before)
    # A sample's logits do not depend on its batch-mates, up to the rounding of a product of another shape.
    alone = np.concatenate([learner.evaluate(inputs[i : i + 1]) for i in range(len(inputs))])
    size = spec.input_dim + spec.num_hidden_layers * spec.hidden_width
    np.testing.assert_allclose(alone, together, rtol=0, atol=size * np.spacing(np.abs(together).max()))
    expected = load_backend("numpy").learner(spec, before, "float64").evaluate(inputs)
    np.testing.assert_allclose(together, expected, rtol=0, atol=size * np.spacing(np.abs(expected).max()))


def test_a_batch_of_one_is_refused_in_training_and_leaves_the_state(backend: Backend, batches) -> None:
    spec = make_spec()
    learner = backend.learner(spec, draw_weights(spec, seed=0), "float64")
    before = learner.weights()
    with pytest.raises(InputError) as error:
        learner.train_step(batches[0][0][:1], batches[1][0][:1], LEARNING_RATE)
    assert (
        str(error.value) == "training with batch norm needs a batch of at least 2 (one sample has no variance), got 1"
    )
    assert same(learner.weights(), before)


def test_a_batch_of_one_trains_without_batch_norm(backend: Backend, batches) -> None:
    spec = make_spec(use_batch_norm=False)
    learner = backend.learner(spec, draw_weights(spec, seed=0), "float64")
    assert np.isfinite(learner.train_step(batches[0][0][:1], batches[1][0][:1], LEARNING_RATE).loss)


def overwrite(value) -> None:
    """Write into every array of a result."""
    if isinstance(value, np.ndarray):
        value[...] = 77
    elif isinstance(value, dict):
        for item in value.values():
            overwrite(item)
    elif hasattr(value, "__dict__"):
        overwrite(vars(value))


def trajectory(learner: Learner, batches, spoil: Callable[[object], None]) -> Weights:
    """Train, with `spoil` called on everything that has crossed the protocol; the final state."""
    for inputs, labels in zip(*copy.deepcopy(batches), strict=True):
        crossed = [inputs, labels]
        crossed += [learner.train_step(inputs, labels, LEARNING_RATE), learner.weights(), learner.evaluate(inputs)]
        for value in crossed:
            spoil(value)
    return learner.weights()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_crosses_a_learner_is_copied_both_ways(backend: Backend, batches, dtype) -> None:
    if dtype not in backend.dtypes:
        dtype = backend.dtypes[0]
    spec = make_spec()
    given = cast_weights(draw_weights(spec, seed=0), dtype)
    batches = (batches[0].astype(dtype), batches[1])
    untouched = trajectory(backend.learner(spec, copy.deepcopy(given), dtype), batches, lambda value: None)
    spoiled = backend.learner(spec, given, dtype)
    overwrite(given)
    assert same(trajectory(spoiled, batches, overwrite), untouched)


def test_what_a_backend_returned_does_not_change_later(backend: Backend, batches) -> None:
    spec = make_spec()
    learner = backend.learner(spec, draw_weights(spec, seed=0), "float64")
    inputs, labels = batches[0][0], batches[1][0]
    returned = [learner.train_step(inputs, labels, LEARNING_RATE), learner.weights(), learner.evaluate(inputs)]
    kept = copy.deepcopy(returned)
    for _ in range(3):
        learner.train_step(inputs, labels, LEARNING_RATE)
        learner.evaluate(inputs)
    assert same(vars(returned[0])["gradients"], kept[0].gradients)
    np.testing.assert_array_equal(returned[0].logits, kept[0].logits)
    assert same(returned[1], kept[1])
    np.testing.assert_array_equal(returned[2], kept[2])


def aligned(array: np.ndarray, to: int = 64) -> np.ndarray:
    """A copy that starts at a multiple of `to` bytes: JAX uses the memory of such an array as it is."""
    room = np.empty(array.nbytes + to, np.uint8)
    start = -room.ctypes.data % to
    found = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    found[...] = array
    return found


def test_what_crosses_a_population_is_copied_both_ways(backend: Backend, batches) -> None:
    def train(spoil: Callable[[object], None]) -> Weights:
        spec = make_spec()
        weights = draw_weights(spec, seed=0)
        # Of the working dtype already, so that no conversion copies them by chance, and as a framework may share it.
        inputs, labels = aligned(batches[0].reshape(-1, 12).astype(backend.dtypes[0])), aligned(batches[1].reshape(-1))
        population = backend.population(spec, weights, [0.01, 0.1], inputs, labels, backend.dtypes[0])
        spoil(weights)
        test_inputs, test_labels = inputs.copy(), labels.copy()
        spoil(inputs)
        spoil(labels)
        for seed in range(2):
            indices = np.random.default_rng(seed).integers(0, 128, (5, 32))
            record = population.run_pass(indices)
            for value in (indices, record, population.evaluate(test_inputs, test_labels), population.weights(1)):
                spoil(value)
        return population.weights(1)

    assert same(train(overwrite), train(lambda value: None))


def test_the_state_keeps_the_working_dtype(backend: Any, batches) -> None:
    spec = make_spec()
    for dtype in backend.dtypes:
        learner = backend.learner(spec, draw_weights(spec, seed=0), dtype)
        # A float64 learning rate and float64 inputs must not widen the state.
        step = learner.train_step(batches[0][0], batches[1][0], np.float64(0.1))
        crossed = [*learner.weights().values(), *step.gradients.values(), *step.activations.values(), step.logits]
        crossed += [learner.evaluate(batches[0][0]), *learner.activations(batches[0][0]).values()]
        assert {array.dtype for array in crossed} == {held(dtype)}


def test_every_dtype_starts_at_the_same_point(backend: Backend) -> None:
    weights = draw_weights(make_spec(), seed=0)
    for dtype in backend.dtypes:
        assert same(backend.learner(make_spec(), weights, dtype).weights(), weights)


def test_gradients_are_those_of_everything_that_is_trained(backend: Backend, batches) -> None:
    spec = make_spec()
    learner = backend.learner(spec, draw_weights(spec, seed=0), "float64")
    step = learner.train_step(batches[0][0], batches[1][0], LEARNING_RATE)
    assert list(step.gradients) == [name for name in learner.weights() if not is_statistic(name)]
    assert step.loss == pytest.approx(cross_entropy(step.logits, batches[1][0])[0], abs=4 * np.spacing(step.loss))


@pytest.mark.parametrize("use_batch_norm", [False, True])
@pytest.mark.parametrize("depth", [1, 50])
def test_any_depth_trains_in_every_dtype(backend: Backend, batches, depth: int, use_batch_norm: bool) -> None:
    spec = make_spec(num_hidden_layers=depth, use_batch_norm=use_batch_norm)
    for dtype in backend.dtypes:
        learner = backend.learner(spec, draw_weights(spec, seed=0), dtype)
        # With batch norm gradients at this depth reach 1e4, so a usual learning rate would rightly blow up.
        assert np.isfinite(learner.train_step(batches[0][0], batches[1][0], 1e-6).loss)
        assert np.isfinite(learner.evaluate(batches[0][0])).all()


@pytest.mark.parametrize("conventions", CONVENTIONS.values(), ids=CONVENTIONS.keys())
def test_a_step_shows_what_each_part_of_each_layer_gave(backend: Any, batches, conventions) -> None:
    spec = make_spec(**conventions)
    learner = backend.learner(spec, draw_weights(spec, seed=3), "float64")
    reference: Any = load_backend("numpy").learner(spec, draw_weights(spec, seed=3), "float64")
    for inputs, labels in zip(*batches, strict=True):
        step = learner.train_step(inputs, labels, LEARNING_RATE, **masks_of(spec))
        expected = reference.train_step(inputs, labels, LEARNING_RATE, **masks_of(spec)).activations
        assert list(step.activations) == list(expected) == activation_names(spec)
        assert {array.shape for array in step.activations.values()} == {(32, spec.hidden_width)}
        for name, array in step.activations.items():
            np.testing.assert_allclose(array, expected[name], rtol=0, atol=1e-10)
            if name.endswith("relu"):
                assert array.min() == 0


@pytest.mark.parametrize("depth", [1, 12])
def test_activations_in_evaluation_mode_lead_to_its_logits_and_leave_the_state(backend, batches, depth: int) -> None:
    spec = make_spec(num_hidden_layers=depth)
    learner = backend.learner(spec, draw_weights(spec, seed=3), "float64")
    learner.train_step(batches[0][0], batches[1][0], LEARNING_RATE)
    before = learner.weights()
    inputs = batches[0][1][:7]
    activations = learner.activations(inputs)
    assert same(learner.weights(), before)
    assert list(activations) == activation_names(spec)  # hidden.10 after hidden.9
    logits = activations[f"hidden.{depth - 1}.norm"] @ before["head.kernel"] + before["head.bias"]
    np.testing.assert_allclose(learner.evaluate(inputs), logits, rtol=0, atol=64 * np.spacing(np.abs(logits).max()))


def test_what_a_step_shows_is_not_the_states_memory(backend: Any, batches) -> None:
    learner = backend.learner(make_spec(), draw_weights(make_spec(), seed=0), "float64")
    steps = [learner.train_step(batches[0][0], batches[1][0], LEARNING_RATE)]
    kept = copy.deepcopy(steps[0].activations)
    overwrite(learner.activations(batches[0][0]))
    learner.train_step(batches[0][1], batches[1][1], LEARNING_RATE)
    assert same(steps[0].activations, kept)


@pytest.mark.parametrize("use_batch_norm", [False, True])
def test_bfloat16_is_float32_with_narrow_activations_and_products(framework: Any, batches, use_batch_norm) -> None:
    spec = make_spec(num_hidden_layers=2, use_batch_norm=use_batch_norm)
    learner, wide = (framework.learner(spec, draw_weights(spec, seed=0), dtype) for dtype in ("bfloat16", "float32"))
    step, expected = (each.train_step(batches[0][0], batches[1][0], LEARNING_RATE) for each in (learner, wide))
    for name, array in step.activations.items():
        rounded = (array.view(np.uint32) & 0xFFFF) == 0  # bfloat16's bits are float32's first 16
        assert rounded.all(), name
        # Inputs, kernel, bias, products and results are each off by half of 2**-7, and so is each layer's input.
        limit = 8 * 2.0**-8 * np.abs(expected.activations[name]).max()
        assert 0 < np.abs(array - expected.activations[name]).max() <= limit, name
    # Nothing else is narrow: the norm's moments, the weights' updates, the logits, which the loss takes as float32.
    for name, array in learner.weights().items():
        assert ((array.view(np.uint32) & 0xFFFF) != 0).any() or not array.any(), name
    assert abs(step.loss - cross_entropy(step.logits.astype(float), batches[1][0])[0]) <= 8 * np.spacing(
        np.float32(step.loss)
    )
    assert abs(step.loss - expected.loss) <= 2.0**-5
    population, indices = run_population(framework, spec, [LEARNING_RATE], batches, "bfloat16")
    losses = population.run_pass(indices).losses
    assert losses.dtype == np.float32
    assert abs(losses[0, 0] - step.loss) <= 2.0**-7 * step.loss


def test_bfloat16s_statistics_are_those_of_its_own_activations(framework: Any, batches) -> None:
    spec = make_spec(num_hidden_layers=1, decay=0.0, running_variance="biased")
    learner = framework.learner(spec, draw_weights(spec, seed=0), "bfloat16")
    step = learner.train_step(batches[0][0], batches[1][0], LEARNING_RATE)
    x, weights = step.activations["hidden.0.relu"].astype(np.float64), learner.weights()
    for name in ("hidden.0.running_mean", "hidden.0.running_var"):
        assert ((weights[name].view(np.uint32) & 0xFFFF) != 0).any(), f"{name} is bfloat16"
    # XLA may keep more of x than bfloat16, for which the half ulp of each element stands; float32 adds 32 terms.
    slack = 2.0**-9 * np.abs(x).max()
    np.testing.assert_allclose(weights["hidden.0.running_mean"], x.mean(axis=0), rtol=0, atol=slack)
    np.testing.assert_allclose(weights["hidden.0.running_var"], x.var(axis=0), rtol=0, atol=4 * slack * x.std())


@pytest.mark.parametrize("options", [{"device": "quantum"}, {"device": "cuda"}, {"precision": "double"}])
def test_an_unknown_device_or_precision_is_one_line_with_the_choices(framework: Backend, options) -> None:
    with pytest.raises(InputError, match=r"choose one of cpu|must be one of highest, tf32, bfloat16, got") as error:
        load_backend(framework.name, **options)
    assert repr(*options.values()) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("precision", ["highest", "tf32", "bfloat16"])
def test_every_precision_runs_where_it_is_asked_to(framework: Backend, batches, precision: str) -> None:
    backend: Any = load_backend(framework.name, device="cpu", precision=precision)
    default: Any = load_backend(framework.name)
    assert (default.device, default.precision) == ("", "highest")
    spec = make_spec()
    learner, expected = (each.learner(spec, draw_weights(spec, 0), "float32") for each in (backend, default))
    step, honest = (each.train_step(batches[0][0], batches[1][0], LEARNING_RATE) for each in (learner, expected))
    # A CPU may compute in more than was asked for, never in less: operands to half of 2**-7, sums of 12 terms.
    z, exact = (each.activations["hidden.0.linear"] for each in (step, honest))
    np.testing.assert_allclose(z, exact, rtol=0, atol=12 * 2.0**-7 * np.abs(batches[0][0]).max() / np.sqrt(12))


def run_population(backend: Backend, spec: ModelSpec, rates, batches, dtype) -> tuple[Population, np.ndarray]:
    inputs, labels = batches[0].reshape(-1, 12), batches[1].reshape(-1)
    population = backend.population(spec, draw_weights(spec, seed=0), rates, inputs, labels, dtype)
    return population, np.arange(128).reshape(4, 32)


@pytest.mark.parametrize("use_batch_norm", [False, True])
def test_a_member_trains_as_if_it_were_alone(backend: Backend, batches, use_batch_norm: bool) -> None:
    spec = make_spec(use_batch_norm=use_batch_norm)
    rates = [0.01, 0.1, 1.0]
    population, indices = run_population(backend, spec, rates, batches, "float64")
    losses = population.run_pass(indices).losses
    for member, rate in enumerate(rates):
        twins = Twins(spec, cast_weights(draw_weights(spec, seed=0), "float64"))
        expected, limits = {}, {}
        for t, (inputs, labels) in enumerate(zip(*batches, strict=True)):
            expected, limits = twins.step(inputs, labels, rate)
            assert abs(losses[t, member] - expected["loss"]) <= limits["loss"]
        weights = population.weights(member)
        assert not excesses(weights, {name: expected[name] for name in weights}, limits)


def test_a_pass_may_be_cut_anywhere(backend: Backend, batches) -> None:
    dtype = backend.dtypes[0]
    whole, indices = run_population(backend, make_spec(), [0.1, 0.5], batches, dtype)
    cut, _ = run_population(backend, make_spec(), [0.1, 0.5], batches, dtype)
    record = whole.run_pass(indices)
    parts = [cut.run_pass(indices[:1]), cut.run_pass(indices[1:])]
    np.testing.assert_array_equal(np.concatenate([part.losses for part in parts]), record.losses)
    assert same(cut.weights(1), whole.weights(1))


def test_a_member_that_blows_up_is_seen_and_leaves_the_others_alone(backend: Backend, batches) -> None:
    spec, dtype = make_spec(use_batch_norm=False), backend.dtypes[0]
    calm, indices = run_population(backend, spec, [0.1, 0.2], batches, dtype)
    wild, _ = run_population(backend, spec, [0.1, 1e300 if dtype == "float64" else 1e35], batches, dtype)
    record = wild.run_pass(indices)
    assert record.finite[:, 0].all()
    assert not record.finite[-1, 1]
    calm.run_pass(indices)
    assert same(wild.weights(0), calm.weights(0))


def test_a_weight_that_is_not_finite_shows_at_its_own_update(backend: Backend, batches) -> None:
    # The first loss is finite whatever the learning rate is, and an infinite update spoils the weights at once.
    rate = 1e308 if backend.dtypes[0] == "float64" else 3e38
    spec = make_spec(use_batch_norm=False, initialization="he_normal")
    inputs = 1e3 * batches[0]
    population, indices = run_population(backend, spec, [rate], (inputs, batches[1]), backend.dtypes[0])
    record = population.run_pass(indices)
    assert np.isfinite(record.losses[0, 0])
    assert not record.finite[0, 0]


def test_members_cease_to_be_finite_where_they_do_one_update_at_a_time(backend: Backend, batches) -> None:
    # From slow blow-ups, which losses announce, to sudden ones.
    spec, dtype = make_spec(use_batch_norm=False), backend.dtypes[0]
    widest = 240 if dtype == "float64" else 30
    rates = [0.1, 5.0, 100.0, 1e4, *np.geomspace(1e8, 10.0**widest, 5)]
    whole, indices = run_population(backend, spec, rates, batches, dtype)
    cut, _ = run_population(backend, spec, rates, batches, dtype)
    indices = np.tile(indices, (9, 1))[:70]
    parts = [cut.run_pass(indices[t : t + 1]) for t in range(len(indices))]
    expected = np.concatenate([part.finite for part in parts])
    np.testing.assert_array_equal(whole.run_pass(indices).finite, expected)
    assert expected[:, 0].all()
    assert len({*expected.argmin(axis=0)}) > 2


@pytest.mark.parametrize("num_samples", [1, 37, 4321])
def test_a_population_evaluates_as_its_members_would(backend: Backend, batches, num_samples: int) -> None:
    spec, rng = make_spec(), np.random.default_rng(1)
    population, indices = run_population(backend, spec, [0.1, 0.5], batches, "float64")
    population.run_pass(indices)
    inputs, labels = rng.normal(size=(num_samples, 12)), rng.integers(0, 5, num_samples)
    before = population.weights(0)
    evaluation = population.evaluate(inputs, labels)
    assert same(population.weights(0), before)
    for member in range(2):
        logits = backend.learner(spec, population.weights(member), "float64").evaluate(inputs)
        assert evaluation.accuracy[member] == (logits.argmax(axis=1) == labels).mean()
        loss = cross_entropy(logits, labels)[0]
        # A sum of n terms in any order is off by at most n ulps of itself, and each term by a few.
        assert abs(evaluation.loss[member] - loss) <= (num_samples + 16) * np.spacing(loss)


def test_weights_go_to_the_frameworks_own_form_and_back(backend: Backend) -> None:
    for use_batch_norm in (False, True):
        spec = make_spec(use_batch_norm=use_batch_norm)
        for dtype in backend.dtypes:
            weights = cast_weights(draw_weights(spec, seed=0), held(dtype).name)
            back = backend.from_native(backend.to_native(weights, spec, dtype), spec)
            assert same(back, weights)
            assert {array.dtype for array in back.values()} == {held(dtype)}


def test_a_backend_says_what_it_is(backend: Backend) -> None:
    assert isinstance(backend, Backend)
    assert backend.name in backend_names()
    assert backend.versions()
    assert all(backend.versions().values())


def test_an_unknown_backend_is_refused_with_the_choices() -> None:
    with pytest.raises(InputError, match=r"no framework is named 'nosuch'; choose one of jax, numpy, torch"):
        load_backend("nosuch")


def test_a_learning_rate_beyond_the_dtypes_range_is_infinite(backend: Backend, batches) -> None:
    spec, dtype = make_spec(), backend.dtypes[0]
    learner = backend.learner(spec, draw_weights(spec, seed=0), dtype)
    learner.train_step(batches[0][0], batches[1][0], 1e308)
    population, indices = run_population(backend, spec, [1e308], batches, dtype)
    assert not population.run_pass(indices).finite.all()
    assert not all(np.isfinite(array).all() for array in learner.weights().values()) or dtype == "float64"


def test_a_table_of_names_must_name_every_tensor_once(backend: Backend) -> None:
    spec = make_spec(num_hidden_layers=1)
    weights = draw_weights(spec, seed=0)
    names = {name: name for name in weights}
    del names["head.bias"]
    names |= {"hidden.0.beta": "hidden.0.gamma", "bogus": "bogus"}
    for call in (
        lambda: backend.to_native(weights, spec, "float32", names),
        lambda: backend.from_native(weights, spec, names),
    ):
        with pytest.raises(InputError, match=r"missing head\.bias; unexpected bogus; hidden\.0\.gamma twice"):
            call()


def test_the_name_of_one_of_ours_stays_ours(tmp_path, monkeypatch) -> None:
    package = tmp_path / "a_port-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: a-port\nVersion: 1\n")
    names = "".join(f"{name} = zzz_port:Port\n" for name in ("numpy", "jax", "mine"))
    (package / "entry_points.txt").write_text(f"[parity.backends]\n{names}")
    before = sibling_names()
    monkeypatch.syspath_prepend(tmp_path)
    assert isinstance(load_backend("numpy"), NumpyBackend)
    assert sibling_names() == before
    assert "mine" in backend_names()


@pytest.mark.parametrize("statement", ["raise OSError('libcudart.so: cannot open')", "NotTheName = 1"])
def test_a_backend_that_cannot_be_loaded_is_one_line_and_not_chosen(tmp_path, monkeypatch, statement: str) -> None:
    (tmp_path / "broken_backend.py").write_text(statement)
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("broken", "broken_backend:Backend", "parity.backends")
    monkeypatch.setattr("parity.backend.load._entry_points", lambda: {"broken": entry})
    with pytest.raises(InputError, match="the backend 'broken' cannot be loaded") as error:
        load_backend("broken")
    assert "\n" not in str(error.value)
    monkeypatch.setattr("parity.backend.load.sibling_names", lambda: ("broken",))
    with pytest.raises(InputError, match="no framework is installed"):
        installed_siblings()
    sys.modules.pop("broken_backend", None)


def test_training_with_dropout_needs_masks_that_fit_and_leaves_the_state(backend: Any, batches) -> None:
    spec = make_spec(dropout_rate=0.3)
    learner = backend.learner(spec, draw_weights(spec, seed=0), "float64")
    before, wrong = learner.weights(), masks_of(spec)["masks"][:, :31]
    for given in ({}, {"masks": wrong}):
        with pytest.raises(InputError, match=r"training with dropout needs masks of shape \(3, 32, 8\), got"):
            learner.train_step(batches[0][0], batches[1][0], LEARNING_RATE, **given)
    assert same(learner.weights(), before)
    population, indices = run_population(backend, spec, [0.1], batches, "float64")
    with pytest.raises(InputError, match=r"masks of shape \(1, 4, 3, 32, 8\), got none"):
        population.run_pass(indices)


def test_a_population_drops_the_units_that_its_members_would_drop_alone(backend: Any, batches) -> None:
    spec, rates = make_spec(dropout_rate=0.3, residual=True), [0.05, 0.5]
    masks = MaskStream(spec, 32, seed=0).next_updates(4)
    population, indices = run_population(backend, spec, rates, batches, "float64")
    losses = population.run_pass(indices, **mask_arguments(masks)).losses
    for member, rate in enumerate(rates):
        twins = Twins(spec, cast_weights(draw_weights(spec, seed=0), "float64"))
        for t, (inputs, labels) in enumerate(zip(*batches, strict=True)):
            expected, limits = twins.step(inputs, labels, rate, masks[t])
            assert abs(losses[t, member] - expected["loss"]) <= limits["loss"]


def test_masks_that_were_given_are_not_read_again(backend: Any, batches) -> None:
    spec = make_spec(dropout_rate=0.3)
    shown = []
    for spoiled in (False, True):
        learner = backend.learner(spec, draw_weights(spec, seed=0), "float64")
        masks = masks_of(spec)["masks"]
        learner.train_step(batches[0][0], batches[1][0], LEARNING_RATE, masks=masks)
        if spoiled:
            masks[...] = False
        shown.append(learner.weights())
    assert same(*shown)


PLACES = {
    "jax": ("JAX_COMPILATION_CACHE_DIR", "import jax; print(jax.config.jax_compilation_cache_dir)"),
    "torch": ("TORCHINDUCTOR_CACHE_DIR", "import os; print(os.environ['TORCHINDUCTOR_CACHE_DIR'])"),
}


@pytest.mark.parametrize("name", PLACES)
def test_what_is_compiled_is_kept_where_the_user_says_and_for_a_benchmark_in_its_own_folder(name: str) -> None:
    variable, shown = PLACES[name]
    for call, expected in (("own_process()", "theirs"), ("own_process('ours')", str(Path("ours", name)))):
        script = f"from parity.backend import load_backend; load_backend({name!r}).{call}; {shown}"
        environment = {**os.environ, variable: "theirs"}
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == expected
