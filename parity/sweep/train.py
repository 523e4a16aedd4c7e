"""Training the trials of a sweep: populations side by side, without those that have diverged."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backend import Backend, Population
from parity.data import IndexStream, Masks, MaskStream, StandardizedData, mask_arguments
from parity.divergence import Status, classify, final_loss, first_offense
from parity.errors import one_line
from parity.spec import DType
from parity.sweep.grid import Group, SweepConfig
from parity.sweep.lanes import BOTH, EvaluatedOn, pad_lanes, samples_of, working_dtype
from parity.sweep.memory import fitting
from parity.sweep.records import Trial
from parity.weights import Array, draw_weights

Wanted = Mapping[Group, Sequence[float]]
Trained = dict[Group, dict[float, Trial]]

CHUNK = 64  # updates between two looks at who has diverged


def train(
    backend: Backend,
    config: SweepConfig,
    wanted: Wanted,
    data: StandardizedData,
    tick: Callable[[float], None] = lambda share: None,
    evaluated_on: EvaluatedOn = BOTH,
) -> Trained:
    """Train groups that share a network, and say how each of their trials ended.

    As many are trained together as fit into memory. Where that raises, they are trained one by one, and one that raises
    alone has trials of status `error`.

    Args:
        backend: trains them.
        config: the sweep.
        wanted: the learning rates of each group; the groups differ in their seeds only.
        data: the training subsample and the test set.
        tick: is called with the share of the updates that are done.
        evaluated_on: the sets on which what has not diverged is evaluated in the end.
    """
    parts = list(fitting(backend, config, list(wanted), len(data.train_labels)))
    trained: Trained = {}
    for number, groups in enumerate(parts):

        def tell(share: float, number: int = number) -> None:
            tick((number + share) / len(parts))

        own = {group: wanted[group] for group in groups}
        trained |= _train_together(backend, config, own, data, tell, evaluated_on)
    return trained


def _train_together(
    backend: Backend,
    config: SweepConfig,
    wanted: Wanted,
    data: StandardizedData,
    tick: Callable[[float], None],
    evaluated_on: EvaluatedOn,
) -> Trained:
    try:
        return _Training(backend, config, wanted, data, evaluated_on).run(tick)
    except Exception as error:  # whatever a framework raises, the other groups go on
        if len(wanted) > 1:
            return {
                group: _train_together(backend, config, {group: wanted[group]}, data, tick, evaluated_on)[group]
                for group in wanted
            }
        message = one_line(f"{type(error).__name__}: {error}")
        return {
            group: {r: Trial(group=group, learning_rate=r, status=Status.ERROR, message=message) for r in rates}
            for group, rates in wanted.items()
        }


@dataclass(eq=False)
class _Member:
    """A trial in training."""

    group: Group
    learning_rate: float
    weights: Mapping[str, Array]
    losses: list[np.ndarray] = field(default_factory=list)
    finite: list[np.ndarray] = field(default_factory=list)
    evaluated: dict[str, float] = field(default_factory=dict)

    @property
    def record(self) -> tuple[np.ndarray, np.ndarray]:
        """Losses and finiteness of every update so far."""
        return np.concatenate(self.losses), np.concatenate(self.finite)

    def has_diverged(self) -> bool:
        """Whether an update has offended."""
        return bool(self.losses) and first_offense(*self.record) is not None


Lane = list[_Member]  # of one group, at most `population_size`


class _Training:
    """Groups in lanes, and lanes in a population.

    A lane holds members of one group, who share minibatches. It always has `config.population_size` of them (the last
    repeated), since a framework's rounding may depend on that number. When a group's living members fit into fewer
    lanes, they are moved together. That depends on the group alone, so its numbers do not depend on which others are
    trained beside it. A backend that knows of no lanes has a population for each.
    """

    def __init__(
        self,
        backend: Backend,
        config: SweepConfig,
        wanted: Wanted,
        data: StandardizedData,
        evaluated_on: EvaluatedOn,
    ) -> None:
        self._evaluated_on = evaluated_on
        self._backend, self._config, self._data, self._groups = backend, config, data, len(wanted)
        group = next(iter(wanted))
        self._spec = config.model_spec(group)
        self._dtype: DType = working_dtype(backend, config)
        self._members = []
        for group, rates in wanted.items():
            weights = draw_weights(self._spec, group.seed)
            self._members += [_Member(group, rate, weights) for rate in rates]
        self._can_move = backend.lanes is not None
        self._populations = self._populate(_fill_lanes(self._members, config))

    def run(self, tick: Callable[[float], None]) -> Trained:
        """Train all to the end, or until the last has diverged."""
        size, groups = len(self._data.train_labels), {member.group: None for member in self._members}
        batch_size = self._config.batch_size
        streams = {group: IndexStream(size, batch_size, group.seed) for group in groups}
        drops = {group: MaskStream(self._spec, batch_size, group.seed) for group in groups if self._spec.dropout_rate}
        for number in range(self._config.num_passes):
            batches = {group: stream.next_pass() for group, stream in streams.items()}
            updates = len(next(iter(batches.values())))
            for start in range(0, updates, CHUNK):
                if not self._populations:
                    break
                cut = {group: batch[start : start + CHUNK] for group, batch in batches.items()}
                masks = {group: stream.next_updates(len(cut[group])) for group, stream in drops.items()}
                for lanes, population in self._populations:
                    self._advance(lanes, population, cut, masks)
                self._drop_diverged()
                tick((number + min(start + CHUNK, updates) / updates) / self._config.num_passes)
        for lanes, population in self._populations:
            self._evaluate(lanes, population)
        trials: Trained = {member.group: {} for member in self._members}
        for member in self._members:
            trials[member.group][member.learning_rate] = _trial(member, self._data.label_entropy)
        return trials

    def _populate(self, lanes: Sequence[Lane]) -> list[tuple[list[Lane], Population]]:
        """The populations that hold the lanes: one, where the backend takes lanes."""
        if not lanes:
            return []
        together = [list(lanes)] if self._can_move else [[lane] for lane in lanes]
        return [(some, self._population(some)) for some in together]

    def _population(self, lanes: Sequence[Lane]) -> Population:
        members = [member for lane in self._padded(lanes) for member in _pad(lane, self._config.population_size)]
        rates = [member.learning_rate for member in members]
        inputs, labels = self._data.train_inputs, self._data.train_labels
        if not self._can_move:
            return self._backend.population(self._spec, members[0].weights, rates, inputs, labels, self._dtype)
        weights: Any = [member.weights for member in members]
        count: Any = {"lanes": len(self._padded(lanes))}
        return self._backend.population(self._spec, weights, rates, inputs, labels, self._dtype, **count)

    def _padded(self, lanes: Sequence[Lane]) -> list[Lane]:
        """The lanes, the last repeated as often as the backend likes."""
        return _pad(lanes, pad_lanes(self._backend, self._config, self._groups, len(lanes)))

    def _advance(
        self,
        lanes: Sequence[Lane],
        population: Population,
        batches: Mapping[Group, NDArray[np.integer]],
        masks: Mapping[Group, Masks],
    ) -> None:
        """Train the lanes of a population on the minibatches of their groups, with their masks if there is dropout."""

        def stacked(by_group: Mapping[Group, Any]) -> Any:
            own = np.stack([by_group[lane[0].group] for lane in self._padded(lanes)])
            return own if self._can_move else own[0]

        own = stacked(batches)
        record = population.run_pass(own, **mask_arguments(stacked(masks) if masks else None))
        expected = (own.shape[-2], len(self._padded(lanes)) * self._config.population_size)
        if record.losses.shape != expected or record.finite.shape != expected:
            raise ValueError(f"losses and finite must have shape {expected}, got {record.losses.shape}")
        for slot, member in self._slots(lanes):
            member.losses.append(record.losses[:, slot])
            member.finite.append(record.finite[:, slot])

    def _slots(self, lanes: Sequence[Lane]) -> Iterator[tuple[int, _Member]]:
        """The members of a population's lanes, with where they are in it."""
        for start, lane in enumerate(lanes):
            yield from enumerate(lane, start * self._config.population_size)

    def _drop_diverged(self) -> None:
        """Train on with fewer lanes, where the living members of a group fit into fewer."""
        lanes = [lane for some, _ in self._populations for lane in some]
        kept: list[Lane] = []
        for _, own in groupby(lanes, lambda lane: lane[0].group):
            own = list(own)
            living = _fill_lanes([m for lane in own for m in lane if not m.has_diverged()], self._config)
            if not self._can_move:
                living = [lane for lane in own if not all(member.has_diverged() for member in lane)]
            kept += living if len(living) < len(own) else own
        if len(kept) == len(lanes):
            return
        if self._can_move:
            for some, population in self._populations:
                for slot, member in self._slots(some):
                    member.weights = population.weights(slot)
            self._populations = self._populate(kept)
        else:
            self._populations = [(some, population) for some, population in self._populations if some[0] in kept]

    def _evaluate(self, lanes: Sequence[Lane], population: Population) -> None:
        if all(member.has_diverged() for _, member in self._slots(lanes)):
            return
        for name in self._evaluated_on:
            found = population.evaluate(*samples_of(self._data, name))
            for slot, member in self._slots(lanes):
                member.evaluated[f"{name}_loss"] = float(found.loss[slot])
                member.evaluated[f"{name}_accuracy"] = float(found.accuracy[slot])


def _fill_lanes(members: Sequence[_Member], config: SweepConfig) -> list[Lane]:
    """The members of each group in lanes, in their order."""
    size = config.population_size
    groups = [list(own) for _, own in groupby(members, lambda member: member.group)]
    return [own[start : start + size] for own in groups for start in range(0, len(own), size)]


def _pad(items: Sequence[Any], count: int) -> list[Any]:
    """`items` with the last repeated."""
    return [*items, *[items[-1]] * (count - len(items))]


def _trial(member: _Member, label_entropy: float) -> Trial:
    losses, finite = member.record
    offense = first_offense(losses, finite)
    status = classify(losses, finite, label_entropy)
    # The offending update's own loss is kept: it shows how the run left.
    losses = losses if offense is None else losses[: offense + 1]
    with np.errstate(over="ignore"):  # a float64 loss beyond float32's range is shown as infinite
        shown = losses.astype(np.float32)
    ended: dict[str, Any] = {} if offense is not None else {"final_loss": final_loss(losses), **member.evaluated}
    return Trial(
        group=member.group,
        learning_rate=member.learning_rate,
        status=status,
        steps=len(losses) if offense is None else offense,
        initial_loss=float(losses[0]),
        losses=shown,
        **ended,
    )
