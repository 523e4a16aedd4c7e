"""Why two models part: what-ifs put to what was recorded, and differences that the user has accepted."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import chain

from parity.backend.convention import CONVENTIONS, EXACT
from parity.errors import InputError, choices
from parity.pair.findings import KINDS, OF_THE_LOSS, Located, Map, Segment
from parity.pair.forced import Answer
from parity.pair.records import PairCause
from parity.pair.replay import Replays
from parity.pair.weight_map import role_of
from parity.pair.what_if import WHAT_IFS, Case, Predicted, WhatIf
from parity.verdict.compare import apart
from parity.verdict.trace import Array, Key
from parity.verdict.verdict import UNEXPLAINED


@dataclass(frozen=True)
class Accepted:
    """A difference that the user accepts.

    Args:
        name: of a what-if; or "unexplained".
        place: a pattern of module paths; of what is unexplained, the place as its finding says it.
        reason: why, in the user's words.
        at_most: of what is unexplained, the largest part of its size that it may be off by.
    """

    name: str
    place: str
    reason: str = ""
    at_most: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Accepted":
        """Read `NAME@PLACE`; without a place it is accepted everywhere.

        Raises:
            InputError: no what-if has this name.
        """
        name, _, place = str(text).partition("@")
        if name not in acceptable():
            raise InputError(
                f"{text!r} cannot be accepted: no difference is named {name!r}; {choices(name, acceptable())}"
            )
        return cls(name, place or "*")

    def covers(self, segment: Segment) -> bool:
        """Whether it is accepted at a segment."""
        return any(fnmatchcase(path, self.place) for path in (segment.reference, segment.candidate))

    def __str__(self) -> str:
        return f"{self.name}@{self.place}"


def acceptable() -> list[str]:
    """Return the names of the differences that can be accepted wherever they are."""
    return sorted({each.name for each in WHAT_IFS} | CONVENTIONS.keys())


@dataclass(frozen=True)
class Cases:
    """Makes the cases of a comparison.

    Args:
        graph: the boundaries.
        replays: of one side, with a convention changed.
    """

    graph: Map
    replays: Replays

    def of(self, answer: Answer, segment: Segment) -> Case:
        """Return the case of a segment in a batch."""
        roles = {role: path for path in answer.state for owner, role in (role_of(path),) if owner == segment.reference}
        return Case(answer, self.graph, segment, answer.state, roles)

    def predict(self, case: Case, name: str) -> Iterator[Predicted]:
        """Yield what the reference would show with a difference, for each form that it may have."""
        own = (each.predict(case) for each in WHAT_IFS if each.name == name)
        return chain(self.replays.predict(case, name), *own)  # a replay shows what follows backward as well

    def cause(self, located: Located, answers: Iterable[Answer]) -> PairCause:
        """Return the what-if that reproduces what the candidate shows of a segment in every batch, or `unexplained`."""
        played = {(each.batch, each.mode) for each in located.seen}
        cases = [self.of(a, located.segment) for a in answers if (a.batch.number, a.batch.mode) in played]
        off = {s.site.key(s.batch, s.mode) for s in located.seen if KINDS[s.site.kind] is located.kind}
        seen = {each.site.key(each.batch, each.mode) for each in located.seen}
        replayed = dict(self.replays.causes(cases, off, seen))
        found = dict(_explaining(located, cases, off)) | replayed
        least = min((predicted.weakness for predicted in found.values()), default=EXACT)
        found = {name: predicted for name, predicted in found.items() if predicted.weakness == least}
        if len(found) == 1:
            ((name, predicted),) = found.items()
            return PairCause(name=name, evidence=predicted.evidence, remedy=predicted.remedy)
        if found:
            each = (f"{name} ({predicted.evidence})" for name, predicted in found.items())
            return PairCause(evidence=f"{' or '.join(each)}: each reproduces it")
        return PairCause(name=UNEXPLAINED)


def _explaining(located: Located, cases: Sequence[Case], off: set[Key]) -> Iterator[tuple[str, Predicted]]:
    """The what-ifs that reproduce everything that is off, by name."""
    for what_if in WHAT_IFS:
        if what_if.kind is located.kind and (predicted := _explains(what_if, cases, off)) is not None:
            yield what_if.name, predicted


def _explains(what_if: WhatIf, cases: Sequence[Case], off: set[Key]) -> Predicted | None:
    """What a what-if predicts, if it reproduces everything that is off."""
    first: Predicted | None = None
    for case in cases:
        here = off & case.answer.sites.keys()
        if not here:
            continue
        predicted = (p for p in what_if.predict(case) if here <= p.tensors.keys() and case.reproduces(p.tensors))
        fitting = next(predicted, None)
        if fitting is None:
            return None
        first = first or fitting
    return first


def with_accepted(cases: Cases, answer: Answer, seen: Mapping[Accepted, list[str]]) -> tuple[Answer, dict[Key, Array]]:
    """Judge with differences that are accepted: where one is, the reference is what it would be with it.

    Args:
        cases: of what-ifs.
        answer: as it is judged without.
        seen: what is accepted; the modules at which it is seen are added.

    Returns:
        The answer, and what the reference shows with the differences.
    """
    replaced: dict[Key, Array] = {}
    for segment in dict.fromkeys(_segments(cases.graph, answer)):
        for each, modules in seen.items():
            if not each.covers(segment):
                continue
            case = cases.of(answer, segment)
            fitting = next((p for p in cases.predict(case, each.name) if case.reproduces(p.tensors)), None)
            if fitting is not None:
                replaced |= fitting.tensors
                modules += [segment.reference] * (segment.reference not in modules)
    return _judged(answer, replaced), replaced


def _segments(graph: Map, answer: Answer) -> Iterator[Segment]:
    for site in answer.sites.values():
        if site.owner is not None:
            yield Segment(site.owner.reference.module, site.owner.candidate.module)
        elif site.boundary is not None:
            yield graph.segment_before(site.boundary)
        else:
            yield OF_THE_LOSS


def _judged(answer: Answer, replaced: Mapping[Key, Array]) -> Answer:
    """An answer with some tensors held against others than the reference's."""
    found = []
    for distance in answer.distances:
        if distance.key in replaced and distance.is_beyond:
            key, array = distance.key, replaced[distance.key]
            left = apart(answer.sites[key].theirs(answer.shown), array)
            distance = replace(distance, distance=left, times_noise=answer.floors_from(key, array))
        found.append(distance)
    return replace(answer, distances=tuple(found))
