"""Populations in lanes: each lane has minibatches of its own, and its numbers do not depend on the others."""

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from noise import Twins, excesses

from parity.data import MaskStream
from parity.errors import InputError
from parity.spec import ModelSpec
from parity.weights import draw_weights

CONVENTIONS = {
    "the lab's": {},
    "no batch norm": {"use_batch_norm": False},
    "biased running variance": {"running_variance": "biased"},
    "norm first": {"block_order": "norm_first"},
    "width 1": {"hidden_width": 1},
    "residual": {"residual": True},
    "dropout": {"dropout_rate": 0.3},
    "biased running variance, all remedies": {"running_variance": "biased", "residual": True, "dropout_rate": 0.3},
}
WILD = 1e30
RATES = (0.05, 0.4, 0.1, WILD, 0.2, 0.3)  # three in each of two lanes; one leaves, and must not disturb the others


def make_spec(**conventions: Any) -> ModelSpec:
    values: dict[str, Any] = {"input_dim": 12, "output_dim": 5, "num_hidden_layers": 2, "hidden_width": 6}
    return ModelSpec(**(values | conventions))


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A training set, and minibatches of two lanes."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(128, 12)), rng.integers(0, 5, 128), rng.integers(0, 128, (2, 3, 32))


@pytest.mark.parametrize("conventions", CONVENTIONS.values(), ids=CONVENTIONS)
def test_each_members_step_is_what_it_is_alone(framework: Any, data, conventions: dict[str, Any]) -> None:
    spec, (inputs, labels, batches) = make_spec(**conventions), data
    states = [draw_weights(spec, seed) for seed in range(len(RATES))]
    population = framework.population(spec, states, RATES, inputs, labels, "float64", lanes=2)
    masks: Any = [MaskStream(spec, 32, seed=lane).next_updates(3) for lane in range(2)] if spec.dropout_rate else None
    for t in range(batches.shape[1]):
        before = [population.weights(member) for member in range(len(RATES))]
        own = {"masks": np.stack([each[t : t + 1] for each in masks])} if masks else {}
        record = population.run_pass(batches[:, t : t + 1], **own)
        for member, rate in enumerate(RATES):
            if rate == WILD:
                continue
            batch = batches[member // 3, t]
            kept = masks[member // 3][t] if masks else None
            expected, limits = Twins(spec, before[member]).step(inputs[batch], labels[batch], rate, kept)
            actual = {"loss": record.losses[0, member], **population.weights(member)}
            shown = {name: expected[name] for name in actual}
            assert excesses(actual, shown, limits) == {}, f"member {member} at update {t}"


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_lanes_numbers_do_not_depend_on_the_lanes_beside_it(framework: Any, count: int) -> None:
    """On each device or thread of a program's own process, and where the lanes do not divide by them: what a sweep
    relies on, bit for bit.
    """
    probe = f"""
import json, numpy as np
from parity.backend import load_backend
from parity.spec import ModelSpec
from parity.weights import draw_weights
load_backend({framework.name!r}).own_process()
backend = load_backend({framework.name!r})
spec = ModelSpec(input_dim=12, output_dim=5, num_hidden_layers=2, hidden_width=6)
rng = np.random.default_rng(0)
inputs, labels, batches = rng.normal(size=(128, 12)), rng.integers(0, 5, 128), rng.integers(0, 128, ({count}, 71, 32))
states = [draw_weights(spec, seed) for seed in range(3 * {count})]
rates = (0.05, 0.4, 0.1, 1e30, 0.2, 0.3, 0.15, 1e31, 0.25, 0.35, 0.01, 0.02, 0.03, 0.04, 0.06)
def run(lanes):
    members = slice(0, 3 * {count}) if lanes is None else slice(3 * lanes, 3 * lanes + 3)
    own = batches if lanes is None else batches[lanes]
    arguments = states[members], rates[members], inputs, labels, "float32"
    population = backend.population(spec, *arguments, lanes={count} if lanes is None else 1)
    record, evaluation = population.run_pass(own), population.evaluate(inputs, labels)
    return [record.losses, record.finite, evaluation.loss[None], evaluation.accuracy[None]]
together, apart = run(None), [run(lane) for lane in range({count})]
same = [np.array_equal(a, np.concatenate(b, axis=1), equal_nan=True) for a, b in zip(together, zip(*apart))]
print(json.dumps([backend.lanes, same, bool(together[1].all(axis=0).sum())]))
"""
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    lanes, same, some_finite = json.loads(done.stdout)
    assert lanes >= 1
    assert same == [True] * 4
    assert some_finite


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lanes": 4}, "same number of members, got 6 members in 4 lanes"),
        ({"lanes": 0}, "lanes must be an integer of at least 1"),
        ({"states": 5}, "one state or one for each member, got 5 for 6"),
        ({"rates": ()}, "members must be an integer of at least 1"),
        ({"batches": 3}, r"indices must have shape \(updates, batch\) or \(2, updates, batch\), got \(3, 1, 8\)"),
    ],
)
def test_what_does_not_fit_is_refused(framework: Any, data, change: dict[str, Any], message: str) -> None:
    spec, (inputs, labels, _) = make_spec(), data
    states = [draw_weights(spec, 0)] * change.get("states", 6)
    with pytest.raises(InputError, match=message):
        framework.population(
            spec, states, change.get("rates", RATES), inputs, labels, "float32", lanes=change.get("lanes", 2)
        ).run_pass(np.zeros((change.get("batches", 2), 1, 8), int))


def test_a_cpu_takes_as_many_lanes_as_there_are(framework: Any) -> None:
    assert framework.pad_lanes(9, 9) == 9
    assert 3 <= framework.pad_lanes(3, 9) <= max(3, framework.lanes)
    assert framework.pad_lanes(1, 1) == 1


@pytest.mark.parametrize(
    ("lanes", "most", "padded"), [(9, 9, 9), (6, 9, 9), (5, 9, 5), (3, 9, 3), (1, 9, 1), (12, 9, 12)]
)
def test_a_gpu_takes_half_as_many_in_torch(lanes: int, most: int, padded: int) -> None:
    torch, device = pytest.importorskip("torch"), pytest.importorskip("bntorch.device")
    assert device.pad_lanes(torch.device("cuda"), lanes, most) == padded


@pytest.mark.parametrize(
    ("lanes", "most", "padded"), [(9, 9, 10), (3, 9, 10), (60, 100, 100), (20, 100, 50), (3, 100, 50)]
)
def test_two_gpus_take_half_as_many_in_jax_where_that_fills_them(
    monkeypatch: pytest.MonkeyPatch, lanes: int, most: int, padded: int
) -> None:
    jax, device = pytest.importorskip("jax"), pytest.importorskip("bnjax.device")
    monkeypatch.setattr(jax, "local_devices", lambda backend: [None, None])
    assert device.pad_lanes(SimpleNamespace(platform="gpu"), lanes, most) == padded
