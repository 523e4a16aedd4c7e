"""What a model would show with one convention changed: it is run once more, forced as it was in the forced pass.

The reference is changed, if it can be, and must then show what the candidate does; else the candidate is, and must then
show what the reference does. All that is off is judged by one run: each boundary is forced, so each segment shows what
the change does to it alone.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress

import numpy as np

from parity.backend.convention import CONVENTIONS, Change, Option
from parity.errors import InputError
from parity.pair.findings import Seen
from parity.pair.fit import fitted
from parity.pair.forced import Answer
from parity.pair.guard import CrashError, Guarded
from parity.pair.what_if import Case, Predicted
from parity.verdict.compare import SAFETY, Distance
from parity.verdict.trace import Array, Key, Kind, Mode

LEAST_NUMBERS = 2  # that one which is fitted must explain
FORWARD = frozenset((Kind.ACTIVATION, Kind.LOSS, Kind.STATISTIC))
Tensors = dict[Key, Array]


class Replays:
    """Runs of one side with a convention changed.

    Args:
        reference: its port.
        candidate: its port.
    """

    def __init__(self, reference: Guarded, candidate: Guarded) -> None:
        self._reference, self._candidate = reference, candidate
        self._options: dict[tuple[int, Mode], tuple[bool, tuple[Option, ...]]] = {}
        self._distances: dict[tuple[int, Mode, Change, bool], dict[Key, float]] = {}
        self._fitted: dict[Change, list[float]] = {}  # values that explained something, by the change that is fitted

    def causes(self, cases: Sequence[Case], off: set[Key], seen: set[Key]) -> Iterator[tuple[str, Predicted]]:
        """Yield the name of each change that reproduces what is off in every case, with its evidence and remedy.

        Args:
            cases: of one segment.
            off: what is off in it, of one kind.
            seen: all that is off in it: a number that is fitted must explain that too, as it explains any one number.
        """
        names = set()
        for option in self._all(cases):
            if option.change.name in names or (change := self._reproducing(option, cases, off, seen)) is None:
                continue
            if not (any(key.kind in FORWARD for key in off) or all(self._keeps(case, change) for case in cases)):
                continue
            names.add(option.change.name)
            yield option.change.name, self._words(cases[0].answer, option, change)

    def _keeps(self, case: Case, change: Change) -> bool:
        """Whether a change that explains what is off backward leaves what agrees forward as it is."""
        shown = self._tensors(case.answer, change, set(case.keys(Kind.ACTIVATION)))
        return all(case.answer.floors_from(key, array) <= SAFETY for key, array in shown.items())

    def predict(self, case: Case, name: str) -> Iterator[Predicted]:
        """Yield what the reference would show of what is off in a segment, for each way of a convention.

        What is off backward before it, and follows, is there as well.
        """
        answer = case.answer
        every = {each.key for each in answer.beyond}
        off = {key for key in every if case.is_of(answer.sites[key])}
        behind = {each.key for each in answer.beyond if _is_behind(case, each)} if off else set()
        for option in self._all([case]) if name in CONVENTIONS and off else ():
            change = self._reproducing(option, [case], off, behind) if option.change.name == name else None
            if change is not None:
                shown = self._tensors(answer, change, every)
                tensors = {k: a for k, a in shown.items() if k in off or answer.floors_from(k, a) <= SAFETY}
                words = self._words(answer, option, change)
                yield Predicted(words.evidence, tensors, words.remedy)

    def _all(self, cases: Sequence[Case]) -> list[Option]:
        """The options in any of some cases."""
        found: dict[tuple[str, str], Option] = {}
        for case in cases:
            for option in self._of(case.answer)[1]:
                found.setdefault(option.change[:2], option)
        return list(found.values())

    def _of(self, answer: Answer) -> tuple[bool, tuple[Option, ...]]:
        """Whether it is the reference that can be changed in a batch, and its options; else the candidate's."""
        batch = answer.batch
        if (batch.number, batch.mode) not in self._options:
            found: tuple[bool, tuple[Option, ...]] = False, ()
            with suppress(CrashError, InputError):
                ours = tuple(self._reference.options(batch.ours, batch.mode))
                found = (True, ours) if ours else (False, tuple(self._candidate.options(batch.theirs, batch.mode)))
            self._options[batch.number, batch.mode] = found
        return self._options[batch.number, batch.mode]

    def _reproducing(
        self, option: Option, cases: Sequence[Case], off: set[Key], seen: Collection[Key] = ()
    ) -> Change | None:
        """The change that reproduces what is off in all cases; None if it does not.

        What is fitted must explain more than one number; where one is off, what is off backward as well.
        """
        here = [(case.answer, off & case.answer.sites.keys()) for case in cases]
        here = [(answer, keys) for answer, keys in here if keys]
        if not here or any(answer.batch.step for answer, _ in here):
            return None
        if option.change.value is None:
            return option.change if all(self._fits(*each, option.change) for each in here) else None
        numbers = sum(answer.witness.trace.tensors[key].size for answer, keys in here[:1] for key in keys)
        # One number, as a loss is, can be explained by any other: then what is off backward must be as well.
        every = here if numbers > 1 else [(case.answer, off.union(seen) & case.answer.sites.keys()) for case in cases]
        if numbers <= 1 and all(len(keys) < LEAST_NUMBERS for _, keys in every):
            return None
        for value in self._fitted.get(option.change, ()):
            change = option.change._replace(value=value)
            if all(self._fits(*each, change) for each in every):
                return change
        answer, keys = here[0]
        value = self._fit(answer, keys, option.change)
        if value is None:
            return None
        change = option.change._replace(value=value)
        if not all(self._fits(*each, change) for each in every):
            return None
        self._fitted.setdefault(option.change, []).append(value)
        return change

    def _fits(self, answer: Answer, keys: set[Key], change: Change) -> bool:
        """Whether the change reproduces some tensors within their limits."""
        batch, is_backward = answer.batch, not all(key.kind in FORWARD for key in keys)
        at = batch.number, batch.mode, change, is_backward
        if at not in self._distances:
            every = {each.key for each in answer.beyond if is_backward or each.key.kind in FORWARD}
            shown = self._tensors(answer, change, every)
            self._distances[at] = {key: answer.floors_from(key, array) for key, array in shown.items()}
        found = self._distances[at]
        return all(found.get(key, np.inf) <= SAFETY for key in keys)

    def _tensors(self, answer: Answer, change: Change, keys: set[Key]) -> Tensors:
        """What the reference would show, so that the candidate is held against it; nothing if it cannot be run so."""
        batch, is_backward = answer.batch, not all(key.kind in FORWARD for key in keys)
        is_reference, _ = self._of(answer)
        port, inputs = (self._reference, batch.ours) if is_reference else (self._candidate, batch.theirs)
        forced = answer.pairing.own(answer.own) if is_reference else answer.pairing.forced(answer.own)
        try:
            played = port.play(inputs, batch.mode, forced, is_backward=is_backward, change=change)
        except (CrashError, InputError):  # what the model then computes has other shapes, say
            return {}
        found = {}
        for key in keys:
            site = answer.sites[key]
            with suppress(KeyError, ValueError):  # a value that has another shape
                if is_reference:
                    found[key] = site.ours(played)
                else:
                    found[key] = answer.witness.trace.tensors[key] + site.theirs(answer.shown) - site.theirs(played)
        return found

    def _fit(self, answer: Answer, keys: set[Key], change: Change) -> float | None:
        """Solve for the value with which the reference shows what the candidate does."""
        assert change.value is not None

        def show(value: float) -> Array | None:
            tensors = self._tensors(answer, change._replace(value=value), keys)
            return joined(tensors) if tensors.keys() == keys else None

        own = joined({key: answer.witness.trace.tensors[key] for key in keys})
        target = joined({key: answer.sites[key].theirs(answer.shown) for key in keys})
        return fitted(change.value, show, own, target)

    def _words(self, answer: Answer, option: Option, change: Change) -> Predicted:
        """The evidence and what to write, without tensors."""
        is_reference, _ = self._of(answer)
        told = words(option, change, is_reference, self._candidate.framework)
        return Predicted(*told, is_fitted=change.value is not None)


def words(option: Option, change: Change, is_reference: bool, framework: str) -> tuple[str, dict[Key, Array], str]:
    """Return what a change says of two models, and what to write in the candidate.

    Args:
        option: the change is of.
        change: with its value.
        is_reference: whether it is the reference that is changed.
        framework: the candidate's.
    """
    numbers = {} if change.value is None else {"value": change.value, "rest": 1 - change.value}
    other = option.other.format(**numbers)
    if is_reference:
        return f"{other}; in the reference {option.own}", {}, option.writes.get(framework, "")
    remedy = option.writes["other"].format(**numbers)
    return f"in the candidate {option.own}; in the reference {other}", {}, remedy


def _is_behind(case: Case, distance: Distance) -> bool:
    """Whether what is off is the gradient that a segment gives to what it is given."""
    batch, site = case.answer.batch, case.answer.sites[distance.key]
    seen = Seen(batch.number, batch.mode, site, distance)
    return site.kind is Kind.COTANGENT and case.graph.segment_of(seen) == case.segment


def joined(tensors: Mapping[Key, Array]) -> Array:
    """Return all numbers of some tensors, in one order."""
    return np.concatenate([np.ravel(tensors[key]) for key in sorted(tensors, key=str)])
