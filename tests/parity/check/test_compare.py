"""Distances in noise floors: the limit, what is not finite, what is drowned, and the order of it all."""

import ast
import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from places import at

import parity
from parity.check import lockstep
from parity.check.episode import Episode
from parity.check.lockstep import CANDIDATE, compare_lockstep
from parity.check.play import play, play_all
from parity.check.probes import WINDOW, Course, draw_samples, natural_episodes, probe_episodes
from parity.check.records import Measurement, Question, Setting
from parity.check.witness import witness
from parity.check.words import layer_of
from parity.reference import NumpyBackend
from parity.spec import ModelSpec
from parity.verdict.compare import SAFETY, compare, drowned_tensors, first_beyond
from parity.verdict.noise import Witness, rms, unit_of
from parity.verdict.trace import Key, Kind, Mode, Trace
from parity.weights import draw_weights

NUMPY = NumpyBackend()
SPEC = ModelSpec(input_dim=12, output_dim=5, num_hidden_layers=2, hidden_width=8)
SETTING = Setting(depth=2, batch_norm=True, seed=0)
EXACT = unit_of("float64")
MODULES = [path for room in ("check", "verdict") for path in sorted((Path(parity.__file__).parent / room).glob("*.py"))]
EPISODE = Episode(step=3, spec=SPEC, weights={})
KEY = at("hidden.1.norm")


def episodes(depth: int, use_batch_norm: bool = True, seed: int = 0) -> list[Episode]:
    """A natural step at the size of a real network, and the probe with a batch of 2."""
    spec = ModelSpec(input_dim=50, num_hidden_layers=depth, use_batch_norm=use_batch_norm)
    samples, weights = draw_samples(spec, 32, seed), draw_weights(spec, seed)
    course = Course(spec=spec, weights=weights, samples=samples, learning_rate=0.1, steps=(0,), seed=seed)
    probes = [probe for probe in probe_episodes(course) if probe.step == "probe:batch_of_2"]
    return [*natural_episodes(course), *probes]


def measure(actual: Any, expected: Any, floor: Any = 1.0, per_channel: bool = False, **options: Any) -> Measurement:
    """One tensor, held against another."""
    a, b = (Trace({KEY: np.array(array, float)}) for array in (actual, expected))
    floors = {KEY: np.array(floor, float)}
    found = compare(a, b, floors, per_channel, **options)
    return next(lockstep.measure(Question.SEMANTIC, SETTING, EPISODE, ("a", "b"), found))


# the limit


def test_distance_is_measured_in_floors() -> None:
    found = measure([1.0, 5.0], [1.0, 2.0], 0.5)
    assert found.distance == pytest.approx(3 / np.sqrt(2))
    assert found.times_noise == pytest.approx(6 / np.sqrt(2))
    assert (found.floor, found.step, found.layer, found.tensor) == (0.5, 3, 1, "norm output")
    assert found.size == pytest.approx(np.sqrt(5 / 2))


def test_worst_channel_in_floors_of_its_own_decides() -> None:
    expected = np.zeros((4, 3))
    actual = expected + np.array([1.0, 8.0, 2.0])
    found = measure(actual, expected, [1.0, 100.0, 0.25], per_channel=True)
    assert (found.times_noise, found.distance, found.floor) == (8, 2, 0.25)


def test_limit_is_the_safety_factor_exactly() -> None:
    assert first_beyond([measure(SAFETY, 0.0)]) is None
    beyond = measure(np.nextafter(SAFETY, np.inf), 0.0)
    assert first_beyond([measure(0.0, 0.0), beyond, measure(1e9, 0.0)]) is beyond


def test_safety_factor_is_the_next_power_of_two_above_twice_what_honest_siblings_show() -> None:
    measured = json.loads((Path(__file__).parents[3] / "benchmarks/honest_seeds.json").read_text())
    assert measured["flagged"] == []
    assert 2 ** (np.floor(np.log2(2 * measured["largest"])) + 1) == SAFETY


# what is not finite, and zero


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_beyond_any_limit_on_either_side_and_on_both(value: float) -> None:
    for actual, expected in (([value, 1], [0, 1]), ([0, 1], [value, 1]), ([value, 1], [value, 1])):
        found = measure(actual, expected)
        assert (found.distance, found.times_noise) == (np.inf, np.inf)
        assert first_beyond([found]) is found


@pytest.mark.parametrize("floor", [np.nan, np.inf, 0.0])
def test_no_floor_makes_a_difference_pass(floor: float) -> None:
    assert measure([np.nan], [1.0], floor).times_noise == np.inf
    if floor != np.inf:
        assert measure([2.0], [1.0], floor).times_noise == np.inf


def test_zero_against_zero_is_no_distance_and_zero_against_more_is() -> None:
    assert measure([0, 0], [0, 0], 0.0).times_noise == 0
    assert measure([0, 1e-300], [0, 0], 0.0).times_noise == np.inf


def test_nan_is_agreement_only_where_that_is_asked_for_and_in_the_same_places() -> None:
    assert measure([np.nan, 1], [np.nan, 1], np.nan, nan_matches=True).times_noise == 0
    assert measure([1, np.nan], [np.nan, 1], np.nan, nan_matches=True).times_noise == np.inf
    assert measure([np.nan, 2], [np.nan, 1], 0.5, nan_matches=True).times_noise == pytest.approx(np.sqrt(2))


def test_what_one_side_does_not_show_is_not_measured() -> None:
    shown, empty = Trace({KEY: np.ones(2)}), Trace()
    for pair in ((shown, empty), (empty, shown)):
        assert not list(compare(*pair, {KEY: np.array(1.0)}))
    assert not list(compare(shown, shown, {KEY: np.array(1.0)}, left_out=frozenset([KEY])))


# drowned tensors


def test_a_drowned_activation_takes_all_that_follows_with_it() -> None:
    episode = episodes(3)[0]
    seen = witness(NUMPY, episode, EXACT, draws=1)
    keys = list(seen.floors)
    size = rms(seen.trace.tensors[KEY])
    for floor, expected in ((size / SAFETY, keys[keys.index(KEY) :]), (0.99 * size / SAFETY, [])):
        found = drowned_tensors(Witness(seen.trace, {**seen.floors, KEY: floor}))
        # A residue is as small as rounding by its nature.
        assert found == {key for key in expected if key not in seen.trace.scales}
    assert drowned_tensors(Witness(seen.trace, {**seen.floors, KEY: np.array(np.nan)}))
    gradient = at("hidden.1.kernel", Kind.GRADIENT)
    assert not drowned_tensors(Witness(seen.trace, {**seen.floors, gradient: np.array(1e9)}))
    residue = next(iter(seen.trace.scales))
    for floor, expected in ((np.inf, {residue}), (np.nan, {residue}), (1e9, set())):
        assert drowned_tensors(Witness(seen.trace, {**seen.floors, residue: np.array(floor)})) == expected


def test_a_channel_that_is_drowned_takes_no_other_with_it() -> None:
    values = np.array([[1.0, 1.0], [-1.0, 1.0]])
    floors = {KEY: np.array([1.0, 1e-3])}
    expected = Trace({KEY: values})
    assert drowned_tensors(Witness(expected, floors)) == frozenset()
    assert drowned_tensors(Witness(expected, {KEY: np.array([1.0, 1.0])})) == {KEY}
    for change, beyond in (([50.0, 0.0], False), ([0.0, 1.0], True), ([np.nan, 0.0], True)):
        (found,) = compare(Trace({KEY: values + change}), expected, floors, per_channel=True)
        assert found.is_beyond is beyond


def test_a_batch_of_2_at_depth_50_drowns_and_is_named() -> None:
    # Which batches of 2 do is chance: two samples that come close in one unit part again at any size.
    episode = episodes(50, seed=2)[1]
    seen = witness(NUMPY, episode, EXACT, draws=3)
    drowned = drowned_tensors(seen)
    compared = [key for key in seen.floors if key not in drowned]
    assert drowned
    assert at("hidden.0.norm") in compared
    played = play_all(NUMPY, [episode], "float64")
    found = compare_lockstep(Question.SEMANTIC, SETTING, [episode], {CANDIDATE: played}, {CANDIDATE: [seen]})
    assert [m.key for m in found.measurements] == compared
    (words,) = found.not_compared
    start = f"{SETTING}, probe:batch_of_2: pure rounding noise or overflow, and not compared: "
    assert words.startswith(f"{start}{len(drowned)} of {len(seen.floors)} tensors")


def test_natural_steps_do_not_drown_even_at_depth_50() -> None:
    natural = episodes(50)[0]
    assert not drowned_tensors(witness(NUMPY, natural, EXACT, draws=3))


@pytest.mark.parametrize("use_batch_norm", [True, False])
@pytest.mark.parametrize("depth", [1, 3, 8])
def test_nothing_drowns_in_networks_that_are_not_deep(depth: int, use_batch_norm: bool) -> None:
    natural, batch_of_2 = episodes(depth, use_batch_norm)
    for episode in (natural, batch_of_2) if depth < 8 else (natural,):
        assert not drowned_tensors(witness(NUMPY, episode, EXACT, draws=3))


def test_in_later_updates_only_what_has_little_noise_is_judged() -> None:
    first, later = at("hidden.0.norm"), at("hidden.0.norm", step=1)
    trace = Trace({key: np.ones(4) for key in (first, later)})
    for floor, expected in ((1 / (2 * SAFETY**2), set()), (1 / SAFETY**2, {later}), (1 / SAFETY, {first, later})):
        assert drowned_tensors(Witness(trace, dict.fromkeys(trace.tensors, np.array(floor)))) == expected


def test_a_gradient_below_its_own_noise_is_not_drowned() -> None:
    """The bias before batch norm in the paper's order: its gradient is rounding alone, and is judged all the same."""
    episode = episodes(1)[0]
    episode = replace(episode, spec=replace(episode.spec, block_order="norm_first"))
    seen = witness(NUMPY, episode, EXACT)
    key = at("hidden.0.bias", Kind.GRADIENT)
    assert SAFETY * seen.floors[key] > np.abs(seen.trace.tensors[key]).max()
    assert not drowned_tensors(seen)


# causal order


def place(key: Key) -> int:
    """Where a tensor of an update stands."""
    later = {Kind.LOADED: 0, Kind.LOSS: 2, Kind.GRADIENT: 3, Kind.UPDATED: 4, Kind.INCREMENT: 4, Kind.SIDE_EFFECT: 6}
    return later.get(key.kind, 5 if key.mode is Mode.EVALUATION else 1)


@pytest.mark.parametrize("block_order", ["activation_first", "norm_first"])
def test_measurements_stand_in_causal_order(block_order: Any) -> None:
    spec = replace(SPEC, block_order=block_order)
    samples, weights = draw_samples(spec, 16, 0), draw_weights(spec, 0)
    course = Course(spec=spec, weights=weights, samples=samples, learning_rate=0.1, steps=(0,), seed=0)
    episode = next(natural_episodes(course, (WINDOW,)))
    keys = list(play(NUMPY, episode, "float64").tensors)
    first = [key for key in keys if key.step == 0]
    assert keys[: len(first)] == first
    places = [place(key) for key in first]
    assert places == sorted(places)
    assert set(places) == set(range(7))
    inner = ("relu", "norm") if block_order == "activation_first" else ("norm", "relu")
    block = ("linear", *inner, "running_mean", "running_var")
    forward = [key.path for key in first if place(key) == 1]
    assert forward == [*(f"hidden.{i}.{leaf}" for i in (0, 1) for leaf in block), "head.logits"]
    backward = [layer_of(key.path) for key in first if place(key) == 3]
    assert backward == sorted(backward, key=["head", 1, 0].index)
    seen = witness(NUMPY, episode, EXACT, draws=1)
    played = play_all(NUMPY, [episode], "float64")
    found = compare_lockstep(Question.SEMANTIC, SETTING, [episode], {CANDIDATE: played}, {CANDIDATE: [seen]})
    orders = [m.order for m in found.measurements]
    assert orders == sorted(orders)
    assert orders[: len(first)] == list(range(len(first)))


# no tolerance is a bare literal

# Literals below 1 in parity/check, with why each is none of the check's tolerances.
ALLOWED = {
    "fits.py": {
        1e-7: "a usual bound of a logarithm", 1e-9: "a factor that is 1",
        1e-10: "seen", 1e-15: "seen", 0.5: "a derivative of ReLU at 0",
        1e-3: "an epsilon of Keras", 1e-5: "of Torch and Flax", 1e-6: "seen; and a fitted number is printed short",
        1e-8: "seen", 1e-12: "seen",
    },
    "fixed_rules.py": {
        1.3e-6: "published by torch.testing", 1e-6: "published by chex", 1e-5: "published by NumPy and TorchDynamo",
        1e-8: "published by NumPy", 1e-3: "a common choice, named in its rule",
    },
    "probes.py": {
        0.5: "a factor of the learning rate", 0.25: "another", 2**-12: "a channel's scale",
        0.1: "states are moved off 0 and 1 by this at least", 0.4: "and by this at most",
    },
    "config.py": {0.1: "the default learning rate"},
    "self_test.py": {0.95: "the share of faults that must be named"},
    "catalogue.py": dict.fromkeys((0.5, 0.99, 0.95, 1e-3), "a decay or an epsilon at which a fault is none"),
    "statistical.py": {0.05: "ALPHA", 0.5: "MARGIN_SHARE", 0.1: "the default learning rate"},
    "noise.py": {0.5: "a coin, and a square root", 1e-150: "below it squares are lost", 1e-300: "so are these"},
}  # fmt: skip


def literals(path: Path) -> set[float]:
    """The numbers strictly between 0 and 1 of a module, those written as powers or quotients too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) or (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow | ast.Div)):
            with suppress(NameError, TypeError, AttributeError, ZeroDivisionError):
                found.add(eval(compile(ast.Expression(node), "", "eval"), {"__builtins__": {}}))
    return {value for value in found if type(value) is float and 0 < abs(value) < 1}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_no_tolerance_is_a_bare_literal(path: Path) -> None:
    assert literals(path) == ALLOWED.get(path.name, {}).keys()


def test_a_bare_literal_would_be_seen(tmp_path: Path) -> None:
    tolerance = "1e-4 + .003 * abs(b) + 2.0**-20 + 1 / 1000"
    (tmp_path / "loose.py").write_text(f"def close(a, b):\n    return abs(a - b) <= {tolerance}\n")
    assert literals(tmp_path / "loose.py") == {1e-4, 3e-3, 2.0**-20, 1e-3}
