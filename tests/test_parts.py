"""Every fault of the catalogue replaces one part, and shows where the catalogue says, as in the NumPy reference."""

import importlib
from dataclasses import fields, replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from parity.backend import load_backend, sibling_names
from parity.data import Dataset, draw_masks
from parity.errors import InputError
from parity.faults import NEUTRAL_FAULTS, Fault
from parity.spec import ModelSpec, RunningVariance, TrainSpec
from parity.weights import Array, Weights, cast_weights, draw_weights, is_statistic

SPEC = ModelSpec(input_dim=12, output_dim=5, num_hidden_layers=2, hidden_width=8)
RATE = 0.1
# An honest float64 sibling stays within 1e-13 of the reference here; the smallest fault is 1e-8 away.
TOLERANCE = 1e-10
SMALLEST = 1e-4
# What a fault changes first, in the order of `observe`; and where, if not on an ordinary batch in float64.
FIRST = {
    "biased_running_variance": "train 1: hidden.0.running_var",
    "unbiased_running_variance": "train 1: hidden.0.running_var",
    "unbiased_normalizer": "train 1: hidden.0.norm",
    "swapped_momentum": "train 1: hidden.0.running_mean",
    "default_momentum": "train 1: hidden.0.running_mean",
    "frozen_running_statistics": "train 1: hidden.0.running_mean",
    "last_batch_statistics": "train 1: hidden.0.running_mean",
    "cumulative_average": "train 1: hidden.0.running_mean",
    "debiased_statistics": "train 1: hidden.0.running_mean",
    "double_update": "train 1: hidden.0.running_mean",
    "stale_statistics": "train 2: hidden.0.running_mean",
    "polluted_initial_statistics": "inputs: hidden.0.running_mean",
    "swapped_mean_variance": "loaded: hidden.0.running_mean",
    "wrong_epsilon": "train 1: hidden.0.norm",
    "epsilon_outside_sqrt": "train 1: hidden.0.norm",
    "epsilon_twice_in_eval": "evaluate 1: hidden.0.norm",
    "fast_variance": "train 1: hidden.0.norm",
    "eval_uses_batch_statistics": "evaluate 1: hidden.0.norm",
    "train_uses_running_statistics": "train 1: hidden.0.norm",
    "wrong_axis": "train 1: hidden.0.norm",
    "scale_plus_one": "train 1: hidden.0.norm",
    "zero_initial_scale": "inputs: hidden.0.gamma",
    "untrained_affine": "train 1: hidden.0.gamma",
    "norm_before_activation": "train 1: hidden.0.relu",
    "padded_batch": "train 1: hidden.0.norm",
    "detached_statistics": "train 1: gradient of hidden.1.bias",
    "transposed_kernel": "train 1: hidden.1.linear",
    "missing_bias": "train 1: hidden.0.linear",
    "summed_loss": "train 1: loss",
    "double_softmax": "train 1: loss",
    "label_smoothing": "train 1: loss",
    "weight_decay": "train 1: hidden.0.kernel",
    "heavy_ball": "train 2: hidden.0.kernel",
    "scaled_learning_rate": "train 1: hidden.0.kernel",
    "biased_pixel_std": "inputs: train_inputs",
    "test_statistics_leak": "inputs: test_inputs",
    "shifted_batches": "inputs: batches",
    "misaligned_labels": "inputs: train_labels",
    "bfloat16_matmul": "train 1: hidden.0.linear",
    "tf32_matmul": "train 1: hidden.0.linear",
    "float32_statistics": "train 1: hidden.0.running_mean",
    "eval_updates_statistics": "evaluated 1: hidden.0.running_mean",
    "forgotten_eval": "evaluate 1: hidden.0.norm",
    "wrong_decay": "train 1: hidden.0.running_mean",
    "population_leak": "",
    "unscaled_dropout": "train 1: hidden.0.dropout",
    "batch_of_one": "",
}
CASES: dict[str, dict[str, Any]] = {
    "unbiased_running_variance": {"running_variance": "biased"},
    "fast_variance": {"offset": 1e5},
    "padded_batch": {"size": 20},
    "bfloat16_matmul": {"dtype": "float32"},
    "tf32_matmul": {"dtype": "float32"},
    "unscaled_dropout": {"dropout_rate": 0.3},
}


def own(name: str, module: str) -> Any:
    """A module of a sibling's package."""
    package = type(load_backend(name)).__module__.partition(".")[0]
    return importlib.import_module(f"{package}.{module}")


def faults_of(name: str) -> dict[str, Fault]:
    """The whole catalogue of a sibling."""
    return NEUTRAL_FAULTS | own(name, "faults").FAULTS


@pytest.fixture(params=sibling_names())
def sibling(request: pytest.FixtureRequest) -> str:
    return request.param


def make_dataset() -> Dataset:
    rng = np.random.default_rng(2)
    images, labels = rng.integers(0, 256, (360, 12), np.uint8), rng.integers(0, 5, 360, np.int32)
    return Dataset("noise", images[:320], labels[:320], images[320:], labels[320:], "NumPy")


def make_backend(name: str, fault: str = "") -> Any:
    backend: Any = load_backend(name)
    return backend.with_fault(fault) if fault else backend


@cache
def observe(name: str, fault: str = "", **case: Any) -> Weights:
    """What `run` shows of a backend; once for each."""
    return run(make_backend(name, fault), **case)


def run(
    backend: Any,
    size: int = 32,
    offset: float = 0.0,
    dtype: str = "float64",
    running_variance: str = "unbiased",
    dropout_rate: float = 0.0,
) -> Weights:
    """All that a backend shows over three updates, each followed by an evaluation, in causal order."""
    spec = replace(SPEC, running_variance=RunningVariance(running_variance), dropout_rate=dropout_rate)
    presented = vars(backend.inputs(make_dataset(), spec, TrainSpec(batch_size=16)))
    seen = {f"inputs: {name}": array for name, array in presented.items() if name != "weights"}
    seen |= {f"inputs: {name}": array for name, array in presented["weights"].items()}
    weights = cast_weights(draw_weights(SPEC, 1), "float64")
    weights["hidden.0.bias"] += offset
    learner = backend.learner(spec, weights, dtype)
    seen |= {f"loaded: {name}": array for name, array in learner.weights().items()}
    rng = np.random.default_rng(3)
    for t in (1, 2, 3):
        inputs, labels = rng.normal(size=(size, 12)), rng.integers(0, 5, size)
        masks = {"masks": draw_masks(spec, size, rng)} if dropout_rate else {}
        step = learner.train_step(inputs, labels, RATE, **masks)
        state = learner.weights()
        shown = step.activations | {"logits": step.logits}
        shown |= {name: array for name, array in state.items() if is_statistic(name)} | {"loss": np.array(step.loss)}
        shown |= {f"gradient of {name}": step.gradients[name] for name in reversed(step.gradients)}
        shown |= {name: array for name, array in state.items() if not is_statistic(name)}
        seen |= {f"train {t}: {name}": array for name, array in shown.items()}
        evaluated = learner.activations(inputs) | {"logits": learner.evaluate(inputs)}
        seen |= {f"evaluate {t}: {name}": array for name, array in evaluated.items()}
        seen |= {f"evaluated {t}: {name}": array for name, array in learner.weights().items()}
    return seen


def differing(actual: Weights, expected: Weights, tolerance: float = TOLERANCE) -> list[str]:
    """The names at which two observations are further apart than a share of their size, in the order of `expected`.

    A gradient that is exactly 0 is rounding on both sides, so nothing is smaller than `SMALLEST`.
    """
    assert actual.keys() == expected.keys()

    def distance(left: Array, right: Array) -> float:
        scale = max(np.abs(left).max(), np.abs(right).max(), SMALLEST)
        return np.abs(left.astype(float) - right.astype(float)).max() / scale

    return [name for name, array in expected.items() if not distance(actual[name], array) <= tolerance]


def test_the_catalogue_is_complete(sibling: str) -> None:
    assert faults_of(sibling).keys() == FIRST.keys()
    assert not NEUTRAL_FAULTS.keys() & own(sibling, "faults").FAULTS.keys()


@pytest.mark.parametrize("fault", FIRST)
def test_a_fault_replaces_exactly_one_part(sibling: str, fault: str) -> None:
    honest, faulty = make_backend(sibling), make_backend(sibling, fault)
    names = [field.name for field in fields(honest.parts)]
    replaced = [name for name in names if getattr(honest.parts, name) != getattr(faulty.parts, name)]
    assert replaced == [faults_of(sibling)[fault][0]]
    assert (faulty.device, faulty.precision) == (honest.device, honest.precision)


@pytest.mark.parametrize("fault", [fault for fault, first in FIRST.items() if first])
def test_a_fault_first_shows_where_the_catalogue_says(sibling: str, fault: str) -> None:
    case = CASES.get(fault, {})
    # In float32 the rounding of operands is far above rounding of results.
    tolerance = 1e-5 if "dtype" in case else TOLERANCE
    assert differing(observe(sibling, fault, **case), observe(sibling, **case), tolerance)[0] == FIRST[fault]


OF_FLOAT64 = {"size", "running_variance", "dropout_rate"}
# At a large mean `fast_variance` is rounding itself, and the reference rounds operands in float64.
SAME_AS_REFERENCE = [fault for fault in ("", *FIRST) if CASES.get(fault, {}).keys() <= OF_FLOAT64]


@pytest.mark.parametrize("fault", SAME_AS_REFERENCE)
def test_a_faulty_sibling_is_the_faulty_reference(sibling: str, fault: str) -> None:
    case = CASES.get(fault, {})
    # The batch that pollutes is run in each backend's usual dtype.
    tolerance = 1e-5 if fault == "polluted_initial_statistics" else TOLERANCE
    assert differing(observe(sibling, fault, **case), observe("numpy", fault, **case), tolerance) == []


def test_only_a_partial_batch_is_padded(sibling: str) -> None:
    assert differing(observe(sibling, "padded_batch"), observe(sibling)) == []


def test_fast_variance_does_not_show_on_ordinary_activations_in_float64(sibling: str) -> None:
    assert differing(observe(sibling, "fast_variance"), observe(sibling)) == []


@pytest.mark.parametrize("fault", ["bfloat16_matmul", "tf32_matmul"])
def test_reduced_products_are_of_float32_only(sibling: str, fault: str) -> None:
    assert differing(observe(sibling, fault), observe(sibling), 0.0) == []


@pytest.mark.parametrize(("fault", "bits"), [("bfloat16_matmul", 7), ("tf32_matmul", 10)])
def test_operands_are_rounded_to_nearest_even(sibling: str, fault: str, bits: int) -> None:
    backend = make_backend(sibling, fault)
    spec = ModelSpec(input_dim=1, output_dim=2, num_hidden_layers=1, hidden_width=1, use_batch_norm=False)
    weights = draw_weights(spec, 0)
    weights["hidden.0.kernel"][:], weights["hidden.0.bias"][:] = 1, 0
    ulp = 2.0**-bits
    exact = np.array([1, 1 + ulp / 2, 1 + ulp / 2 * (1 + 2.0**-8), 1 + 3 * ulp / 2, -1 - ulp / 2, 0, 3e-30])
    rounded = np.array([1, 1, 1 + ulp, 1 + 2 * ulp, -1, 0, 0])
    step = backend.learner(spec, weights, "float32").train_step(exact[:, None], np.zeros(7, int), RATE)
    assert step.activations is not None
    seen = step.activations["hidden.0.linear"][:, 0]
    np.testing.assert_array_equal(seen[:-1], rounded[:-1])
    assert seen[-1] == pytest.approx(3e-30, rel=ulp / 2)


@pytest.mark.parametrize(("fault", "bits"), [("bfloat16_matmul", 7), ("tf32_matmul", 10)])
def test_gradients_pass_the_rounding_as_if_it_were_not_there(sibling: str, fault: str, bits: int) -> None:
    spec = ModelSpec(input_dim=1, output_dim=2, num_hidden_layers=1, hidden_width=1, use_batch_norm=False)
    weights = draw_weights(spec, 0)
    weights["hidden.0.kernel"][:], weights["hidden.0.bias"][:] = 1.1, 0
    learner = make_backend(sibling, fault).learner(spec, weights, "float32")
    gradients = learner.train_step(np.array([[1 + 0.75 * 2.0**-bits]]), np.zeros(1, int), RATE).gradients
    # dL/dkernel = round(x) dL/dz, and dL/dbias = dL/dz; one product, rounded to float32.
    expected = gradients["hidden.0.bias"][0] * np.float32(1 + 2.0**-bits)
    assert gradients["hidden.0.kernel"][0, 0] == expected != 0


def test_a_fault_takes_other_values(sibling: str) -> None:
    backend = make_backend(sibling)
    assert backend.with_fault("wrong_decay", decay=0.5).parts.conventions(SPEC).decay == 0.5
    with pytest.raises(InputError, match="no fault is named 'nosuch'; choose one of batch_of_one, "):
        backend.with_fault("nosuch")


def test_one_sample_in_training_gives_beta_only_to_the_faulty(sibling: str) -> None:
    backend = make_backend(sibling)
    weights = draw_weights(SPEC, 0)
    weights["hidden.0.beta"] += 0.25
    case = np.ones((1, 12)), np.zeros(1, int), RATE
    with pytest.raises(InputError, match="at least 2"):
        backend.learner(SPEC, weights, "float64").train_step(*case)
    learner = backend.with_fault("batch_of_one").learner(SPEC, weights, "float64")
    step = learner.train_step(*case)
    np.testing.assert_array_equal(step.activations["hidden.0.norm"], weights["hidden.0.beta"][None])
    assert all(np.isfinite(array).all() for array in learner.weights().values())


def run_population(backend: Any, rates: tuple[float, float] = (0.1, 0.5)) -> Weights:
    """Both members' losses and states, and an evaluation, after one pass."""
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(96, 12)), rng.integers(0, 5, 96)
    population = backend.population(SPEC, draw_weights(SPEC, 0), rates, inputs, labels, "float64")
    record, evaluation = population.run_pass(np.arange(96).reshape(3, 32)), population.evaluate(inputs, labels)
    states = {f"{name} {member}": array for member in (0, 1) for name, array in population.weights(member).items()}
    return {"losses": record.losses, "loss": evaluation.loss, "accuracy": evaluation.accuracy} | states


def test_population_leak_shows_in_a_population_and_not_alone(sibling: str) -> None:
    assert differing(observe(sibling, "population_leak"), observe(sibling)) == []
    # Members that are alike have the same moments as each of them, up to the first gradient.
    leaking, honest = (run_population(make_backend(sibling, fault)) for fault in ("population_leak", ""))
    np.testing.assert_allclose(leaking["losses"][0], honest["losses"][0], rtol=1e-12)
    assert np.abs(leaking["losses"][2] - honest["losses"][2]).min() > 1e-4


# Not those of `carry`, which a population has not, and of rounding, which the reference does in float64.
IN_A_POPULATION = [
    "wrong_decay", "transposed_kernel", "missing_bias", "population_leak", "wrong_axis", "detached_statistics",
    "double_update", "padded_batch", "eval_uses_batch_statistics", "train_uses_running_statistics",
    "eval_updates_statistics", "label_smoothing", "untrained_affine", "weight_decay", "heavy_ball",
]  # fmt: skip


@pytest.mark.parametrize("fault", IN_A_POPULATION)
def test_a_faulty_population_is_the_faulty_references(sibling: str, fault: str) -> None:
    actual, expected = (run_population(make_backend(name, fault)) for name in (sibling, "numpy"))
    assert differing(actual, expected) == []


def variants() -> list[tuple[str, str]]:
    return [(name, variant) for name in sibling_names() for variant in own(name, "variants").VARIANTS]


# PyTorch's own import of its compiler calls what it has deprecated.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")
@pytest.mark.parametrize(("name", "variant"), variants())
def test_a_variant_computes_the_same(name: str, variant: str) -> None:
    honest = make_backend(name)
    varied = own(name, "variants").VARIANTS[variant](honest)
    assert varied != honest
    assert differing(run(varied), observe(name)) == []
    assert differing(run_population(varied), run_population(honest)) == []
    assert varied.with_fault("wrong_decay").parts.apply is varied.parts.apply


def test_a_second_fault_of_a_part_is_made_of_the_first(sibling: str) -> None:
    both, reference = (make_backend(name, "heavy_ball").with_fault("weight_decay") for name in (sibling, "numpy"))
    found = run(both)
    assert differing(found, run(reference)) == []
    assert differing(found, observe(sibling, "heavy_ball"))[0] == "train 1: hidden.0.kernel"
    assert differing(found, observe(sibling, "weight_decay"))[0] == "train 2: hidden.0.kernel"


def test_the_same_fault_is_the_same_part(sibling: str) -> None:
    backend = make_backend(sibling)
    assert backend.with_fault("missing_bias") == backend.with_fault("missing_bias")
    assert backend.with_fault("weight_decay", coefficient=0.1) != backend.with_fault("weight_decay", coefficient=0.2)
