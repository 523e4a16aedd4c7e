"""The optimizers: both take the same steps from the same parameters, with the same gradients.

The gradients are made up: of several sizes, and in one step so large that a clip fires. A fault of the model does not
enter; what is held against each other is the change of each parameter in each step.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import log2

import numpy as np

from parity.backend.convention import Change, Option
from parity.backend.port import Port, Rounding
from parity.pair.explain import Accepted
from parity.pair.findings import Segment
from parity.pair.fit import fitted
from parity.pair.guard import CrashError
from parity.pair.records import PairCause
from parity.pair.replay import joined, words
from parity.pair.weight_map import ModulePair, TensorPair, WeightMap
from parity.verdict.compare import SAFETY, Distance, apart, compare
from parity.verdict.noise import DRAWS, MANTISSA_BITS, measure_floors
from parity.verdict.trace import Array, Key, Kind, Mode, Trace
from parity.verdict.verdict import UNEXPLAINED

SIZES = (0.1, 0.1, 100.0, 0.01, 0.1)  # of the gradients, for each step
State = Mapping[str, Array]


@dataclass(frozen=True)
class OptimizerChange:
    """The change of a parameter in a step that is beyond its limit."""

    owner: ModulePair
    pair: TensorPair
    distance: Distance


def compare_optimizers(
    reference: Port, candidate: Port, weights: WeightMap, state: State, own: State, seed: int
) -> tuple[list[OptimizerChange], tuple[Distance, ...], PairCause]:
    """Return the changes that are beyond their limits, all distances, step by step, and the cause.

    Args:
        reference: its port, with an optimizer.
        candidate: the same.
        weights: the map.
        state: the reference's parameters.
        own: the candidate's.
        seed: of the gradients.
    """
    pairs = [
        (owner, pair)
        for owner in weights.modules
        for pair in owner.tensors
        if pair.ways[0].moves_only and _is_trained(pair, state, own)
    ]
    ours, theirs = _gradients(weights, state, own, seed)
    bits = MANTISSA_BITS["float64"] - round(log2(SAFETY))

    def draws() -> Iterator[Trace]:
        for number in range(DRAWS):
            yield _trace(pairs, state, reference.optimize(ours, Rounding(bits=bits, seed=number)), is_reference=True)

    exact = _trace(pairs, state, reference.optimize(ours), is_reference=True)
    floors = {key: f / SAFETY for key, f in measure_floors(exact, draws(), bits).floors.items()}
    shown = _trace(pairs, own, candidate.optimize(theirs), is_reference=False)
    distances = tuple(compare(shown, exact, floors))
    places = {str(pair.reference[0]): (owner, pair) for owner, pair in pairs}
    beyond = [OptimizerChange(*places[d.key.path], d) for d in distances if d.is_beyond]

    def changed(change: Change) -> tuple[Trace, Trace]:
        if ours_can_be_changed:
            return _trace(pairs, state, reference.optimize(ours, change=change), is_reference=True), shown
        return exact, _trace(pairs, own, candidate.optimize(theirs, change=change), is_reference=False)

    cause = PairCause()
    if beyond:
        options = tuple(reference.optimizer_options())
        ours_can_be_changed = bool(options)
        off = {change.distance.key.path for change in beyond}
        keys = {each.key for each in distances if each.key.path in off}
        made = _Optimizers(exact, shown, floors, keys, changed)
        cause = made.cause(options or tuple(candidate.optimizer_options()), ours_can_be_changed, candidate.framework)
    return beyond, distances, cause


def without_accepted(
    changes: Sequence[OptimizerChange], why: PairCause, seen: Mapping[Accepted, list[str]]
) -> list[OptimizerChange]:
    """Return the changes that nothing accepted explains; the cause reproduces every step of each.

    Args:
        changes: beyond their limits.
        why: their cause.
        seen: what is accepted; the modules at which it is seen are added.
    """
    left = []
    for change in changes:
        module = Segment(change.owner.reference.module, change.owner.candidate.module)
        entries = [each for each in seen if each.name == why.name != UNEXPLAINED and each.covers(module)]
        for each in entries:
            seen[each].extend([module.reference] * (module.reference not in seen[each]))
        left += [] if entries else [change]
    return left


@dataclass(frozen=True)
class _Optimizers:
    """The steps of two optimizers that part.

    Args:
        exact: the reference's.
        shown: the candidate's.
        floors: of noise.
        keys: the steps of every parameter of which one is off.
        changed: the steps of both, with a convention of one changed.
    """

    exact: Trace
    shown: Trace
    floors: Mapping[Key, Array]
    keys: set[Key]
    changed: Callable[[Change], tuple[Trace, Trace]]

    def cause(self, options: Sequence[Option], is_reference: bool, framework: str) -> PairCause:
        """Return the option that reproduces all that is off, if there is one alone; else `unexplained`."""
        found: dict[str, PairCause] = {}
        for option in options:
            change = option.change
            if change.value is not None:
                value = self._fit(change, is_reference)
                if value is None:
                    continue
                change = change._replace(value=value)
            if option.change.name not in found and self._fits(change):
                evidence, _, remedy = words(option, change, is_reference, framework)
                found[option.change.name] = PairCause(name=option.change.name, evidence=evidence, remedy=remedy)
        if len(found) == 1:
            return next(iter(found.values()))
        each = " or ".join(f"{name} ({cause.evidence})" for name, cause in found.items())
        return PairCause(evidence=f"{each}: each reproduces it" if found else "")

    def _fits(self, change: Change) -> bool:
        with suppress(CrashError):  # a number that an optimizer does not take
            ours, theirs = self.changed(change)
            return all(
                apart(ours.tensors[key], theirs.tensors[key]) <= SAFETY * float(self.floors[key]) for key in self.keys
            )
        return False

    def _fit(self, change: Change, is_reference: bool) -> float | None:
        assert change.value is not None
        target, own = (self._joined(each) for each in ((self.shown, self.exact)[:: 1 if is_reference else -1]))

        def show(value: float) -> Array | None:
            with suppress(CrashError):
                return self._joined(self.changed(change._replace(value=value))[0 if is_reference else 1])
            return None

        return fitted(change.value, show, own, target)

    def _joined(self, trace: Trace) -> Array:
        return joined({key: trace.tensors[key] for key in self.keys})


def _is_trained(pair: TensorPair, state: State, own: State) -> bool:
    return all(piece.path in state for piece in pair.reference) and all(piece.path in own for piece in pair.candidate)


def _gradients(
    weights: WeightMap, state: State, own: State, seed: int
) -> tuple[Sequence[dict[str, Array]], Sequence[dict[str, Array]]]:
    """Made-up gradients of the reference, and the same of the candidate, for each step."""
    rng = np.random.default_rng(seed)
    ours, theirs = [], []
    for size in SIZES:
        step = {name: size * rng.normal(size=array.shape) for name, array in state.items()}
        given = {name: np.zeros(array.shape) for name, array in own.items()}
        for pair in weights.tensors:
            if not _is_trained(pair, state, own):
                continue
            for piece in pair.reference[1:]:  # what is added up has one gradient
                step[piece.path][piece.indices] = pair.reference[0].of(step)
            for piece in pair.candidate:
                given[piece.path][piece.indices] = pair.ways[0](pair.reference[0].of(step))
        ours.append(step)
        theirs.append(given)
    return ours, theirs


def _trace(
    pairs: Sequence[tuple[ModulePair, TensorPair]], start: State, steps: Sequence[State], is_reference: bool
) -> Trace:
    """The change of each parameter in each step; its rounding is that of the parameter."""
    found = Trace()
    before = start
    for number, after in enumerate(steps):
        for _, pair in pairs:
            piece = pair.reference[0] if is_reference else pair.candidate[0]
            key = Key(number, Mode.TRAIN, Kind.UPDATED, str(pair.reference[0]))
            change = piece.of(after) - piece.of(before)
            found.tensors[key] = pair.ways[0](change) if is_reference else change
            found.scales[key] = np.asarray(piece.of(after))
        before = after
    return found
