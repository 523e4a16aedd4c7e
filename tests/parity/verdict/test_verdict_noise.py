"""The unit of the verdict: ulps, and root mean squares."""

from typing import Any

import numpy as np
import pytest
from places import at

from parity.verdict.active_units import compare_active_units
from parity.verdict.noise import MANTISSA_BITS, Unit, Witness, measure_floors, move_one_ulp, rms, ulp, unit_of
from parity.verdict.trace import Array, Kind, Trace

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


@pytest.mark.parametrize(("dtype", "bits"), [("float32", 23), ("float64", 52)])
def test_below_the_smallest_normal_number_an_ulp_is_what_may_be_set_to_0(dtype: Any, bits: int) -> None:
    smallest = float(np.finfo(dtype).smallest_normal)
    assert ulp(np.array(4 * smallest), bits) == smallest
    below = smallest / 8  # exact in float64 where it is float32's; else subnormal itself, and 0 is as good
    assert ulp(np.array(below), bits) == (below if dtype == "float32" else 0)


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


# floors


def floor_of(array: Array, spread: float, bits: int) -> float:
    key = at("x")
    draw = Trace({key: (array + spread)[None]})
    return float(measure_floors(Trace({key: array}), [draw], bits).floors[key])


def test_a_floor_is_the_largest_change_and_an_ulp() -> None:
    assert floor_of(np.full(4, 3.0), 2.0**-20, 23) == 2.0**-20 + 2.0**-22


@pytest.mark.parametrize(("bits", "exponent"), [(23, 64), (7, 64), (52, 512), (48, 512)])
def test_where_a_square_overflows_in_the_dtype_the_floor_is_infinite(bits: int, exponent: int) -> None:
    assert np.isfinite(floor_of(np.full(4, 2.0 ** (exponent - 1)), 0.0, bits))
    assert np.isinf(floor_of(np.full(4, 2.0**exponent), 0.0, bits))


# units that rounding can switch


def test_switched_units_are_as_far_as_the_smallest_error_that_switches_them() -> None:
    z = np.array([[0.5, -0.25], [3.0, -4.0]])
    key = at("hidden.0.linear")
    seen = Witness(Trace({key: z}), {key: np.array(0.01)})
    assert compare_active_units(seen, key, z > 0, 0).distance == 0
    switched = compare_active_units(seen, key, np.array([[True, True], [True, False]]), 0)
    assert switched.distance == 0.25 / 2  # one unit of four
    assert switched.times_noise == pytest.approx(12.5)
    assert switched.key.kind is Kind.ACTIVE_UNITS


def test_a_channel_of_wide_noise_excuses_no_switched_unit_of_another() -> None:
    z, key = np.array([[0.5, -0.25], [3.0, -4.0]]), at("hidden.0.linear")
    seen = Witness(Trace({key: z}), {key: np.array([1.0, 1e-3])})
    switched = compare_active_units(seen, key, np.array([[True, True], [True, False]]), 0)
    assert (switched.floor, switched.is_beyond) == (1e-3, True)


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
    assert unit_of("float64").ulps_of_sum(4) == 1
    assert unit_of("float64").ulps_of_sum(1200) == 10
    assert unit_of("bfloat16").ulps_of_sum(1200) == 1
