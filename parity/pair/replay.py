"""What a model would show with one convention changed: it is run once more, forced as it was in the forced pass.

The reference is changed, if it can be, and must then show what the candidate does; else the candidate is, and must then
show what the reference does. All that is off is judged by one run: each boundary is forced, so each segment shows what
the change does to it alone.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress

import numpy as np

from parity.backend.convention import CONVENTIONS, ROUNDING, Change, Option, of_both
from parity.errors import InputError
from parity.pair.findings import Seen
from parity.pair.fit import fitted
from parity.pair.forced import Answer, Asked, witness
from parity.pair.guard import CrashError, Guarded
from parity.pair.what_if import Case, Predicted
from parity.verdict.compare import SAFETY, Distance, apart, in_units
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
        self._options: dict[tuple[int, Mode], tuple[Option, ...]] = {}
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
            is_shown = any(key.kind in (Kind.ACTIVATION, Kind.LOSS) for key in off)
            if not (is_shown or all(self._keeps(case, option, change) for case in cases)):
                continue
            names.add(option.change.name)
            yield option.change.name, self._words(option, change)

    def _keeps(self, case: Case, option: Option, change: Change) -> bool:
        """Whether a change that explains what is off otherwise leaves what agrees forward as it is."""
        shown = self._tensors(case.answer, option, change, set(case.keys(Kind.ACTIVATION)))
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
                shown = self._tensors(answer, option, change, every)
                tensors = {k: a for k, a in shown.items() if k in off or answer.floors_from(k, a) <= SAFETY}
                words = self._words(option, change)
                yield Predicted(words.evidence, tensors, words.remedy)

    def _all(self, cases: Sequence[Case]) -> list[Option]:
        """The options in any of some cases."""
        found: dict[tuple[str, str], Option] = {}
        for case in cases:
            for option in self._of(case.answer):
                found.setdefault(option.change[:2], option)
        return list(found.values())

    def _of(self, answer: Answer) -> tuple[Option, ...]:
        """The options in a batch."""
        batch = answer.batch
        if (batch.number, batch.mode) not in self._options:
            ours: Sequence[Option] = ()
            theirs: Sequence[Option] = ()
            with suppress(CrashError, InputError):
                ours = self._reference.options(batch.ours, batch.mode)
            with suppress(CrashError, InputError):
                theirs = self._candidate.options(batch.theirs, batch.mode)
            self._options[batch.number, batch.mode] = of_both(ours, theirs)
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
        if option.weakness == ROUNDING:
            is_shown = option.is_reference and all(self._is_as_far(*each, option.change) for each in here)
            return option.change if is_shown else None
        if option.change.value is None:
            return option.change if all(self._fits(*each, option, option.change) for each in here) else None
        numbers = sum(answer.witness.trace.tensors[key].size for answer, keys in here[:1] for key in keys)
        # One number, as a loss is, can be explained by any other: then what is off backward must be as well.
        every = here if numbers > 1 else [(case.answer, off.union(seen) & case.answer.sites.keys()) for case in cases]
        if numbers <= 1 and all(len(keys) < LEAST_NUMBERS for _, keys in every):
            return None
        for value in self._fitted.get(option.change, ()):
            change = option.change._replace(value=value)
            if all(self._fits(*each, option, change) for each in every):
                return change
        answer, keys = here[0]
        value = self._fit(answer, keys, option)
        if value is None:
            return None
        change = option.change._replace(value=value)
        if not all(self._fits(*each, option, change) for each in every):
            return None
        self._fitted.setdefault(option.change, []).append(value)
        return change

    def _fits(self, answer: Answer, keys: set[Key], option: Option, change: Change) -> bool:
        """Whether the change reproduces some tensors within their limits."""
        batch, is_backward = answer.batch, not all(key.kind in FORWARD for key in keys)
        at = batch.number, batch.mode, change, is_backward
        if at not in self._distances:
            every = {each.key for each in answer.beyond if is_backward or each.key.kind in FORWARD}
            shown = self._tensors(answer, option, change, every)
            self._distances[at] = {key: answer.floors_from(key, array) for key, array in shown.items()}
        found = self._distances[at]
        return all(found.get(key, np.inf) <= SAFETY for key in keys)

    def _is_as_far(self, answer: Answer, keys: set[Key], change: Change) -> bool:
        """Whether some tensors are as far off as rounding would make the reference be with the change."""
        is_backward = not all(key.kind in FORWARD for key in keys)
        found, forced = [answer.sites[key] for key in keys], answer.pairing.own(answer.own)
        asked = Asked(answer.batch, answer.state, answer.own)
        try:
            floors = witness(self._reference, asked, found, forced, is_backward=is_backward, change=change).floors
        except (CrashError, InputError):  # it cannot be run so
            return False
        far = [
            float(in_units(np.asarray(apart(site.theirs(answer.shown), site.ours(answer.own))), floors[key]))
            for key, site in zip(keys, found, strict=True)
        ]
        return 1 / SAFETY <= max(far) <= SAFETY

    def _tensors(self, answer: Answer, option: Option, change: Change, keys: set[Key]) -> Tensors:
        """What the reference would show, so that the candidate is held against it; nothing if it cannot be run so."""
        batch, is_backward = answer.batch, not all(key.kind in FORWARD for key in keys)
        port, inputs = (self._reference, batch.ours) if option.is_reference else (self._candidate, batch.theirs)
        forced = answer.pairing.own(answer.own) if option.is_reference else answer.pairing.forced(answer.own)
        try:
            played = port.play(inputs, batch.mode, forced, is_backward=is_backward, change=change)
        except (CrashError, InputError):  # what the model then computes has other shapes, say
            return {}
        found = {}
        for key in keys:
            site = answer.sites[key]
            with suppress(KeyError, ValueError):  # a value that has another shape
                if option.is_reference:
                    found[key] = site.ours(played)
                else:
                    found[key] = answer.witness.trace.tensors[key] + site.theirs(answer.shown) - site.theirs(played)
        return found

    def _fit(self, answer: Answer, keys: set[Key], option: Option) -> float | None:
        """Solve for the value with which the reference shows what the candidate does."""
        change = option.change
        assert change.value is not None

        def show(value: float) -> Array | None:
            tensors = self._tensors(answer, option, change._replace(value=value), keys)
            return joined(tensors) if tensors.keys() == keys else None

        own = joined({key: answer.witness.trace.tensors[key] for key in keys})
        target = joined({key: answer.sites[key].theirs(answer.shown) for key in keys})
        return fitted(change.value, show, own, target)

    def _words(self, option: Option, change: Change) -> Predicted:
        """The evidence and what to write, without tensors."""
        return Predicted(*words(option, change, self._candidate.framework), weakness=option.weakness)


def words(option: Option, change: Change, framework: str) -> tuple[str, dict[Key, Array], str]:
    """Return what a change says of two models, and what to write in the candidate.

    Args:
        option: the change is of.
        change: with its value.
        framework: the candidate's.
    """
    numbers = {} if change.value is None else {"value": change.value, "rest": 1 - change.value}
    other = option.other.format(**numbers)
    if option.is_reference:
        return f"{other}; in the reference {option.own}", {}, option.writes.get(framework, option.writes.get("", ""))
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
