"""The grid of a sweep checks itself, and says in which order its groups are run."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fake_backend import small_config
from hypothesis import given
from hypothesis import strategies as st

from parity import InputError
from parity.divergence import LearningRates, geometric_mean
from parity.sweep.grid import Group, SweepConfig
from parity.sweep.meter import most_blocks

POSITIVE = st.floats(min_value=1e-300, max_value=1e300)


def test_learning_rates_are_evenly_spaced_on_a_log_scale() -> None:
    assert LearningRates.parse("0.001:10:5").values() == pytest.approx((0.001, 0.01, 0.1, 1.0, 10.0))


@given(low=POSITIVE, high=POSITIVE, count=st.integers(2, 30))
def test_learning_rates_include_both_ends_exactly(low: float, high: float, count: int) -> None:
    low, high = sorted((low, high))
    if high / low < 2:
        high = low * 2
    values = LearningRates(low, high, count).values()
    assert (values[0], values[-1], len(values)) == (low, high, count)
    assert list(values) == sorted(set(values))
    assert {type(value) for value in values} == {float}


@pytest.mark.parametrize("rates", [LearningRates(0.001, 10.0, 9), LearningRates(0.1234567890123, 1 / 3, 2)])
def test_text_of_learning_rates_gives_them_back(rates: LearningRates) -> None:
    # It stands in config.toml and decides whether a store belongs to a sweep.
    assert LearningRates.parse(str(rates)) == rates


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "LOW:HIGH:COUNT.*got ''"),
        ("0.1", "LOW:HIGH:COUNT.*got '0.1'"),
        ("0.1:1", "LOW:HIGH:COUNT.*got '0.1:1'"),
        ("0.1:1:3:4", "LOW:HIGH:COUNT.*got '0.1:1:3:4'"),
        ("a:1:3", "LOW:HIGH:COUNT.*got 'a:1:3'"),
        ("0.1:1:2.5", "LOW:HIGH:COUNT.*got '0.1:1:2.5'"),
        ("1:0.1:5", "LOW below HIGH.*1:0.1:5"),
        ("1:1:5", "LOW below HIGH.*1:1:5"),
        ("0:1:5", "lowest.*above 0.*0.0"),
        ("-1:1:5", "lowest.*above 0.*-1.0"),
        ("nan:1:5", "lowest.*finite.*nan"),
        ("0.1:nan:5", "highest.*finite.*nan"),
        ("0.1:inf:5", "highest.*finite.*inf"),
        ("0.1:1:1", "at least 2.*got 1"),
        ("0.1:1:-3", "at least 2.*got -3"),
        ("0.1:1:9999999999999", "9999999999999"),
        ("1:1.0000000000000002:5", "1:1.0000000000000002:5"),
    ],
)
def test_bad_learning_rates_are_refused_by_name(text: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        LearningRates.parse(text)


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("frameworks", (), "frameworks must name at least one"),
        ("depths", (), "depths must name at least one"),
        ("depths", (0,), "depths must be an integer of at least 1.*got 0"),
        ("depths", (3, -1), "depths.*got -1"),
        ("depths", (1.5,), "depths.*got 1.5"),
        ("batch_norm", (), "batch_norm must name at least one"),
        ("batch_norm", ("on",), "True or False.*got 'on'"),
        ("frameworks", "numpy", "frameworks must be a tuple.*got 'numpy'"),
        ("learning_rates", (0.1, 1.0), r"must be LearningRates.*got \(0.1, 1.0\)"),
        ("num_seeds", 0, "^seeds must be an integer of at least 1.*got 0"),
        ("num_passes", 0, "^passes must be an integer of at least 1.*got 0"),
        ("population_size", 0, "population_size must be an integer of at least 1.*got 0"),
        ("hidden_width", 0, "hidden_width must be an integer of at least 1.*got 0"),
        ("batch_size", 0, "batch_size must be an integer of at least 1.*got 0"),
        ("fraction", 0.0, "fraction.*got 0.0"),
        ("fraction", 1.5, "fraction.*got 1.5"),
        ("fraction", float("nan"), "fraction.*got nan"),
    ],
)
def test_bad_configuration_is_refused_by_name(field: str, value: Any, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        small_config(**{field: value})


def test_batch_of_one_is_refused_only_with_batch_norm() -> None:
    assert small_config(batch_norm=(False,), batch_size=1).batch_size == 1
    with pytest.raises(InputError, match=r"batch of at least 2.*got 1"):
        small_config(batch_norm=(False, True), batch_size=1)


def test_frameworks_alternate_and_seeds_are_together() -> None:
    config = small_config(frameworks=("torch", "jax"), depths=(2, 1), batch_norm=(True, False), num_seeds=2)
    assert config.groups() == tuple(
        Group(framework, depth, batch_norm, seed)
        for depth in (2, 1)
        for batch_norm in (True, False)
        for framework in ("torch", "jax")
        for seed in (0, 1)
    )
    assert {len(family) for family in config.families()} == {2}
    assert all(len({replace(group, seed=0) for group in family}) == 1 for family in config.families())


def test_values_given_twice_count_once() -> None:
    config = small_config(frameworks=("b", "a", "b"), depths=(2, 1, 2), batch_norm=(True, True))
    assert (config.frameworks, config.depths, config.batch_norm) == (("b", "a"), (2, 1), (True,))


def test_numbers_and_arrays_of_numpy_become_pythons_own() -> None:
    low, high, count = tuple[Any, ...]((np.float64(0.001), np.float32(8), np.int64(9)))
    config = small_config(
        depths=np.arange(1, 4),
        batch_norm=np.array([True, False]),
        learning_rates=LearningRates(low, high, count),
        num_seeds=np.int64(2),
        fraction=np.float64(0.05),
        dropout_rate=np.float32(0.5),
    )
    same = small_config(
        depths=(1, 2, 3),
        batch_norm=(True, False),
        learning_rates=LearningRates(0.001, 8.0, 9),
        num_seeds=2,
        fraction=0.05,
        dropout_rate=0.5,
    )
    assert repr(config) == repr(same)
    assert json.dumps(config.to_words()) == json.dumps(same.to_words())
    assert config.groups() == same.groups()


def test_specs_follow_the_group() -> None:
    config = small_config(hidden_width=5, batch_size=7, num_passes=4)
    model, training = config.model_spec(Group("numpy", 3, True, 9)), config.train_spec(9)
    assert (model.num_hidden_layers, model.hidden_width, model.use_batch_norm) == (3, 5, True)
    assert (training.batch_size, training.num_passes, training.seed) == (7, 4, 9)


def test_defaults_are_those_of_the_lab() -> None:
    config = SweepConfig(frameworks=("numpy",), depths=(1,))
    assert (config.hidden_width, config.batch_size, config.fraction) == (64, 32, 0.1)


@given(low=POSITIVE, high=POSITIVE)
def test_geometric_mean_lies_between_and_never_overflows(low: float, high: float) -> None:
    low, high = sorted((low, high))
    if high / low >= 1.1:
        assert low < geometric_mean(low, high) < high


@pytest.mark.timeout(20)  # an estimate that never ends is what this would show
@pytest.mark.parametrize("population_size", [1, 2, 8])
def test_widest_grid_has_an_estimate(population_size: int) -> None:
    config = small_config(learning_rates=LearningRates(1e-300, 1e300, 2), population_size=population_size)
    assert 1 < most_blocks(config) < 40
