"""The cause that is named, the NumPy reference being the candidate: every fault, alone and with others, and none."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from parity.backend import BackendAdapter, Step
from parity.check.catalogue import CATALOGUE
from parity.check.diagnose import explain_role
from parity.check.episode import Episode
from parity.check.fits import FITS, Case, as_fraction, slope, tidy
from parity.check.lockstep import CANDIDATE, Comparison, compare_lockstep
from parity.check.play import play_all
from parity.check.probes import WINDOW, Course, draw_samples, natural_episodes, probe_episodes
from parity.check.records import Cause, Question, Setting
from parity.check.witness import witness_all
from parity.data import Masks
from parity.reference import NumpyBackend, NumpyLearner
from parity.reference.parts import Forward, Pass, plain_sgd, update_statistics
from parity.spec import ModelSpec
from parity.verdict.compare import SAFETY
from parity.verdict.noise import Witness, unit_of
from parity.verdict.verdict import UNEXPLAINED
from parity.weights import Array, Weights, draw_weights

NUMPY = NumpyBackend()
EXACT = unit_of("float64")
SPEC = ModelSpec(input_dim=12, output_dim=5, num_hidden_layers=2, hidden_width=8)
SEMANTIC = [name for name, row in CATALOGUE.items() if row.shows_in == "semantic" and row.applies(SPEC)]


@cache
def asked(spec: ModelSpec) -> tuple[list[Episode], list[Witness]]:
    """Step 0 with its carried window and every probe, and what the reference says; once for each network."""
    samples, weights = draw_samples(spec, 32, 0), draw_weights(spec, 0)
    course = Course(spec=spec, weights=weights, samples=samples, learning_rate=0.1, steps=(0,), seed=0)
    episodes = [*natural_episodes(course, (WINDOW,)), *probe_episodes(course)]
    return episodes, witness_all(NUMPY, episodes, EXACT)


def compare(candidate: Any, spec: ModelSpec = SPEC) -> Comparison:
    episodes, seen = asked(spec)
    setting = Setting(depth=spec.num_hidden_layers, batch_norm=spec.use_batch_norm, seed=0)
    played = {CANDIDATE: play_all(candidate, episodes, "float64")}
    return compare_lockstep(Question.SEMANTIC, setting, episodes, played, {CANDIDATE: seen})


def diagnose(candidate: Any, spec: ModelSpec = SPEC) -> tuple[Cause, ...]:
    """The causes; a candidate that is flagged has one, and one that is not has none."""
    found = compare(candidate, spec)
    causes = explain_role(NUMPY, found, CANDIDATE, EXACT)
    assert bool(causes) == any(not m.times_noise <= SAFETY for m in found.measurements)
    return causes


@cache
def cause_of(fault: str) -> Cause:
    """The only cause of a fault; once for each."""
    (cause,) = diagnose(NUMPY.with_fault(fault))
    return cause


def names(candidate: Any, spec: ModelSpec = SPEC) -> list[str]:
    return [cause.name for cause in diagnose(candidate, spec)]


def test_honest_reference_has_no_cause() -> None:
    assert diagnose(NUMPY) == ()


# one fault


@pytest.mark.parametrize("fault", SEMANTIC)
def test_every_fault_is_caught_and_named_and_nothing_else_is(fault: str) -> None:
    cause = cause_of(fault)
    assert cause.name == fault
    assert cause.side == CANDIDATE
    assert "with this fault the reference reproduces it" in cause.evidence
    assert cause.predicted is not None
    assert cause.observed is not None
    assert cause.predicted.shape == cause.observed.shape


EVIDENCE = {
    "biased_running_variance": "increment ratio 0.96875 = 31/32",
    "swapped_momentum": "the decay solved from one update is 0.1; the spec's is 0.9",
    "default_momentum": "the decay solved from one update is 0.99;",
    "frozen_running_statistics": "the decay solved from one update is 1;",
    "double_update": "0.81 = 0.9 squared",
    "debiased_statistics": "0.4737, 0.631, 0.7092, 0.7558",
    "wrong_epsilon": "fits epsilon 0.001; the spec's is 1e-05",
    "summed_loss": "scaled by 32; the batch has 32 samples",
    "label_smoothing": "a smoothing of 0.1",
    "weight_decay": "0.0001 times the weight",
    "heavy_ball": "0.9 times the first gradient",
    "scaled_learning_rate": "0.5 times what the learning rate asks for",
    "padded_batch": "a multiple of 32",
    "unbiased_normalizer": "sqrt((n-1)/n) is 0.984251",
    "transposed_kernel": "pre-activation at step 0, layer 1",
    "fast_variance": "norm output at probe:large_mean, layer 0",
    "epsilon_twice_in_eval": "evaluated norm output at step 0, layer 0",
}


@pytest.mark.parametrize("fault", EVIDENCE)
def test_evidence_holds_the_number_or_the_place(fault: str) -> None:
    assert EVIDENCE[fault] in cause_of(fault).evidence


IN_ONE_LAYER = {
    "default_momentum": "the decay solved from one update is 0.99;",
    "biased_running_variance": "increment ratio 0.96875 = 31/32",
    "unbiased_normalizer": "the norm's output in layer 1 is scaled by 0.98425",
    "wrong_epsilon": "fits epsilon 0.001",
}


@pytest.mark.parametrize("fault", IN_ONE_LAYER)
def test_evidence_of_a_fault_in_one_layer_is_of_that_layer(fault: str) -> None:
    (cause,) = diagnose(NUMPY.with_fault(fault, layer=1))
    assert cause.evidence.startswith("in hidden layer 1 alone: ")
    assert IN_ONE_LAYER[fault] in cause.evidence


def test_drawing_of_a_ratio_holds_that_ratio() -> None:
    cause = cause_of("biased_running_variance")
    assert cause.predicted is not None
    assert cause.observed is not None
    assert slope(cause.observed, cause.predicted) == pytest.approx(31 / 32, rel=1e-9)
    assert cause.axes == "increment of the running variance"


VALUES = [
    ("wrong_decay", "decay", 0.5), ("wrong_decay", "decay", 0.123), ("wrong_decay", "decay", 0.9000001),
    ("wrong_epsilon", "eps", 3e-4), ("wrong_epsilon", "eps", 1e-12), ("label_smoothing", "smoothing", 0.03),
    ("label_smoothing", "smoothing", 1.0), ("weight_decay", "coefficient", 5e-4), ("heavy_ball", "momentum", 0.5),
    ("scaled_learning_rate", "factor", 1.01), ("scaled_learning_rate", "factor", 1 / 3),
    ("scaled_learning_rate", "factor", 1.000001), ("scaled_learning_rate", "factor", 0.0),
    ("padded_batch", "size", 8), ("padded_batch", "size", 4), ("padded_batch", "size", 512),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "name", "value"), VALUES)
def test_other_values_of_a_fault_are_fitted(fault: str, name: str, value: float) -> None:
    values: Any = {name: value}
    (cause,) = diagnose(NUMPY.with_fault(fault, **values))
    assert cause.name == fault
    assert f"{value:.6g}" in cause.evidence


CONVENTIONS: dict[str, dict[str, Any]] = {
    "decay 0.5": {"decay": 0.5},
    "decay 0.99": {"decay": 0.99},
    "large epsilon": {"eps": 1e-3},
    "biased": {"running_variance": "biased"},
    "norm_first": {"block_order": "norm_first"},
    "one unit": {"hidden_width": 1},
    "five units": {"hidden_width": 5},
    "one layer": {"num_hidden_layers": 1},
    "residual": {"residual": True},
    "dropout": {"dropout_rate": 0.3},
}
ANYWHERE = ["wrong_decay", "detached_statistics"]


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_faults_are_named_under_other_conventions(convention: str) -> None:
    spec = replace(SPEC, **CONVENTIONS[convention])
    assert names(NUMPY, spec) == []
    variance = "unbiased_running_variance" if convention == "biased" else "biased_running_variance"
    for fault in (*ANYWHERE, variance):
        assert names(NUMPY.with_fault(fault), spec) == [fault]


@pytest.mark.parametrize(
    ("fault", "spec", "values"),
    [("wrong_epsilon", {"eps": 1e-3}, {"eps": 1e-5}), ("wrong_decay", {"decay": 0.95}, {"decay": 0.9})],
)
def test_where_a_faults_usual_value_is_the_specs_own_another_is_still_found(
    fault: str, spec: dict[str, Any], values: dict[str, Any]
) -> None:
    assert names(NUMPY.with_fault(fault, **values), replace(SPEC, **spec)) == [fault]


def test_faults_of_dropout_are_named_where_there_is_dropout() -> None:
    spec = replace(SPEC, dropout_rate=0.3, residual=True)
    assert names(NUMPY.with_fault("unscaled_dropout"), spec) == ["unscaled_dropout"]


def test_faults_are_named_without_batch_norm() -> None:
    spec = replace(SPEC, use_batch_norm=False)
    for fault in ("transposed_kernel", "missing_bias", "double_softmax", "weight_decay"):
        assert names(NUMPY.with_fault(fault), spec) == [fault]


# several faults


def test_a_fault_everywhere_beside_one_in_a_layer_is_everywhere() -> None:
    both = NUMPY.with_fault("unbiased_normalizer", layer=1).with_fault("double_update")
    assert both == NUMPY.with_fault("double_update").with_fault("unbiased_normalizer", layer=1)
    assert sorted(names(both)) == ["double_update", "unbiased_normalizer"]


SEVERAL = [
    ("biased_running_variance", "fast_variance"), ("population_leak", "batch_of_one"),
    ("default_momentum", "biased_running_variance"), ("summed_loss", "heavy_ball"),
    ("wrong_epsilon", "default_momentum", "biased_running_variance"),
    ("missing_bias", "biased_running_variance", "scaled_learning_rate"),
]  # fmt: skip


@pytest.mark.parametrize("faults", SEVERAL, ids=" and ".join)
def test_several_faults_are_named_in_causal_order(faults: tuple[str, ...]) -> None:
    candidate = NUMPY
    for fault in reversed(faults):
        candidate = candidate.with_fault(fault)
    assert names(candidate) == list(faults)


# what no fault explains


def with_parts(**parts: Callable) -> NumpyBackend:
    return NumpyBackend(replace(NUMPY.parts, **parts))


def accumulated(weights: Weights, gradients: Weights, rate: Any, memory: Weights) -> tuple[Weights, Weights]:
    """Gradients that are never set to zero and then divided by the number of them."""
    count = memory.get("count", np.zeros(())) + 1
    memory = {name: memory.get(name, np.zeros(())) + gradient for name, gradient in gradients.items()}
    means: Weights = {name: array / count for name, array in memory.items()}
    return plain_sgd(weights, means, rate, {})[0], memory | {"count": count}


def signs(weights: Weights, gradients: Weights, rate: Any, memory: Weights) -> tuple[Weights, Weights]:
    return plain_sgd(weights, {name: np.sign(g) for name, g in gradients.items()}, rate, memory)


def nearly_halved(weights: Weights, gradients: Weights, rate: Any, memory: Weights) -> tuple[Weights, Weights]:
    """Each weight at a rate of its own, all of them near to half of what was asked for."""
    halved = {name: g * (0.5 + 1e-3 * (number + 1)) for number, (name, g) in enumerate(gradients.items())}
    return plain_sgd(weights, halved, rate, memory)


def leaky(forward: Pass, inputs: Array, train: bool, masks: Masks | None = None) -> Forward:
    """Logits of a network with an activation of its own."""
    output = forward(inputs, train, masks)
    shown = {
        name: output.activations[name.replace("relu", "linear")] * 0.01 + 0.99 * array if "relu" in name else array
        for name, array in output.activations.items()
    }
    return replace(output, activations=shown)


def dropped(forward: Pass, inputs: Array, train: bool, masks: Masks | None = None) -> Forward:
    """Every third input is dropped in training."""
    keep = np.where(np.arange(inputs.shape[-1]) % 3 > 0, 1.5, 0.0) if train else 1.0
    return forward(inputs * keep, train, masks)


def variance_alone(mean: Array, var: Array, *batch: Any) -> tuple[Array, Array]:
    return mean, update_statistics(mean, var, *batch)[1]


def running_deviation(mean: Array, var: Array, batch_mean: Array, batch_var: Array, *rest: Any) -> tuple[Array, Array]:
    return update_statistics(mean, var, batch_mean, np.sqrt(batch_var), *rest)


def not_normalized(
    x: Array, mean: Array, var: Array, gamma: Array, beta: Array, eps: float, train: bool
) -> tuple[Array, Callable]:
    """A norm that gives what it is given. Its scale and shift have no gradient, which is no fault of its own."""
    return x, lambda dy: (dy, 0 * mean, 0 * var, 0 * gamma, 0 * beta)


def shown_smaller(gradients: Weights, held: Weights) -> tuple[Weights, Weights]:
    return {name: 0.1 * gradient for name, gradient in gradients.items()}, held


def ten_times(weights: Weights, gradients: Weights, rate: Any, memory: Weights) -> tuple[Weights, Weights]:
    return plain_sgd(weights, gradients, 10 * rate, memory)


UNKNOWN = {
    "no norm": ({"normalize": not_normalized}, "norm output at step 0, layer 0"),
    "scaled gradients": ({"collect": shown_smaller, "optimizer": ten_times}, "gradient of bias at step 0, layer head"),
    "signs of gradients": ({"optimizer": signs}, "updated kernel at step 0, layer 0"),
    "averaged gradients": ({"optimizer": accumulated}, "updated kernel at step 1, layer 0"),
    "leaky": ({"apply": leaky}, "activation at step 0, layer 0"),
    "dropped inputs": ({"apply": dropped}, "pre-activation at step 0, layer 0"),
    "frozen mean": ({"update_statistics": variance_alone}, "running mean at step 0, layer 0"),
    "running deviation": ({"update_statistics": running_deviation}, "running variance at step 0, layer 0"),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_is_not_in_the_catalogue_is_unexplained(case: str) -> None:
    parts, place = UNKNOWN[case]
    (cause,) = diagnose(with_parts(**parts))
    assert cause.name == UNEXPLAINED
    assert cause.evidence.startswith(place)
    assert "no fault of the catalogue reproduces it" in cause.evidence
    # What explains one tensor and spoils another before it is not near.
    assert "leaves 0 times" not in cause.evidence


def test_nearest_is_named_with_what_it_leaves() -> None:
    evidence = diagnose(with_parts(optimizer=nearly_halved))[0].evidence
    assert "; nearest is clipped_gradients, which leaves " in evidence
    assert evidence.endswith("times the noise floor")


def test_gradients_that_are_never_set_to_zero_are_momentum_1() -> None:
    (cause,) = diagnose(NUMPY.with_fault("heavy_ball", momentum=1.0))
    assert cause.name == "heavy_ball"
    assert "holds 1 times the first gradient" in cause.evidence


# a candidate that shows little


class Plain(NumpyBackend):
    """A port that shows no activations."""

    def learner(self, spec: ModelSpec, weights: Any, dtype: Any) -> Any:
        return PlainLearner(NumpyLearner(spec, weights, self.parts))


class PlainLearner:
    def __init__(self, inner: NumpyLearner) -> None:
        self.evaluate, self.weights, self._inner = inner.evaluate, inner.weights, inner

    def train_step(self, *arguments: Any) -> Step:
        return replace(self._inner.train_step(*arguments), activations=None)


HIDDEN = [
    "transposed_kernel", "missing_bias", "wrong_epsilon", "epsilon_outside_sqrt", "padded_batch", "fast_variance",
    "biased_running_variance", "debiased_statistics", "wrong_decay", "detached_statistics", "weight_decay",
]  # fmt: skip


@pytest.mark.parametrize("fault", HIDDEN)
def test_a_candidate_without_activations_is_diagnosed_all_the_same(fault: str) -> None:
    assert names(BackendAdapter(Plain(NUMPY.parts).with_fault(fault))) == [fault]


# fits


def test_fits_of_an_honest_side_propose_what_it_has() -> None:
    found = compare(NUMPY)
    case = Case(found.episodes[0], found.traces[CANDIDATE][0], found.witnesses[CANDIDATE][0].trace)
    assert next(iter(FITS["wrong_decay"](case, case)))["decay"] == pytest.approx(0.9, rel=1e-12)
    assert not list(FITS["scaled_learning_rate"](case, case))  # a factor of 1 is no fault


@pytest.mark.parametrize(("value", "expected"), [(0.1 + 1e-12, 0.1), (1 / 3, 1 / 3), (-2.0, -2.0), (1e-12, 1e-12)])
def test_a_fitted_value_is_tidied_where_it_plainly_is_short(value: float, expected: float) -> None:
    assert tidy(value) == expected
    assert np.isnan(tidy(np.nan))


def test_ratios_are_shown_as_fractions_of_the_batch_where_they_are_ones() -> None:
    assert as_fraction(31 / 32 + 1e-12, 32) == "0.96875 = 31/32"
    assert as_fraction(0.97, 32) == "0.97"
    assert as_fraction(2.0, 32) == "2"


def test_slope_is_least_squares_and_not_a_number_without_any_size() -> None:
    x = np.array([1.0, 2.0, -1.0])
    assert slope(3 * x, x) == 3
    assert np.isnan(slope(x, 0 * x))
