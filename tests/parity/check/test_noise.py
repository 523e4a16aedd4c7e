"""The unit of the check: ulps, root mean squares, and how far rounding alone moves the reference."""

import inspect
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from parity.check import noise
from parity.check.episode import Episode, Key, play
from parity.check.noise import MANTISSA_BITS, Unit, Witness, move_one_ulp, rms, ulp, unit_of, witness, witness_all
from parity.check.probes import draw_samples
from parity.reference import NumpyBackend
from parity.spec import ModelSpec
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
        learning_rate=0.1,
        evaluations=(evaluated,),
        **options,
    )


@pytest.fixture(scope="module")
def seen() -> Witness:
    return witness(NUMPY, make_episode(), EXACT)


# ulps

SIZES = np.array([1.0, 1.5, 2.0, 3.999, 0.1, 1e-30, 1e30, -7.0])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_an_ulp_is_numpys_spacing(dtype: str) -> None:
    sizes = SIZES.astype(dtype)
    expected = np.abs(np.spacing(sizes)).astype(np.float64)
    np.testing.assert_array_equal(ulp(sizes.astype(np.float64), MANTISSA_BITS[dtype]), expected)


@pytest.mark.parametrize(
    ("dtype", "x", "expected"),
    [
        ("bfloat16", 1.0, 2.0**-7), ("bfloat16", 1.99, 2.0**-7), ("bfloat16", 2.0, 2.0**-6),
        ("bfloat16", -0.3, 2.0**-9),
        ("tf32", 1.0, 2.0**-10), ("tf32", 0.75, 2.0**-11), ("tf32", 1e4, 2.0**3),
    ],
)  # fmt: skip
def test_an_ulp_of_few_bits_is_counted_by_hand(dtype: str, x: float, expected: float) -> None:
    assert ulp(np.array(x), MANTISSA_BITS[dtype]) == expected


def test_zero_has_no_ulp_and_extremes_have_finite_ones() -> None:
    assert ulp(np.array(0.0), 52) == 0
    assert ulp(np.array(np.finfo(np.float64).max), 52) == 2.0**971
    subnormal = np.array(5e-324)
    assert 0 <= ulp(subnormal, 52) <= subnormal


def test_moving_by_one_ulp_moves_every_element_to_a_neighbour() -> None:
    x = np.random.default_rng(0).uniform(-4, 4, (30, 20))
    moved = move_one_ulp(x, 52, np.random.default_rng(1))
    up, down = moved == x + np.abs(np.spacing(x)), moved == x - np.abs(np.spacing(x))
    assert (up ^ down).all()
    assert 0.4 < up.mean() < 0.6
    assert move_one_ulp(np.zeros(3), 52, np.random.default_rng(1)).tolist() == [0, 0, 0]
    np.testing.assert_array_equal(
        np.abs(move_one_ulp(x, 10, np.random.default_rng(1), 3.0) - x), 3 * ulp(x, 10)
    )  # exact: few bits


# root mean squares


def test_rms_is_its_definition_without_overflow() -> None:
    x = np.random.default_rng(0).normal(size=(5, 4))
    assert rms(x) == pytest.approx(np.sqrt(np.mean(x**2)), rel=1e-15)
    np.testing.assert_allclose(rms(x, True), np.sqrt(np.mean(x**2, axis=0)), rtol=1e-15)
    assert rms(np.array([1e308, -1e308])) == pytest.approx(1e308)
    assert rms(np.array([3e-320, 3e-320])) == 3e-320
    assert rms(np.array(-2.0)) == rms(np.array(-2.0), True) == 2
    assert rms(np.zeros((2, 3))) == 0
    assert rms(np.zeros((2, 3)), True).tolist() == [0, 0, 0]


def test_rms_of_what_is_not_finite_is_not_finite() -> None:
    with np.errstate(all="ignore"):
        assert not np.isfinite(rms(np.array([1.0, np.nan])))
        assert not np.isfinite(rms(np.array([1.0, np.inf])))
        assert np.isfinite(rms(np.array([[1.0, np.nan], [2.0, 3.0]]), True)).tolist() == [True, False]


@pytest.mark.parametrize(
    ("dtype", "precision", "bits", "statistics"),
    [
        ("float64", "highest", 52, 52), ("float64", "tf32", 52, 52), ("float32", "highest", 23, 23),
        ("float32", "tf32", 10, 23), ("float32", "bfloat16", 7, 23), ("bfloat16", "highest", 7, 23),
    ],
)  # fmt: skip
def test_unit_is_that_of_the_coarsest_operand(dtype: Any, precision: str, bits: int, statistics: int) -> None:
    assert unit_of(dtype, precision) == Unit(bits, statistics)


def test_a_long_sum_is_allowed_its_random_walk() -> None:
    assert EXACT.ulps_of_sum(4) == 1
    assert EXACT.ulps_of_sum(1200) == 10
    assert unit_of("bfloat16").ulps_of_sum(1200) == 1


# floors


def test_floors_are_the_references_own(seen: Witness) -> None:
    """Nothing of a candidate can enter: neither function takes one, and the recording is the honest reference's."""
    for function in (witness, witness_all):
        assert not {"candidate", "recording", "actual", "side"} & set(inspect.signature(function).parameters)
    expected = play(NUMPY, make_episode(), "float64")
    assert list(seen.floors) == list(seen.recording.tensors) == list(expected.tensors)
    for key, array in expected.tensors.items():
        np.testing.assert_array_equal(seen.recording.tensors[key], array)


def test_floors_are_the_formulas(seen: Witness) -> None:
    """The largest of the draws, and one ulp of the size, for every tensor."""
    spread: dict[Key, float] = {}
    for seed in range(noise.DRAWS):
        moved: Any = noise._MovedBackend(NUMPY, EXACT, np.random.default_rng([seed, 2]))
        for key, array in play(moved, make_episode(), "float64").tensors.items():
            spread[key] = max(spread.get(key, 0.0), float(rms(array - seen.recording.tensors[key])))
    for key, floor in seen.floors.items():
        size = rms(seen.recording.scales.get(key, seen.recording.tensors[key]))
        assert floor == spread[key] + ulp(size, 52), key
    assert all(floor > 0 for key, floor in seen.floors.items() if seen.recording.tensors[key].any())


def test_floors_are_repeatable(seen: Witness) -> None:
    again = witness(NUMPY, make_episode(), EXACT)
    assert {key: float(floor) for key, floor in again.floors.items()} == {k: float(f) for k, f in seen.floors.items()}


def test_more_draws_never_lower_a_floor(seen: Witness) -> None:
    fewer = witness(NUMPY, make_episode(), EXACT, draws=2)
    assert all(fewer.floors[key] <= floor for key, floor in seen.floors.items())
    assert any(fewer.floors[key] < floor for key, floor in seen.floors.items())


def test_noise_grows_with_depth() -> None:
    found = witness(NUMPY, make_episode(depth=12, updates=1), EXACT)
    relative = [
        float(found.floors[Key(0, layer, "norm output")] / rms(found.recording.tensors[Key(0, layer, "norm output")]))
        for layer in range(12)
    ]
    assert relative[5] > 2 * relative[0]
    assert relative[11] > 2 * relative[5]


def test_noise_is_in_proportion_to_the_unit(seen: Witness) -> None:
    # At the same active units: rounding that flips one makes a jump.
    patterns = play(NUMPY, make_episode(), "float64").patterns
    key = Key(0, 1, "norm output")
    coarse = witness(NUMPY, make_episode(), unit_of("float32"), patterns).floors[key]
    assert coarse / seen.floors[key] == pytest.approx(2.0**29, rel=0.5)


def test_patterns_are_imposed_on_the_reference_and_on_its_draws() -> None:
    episode = make_episode(updates=1)
    patterns = {("train", 0): {f"hidden.{i}.relu": np.ones((16, 8), bool) for i in range(2)}}
    patterns["eval", 0] = {f"hidden.{i}.relu": np.ones((32, 8), bool) for i in range(2)}
    found = witness(NUMPY, episode, EXACT, patterns)
    for prefix in ("", "evaluated "):
        z, a = (found.recording.tensors[Key(0, 0, prefix + word)] for word in ("pre-activation", "activation"))
        assert (z < 0).any()
        np.testing.assert_array_equal(a, z)
    # Had a draw its own pattern, every negative unit would differ by its whole size.
    assert found.floors[Key(0, 0, "activation")] < 1e-13


def test_each_channel_has_a_floor_of_its_own_where_it_is_asked_for() -> None:
    episode = make_episode(per_channel=True)
    episode.weights["hidden.0.kernel"][:, 0] = 0
    episode.weights["hidden.0.bias"][0] = 1e4
    floors = witness(NUMPY, episode, EXACT).floors[Key(0, 0, "pre-activation")]
    assert floors.shape == (8,)
    assert (floors[0] > 1e3 * floors[1:]).all()


def test_a_fault_has_the_noise_of_the_faulty_reference(seen: Witness) -> None:
    key = Key(0, None, "loss")
    summed = witness(NUMPY.with_fault("summed_loss"), make_episode(), EXACT)
    assert summed.recording.tensors[key] == pytest.approx(16 * seen.recording.tensors[key])
    assert 4 < summed.floors[key] / seen.floors[key] < 64


def test_members_of_a_population_have_floors() -> None:
    episode = replace(make_episode(), members=(0.1, 0.5), evaluations=())
    found = witness(NUMPY, episode, EXACT)
    assert {key.tensor for key in found.floors} >= {"losses of member 0", "losses of member 1", "gamma of member 1"}
    assert all(np.all(floor > 0) and np.all(floor < 1e-12) for floor in found.floors.values())


def test_a_network_that_blows_up_has_infinite_floors_and_no_warning() -> None:
    episode = replace(make_episode(updates=3), learning_rate=1e200)
    found = witness_all(NUMPY, [episode], EXACT)[0]
    blown = [key for key, array in found.recording.tensors.items() if not np.isfinite(array).all()]
    assert blown
    assert not any(np.isfinite(found.floors[key]) for key in blown)
    assert np.isfinite(found.floors[Key(0, None, "loss")])
