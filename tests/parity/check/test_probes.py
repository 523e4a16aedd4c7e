"""The episodes: what each probe plants is really there, and natural steps lie on the reference's own trajectory."""

from typing import Any

import numpy as np
import pytest
from honest_reference import train_step
from places import at, loss

from parity.check.episode import Episode
from parity.check.play import play
from parity.check.probes import (
    EVALUATED,
    LONG_WINDOW,
    MANY_EVALUATED,
    WINDOW,
    Course,
    Samples,
    draw_samples,
    natural_episodes,
    precision_episodes,
    probe_episodes,
    semantic_episodes,
)
from parity.reference import NumpyBackend
from parity.spec import BlockOrder, ModelSpec
from parity.verdict.trace import Key, Kind, Mode
from parity.weights import Array, Weights, cast_weights, draw_weights, is_statistic

NUMPY = NumpyBackend()
SPEC = ModelSpec(input_dim=12, output_dim=5, num_hidden_layers=2, hidden_width=8)
BATCH, RATE = 32, 0.1
NAMES = [
    "batch_of_2", "partial_batch", "low_variance", "large_mean", "constant_channel", "dead_channel", "exact_zero",
    "large_activation", "large_logits", "batch_equals_width", "batch_mate_swap", "population", "batch_of_one",
]  # fmt: skip


def make_course(
    samples: Samples, steps: tuple[int, ...] = (0,), *, spec: ModelSpec = SPEC, is_first: bool = False
) -> Course:
    return Course(
        spec=spec,
        weights=draw_weights(spec, 0),
        samples=samples,
        learning_rate=RATE,
        steps=steps,
        seed=0,
        is_first=is_first,
    )


def make_probes(spec: ModelSpec = SPEC, batch: int = BATCH, **options: Any) -> dict[str, Episode]:
    found = probe_episodes(make_course(draw_samples(spec, batch, 0), spec=spec), **options)
    return {str(episode.step).removeprefix("probe:"): episode for episode in found}


@pytest.fixture(scope="module")
def samples() -> Samples:
    return draw_samples(SPEC, BATCH, 0)


@pytest.fixture(scope="module")
def probes() -> dict[str, Episode]:
    return make_probes()


def given_to_first_norm(episode: Episode) -> Array:
    return play(NUMPY, episode, "float64").tensors[at("hidden.0.relu")]


def changed(left: Weights, right: Weights) -> dict[str, list[int]]:
    """The channels of each tensor that are not the same."""
    assert left.keys() == right.keys()
    found = {
        name: np.flatnonzero((left[name] != right[name]).reshape(-1, left[name].shape[-1]).any(0)) for name in left
    }
    return {name: channels.tolist() for name, channels in found.items() if len(channels)}


# probes


def test_probes_stand_in_a_fixed_order(probes: dict[str, Episode]) -> None:
    assert list(probes) == NAMES
    assert list(make_probes(ModelSpec(num_hidden_layers=1, use_batch_norm=False))) == [
        "batch_of_2", "partial_batch", "exact_zero", "large_activation", "large_logits", "batch_equals_width",
        "batch_mate_swap", "population",
    ]  # fmt: skip


def test_batches_have_the_sizes_that_are_asked_for(probes: dict[str, Episode]) -> None:
    sizes = {name: [len(labels) for _, labels in episode.batches] for name, episode in probes.items()}
    assert sizes == {name: [BATCH] for name in NAMES} | {
        "batch_of_2": [2], "partial_batch": [21], "batch_equals_width": [8], "batch_mate_swap": [],
        "population": [BATCH, BATCH], "batch_of_one": [1],
    }  # fmt: skip


@pytest.mark.parametrize(("batch", "width"), [(32, 1), (32, 32), (8, 8)])
def test_batch_equals_width_only_where_that_is_another_batch(batch: int, width: int) -> None:
    spec = ModelSpec(input_dim=12, num_hidden_layers=1, hidden_width=width)
    assert "batch_equals_width" not in make_probes(spec, batch)


@pytest.mark.parametrize("batch", [2, 3, 4, 8, 100])
def test_partial_batch_is_smaller_than_a_batch_and_can_be_normalized(batch: int) -> None:
    size = len(make_probes(batch=batch)["partial_batch"].batches[0][1])
    assert 2 <= size <= batch
    assert size < batch or batch == 2


def test_state_is_away_from_its_initial_values(probes: dict[str, Episode]) -> None:
    weights, initial = probes["partial_batch"].weights, draw_weights(SPEC, 0)
    for name, array in weights.items():
        if array.ndim == 1:
            moved = np.abs(array - initial[name])
            assert (moved >= 0.1).all(), name
            assert len(np.unique(array)) == len(array)
            assert not is_statistic(name) or (array > 0).all()
        else:
            np.testing.assert_array_equal(array, initial[name])


@pytest.mark.parametrize("name", ["low_variance", "large_mean", "constant_channel", "dead_channel", "exact_zero"])
def test_one_channel_is_planted_and_the_others_are_untouched(probes: dict[str, Episode], name: str) -> None:
    planted, stirred = probes[name], probes["partial_batch"]
    assert set(changed(planted.weights, stirred.weights)) <= {
        "hidden.0.kernel", "hidden.0.bias", *(["hidden.0.beta"] if name == "exact_zero" else []),
    }  # fmt: skip
    assert all(channels == [0] for channels in changed(planted.weights, stirred.weights).values())
    inputs = planted.batches[0][0]
    z = inputs @ planted.weights["hidden.0.kernel"] + planted.weights["hidden.0.bias"]
    plain = inputs @ stirred.weights["hidden.0.kernel"] + stirred.weights["hidden.0.bias"]
    np.testing.assert_allclose(z[:, 1:], plain[:, 1:], rtol=1e-12)


def test_low_variance_is_that_of_epsilon(probes: dict[str, Episode]) -> None:
    given = given_to_first_norm(probes["low_variance"])
    assert 0 < given[:, 0].var() < SPEC.eps
    assert (given[:, 1:].var(axis=0) > 100 * SPEC.eps).all()


@pytest.mark.parametrize("mean", [1e4, 2.0**11])
def test_large_mean_is_far_above_its_deviation(mean: float) -> None:
    given = given_to_first_norm(make_probes(large_mean=mean)["large_mean"])
    assert given[:, 0].mean() == pytest.approx(mean, rel=1e-2)
    assert 0.1 < given[:, 0].std() < 10
    assert np.abs(given[:, 1:]).max() < 10


def test_constant_channel_has_no_variance_and_is_not_zero(probes: dict[str, Episode]) -> None:
    given = given_to_first_norm(probes["constant_channel"])
    assert set(given[:, 0].tolist()) == {1.0}
    assert (given[:, 1:].var(axis=0) > 0).all()


def test_dead_channel_is_zero_and_not_by_its_kernel(probes: dict[str, Episode]) -> None:
    episode = probes["dead_channel"]
    assert not given_to_first_norm(episode)[:, 0].any()
    assert episode.weights["hidden.0.kernel"][:, 0].all()


@pytest.mark.parametrize("block_order", BlockOrder)
def test_probes_are_planted_in_either_order(block_order: BlockOrder) -> None:
    spec = ModelSpec(input_dim=12, num_hidden_layers=1, hidden_width=8, block_order=block_order)
    for name, episode in make_probes(spec).items():
        if name in ("low_variance", "large_mean", "constant_channel", "dead_channel"):
            z = play(NUMPY, episode, "float64").tensors[at("hidden.0.linear")][:, 0]
            assert np.isfinite(z).all()
            assert (z.std() == 0) == (name == "constant_channel")


def test_batch_mate_swap_shares_the_first_sample_and_no_other(probes: dict[str, Episode]) -> None:
    first, second = (found.inputs for found in probes["batch_mate_swap"].evaluations)
    assert len(first) == len(second) == EVALUATED
    np.testing.assert_array_equal(first[0], second[0])
    both = {row.tobytes() for row in first} & {row.tobytes() for row in second}
    assert both == {first[0].tobytes()}


def test_batch_mate_swap_shows_who_looks_at_batch_mates(probes: dict[str, Episode]) -> None:
    def outputs(backend: NumpyBackend) -> tuple[Array, Array]:
        tensors = play(backend, probes["batch_mate_swap"], "float64").tensors
        return tuple(tensors[at("head.logits", mode=Mode.EVALUATION, number=n)][0] for n in (0, 1))

    np.testing.assert_allclose(*outputs(NUMPY), rtol=1e-12)
    alone, swapped = outputs(NUMPY.with_fault("eval_uses_batch_statistics"))
    assert np.abs(alone - swapped).max() > 1e-3


def test_population_has_three_members_of_different_rates(probes: dict[str, Episode], samples: Samples) -> None:
    episode = probes["population"]
    assert sorted(episode.learning_rates) == [RATE / 4, RATE / 2, RATE]
    tensors = play(NUMPY, episode, "float64").tensors
    losses = [tensors[at("losses", Kind.OUTCOME, number=member)] for member in range(3)]
    assert losses[0][0] == losses[1][0] == losses[2][0]
    assert len({float(loss[1]) for loss in losses}) == 3
    assert not changed(episode.weights, cast_weights(draw_weights(SPEC, 0), "float64"))


def test_one_sample_must_be_refused(probes: dict[str, Episode]) -> None:
    episode, key = probes["batch_of_one"], at("refusal", Kind.REFUSAL)
    assert episode.expects_refusal
    assert play(NUMPY, episode, "float64").tensors == {key: 1}
    assert play(NUMPY.with_fault("batch_of_one"), episode, "float64").tensors == {key: 0}


def test_each_channel_is_measured_apart_in_probes_alone(probes: dict[str, Episode], samples: Samples) -> None:
    assert [name for name, episode in probes.items() if not episode.per_channel] == ["population", "batch_of_one"]
    assert not next(natural_episodes(make_course(samples))).per_channel


def test_probes_are_repeatable(probes: dict[str, Episode]) -> None:
    for name, episode in make_probes().items():
        assert not changed(episode.weights, probes[name].weights)


# natural steps


def test_natural_steps_lie_on_the_references_trajectory(samples: Samples) -> None:
    episodes = list(natural_episodes(make_course(samples, (0, 2, 5)), (WINDOW, WINDOW)))
    assert [episode.step for episode in episodes] == [0, 2, 5]
    weights, states = cast_weights(draw_weights(SPEC, 0), "float64"), []
    for update in range(6):
        states.append(weights)
        weights, _ = train_step(SPEC, weights, *samples.batch(update), RATE)
    for episode in episodes:
        assert isinstance(episode.step, int)
        assert not changed(episode.weights, states[episode.step])
        assert episode.learning_rates[0] == RATE
        assert len(episode.evaluations[0].inputs) == EVALUATED
        for k, (inputs, labels) in enumerate(episode.batches):
            expected = samples.batch(episode.step + k, len(labels))
            np.testing.assert_array_equal(inputs, expected[0])
            np.testing.assert_array_equal(labels, expected[1])


def test_windows_are_carried_and_counted_along_the_trajectory(samples: Samples) -> None:
    first, second, last = natural_episodes(make_course(samples, (0, 2, 5)), (WINDOW, WINDOW))
    assert [len(episode.batches) for episode in (first, second, last)] == [WINDOW, WINDOW, 1]
    assert WINDOW >= 5  # the shared update and four more
    assert second.label(loss(3)) == 5
    tensors = play(NUMPY, first, "float64").tensors
    # Each update goes on from the state that the one before has left.
    np.testing.assert_array_equal(tensors[at("hidden.0.kernel", Kind.UPDATED, 1)], train_from(tensors, 1, first))
    kept = [array for key, array in tensors.items() if key.kind is Kind.INCREMENT]
    assert len(kept) == 4 * len(first.weights)
    assert max(np.abs(array).max() for array in kept) < 1e-15


def test_in_a_window_whatever_could_be_kept_from_before_changes(samples: Samples) -> None:
    first, second, last = natural_episodes(make_course(samples, (0, 2, 5)), (LONG_WINDOW, WINDOW))
    assert len(first.batches) >= 12
    for window in (first, second):
        assert len(set(window.learning_rates)) > 2
        assert len({len(labels) for _, labels in window.batches}) > 2
        assert window.has_bystander
    assert not last.has_bystander
    made = [(each.after, len(each.inputs)) for each in second.evaluations]
    assert {(0, EVALUATED), (1, EVALUATED), (2, EVALUATED), (WINDOW, EVALUATED)} == set(made)
    np.testing.assert_array_equal(second.evaluations[0].inputs, second.evaluations[-1].inputs)
    assert {1, EVALUATED, MANY_EVALUATED} == {len(each.inputs) for each in first.evaluations}


def test_only_the_first_network_has_a_long_window(samples: Samples) -> None:
    for is_first, expected in ((True, LONG_WINDOW), (False, WINDOW)):
        course = make_course(samples, (0, 2), is_first=is_first)
        for episodes in (semantic_episodes(course), precision_episodes(course, 23)):
            assert len(episodes[0].batches) == expected


def train_from(tensors: dict[Key, Array], update: int, episode: Episode) -> Array:
    weights: Weights = {
        name: tensors[at(name, Kind.STATISTIC if is_statistic(name) else Kind.UPDATED, update - 1)]
        for name in draw_weights(SPEC, 0)
    }
    rate = episode.learning_rates[update]
    return train_step(SPEC, weights, *episode.batches[update], rate)[0]["hidden.0.kernel"]


def test_samples_run_on_past_the_end_of_the_stream(samples: Samples) -> None:
    inputs, labels = samples.batch(len(samples.batches) - 1, 2 * BATCH)
    assert inputs.shape == (2 * BATCH, SPEC.input_dim)
    np.testing.assert_array_equal(labels[BATCH:], samples.train_labels[samples.batches.reshape(-1)[:BATCH]])


def test_precise_episodes_start_where_the_working_dtype_can(samples: Samples) -> None:
    course = make_course(samples, is_first=True)
    names = [str(episode.step) for episode in semantic_episodes(course)]
    for bits in (23, 52):
        episodes = precision_episodes(course, bits)
        assert [str(episode.step) for episode in episodes] == [
            name for name in names if name not in ("probe:population", "probe:batch_of_one")
        ]
        arrays = [array for episode in episodes for array in episode.weights.values()]
        assert {array.dtype for array in arrays} == {np.dtype(np.float64)}
        assert all(np.array_equal(array, array.astype(np.float32)) for array in arrays) == (bits == 23)


def test_precision_asks_other_batch_sizes_of_the_first_network_only(samples: Samples) -> None:
    first, other = (precision_episodes(make_course(samples, is_first=is_first), 23) for is_first in (True, False))
    sizes = [{len(labels) for episode in found for _, labels in episode.batches} for found in (first, other)]
    assert sizes == [{2, 2 * BATCH, SPEC.hidden_width, 5 * BATCH // 8 | 1, BATCH}, {BATCH}]
    assert {episode.step for episode in first} - {episode.step for episode in other} == {
        "probe:batch_of_2", "probe:partial_batch", "probe:batch_equals_width",
    }  # fmt: skip


# what is new in a probe


def test_a_unit_is_exactly_0_in_every_sample(probes: dict[str, Episode]) -> None:
    for spec in (SPEC, ModelSpec(input_dim=12, num_hidden_layers=1, block_order=BlockOrder.NORM_FIRST)):
        episode = make_probes(spec)["exact_zero"]
        given = "linear" if spec is SPEC else "norm"
        shown = play(NUMPY, episode, "float64").tensors[at(f"hidden.0.{given}")]
        assert not shown[:, 0].any()
        assert shown[:, 1:].all()


def test_large_activations_and_logits_are_beyond_what_clips_them(probes: dict[str, Episode]) -> None:
    tensors = play(NUMPY, probes["large_activation"], "float64").tensors
    assert tensors[at("hidden.0.relu")][:, 0].min() > 50
    logits = play(NUMPY, make_probes(ModelSpec(num_hidden_layers=1))["large_logits"], "float64").tensors
    assert logits[at("head.logits")].max() > 710  # exp() of it is infinite
