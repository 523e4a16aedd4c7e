"""The optimizers: both take the same steps from the same parameters, with the same gradients.

The gradients are made up: of several sizes, and in one step so large that a clip fires. A fault of the model does not
enter; what is held against each other is the change of each parameter in each step.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import log2

import numpy as np

from parity.backend.convention import FLOAT32_ISLAND, LIFTED, Change, Option, of_both, of_islands
from parity.backend.port import Island, Port, Rounding
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


@dataclass(frozen=True)
class Stepped:
    """What the steps of two optimizers show.

    Args:
        distances: all, step by step.
        changes: that are beyond their limits.
        cause: of these.
        islands: what each side computes in narrower numbers.
    """

    distances: tuple[Distance, ...] = ()
    changes: tuple[OptimizerChange, ...] = ()
    cause: PairCause = field(default_factory=PairCause)
    islands: tuple[tuple[Island, ...], tuple[Island, ...]] = ((), ())


def compare_optimizers(
    reference: Port, candidate: Port, weights: WeightMap, state: State, own: State, seed: int
) -> Stepped:
    """Let both optimizers take the same steps.

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

    def played(change: Change, is_reference: bool) -> Trace:
        if is_reference:
            return _trace(pairs, state, reference.optimize(ours, change=change), is_reference=True)
        return _trace(pairs, own, candidate.optimize(theirs, change=change), is_reference=False)

    if not beyond:
        return Stepped(distances)
    options = of_both(reference.optimizer_options(), candidate.optimizer_options())
    off = {change.distance.key.path for change in beyond}
    keys = {each.key for each in distances if each.key.path in off}
    made = _Optimizers(exact, shown, floors, keys, played)
    cause = made.cause(options, candidate.framework)
    islands = (tuple(reference.optimizer_islands()), tuple(candidate.optimizer_islands()))
    if cause.name == UNEXPLAINED and any(islands):
        with suppress(CrashError):  # what cannot be computed in float64
            made = made.lifted(*map(bool, islands))
            # What is computed in float32 explains nothing else.
            cause = made.of_islands(islands, candidate.framework) or made.cause(options, candidate.framework)
    return Stepped(distances, tuple(beyond), cause, islands)


def without_accepted(stepped: Stepped, seen: Mapping[Accepted, list[str]]) -> Stepped:
    """Return it without the changes that something accepted explains; the cause reproduces every step of each.

    Args:
        stepped: what the optimizers show.
        seen: what is accepted; the modules at which it is seen are added.
    """
    left: list[OptimizerChange] = []
    for change in stepped.changes:
        module = Segment(change.owner.reference.module, change.owner.candidate.module)
        entries = [each for each in seen if each.name == stepped.cause.name != UNEXPLAINED and each.covers(module)]
        for each in entries:
            seen[each].extend([module.reference] * (module.reference not in seen[each]))
        left += [] if entries else [change]
    return replace(stepped, changes=tuple(left))


@dataclass(frozen=True)
class _Optimizers:
    """The steps of two optimizers that part.

    Args:
        exact: the reference's.
        shown: the candidate's.
        floors: of noise.
        keys: the steps of every parameter of which one is off.
        played: the steps of one, with a convention changed: of the reference, or else of the candidate.
    """

    exact: Trace
    shown: Trace
    floors: Mapping[Key, Array]
    keys: set[Key]
    played: Callable[[Change, bool], Trace]

    def cause(self, options: Sequence[Option], framework: str) -> PairCause:
        """Return the option that reproduces all that is off, if there is one alone; else `unexplained`."""
        found: dict[str, PairCause] = {}
        fitting: list[Change] = []
        for option in options:
            change = option.change
            if change.value is not None:
                value = self._fit(change, option.is_reference)
                if value is None:
                    continue
                change = change._replace(value=value)
            if option.change.name not in found and self._fits(change, option.is_reference):
                evidence, _, remedy = words(option, change, framework)
                fitting.append(change)
                found[option.change.name] = PairCause(name=option.change.name, evidence=evidence, remedy=remedy)
        # What has no number to be fitted says more than what has one.
        exact = {change.name for change in fitting if change.value is None}
        rate = found.get("learning_rate") if exact == {"schedule_offset"} else None
        found = {name: cause for name, cause in found.items() if not exact or name in exact}
        if len(found) == 1:
            (cause,) = found.values()
            # An exponential schedule that is a step ahead is one of another rate, and nothing tells which is meant.
            return replace(cause, evidence=f"{cause.evidence}; or learning_rate: {rate.evidence}") if rate else cause
        each = " or ".join(f"{name} ({cause.evidence})" for name, cause in found.items())
        return PairCause(evidence=f"{each}: each reproduces it" if found else "")

    def lifted(self, ours: bool, theirs: bool) -> "_Optimizers":
        """Return the steps as they are where the reference, the candidate or both compute in float64."""
        exact = self.played(LIFTED, True) if ours else self.exact
        return replace(self, exact=exact, shown=self.played(LIFTED, False) if theirs else self.shown)

    def of_islands(self, islands: tuple[Sequence[Island], Sequence[Island]], framework: str) -> PairCause | None:
        """Return that narrower numbers are the cause, if the steps are the same without them."""
        if not self.are_equal(self.exact, self.shown):
            return None
        ours, theirs = islands
        (option,) = of_islands([*theirs, *ours])
        evidence, _, remedy = words(replace(option, is_reference=not theirs), LIFTED, framework)
        return PairCause(name=FLOAT32_ISLAND, evidence=evidence, remedy=remedy)

    def _fits(self, change: Change, is_reference: bool) -> bool:
        with suppress(CrashError):  # a number that an optimizer does not take
            played = self.played(change, is_reference)
            return self.are_equal(*((played, self.shown) if is_reference else (self.exact, played)))
        return False

    def are_equal(self, ours: Trace, theirs: Trace) -> bool:
        """Whether the steps of two are the same within their limits."""
        return all(
            apart(ours.tensors[key], theirs.tensors[key]) <= SAFETY * float(self.floors[key]) for key in self.keys
        )

    def _fit(self, change: Change, is_reference: bool) -> float | None:
        assert change.value is not None
        target, own = (self._joined(each) for each in ((self.shown, self.exact)[:: 1 if is_reference else -1]))

        def show(value: float) -> Array | None:
            with suppress(CrashError):
                return self._joined(self.played(change._replace(value=value), is_reference))
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
