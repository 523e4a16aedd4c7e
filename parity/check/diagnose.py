"""Why two disagree: which fault, put into the reference, makes it compute what the side computed.

The reference is played on what the side showed (`replay`), so that every part is judged alone. A cause is named only if
the reference with that fault reproduces the side within the limit, where the limit is measured on the faulty reference
itself (`parity.verdict.search`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from parity.check.catalogue import CATALOGUE, FaultEntry
from parity.check.evidence import DRAWN, EVIDENCE, Evidence
from parity.check.fits import FITS, Case, Values
from parity.check.lockstep import WITNESS, Comparison, jumps, unsure_update
from parity.check.records import Cause, Question
from parity.check.replay import replay, replay_witness
from parity.check.words import layer_of, tensor_words
from parity.errors import InputError
from parity.process import SideError
from parity.reference import NumpyBackend
from parity.reference.faults import part_of
from parity.verdict.compare import SAFETY, Distance
from parity.verdict.noise import MANTISSA_BITS, Unit, Witness
from parity.verdict.search import Explanation, Hypothesis, Open, Search
from parity.verdict.trace import Array, Key, Kind, Mode, Trace
from parity.verdict.verdict import UNEXPLAINED

FLOAT32_THROUGHOUT = "float32_throughout"


def explain_role(honest: NumpyBackend, comparison: Comparison, role: str, unit: Unit) -> tuple[Cause, ...]:
    """Return the causes of a side's divergences, first things first; none if it has none.

    Args:
        honest: the reference.
        comparison: of lockstep.
        role: the side.
        unit: the rounding that is allowed.
    """
    return _Diagnosis(honest, comparison, role, unit).causes()


@dataclass(frozen=True)
class _Reference:
    """A reference to be played.

    Args:
        backend: with the faults that were found.
        judged_by: whose noise floors hold; None for its own.
    """

    backend: NumpyBackend
    judged_by: "_Reference | None" = None


@dataclass(frozen=True)
class FaultHypothesis:
    """A fault of the catalogue, with fitted values, in one hidden layer or everywhere."""

    entry: FaultEntry
    values: Values
    layer: int | None
    reference: _Reference

    @property
    def name(self) -> str:
        """The fault's."""
        return self.entry.name

    @property
    def is_rounding(self) -> bool:
        """Whether what it makes is itself rounding."""
        return self.entry.random

    def is_rival(self, other: Hypothesis) -> bool:
        """Return whether the two are of different families."""
        return isinstance(other, FaultHypothesis) and self.entry.family != other.entry.family

    def has_own_evidence(self, opened: Open, own: Callable[[int], Witness]) -> bool:
        """Return whether the part that it replaces diverges, and if it is itself rounding, by as much as it makes.

        That a parameter has no gradient is no fault of its own in a layer whose activations are not explained: it may
        be of no use there.
        """
        parameter = self.values.get("parameter")
        if parameter is not None and layer_of(parameter) in {
            layer_of(key.path) for _, key in opened if key.kind is Kind.ACTIVATION and key.mode is Mode.TRAIN
        }:
            return False
        starts = self.entry.starts_at
        found = {at: d for at, d in opened.items() if at[1].mode is Mode.TRAIN and at[1].path.endswith(starts)}
        if not starts or (found and not self.entry.random):
            return True
        # A single rounding error is by chance far smaller than usual, but hardly by the square of the safety factor.
        return any(SAFETY**2 * d.distance >= np.max(own(index).floors[key]) for (index, key), d in found.items())


class _Diagnosis:
    def __init__(self, honest: NumpyBackend, comparison: Comparison, role: str, unit: Unit) -> None:
        self._comparison, self._role, self._unit = comparison, role, unit
        self._episodes, self._traces = comparison.episodes, list(comparison.traces[role])[: len(comparison.episodes)]
        self._spec = self._episodes[0].spec
        self._honest = _Reference(honest)
        self._measured: dict[tuple[int, int], tuple[_Reference, Witness]] = {}
        self._is_narrow = unit.bits < MANTISSA_BITS["float64"]
        self._search: Search[FaultHypothesis] = Search(
            self._traces,
            [episode.per_channel for episode in self._episodes],
            self._play,
            self._measure,
            self._left_out,
            allows_rivals=not self._is_narrow,
        )

    def causes(self) -> tuple[Cause, ...]:
        """Causes in the order of what they explain; what nothing explains is one of them."""
        if self._comparison.question is Question.SEMANTIC and self._is_float32_throughout():
            return (self._float32_throughout(),)
        if not self._diverges():
            return ()
        found, opened = self._search.run(self._honest, self._hypotheses)
        if opened:  # what is in keeping with the witness only follows from what is not explained
            found = [each for each in found if self._diverges(each.first[1].key)]
        placed = [
            ((each.first[0], each.first[1].order), self._rivals(each) if each.rivals else self._named(each))
            for each in found
        ]
        if opened and not any(each.rivals for each in found):
            reference = found[-1].hypothesis.reference if found else self._honest
            (index, _), first = next(iter(opened.items()))
            placed.append(((index, first.order), self._unexplained(reference, opened)))
        if not placed:
            placed.append(((0, 0), self._whole()))
        return tuple(cause for _, cause in sorted(placed, key=lambda item: item[0]))

    # Playing

    def _diverges(self, at: Key | None = None) -> bool:
        """Whether the side diverges from the witness: anywhere, or at a place in any episode and at any step."""
        return any(
            m.is_beyond and (at is None or m.key[1:4] == at[1:4])
            for m in self._comparison.measurements
            if m.pair == (self._role, WITNESS)
        )

    def _play(self, reference: _Reference, index: int) -> Trace | None:
        try:
            return replay(reference.backend, self._episodes[index], self._traces[index])
        except (InputError, SideError, ValueError, IndexError):  # a fault that does not fit what the side showed
            return None

    def _measure(self, reference: _Reference, index: int) -> Witness:
        key = id(reference), index
        if key not in self._measured:
            episode, shown = self._episodes[index], self._traces[index]
            if reference.judged_by is None:
                seen = replay_witness(reference.backend, episode, shown, self._unit)
            else:
                floors = self._measure(reference.judged_by, index).floors
                seen = Witness(replay(reference.backend, episode, shown), floors)
            self._measured[key] = reference, seen  # the reference is kept, so that no other has its id
        return self._measured[key][1]

    def _left_out(self, index: int, seen: Witness) -> frozenset[Key]:
        """What jumps where the side does not show which units are active, and rounding can switch one."""
        if not self._is_narrow:
            return frozenset()
        episode = self._episodes[index]
        unsure = unsure_update(episode, self._traces[index], self._comparison.witnesses[self._role][index])
        if unsure is None:
            return frozenset()
        # Every update is played from the side's own state, so a switched unit matters in its own update only.
        return frozenset(key for key in seen.floors if key.kind is Kind.GRADIENT and jumps(episode, key, unsure))

    # What is tried

    def _hypotheses(
        self, reference: _Reference, opened: Open, taken: Sequence[FaultHypothesis]
    ) -> Iterator[FaultHypothesis]:
        used = {(_part(each.name), each.layer) for each in taken}
        for entry in CATALOGUE.values():
            # A fault whose own value is none here may still have another, which is fitted.
            is_possible = entry.possible(self._spec) if entry.name in FITS else entry.applies(self._spec)
            if not is_possible or entry.shows_in == "inputs":
                continue
            if entry.shows_in == "precision" and not self._is_narrow:
                continue
            for layer in self._layers_of(entry, opened):
                if (_part(entry.name), layer) not in used:
                    yield from self._fitted(entry, reference, opened, layer)

    def _layers_of(self, entry: FaultEntry, opened: Open) -> list[int | None]:
        """Everywhere; and of a part that each layer has, in one of the first two layers that diverge."""
        if not entry.is_of_a_layer or self._spec.num_hidden_layers == 1:
            return [None]
        own = [key for _, key in opened if key.kind in (Kind.ACTIVATION, Kind.STATISTIC)]
        layers = {layer for key in own if isinstance(layer := layer_of(key.path), int)}
        return [None, *sorted(layers)[:2]]

    def _fitted(
        self, entry: FaultEntry, reference: _Reference, opened: Open, layer: int | None
    ) -> Iterator[FaultHypothesis]:
        (index, _), _ = next(iter(opened.items()))
        first, there = self._case(0, layer), self._case(index, layer)
        fit = FITS.get(entry.name)
        place = {} if layer is None else {"layer": layer}
        for values in fit(first, there) if fit else ({},):
            backend = reference.backend.with_fault(entry.name, **place, **values)
            judged_by = reference if entry.is_exact else None
            yield FaultHypothesis(entry, values, layer, _Reference(backend, judged_by))

    def _case(self, index: int, layer: int | None) -> Case:
        seen = self._comparison.witnesses[self._role][index].trace
        return Case(self._episodes[index], self._traces[index], seen, layer)

    # What is said

    def _named(self, found: Explanation[FaultHypothesis]) -> Cause:
        (index, first), layer = found.first, found.hypothesis.layer
        entry, values = found.hypothesis.entry, found.hypothesis.values
        made = EVIDENCE[entry.name](self._case(0, layer), values) if entry.name in EVIDENCE else None
        sentence = made.sentence if made else f"{entry.what}: {entry.signature}"
        if layer is not None:
            sentence = f"in hidden layer {layer} alone: {sentence}"
        drawn = made if made and made.predicted is not None else self._drawing(index, first)
        evidence = f"{sentence} ({self._times(index, first)}; with this fault the reference reproduces it)"
        return self._cause(entry.name, evidence, drawn)

    def _rivals(self, found: Explanation[FaultHypothesis]) -> Cause:
        index, first = found.first
        names = ", ".join(dict.fromkeys(each.name for each in (found.hypothesis, *found.rivals)))
        evidence = f"{self._times(index, first)}; {names} reproduce it alike, so none is named"
        return self._cause(UNEXPLAINED, evidence, self._drawing(index, first))

    def _unexplained(self, reference: _Reference, opened: Open) -> Cause:
        (index, key), first = next(iter(opened.items()))
        evidence = f"{self._times(index, first)}; no fault of the catalogue reproduces it"
        if key.kind is Kind.SIDE_EFFECT:
            evidence = f"evaluation changes the state: {evidence}"
        nearest = self._search.nearest(reference, opened, self._hypotheses(reference, opened, ()))
        if nearest is not None:
            name, left = nearest
            what = "explains it, but not what follows" if left <= SAFETY else f"leaves {left:.2g} times the noise floor"
            evidence += f"; nearest is {name}, which {what}"
        return self._cause(UNEXPLAINED, evidence, self._drawing(index, first))

    def _whole(self) -> Cause:
        """Each part does what it should with what it is given, and yet the whole is off."""
        first = next(m for m in self._comparison.measurements if m.is_beyond and m.pair == (self._role, WITNESS))
        index = next(i for i, episode in enumerate(self._episodes) if episode.label(first.key) == first.step)
        evidence = f"{self._times(index, first)}; every part agrees with the reference on what it is given"
        return Cause(name=UNEXPLAINED, evidence=evidence, side=self._role)

    def _cause(self, name: str, evidence: str, drawn: Evidence) -> Cause:
        return Cause(
            name=name, evidence=evidence, side=self._role,
            predicted=drawn.predicted, observed=drawn.observed, axes=drawn.axes,
        )  # fmt: skip

    def _drawing(self, index: int, first: Distance) -> Evidence:
        honest = self._measure(self._honest, index).trace.tensors[first.key]
        observed = self._traces[index].tensors[first.key]
        step = max(1, honest.size // DRAWN)
        return Evidence("", honest.ravel()[::step], observed.ravel()[::step], tensor_words(first.key))

    def _times(self, index: int, first: Distance) -> str:
        size = (
            f"{first.times_noise:.2g} times the noise floor" if np.isfinite(first.times_noise) else "beyond any noise"
        )
        label, layer = self._episodes[index].label(first.key), layer_of(first.key.path)
        where = label if isinstance(label, str) else f"step {label}"
        return f"{tensor_words(first.key)} at {where}{'' if layer is None else f', layer {layer}'} is {size} away"

    # Float32 in float64's place

    def _is_float32_throughout(self) -> bool:
        kinds = (Kind.ACTIVATION, Kind.GRADIENT, Kind.STATISTIC, Kind.UPDATED)
        shown = [array for key, array in self._traces[0].tensors.items() if key.kind in kinds]
        is_computed = all(np.isfinite(array).all() for array in shown) and any(array.any() for array in shown)
        return is_computed and all(_is_float32(array) for array in shown) and self._diverges()

    def _float32_throughout(self) -> Cause:
        evidence = (
            "float64 was asked for, and every activation, gradient and new weight that it shows is a float32 number: "
            "it computes in float32"
        )
        return Cause(name=FLOAT32_THROUGHOUT, evidence=evidence, side=self._role)


def _is_float32(array: Array) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.array_equal(array, array.astype(np.float32).astype(np.float64), equal_nan=True))


def _part(name: str) -> str:
    """The part that a fault takes; conventions can be wrong several at once, and so can faults of several parts."""
    part = part_of(name)
    return name if part in ("conventions", "parts") else part
