"""The unit of the check: ulps, root mean squares, and how far rounding alone moves the reference."""

import inspect
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from places import at, loss

from parity.check.episode import Episode, Evaluation
from parity.check.play import play, record
from parity.check.probes import draw_samples
from parity.check.witness import draws_of, witness, witness_all, witness_roles
from parity.reference import NumpyBackend
from parity.reference.rounding import RoundingBackend
from parity.spec import ModelSpec
from parity.verdict.noise import DRAWS, Witness, measure_floors, rms, ulp, unit_of
from parity.verdict.trace import Kind, Mode, Trace
from parity.weights import cast_weights, draw_weights

NUMPY = NumpyBackend()
SPEC = ModelSpec(input_dim=12, output_dim=5, num_hidden_layers=2, hidden_width=8)
EXACT = unit_of("float64")


def make_episode(depth: int = 2, updates: int = 2, **options: Any) -> Episode:
    spec = replace(SPEC, num_hidden_layers=depth)
    samples, evaluated = draw_samples(spec, 16, 0), draw_samples(spec, 16, 1).test_inputs.astype(np.float64)
    return Episode(
        step=0,
        spec=spec,
        weights=cast_weights(draw_weights(spec, 0), "float64"),
        batches=tuple(samples.batch(update) for update in range(updates)),
        **{"learning_rates": (0.1,) * updates, "evaluations": (Evaluation(evaluated),)} | options,
    )


@pytest.fixture(scope="module")
def seen() -> Witness:
    return witness(NUMPY, make_episode(), EXACT)


# floors


def test_floors_are_the_references_own(seen: Witness) -> None:
    """Nothing of a candidate can enter: neither function takes one, and the trace is the honest reference's."""
    for function in (witness, witness_all):
        assert not {"candidate", "trace", "actual", "side"} & set(inspect.signature(function).parameters)
    expected = play(NUMPY, make_episode(), "float64")
    assert list(seen.floors) == list(seen.trace.tensors) == list(expected.tensors)
    for key, array in expected.tensors.items():
        np.testing.assert_array_equal(seen.trace.tensors[key], array)


def test_floors_are_the_formulas(seen: Witness) -> None:
    """The largest of the draws, and one ulp of the size, for every tensor."""
    learners = RoundingBackend(NUMPY, EXACT, np.random.default_rng([0, 2])).learners(
        SPEC, make_episode().weights, DRAWS
    )
    moved = record(learners, make_episode(), {})
    for key, floor in seen.floors.items():
        expected, draws = seen.trace.tensors[key], moved.tensors[key]
        assert draws.shape == (DRAWS, 1, *expected.shape)
        spread = max(float(rms(draw[0] - expected)) for draw in draws)
        assert floor == pytest.approx(spread + ulp(rms(seen.trace.scales.get(key, expected)), 52), rel=1e-12), key
    assert all(floor > 0 for key, floor in seen.floors.items() if seen.trace.tensors[key].any())


def test_floors_are_repeatable(seen: Witness) -> None:
    again = witness(NUMPY, make_episode(), EXACT)
    assert {key: float(floor) for key, floor in again.floors.items()} == {k: float(f) for k, f in seen.floors.items()}


def test_more_draws_raise_floors_and_never_lower_one(seen: Witness) -> None:
    learners = RoundingBackend(NUMPY, EXACT, np.random.default_rng(0)).learners(SPEC, make_episode().weights, DRAWS)
    moved = record(learners, make_episode(), {}).tensors
    fewer, more = (
        measure_floors(seen.trace, [Trace({key: array[:draws] for key, array in moved.items()})], EXACT.bits).floors
        for draws in (2, DRAWS)
    )
    assert all(fewer[key] <= more[key] for key in more)
    assert any(fewer[key] < more[key] for key in more)


def test_noise_grows_with_depth() -> None:
    found = witness(NUMPY, make_episode(depth=12, updates=1), EXACT)
    relative = [
        float(found.floors[key] / rms(found.trace.tensors[key]))
        for key in (at(f"hidden.{layer}.norm") for layer in range(12))
    ]
    assert relative[5] > 2 * relative[0]
    assert relative[11] > 2 * relative[5]


def test_noise_is_in_proportion_to_the_unit(seen: Witness) -> None:
    # At the same active units: rounding that flips one makes a jump.
    patterns = play(NUMPY, make_episode(), "float64").patterns
    key = at("hidden.1.norm")
    coarse = witness(NUMPY, make_episode(), unit_of("float32"), patterns).floors[key]
    assert coarse / seen.floors[key] == pytest.approx(2.0**29, rel=0.5)


def test_patterns_are_imposed_on_the_reference_and_on_its_draws() -> None:
    episode = make_episode(updates=1)
    patterns = {(Mode.TRAIN, 0): {f"hidden.{i}.relu": np.ones((16, 8), bool) for i in range(2)}}
    patterns[Mode.EVALUATION, 0] = {f"hidden.{i}.relu": np.ones((67, 8), bool) for i in range(2)}
    found = witness(NUMPY, episode, EXACT, patterns)
    for mode in Mode:
        z, a = (found.trace.tensors[at(f"hidden.0.{leaf}", mode=mode)] for leaf in ("linear", "relu"))
        assert (z < 0).any()
        np.testing.assert_array_equal(a, z)
    # Had a draw its own pattern, every negative unit would differ by its whole size.
    assert found.floors[at("hidden.0.relu")] < 1e-13


def test_roles_with_the_same_active_units_share_a_witness() -> None:
    episode = make_episode(updates=1)
    own = {(Mode.TRAIN, 0): {f"hidden.{i}.relu": np.ones((16, 8), bool) for i in range(2)}}
    other = {(Mode.TRAIN, 0): {name: ~active for name, active in own[Mode.TRAIN, 0].items()}}
    found = witness_roles(NUMPY, [episode], EXACT, {"a": [own], "b": [other], "c": [deepcopy(own)]})
    assert found["c"][0] is found["a"][0]
    assert not found["b"][0].trace.tensors[at("hidden.0.relu")].any()
    assert found["a"][0].trace.tensors[at("hidden.0.relu")].all()


def test_each_channel_has_a_floor_of_its_own_where_it_is_asked_for() -> None:
    episode = make_episode(per_channel=True)
    episode.weights["hidden.0.kernel"][:, 0] = 0
    episode.weights["hidden.0.bias"][0] = 1e4
    floors = witness(NUMPY, episode, EXACT).floors[at("hidden.0.linear")]
    assert floors.shape == (8,)
    assert (floors[0] > 1e3 * floors[1:]).all()


def test_a_fault_has_the_noise_of_the_faulty_reference(seen: Witness) -> None:
    key = loss()
    summed = witness(NUMPY.with_fault("summed_loss"), make_episode(), EXACT)
    assert summed.trace.tensors[key] == pytest.approx(16 * seen.trace.tensors[key])
    assert 4 < summed.floors[key] / seen.floors[key] < 64


def test_a_saturated_probability_is_rounded_at_its_own_size() -> None:
    """In float32 a probability of 1 - 1e-9 is 1, and its gradient 0: an honest rounding, and no error."""
    logits, labels = np.array([[20.0, 0.0]]), np.array([0])
    _, exact = NUMPY.parts.objective(logits, labels)
    parts = RoundingBackend(NUMPY, unit_of("float32"), np.random.default_rng(0)).parts
    assert 0 < -exact[0, 0] < 1e-8
    assert max(abs(parts.objective(logits, labels)[1] - exact)[0, 0] for _ in range(DRAWS)) >= 2.0**-24


def test_small_batches_have_more_draws() -> None:
    batch = np.zeros((32, 3)), np.zeros(32, int)
    for size, draws in ((2, 4 * DRAWS), (3, 2 * DRAWS), (5, DRAWS), (32, DRAWS)):
        small = tuple(array[:size] for array in batch)
        assert draws_of(replace(make_episode(), batches=(batch, small))) == draws
    assert draws_of(replace(make_episode(), batches=())) == DRAWS


def test_members_of_a_population_have_floors() -> None:
    episode = replace(make_episode(), learning_rates=(0.1, 0.5), is_population=True, evaluations=())
    found = witness(NUMPY, episode, EXACT)
    assert found.floors.keys() >= {
        at(path, Kind.OUTCOME, number=m) for m in (0, 1) for path in ("losses", "hidden.0.gamma")
    }
    assert all(np.all(floor > 0) and np.all(floor < 1e-12) for floor in found.floors.values())


def test_a_network_that_blows_up_has_infinite_floors_and_no_warning() -> None:
    episode = make_episode(updates=3, learning_rates=(1e200,) * 3)
    found = witness_all(NUMPY, [episode], EXACT)[0]
    blown = [key for key, array in found.trace.tensors.items() if not np.isfinite(array).all()]
    assert blown
    assert not any(np.isfinite(found.floors[key]) for key in blown)
    assert np.isfinite(found.floors[loss()])
