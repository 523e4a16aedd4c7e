"""Groups trained together: lanes that have diverged cost nothing, and no group's numbers depend on another's."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from fake_backend import FakeBackend, FakePopulation, small_config
from numpy.typing import NDArray

from parity.backend import PassRecord
from parity.data import IndexStream, MaskStream, StandardizedData
from parity.divergence import Status
from parity.sweep.grid import Group, SweepConfig
from parity.sweep.records import Trial
from parity.sweep.train import CHUNK, train
from parity.weights import Weights, draw_weights

GROUPS = [Group("fake", 1, False, seed) for seed in (0, 1)]


class Resumable(FakePopulation):
    """Members whose state is the number of their updates."""

    def __init__(self, loss: Any, weights: Sequence[Mapping[str, NDArray]], rates: Sequence[float]) -> None:
        super().__init__(loss, rates)
        (self.updates,) = {int(state.get("updates", 0)) for state in weights}
        self.batches: list[tuple[int, ...]] = []

    def run_pass(self, indices: NDArray[np.integer]) -> PassRecord:
        self.batches.append(indices.shape)
        return super().run_pass(indices[0])

    def weights(self, member: int) -> Weights:
        return {"updates": np.array(self.updates)}


class LanesBackend(FakeBackend):
    """A backend that trains two lanes side by side, and no fewer."""

    lanes = 2
    made: list[Resumable]

    def pad_lanes(self, lanes: int, most: int) -> int:
        assert most in (3, 6)  # of one group, and of both
        return max(lanes, 2)

    def population(self, spec, weights, learning_rates, inputs, labels, dtype, lanes=1) -> Any:
        assert len(weights) == len(learning_rates)
        assert len(learning_rates) == 2 * lanes
        self.asked.append(list(learning_rates))
        self.made = [*getattr(self, "made", []), Resumable(self._loss, weights, learning_rates)]
        return self.made[-1]


def test_the_living_move_together_once_they_need_fewer_lanes(small_data: StandardizedData) -> None:
    backend, config = LanesBackend(), small_config(population_size=2, num_passes=3, num_seeds=2)
    rates = [0.25, 2.0, 0.5, 4.0, 0.75, 8.0]
    trials = train(backend, config, {GROUPS[0]: rates, GROUPS[1]: [0.25, 0.5]}, small_data)
    assert backend.asked == [
        [0.25, 2.0, 0.5, 4.0, 0.75, 8.0, 0.25, 0.5],  # three lanes of the first group, and that of the second
        [0.25, 0.5, 0.75, 0.75, 0.25, 0.5],  # after a pass: what is left of the first group, and the second's
    ]
    assert [population.batches for population in backend.made] == [[(4, 16, 32)], [(3, 16, 32)] * 2]
    # Nobody's losses show that they were moved.
    alone = FakeBackend()
    for group, own in trials.items():
        for rate, trial in own.items():
            expected = train(alone, small_config(num_passes=3), {group: [rate]}, small_data)[group][rate]
            assert trial == expected
            assert trial.losses.tolist() == expected.losses.tolist()


def test_a_lane_that_has_diverged_is_dropped_by_any_backend(small_data: StandardizedData) -> None:
    backend = FakeBackend()
    train(backend, small_config(population_size=2, num_passes=3), {GROUPS[0]: [0.25, 0.5, 2.0, 4.0]}, small_data)
    assert [population.updates for population in backend.populations] == [48, 16]


def test_a_groups_numbers_do_not_depend_on_the_others(framework: Any, small_data: StandardizedData) -> None:
    config = small_config(frameworks=(framework.name,), population_size=2, num_passes=3, num_seeds=2)
    groups = [Group(framework.name, 1, False, seed) for seed in (0, 1)]
    wanted = {groups[0]: [0.1, 1e5, 0.3, 1e6, 0.2], groups[1]: [1e7, 0.2]}
    together = train(framework, config, wanted, small_data)
    for group in groups:
        apart = train(framework, config, {group: wanted[group]}, small_data)[group]
        assert together[group] == apart
        for rate, trial in apart.items():
            np.testing.assert_array_equal(together[group][rate].losses, trial.losses)
    assert {trial.status for trial in together[groups[0]].values()} == {Status.TRAINED, Status.DIVERGED}


def test_a_moved_member_goes_on_from_where_it_was(framework: Any, small_data: StandardizedData) -> None:
    """The state that is moved is whole: what follows is what rounding leaves of the same run in one piece."""

    def run(config: SweepConfig, rates: Sequence[float]) -> Trial:
        group = Group(framework.name, 1, True, 0)
        return train(framework, config, {group: rates}, small_data)[group][0.01]

    config = small_config(frameworks=(framework.name,), batch_norm=(True,), population_size=1, num_passes=2)
    moved, whole = run(config, [1e30, 0.01]), run(config, [0.01])
    # A small learning rate and 32 updates: rounding alone stays far below this, a statistic that is lost far above.
    np.testing.assert_allclose(moved.losses, whole.losses, rtol=1e-4)


def test_a_crash_spares_the_other_groups(small_data: StandardizedData) -> None:
    def loss(rate: float, update: int) -> float:
        if rate == 0.5:
            raise RuntimeError("no")
        return 1.0

    trials = train(FakeBackend(loss), small_config(), {GROUPS[0]: [0.25], GROUPS[1]: [0.5, 0.125]}, small_data)
    assert trials[GROUPS[0]][0.25].status is Status.TRAINED
    assert [trial.status for trial in trials[GROUPS[1]].values()] == [Status.ERROR] * 2


def test_progress_is_told_as_it_is_made(small_data: StandardizedData) -> None:
    shares: list[float] = []
    train(FakeBackend(), small_config(num_passes=2), {GROUPS[0]: [0.25]}, small_data, shares.append)
    assert shares == pytest.approx([0.5, 1.0])


def test_a_trial_with_remedies_is_that_of_its_network_alone(framework: Any, small_data: StandardizedData) -> None:
    """Of the spec that the options ask for, on the masks of the trial's own stream, however passes are cut."""
    remedies: dict[str, Any] = {
        "residual": True, "dropout_rate": 0.3, "block_order": "norm_first", "initialization": "he_normal",
    }  # fmt: skip
    config = small_config(frameworks=(framework.name,), population_size=2, num_passes=6, num_seeds=2, **remedies)
    groups = [Group(framework.name, 2, True, seed) for seed in (0, 1)]
    trained = train(framework, config, {group: [0.01, 0.02, 0.04] for group in groups}, small_data)
    for group in groups:
        spec, size = config.model_spec(group), len(small_data.train_labels)
        assert all(getattr(spec, name) == value for name, value in remedies.items())
        stream, masks = IndexStream(size, 32, group.seed), MaskStream(spec, 32, group.seed)
        batches = np.concatenate([stream.next_pass() for _ in range(6)])
        assert len(batches) > CHUNK
        learner = framework.learner(spec, draw_weights(spec, group.seed), "float32")
        inputs, labels = small_data.train_inputs, small_data.train_labels
        losses = [
            learner.train_step(inputs[batch], labels[batch], 0.01, masks=masks.next_updates(1)[0]).loss
            for batch in batches
        ]
        # A small learning rate and some hundred updates: rounding alone stays far below this.
        np.testing.assert_allclose(trained[group][0.01].losses, losses, rtol=1e-3)


@pytest.mark.parametrize("evaluated_on", [(), ("test",), ("train",), ("train", "test")])
def test_it_is_evaluated_on_what_was_asked_for(evaluated_on: Any, small_data: StandardizedData) -> None:
    trained = train(FakeBackend(), small_config(), {GROUPS[0]: [0.01]}, small_data, evaluated_on=evaluated_on)
    (trial,) = trained[GROUPS[0]].values()
    assert trial.status is Status.TRAINED
    assert (trial.test_accuracy is not None, trial.test_loss is not None) == ("test" in evaluated_on,) * 2
    assert (trial.train_accuracy is not None, trial.train_loss is not None) == ("train" in evaluated_on,) * 2
