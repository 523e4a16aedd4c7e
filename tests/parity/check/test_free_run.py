"""Two trainings that are left to themselves: honest ones stay within the twins' limit, faulty ones do not."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from parity.backend import Backend
from parity.check.config import CheckConfig
from parity.check.free_run import describe, fails, free_run, measure, run_freely, watch
from parity.check.probes import draw_samples
from parity.check.records import FreeRun, Setting
from parity.process import SideError
from parity.reference import NumpyBackend
from parity.reference.parts import linear, transpose
from parity.sides import ObjectSide, SideSpec
from parity.spec import ModelSpec
from parity.verdict.compare import SAFETY
from parity.weights import Weights, draw_weights

SETTINGS = [(depth, batch_norm) for depth in (1, 3, 8) for batch_norm in (True, False)]


def run(candidate, reference=None, depth: int = 3, batch_norm: bool = True, scale: float = 1.0, **options) -> FreeRun:
    """A free run of a small network on standard normal inputs, times `scale`."""
    spec = ModelSpec(input_dim=20, output_dim=4, hidden_width=8, num_hidden_layers=depth, use_batch_norm=batch_norm)
    samples = draw_samples(spec, 16, 0)
    samples = replace(samples, train_inputs=samples.train_inputs * np.float32(scale))
    dtype = options.pop("dtype", "float64")
    sides = [ObjectSide(SideSpec(target=target)) for target in (candidate, reference or NumpyBackend())]
    config = CheckConfig(free_run_updates=options.pop("updates", 40), **options)
    setting = Setting(depth=depth, batch_norm=batch_norm, seed=0, dtype=dtype)
    return free_run(sides[0], sides[1], config, samples, spec, draw_weights(spec, 0), setting, SAFETY)


def reversed_sums() -> NumpyBackend:
    """The reference, adding up its products in the opposite order: an honest other implementation."""

    def backwards(x, kernel, bias):
        z, _ = linear(x[..., ::-1], kernel[..., ::-1, :], bias)

        def pullback(dz):
            flipped = x[..., ::-1, :], dz[..., ::-1, :]
            return dz @ transpose(kernel), transpose(flipped[0]) @ flipped[1], flipped[1].sum(axis=-2)

        return z, pullback

    backend = NumpyBackend()
    return replace(backend, parts=replace(backend.parts, linear=backwards))


@pytest.mark.parametrize(("depth", "batch_norm"), SETTINGS)
def test_other_summation_order_stays_within_the_limit(depth: int, batch_norm: bool) -> None:
    found = run(reversed_sums(), depth=depth, batch_norm=batch_norm)
    assert found.judged > 0
    assert found.times_noise > 0  # the order does change the bits: something was compared
    assert not fails(found, SAFETY), describe(found, SAFETY)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_frameworks_stay_within_the_limit(framework: Backend, batch_norm: bool) -> None:
    found = run(framework, batch_norm=batch_norm)
    assert found.judged == 40
    assert not fails(found, SAFETY), describe(found, SAFETY)


@pytest.mark.parametrize(("depth", "batch_norm"), SETTINGS)
def test_learning_rate_off_by_one_part_in_ten_thousand_fails(depth: int, batch_norm: bool) -> None:
    faulty = NumpyBackend().with_fault("scaled_learning_rate", factor=1 + 1e-4)
    found = run(faulty, depth=depth, batch_norm=batch_norm)
    assert fails(found, SAFETY)
    assert "candidate and reference; candidate and NumPy reference;" in describe(found, SAFETY)
    assert "after update 1:" in describe(found, SAFETY)


def test_decay_off_by_one_part_in_ten_thousand_fails() -> None:
    assert fails(run(NumpyBackend().with_fault("wrong_decay", decay=0.9 * (1 + 1e-4))), SAFETY)


def test_sides_that_share_a_fault_fail_against_the_numpy_reference() -> None:
    faulty = NumpyBackend().with_fault("weight_decay")
    found = run(faulty, faulty)
    assert not found.distances.any()
    assert fails(found, SAFETY)
    assert "candidate and NumPy reference; reference and NumPy reference;" in describe(found, SAFETY)


def test_layers_that_hardly_train_do_not_hide_the_others() -> None:
    # 50 layers without batch norm: gradients vanish, and the first layers move by less than one ulp.
    found = run(NumpyBackend().with_fault("scaled_learning_rate", factor=1 + 1e-4), depth=50, batch_norm=False)
    assert found.judged == 40
    assert fails(found, SAFETY)


def test_no_output_of_a_side_enters_its_limit() -> None:
    honest, faulty = run(NumpyBackend()), run(NumpyBackend().with_fault("summed_loss"))
    assert np.array_equal(honest.twins, faulty.twins)
    assert np.array_equal(honest.travelled, faulty.travelled)
    assert honest.judged == faulty.judged


def series(twins: list[float], distances: list[float], dtype: str = "float64") -> FreeRun:
    """The record of given distances, where the reference has always travelled 1."""
    return measure(
        Setting(depth=1, batch_norm=True, seed=0, dtype=dtype),
        distances=np.array(distances),
        from_witness=np.zeros((2, len(twins))),
        twins=np.array(twins),
        travelled=np.ones(len(twins)),
        safety=SAFETY,
    )


def test_nothing_is_judged_from_saturation_on() -> None:
    edge = 1 / SAFETY
    late = series([1e-12, 1e-6, edge, 1e-12], [1e-12, 1e-6, 1.0, 1.0])
    assert late.judged == 2
    assert late.times_noise == 1
    assert not fails(late, SAFETY)
    assert fails(series([1e-12, 1e-6, edge / 2, 1e-12], [1e-12, 1e-6, 1.0, 1.0]), SAFETY)


def test_limit_is_the_safety_factor_times_the_twins() -> None:
    assert not fails(series([2.0**-40] * 2, [0, SAFETY * 2.0**-40]), SAFETY)
    assert fails(series([2.0**-40] * 2, [0, SAFETY * 2.0**-40 * (1 + 2**-52)]), SAFETY)


def test_horizon_counts_updates() -> None:
    found = series([1e-12, 0.5, 1.0], [1e-12, 1.0, 2.0])
    assert (found.horizon, found.twin_horizon) == (2, 3)
    assert series([1e-12], [1e-12]).horizon is None


def test_run_that_saturates_at_once_says_so() -> None:
    found = series([1.0, 1.0], [1.0, 1.0])
    assert found.judged == 0
    assert not fails(found, SAFETY)
    assert "not judged" in describe(found, SAFETY)


def test_float32_is_reported_and_not_judged() -> None:
    assert not fails(series([1e-12], [1.0], "float32"), SAFETY)
    assert "not judged in float32" in describe(series([1e-12], [1.0], "float32"), SAFETY)


@dataclass(frozen=True)
class Altered:
    """The reference, whose state is altered on its way out after the first update."""

    change: Callable[[Weights], Weights]

    name = "altered"
    dtypes = ("float64",)

    def learner(self, spec, weights, dtype):
        learner: Any = NumpyBackend().learner(spec, weights, dtype)
        calls: list[int] = []
        honest = learner.weights

        def weights_out() -> Weights:
            calls.append(1)
            return self.change(honest()) if len(calls) > 1 else honest()

        learner.weights = weights_out
        return learner


def test_state_that_is_not_finite_fails() -> None:
    found = run(Altered(lambda weights: weights | {"head.bias": weights["head.bias"] * np.nan}))
    assert found.times_noise == np.inf
    assert fails(found, SAFETY)


def test_large_tensor_does_not_hide_small_ones() -> None:
    # At inputs of 1e8 the first running variance is near 1e16 and one ulp of it 2: far more than a bias moves.
    found = run(Altered(lambda weights: weights | {"head.bias": weights["head.bias"] * (1 + 1e-4)}), scale=1e8)
    assert found.judged > 0
    assert fails(found, SAFETY)


def test_missing_tensor_is_misbehaviour() -> None:
    def without(weights: Weights) -> Weights:
        return {name: array for name, array in weights.items() if name != "head.bias"}

    with pytest.raises(SideError, match=r"no head\.bias of shape \(4,\)"):
        run(Altered(without))


def test_what_a_backend_does_to_its_minibatch_does_not_reach_the_other() -> None:
    @dataclass(frozen=True)
    class Writer:
        name = "writer"
        dtypes = ("float64",)

        def learner(self, spec, weights, dtype):
            learner: Any = NumpyBackend().learner(spec, weights, dtype)
            honest = learner.train_step

            def train_step(inputs, labels, rate):
                step = honest(inputs, labels, rate)
                inputs[:], labels[:] = 0, 0
                return step

            learner.train_step = train_step
            return learner

    assert run(Writer()).times_noise == 0


def test_every_tensor_is_watched() -> None:
    spec = ModelSpec(input_dim=20, output_dim=4, hidden_width=8, num_hidden_layers=2)
    weights = draw_weights(spec, 0)
    before = watch(weights, spec)
    for name, array in weights.items():
        after = watch(weights | {name: array + 1}, spec)
        assert np.any(after != before), name


def test_every_update_takes_the_next_minibatch_of_the_stream() -> None:
    spec = ModelSpec(input_dim=20, output_dim=4, hidden_width=8, num_hidden_layers=1)
    samples, weights = draw_samples(spec, 16, 0), draw_weights(spec, 0)
    learner = NumpyBackend().learner(spec, weights, "float64")
    backend: Any = NumpyBackend()
    states = run_freely(backend, spec, weights, samples, 3, 0.1, "float64")
    assert len(states) == 4
    for update, state in enumerate(states):
        assert np.array_equal(state, watch(learner.weights(), spec))
        learner.train_step(*samples.batch(update), 0.1)
