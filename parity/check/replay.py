"""The reference, played on what a side showed: each part is judged alone.

At every update the reference takes the side's own state, and behind every part of the forward pass the side's own
activation, where the side shows it; its optimizer takes the side's own gradients. So what one part does wrong does not
spread into the next, noise does not add up over layers and updates, and a fault that is known can be told beside one
that is not. (Gradients are the exception: an error in them flows on to the layers before.)
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from parity.check.episode import Episode
from parity.check.witness import draws_of, play_reference, witness
from parity.data import Masks
from parity.errors import InputError
from parity.reference import NumpyBackend, State
from parity.reference.backend import load_state
from parity.reference.network import run
from parity.reference.parts import Forward, Parts
from parity.reference.rounding import RoundingBackend, move_state
from parity.verdict.noise import Unit, Witness, measure_floors, move_one_ulp
from parity.verdict.trace import Array, Key, Kind, Mode, Trace
from parity.weights import Weights, is_statistic, weight_shapes


def replay(reference: NumpyBackend, episode: Episode, shown: Trace) -> Trace:
    """Play an episode on the reference, each part on what the side showed before it.

    Args:
        reference: honest, or with faults.
        episode: what the side computed.
        shown: what it showed of it.
    """
    if episode.is_population or episode.expects_refusal:
        return play_reference(reference, episode)
    with np.errstate(all="ignore"):
        return _Replay(reference.parts, episode, shown, None).play()


def replay_witness(reference: NumpyBackend, episode: Episode, shown: Trace, unit: Unit) -> Witness:
    """Replay an episode, and measure how far rounding moves each part on its own."""
    if episode.is_population or episode.expects_refusal:
        return witness(reference, episode, unit)
    trace, draws = replay(reference, episode, shown), draws_of(episode)
    rng = np.random.default_rng([draws, len(episode.batches)])
    rounding = _Rounding(unit, rng, draws)
    parts = RoundingBackend(reference, unit, rng).parts
    with np.errstate(all="ignore"):
        moved = _Replay(parts, episode, shown, rounding).play()
        return measure_floors(trace, [moved], unit.bits, episode.per_channel)


@dataclass(frozen=True)
class _Rounding:
    """Moves what a part is given, in many draws at once."""

    unit: Unit
    rng: np.random.Generator
    draws: int

    def _stack(self, array: Array) -> Array:
        return np.broadcast_to(np.asarray(array, np.float64), (self.draws, 1, *np.shape(array)))

    def array(self, array: Array) -> Array:
        return move_one_ulp(self._stack(array), self.unit.bits, self.rng)

    def state(self, weights: Weights) -> Weights:
        return move_state({name: self._stack(array) for name, array in weights.items()}, self.unit, self.rng)


class _Replay:
    def __init__(self, parts: Parts, episode: Episode, shown: Trace, rounding: _Rounding | None) -> None:
        self._parts, self._episode, self._shown, self._rounding = parts, episode, shown, rounding
        self._names = list(weight_shapes(episode.spec))
        self._tensors: dict[Key, Array] = {}
        self._scales: dict[Key, Array] = {}
        self._initial = load_state(episode.spec, episode.weights, parts)
        self._state = self._initial

    def play(self) -> Trace:
        self._record(Kind.LOADED, self._parts.weight_import.save(self._initial.weights), 0)
        self._enter({name: self._of_side(Kind.LOADED, name) for name in self._names})
        self._initial = self._state
        self._evaluate(0)
        for update in range(len(self._episode.batches)):
            self._update(update)
            self._evaluate(update + 1)
        return Trace(self._tensors, self._scales)

    def _of_side(self, kind: Kind, path: str, step: int = 0) -> Array:
        return self._shown.tensors[Key(step, Mode.TRAIN, kind, path)]

    def _moved(self, array: Array) -> Array:
        return np.asarray(array, np.float64) if self._rounding is None else self._rounding.array(array)

    def _record(self, kind: Kind, tensors: Mapping[str, Array], step: int, mode: Mode = Mode.TRAIN, number: int = 0):
        for path, array in tensors.items():
            key = Key(step, mode, kind, path, number)
            if key in self._shown.tensors:
                self._tensors[key] = np.asarray(array)

    def _enter(self, weights: Weights) -> None:
        """Take a state that the side showed."""
        # What a side shows has left its network by `save`, which undoes itself wherever it changes anything.
        own = self._parts.weight_import.save(weights)
        self._state = replace(self._state, weights=own if self._rounding is None else self._rounding.state(own))

    def _forced(self, step: int, mode: Mode, number: int = 0) -> Weights:
        """The activations that the side showed."""
        found = self._shown.tensors.items()
        place = step, mode, Kind.ACTIVATION, number
        return {k.path: self._moved(a) for k, a in found if (k.step, k.mode, k.kind, k.number) == place}

    def _run(self, state: State, inputs: Array, train: bool, masks: Masks | None, forced: Weights) -> Forward:
        return run(state, self._parts, None, self._moved(inputs), train, masks, forced)

    def _update(self, update: int) -> None:
        episode, (inputs, labels) = self._episode, self._episode.batches[update]
        state = self._parts.carry(self._state, self._initial, update + 1)
        masks = episode.masks[update] if episode.masks else None
        forced = self._forced(update, Mode.TRAIN)
        output = self._run(state, inputs, True, masks, forced)
        loss, dlogits = self._parts.objective(forced.get("head.logits", output.logits), labels)
        fresh, held = self._parts.collect(output.pullback(dlogits), state.held)
        statistics, held = self._parts.write_statistics(state, output.statistics, held)
        trained = [name for name in self._names if not is_statistic(name)]
        given = {name: self._of_side(Kind.GRADIENT, name, update) for name in trained}
        own = self._parts.weight_import.save({name: self._moved(array) for name, array in given.items()})
        if self._parts.shows_gradients_late:  # then its optimizer takes others than it shows
            own = fresh
        rate = episode.learning_rates[update]
        weights, memory = self._parts.optimizer(state.weights, own, rate, state.memory)
        after = {n: self._of_side(Kind.STATISTIC if is_statistic(n) else Kind.UPDATED, n, update) for n in self._names}
        save = self._parts.weight_import.save
        new = save(state.weights | statistics | weights)
        self._record(Kind.ACTIVATION, output.activations | {"head.logits": output.logits}, update)
        self._record(Kind.STATISTIC, {name: new[name] for name in self._names if is_statistic(name)}, update)
        self._record(Kind.LOSS, {"loss": loss}, update)
        held = held | {name: own[name] for name in trained if name in held}
        self._state = replace(state, memory=memory, held=held, update=update + 1)
        self._enter(after)
        if self._parts.shows_gradients_late:
            late = self._run(self._state, inputs, True, masks, {})
            fresh = late.pullback(self._parts.objective(late.logits, labels)[1])
        shown = save(fresh)
        self._record(Kind.GRADIENT, {name: shown[name] for name in reversed(trained)}, update)
        self._record(Kind.UPDATED, {name: new[name] for name in trained}, update)

    def _evaluate(self, updates: int) -> None:
        step = max(updates - 1, 0)
        found = [(n, each.inputs) for n, each in enumerate(self._episode.evaluations) if each.after == updates]
        before = self._state
        for number, inputs in found:
            forced = self._forced(step, Mode.EVALUATION, number)
            try:
                output = self._run(self._state, inputs, False, None, forced)
            except InputError:  # a single sample, which evaluation in training mode refuses
                self._record(Kind.REFUSAL, {"refusal": np.array(1.0)}, step, Mode.EVALUATION, number)
                continue
            self._record(Kind.REFUSAL, {"refusal": np.array(0.0)}, step, Mode.EVALUATION, number)
            logits = {"head.logits": output.logits}
            if output.statistics:  # the side showed its activations by another pass, after this one
                logits = {"head.logits": self._run(self._state, inputs, False, None, {}).logits}
                self._state = replace(self._state, weights=self._state.weights | output.statistics)
                output = self._run(self._state, inputs, False, None, forced)
            self._record(Kind.ACTIVATION, output.activations | logits, step, Mode.EVALUATION, number)
        if found:
            changes = {name: self._state.weights[name] - before.weights[name] for name in self._names}
            first = found[0][0]
            self._record(Kind.SIDE_EFFECT, changes, step, Mode.EVALUATION, first)
            keys = {name: Key(step, Mode.EVALUATION, Kind.SIDE_EFFECT, name, first) for name in self._names}
            self._scales |= {key: before.weights[name] for name, key in keys.items()}
            moved = {name: self._shown.tensors[key] for name, key in keys.items()}
            # What the side's evaluation really did to it is where it goes on from.
            self._state = replace(before, weights={n: before.weights[n] + moved[n] for n in self._names})
