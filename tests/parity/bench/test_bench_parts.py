"""The pieces of a benchmark: the interval of a median, the floor, and the verdict on a step."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import timed_modes
from hypothesis import given
from hypothesis import strategies as st

from parity.backend import load_backend
from parity.bench import BenchConfig, worker
from parity.bench.config import Case
from parity.bench.floor import Floor, layouts, products
from parity.bench.judge import judge
from parity.bench.worker import Key, Sample
from parity.clock import median_interval
from parity.errors import InputError
from parity.reference import NumpyBackend
from parity.weights import draw_weights

KEY = Key(Case(depth=2, width=6, batch_size=16), "any", 1, "float64")


@given(st.lists(st.floats(0.1, 1e6), min_size=1, max_size=30))
def test_the_interval_holds_the_median_and_is_within_the_samples(samples: list[float]) -> None:
    median, low, high = median_interval(samples)
    assert min(samples) <= low <= median <= high <= max(samples)


def test_the_interval_covers_the_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    draws = [median_interval(list(rng.exponential(size=25))) for _ in range(400)]
    covered = np.mean([low <= np.log(2) <= high for _, low, high in draws])
    # 400 tries at 95%: three standard deviations are 0.033; a bootstrap of 25 samples is itself a little off.
    assert 0.90 <= covered <= 0.99


def count(product: Any) -> int:
    return 2 * product.rows * product.inner * product.columns


def test_the_products_are_those_of_a_step() -> None:
    case = Case(depth=3, width=64, batch_size=32)
    weights = {name: w.size for name, w in draw_weights(case.spec, 0).items() if name.endswith("kernel")}
    forward = 2 * 32 * sum(weights.values())
    # Each kernel takes part three times, the first only twice: nobody asks for the gradient of the pixels.
    assert sum(map(count, products(case))) == 3 * forward - 2 * 32 * weights["hidden.0.kernel"]


@given(st.sampled_from(list(products(Case(depth=2)))))
def test_every_layout_is_that_many_products(product: Any) -> None:
    for left, right, stacked in layouts(product):
        result = np.matmul(np.ones(left, np.float32), np.ones(right, np.float32))
        assert 2 * result.size * left[-1] == stacked * count(product)


def test_the_floor_is_the_best_rate_on_all_devices_or_the_traffic() -> None:
    def at_rate(rate: float) -> Any:
        def seconds(left: tuple[int, ...], right: tuple[int, ...]) -> float:
            return 2 * np.prod(left) * right[-1] / rate

        return seconds

    case = Case(depth=2)
    flops = sum(map(count, products(case)))
    fast_memory = Floor([at_rate(1e9), at_rate(4e9)], 1e30, devices=2)
    assert fast_memory.microseconds(case) == pytest.approx(1e6 * flops / 8e9)
    weights = sum(array.size for array in draw_weights(case.spec, 0).values())
    slow_memory = Floor([at_rate(1e30)], 1e9, devices=2)
    assert slow_memory.microseconds(case) == pytest.approx(1e6 * 8 * weights / 1e9)


def make_sample(backend: Any = None, dtype: Any = "float64", key: Key = KEY) -> Sample:
    rng = np.random.default_rng(0)
    inputs, labels = rng.standard_normal((16, 784)).astype(np.float32), rng.integers(10, size=16)
    before = draw_weights(key.case.spec, 0)
    learner = (backend or NumpyBackend()).learner(key.case.spec, before, dtype)
    step = learner.train_step(inputs, labels, 0.125)
    return Sample(before, inputs, labels, 0.125, step.loss, learner.weights())


def test_an_honest_step_passes(framework: Any) -> None:
    assert judge(KEY, "highest", make_sample(framework)) == ""
    assert judge(replace(KEY, dtype="float32"), "highest", make_sample(framework, "float32")) == ""


def test_every_tensor_of_a_step_is_compared() -> None:
    sample = make_sample()
    assert "loss" in judge(KEY, "highest", replace(sample, loss=sample.loss + 1e-6))
    for name, array in sample.after.items():
        moved = replace(sample, after=sample.after | {name: array + 1e-6})
        assert f"{name} is off by" in judge(KEY, "highest", moved)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("wrong_decay", "statistic hidden.0.running_mean"),
        ("biased_running_variance", "statistic hidden.0.running_var"),
        ("scaled_learning_rate", "updated"),
        ("weight_decay", "updated hidden.0.kernel"),
        ("missing_bias", "statistic hidden.0.running_mean"),
    ],
)
def test_a_faulty_step_is_told(fault: str, words: str) -> None:
    assert words in judge(KEY, "highest", make_sample(NumpyBackend().with_fault(fault)))


def test_of_a_deep_network_is_compared_what_rounding_does_not_drown() -> None:
    key = Key(Case(depth=50, width=64, batch_size=16), "any", 1, "float32")
    sample = make_sample(key=key)
    assert judge(key, "highest", sample) == ""
    wrong = {name: 1.5 * array + 1 for name, array in sample.after.items()}
    assert "statistic hidden.0.running_mean is off by" in judge(key, "highest", replace(sample, after=wrong))


def test_a_step_that_shows_less_than_its_weights_is_told() -> None:
    sample = make_sample()
    assert "missing" in judge(KEY, "highest", replace(sample, after={}))
    without = {name: array for name, array in sample.after.items() if name != "head.bias"}
    assert "missing head.bias" in judge(KEY, "highest", replace(sample, after=without))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_that_is_not_finite_is_told(dtype: Any) -> None:
    sample = make_sample()
    sample.after["hidden.1.kernel"][0, 0] = np.nan
    assert judge(replace(KEY, dtype=dtype), "highest", sample) == "not finite: hidden.1.kernel"


def test_a_float32_step_in_float32_is_no_float64_step() -> None:
    sample = make_sample(load_backend("torch"), "float32")
    assert "off by" in judge(KEY, "highest", sample)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frameworks": ()}, "frameworks must name at least one"),
        ({"frameworks": "numpy"}, "frameworks must be a tuple"),
        ({"precision": "half"}, "precision must be highest, tf32 or bfloat16, got 'half'"),
        ({"cases": (1,)}, "cases must be at least one Case, got"),
        ({"cases": ()}, "cases must be at least one Case, got"),
        ({"blocks": 1}, "blocks must be an integer of at least 2"),
        ({"block_seconds": 0.0}, "block_seconds must be a finite number above 0"),
        ({"time_limit": float("inf")}, "time_limit must be a finite number"),
        ({"num_samples": 0}, "num_samples must be an integer of at least 1"),
    ],
)
def test_a_benchmark_of_nothing_is_refused(change: dict[str, Any], message: str) -> None:
    values: dict[str, Any] = {"frameworks": ("jax",)}
    with pytest.raises(InputError, match=message):
        BenchConfig(**(values | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 0}, "depth must be an integer of at least 1"),
        ({"depth": 10**9}, "depth must be at most"),
        ({"width": 0}, "hidden_width must be"),
        ({"batch_size": 1}, "batch of at least 2"),
        ({"populations": ()}, "populations must name at least one"),
        ({"populations": 3}, "populations must be a tuple"),
        ({"populations": (0,)}, "members must be an integer of at least 1"),
        ({"populations": (10**9,)}, "members must be at most"),
    ],
)
def test_a_case_that_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Case(**change)


def test_what_a_compiler_keeps_is_dropped_once_no_mode_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten: list[int] = []
    backend: Any = timed_modes.make()
    modes = backend.modes()
    monkeypatch.setattr(backend, "modes", lambda: replace(modes, forget=lambda: forgotten.append(1)), raising=False)
    keys = [Key(Case(depth=1, width=4), mode, 1) for mode in ("eager_loop", "right")]
    for key in keys:
        assert not worker.prepare(backend, key, 64).note
    worker.release(backend, keys[:1])
    assert forgotten == []
    worker.release(backend, keys[1:])
    assert forgotten == [1]
