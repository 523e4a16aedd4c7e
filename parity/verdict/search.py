"""The search for a cause: which faults, put into the reference, make it compute what a side computed.

A hypothesis is a reference with one more fault. It explains a *place* (mode, kind and path of a tensor) if with it no
tensor of that place is beyond its limit any more, in any episode and at any step; and it may bring nothing beyond its
limit that was within, and must explain at least half of the open places that it alters. So what a single step or tensor
suggests yields to what the others refute. The hypothesis that leaves the least is taken, and the search goes on with it
in place; what no hypothesis explains stays open.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from parity.verdict.compare import SAFETY, Distance, compare, drowned_tensors
from parity.verdict.noise import Witness
from parity.verdict.trace import Key, Kind, Mode, Trace

Place = tuple[Mode, Kind, str]
Open = Mapping[tuple[int, Key], Distance]  # what is beyond its limit, by episode and key, in causal order
# Before its own noise is measured a hypothesis may miss by this factor more: a fault that scales a tensor, by the
# batch's size say, scales its noise as well.
SCREEN = 1024.0
MOST_CAUSES = 4


class Hypothesis(Protocol):
    """A fault that could be the cause.

    Attributes:
        name: of the fault.
        reference: the reference with it, and with what was found before.
        is_rounding: whether what it makes is itself rounding, so that it is reproduced in size and not in every digit.
    """

    @property
    def name(self) -> str: ...

    @property
    def reference(self) -> Any: ...

    @property
    def is_rounding(self) -> bool: ...

    def has_own_evidence(self, opened: Open, own: Callable[[int], Witness]) -> bool:
        """Return whether what it needs beyond reproduction is there.

        Args:
            opened: what is open without it.
            own: what its reference shows of an episode, with its noise floor.
        """
        ...

    def is_rival(self, other: "Hypothesis") -> bool:
        """Return whether the two are different faults, and neither is a special case of the other."""
        ...


H = TypeVar("H", bound=Hypothesis)


@dataclass(frozen=True)
class Explanation(Generic[H]):
    """A hypothesis that was taken.

    Args:
        hypothesis: the fault.
        first: the first distance that it explains, with its episode.
        rivals: other hypotheses that leave as little; the cause is then not known.
    """

    hypothesis: H
    first: tuple[int, Distance]
    rivals: tuple[H, ...] = ()


class Search(Generic[H]):
    """The search on one side's traces.

    Args:
        traces: of the side, by episode.
        per_channel: of each episode.
        play: what a reference shows of an episode; None if it cannot.
        measure: the same with its noise floor.
        left_out: tensors of an episode that are not judged.
        allows_rivals: whether the first of several hypotheses that leave as little is taken.
    """

    def __init__(
        self,
        traces: Sequence[Trace],
        per_channel: Sequence[bool],
        play: Callable[[Any, int], Trace | None],
        measure: Callable[[Any, int], Witness],
        left_out: Callable[[int, Witness], frozenset[Key]] = lambda index, witness: frozenset(),
        allows_rivals: bool = True,
    ) -> None:
        self._traces, self._per_channel = traces, per_channel
        self._play, self._measure, self._left_out = play, measure, left_out
        self._allows_rivals = allows_rivals
        self._honest: dict[int, Witness] = {}

    def run(
        self, honest: Any, hypotheses: Callable[[Any, Open, Sequence[H]], Iterable[H]]
    ) -> tuple[list[Explanation[H]], Open]:
        """Find causes one after the other.

        Args:
            honest: the reference.
            hypotheses: to be tried on a reference, given what is open and what was taken before.

        Returns:
            What was found, and what stays open.
        """
        found: list[Explanation[H]] = []
        reference, opened = honest, self.divergences(honest)
        while opened and len(found) < MOST_CAUSES:
            taken = [each.hypothesis for each in found]
            best = self._best(reference, opened, hypotheses(reference, opened, taken))
            if best is None:
                break
            explanation, left = best
            found.append(explanation)
            if explanation.rivals:
                return found, left
            reference, opened = explanation.hypothesis.reference, left
        return found, opened

    def divergences(self, reference: Any) -> dict[tuple[int, Key], Distance]:
        """Return every distance of the side from a reference that is beyond its limit."""
        return dict(self._divergences(reference, range(len(self._traces))))

    def _divergences(self, reference: Any, episodes: Iterable[int]) -> Iterator[tuple[tuple[int, Key], Distance]]:
        for index in episodes:
            for distance in self._compare(index, self._measure(reference, index)):
                if distance.is_beyond:
                    yield (index, distance.key), distance

    def _compare(self, index: int, seen: Witness) -> Iterable[Distance]:
        left_out = drowned_tensors(seen) | self._left_out(index, seen)
        shown, per_channel = self._traces[index], self._per_channel[index]
        return compare(shown, seen.trace, seen.floors, per_channel, left_out, nan_matches=True)

    def _best(self, reference: Any, opened: Open, tried: Iterable[H]) -> tuple[Explanation[H], Open] | None:
        self._honest = {}
        best: list[tuple[H, Open]] = []
        for hypothesis in tried:
            if best and not best[0][1]:  # the first of its family explains everything; only a rival matters now
                if self._allows_rivals:
                    break
                if not hypothesis.is_rival(best[0][0]):
                    continue
            # Two roundings of the same size may have opposite signs, so a glance at one of them says nothing.
            if not (hypothesis.is_rounding or self._passes_screen(reference, hypothesis, opened)):
                continue
            left = self._left(hypothesis, opened, len(best[0][1]) if best else len(opened))
            if left is None or not self._holds(reference, hypothesis, opened, left):
                continue
            if best and len(left) < len(best[0][1]):
                best = []
            best.append((hypothesis, left))
        if not best:
            return None
        hypothesis, left = best[0]
        explained = _places(opened) - {_place(key) for _, key in left}
        first = next(item for item in opened.items() if _place(item[0][1]) in explained)
        rivals = () if self._allows_rivals else tuple(other for other, _ in best[1:] if hypothesis.is_rival(other))
        return Explanation(hypothesis, (first[0][0], first[1]), rivals), left

    def _left(self, hypothesis: H, opened: Open, most: int) -> Open | None:
        """What a hypothesis leaves open; None as soon as it explains no place, spoils a tensor, or leaves too many."""
        left: dict[tuple[int, Key], Distance] = {}
        explained = _places(opened)
        firsts = _first_episodes(opened)  # where every place is, so that what explains none is soon done with
        others = [index for index in range(len(self._traces)) if index not in firsts]
        for at, distance in self._divergences(hypothesis.reference, [*firsts, *others]):
            left[at] = distance
            explained.discard(_place(at[1]))
            # The outcome of several updates is no part's alone: beside another fault it may come and go.
            spoils = at not in opened and at[1].kind is not Kind.OUTCOME
            if spoils or not explained or len(left) > most:
                return None
        return dict(sorted(left.items(), key=lambda item: (item[0][0], item[1].order)))

    def _holds(self, reference: Any, hypothesis: H, opened: Open, left: Open) -> bool:
        """Whether it explains at least half of the open places that it alters, and has what evidence it needs."""
        own = partial(self._measure, hypothesis.reference)
        places = _places(opened)
        altered = {
            _place(key)
            for index, key in opened
            if _place(key) in places and _alters(own(index).trace, self._seen(reference, index).trace, key)
        }
        explained = places - {_place(key) for _, key in left}
        return 2 * len(explained) >= len(altered) and hypothesis.has_own_evidence(opened, own)

    def _seen(self, reference: Any, index: int) -> Witness:
        """What the present reference shows, with its noise floor; measured once for all hypotheses."""
        if index not in self._honest:
            self._honest[index] = self._measure(reference, index)
        return self._honest[index]

    def _passes_screen(self, reference: Any, hypothesis: H, opened: Open) -> bool:
        """Whether a fault brings an open place near enough for its own noise to be worth measuring, and spoils none."""
        explained = _places(opened)
        for index in _first_episodes(opened):
            seen, shown = self._seen(reference, index), self._play(hypothesis.reference, index)
            if shown is None:
                return False
            altered = {key: floor for key, floor in seen.floors.items() if _alters(shown, seen.trace, key)}
            explained -= {_place(key) for at, key in opened if at == index and key not in altered}
            helped = set()
            for distance in compare(self._traces[index], shown, altered, self._per_channel[index], nan_matches=True):
                key, is_far = distance.key, distance.times_noise > SCREEN * SAFETY
                before = opened.get((index, key))
                if before is None:
                    # Without a floor a distance is infinite, however small it is.
                    if is_far and distance.floor > 0 and key.kind is not Kind.OUTCOME:
                        return False
                elif is_far and isfinite(before.times_noise):
                    explained.discard(_place(key))
                elif isfinite(distance.distance) and distance.distance <= before.distance / 2:
                    helped.add(_place(key))
                if not explained:
                    return False
            if helped & explained:
                return True
        return False

    def nearest(self, reference: Any, opened: Open, tried: Iterable[H]) -> tuple[str, float] | None:
        """Return the hypothesis that explains most of the first open distance, and what it leaves, in noise floors.

        None if none explains more than half of it.
        """
        (index, _), first = next(iter(opened.items()))
        name, least = "", first.times_noise / 2
        for hypothesis in tried:
            shown = self._play(hypothesis.reference, index)
            if shown is None:
                continue
            found = self._compare(index, Witness(shown, self._seen(reference, index).floors))
            left = max((d.times_noise for d in found if d.order <= first.order), default=float("inf"))
            if left < least:
                name, least = hypothesis.name, left
        return (name, least) if name else None


def _place(key: Key) -> Place:
    return key.mode, key.kind, key.path


def _places(opened: Open) -> set[Place]:
    """What is to be explained; the outcome of several updates follows from the rest, and counts where it is alone."""
    places = {_place(key) for _, key in opened}
    return {place for place in places if place[1] is not Kind.OUTCOME} or places


def _first_episodes(opened: Open) -> list[int]:
    """The episodes where places first diverge."""
    places = _places(opened)
    firsts = {_place(key): index for index, key in reversed(list(opened)) if _place(key) in places}
    return sorted(set(firsts.values()))


def _alters(shown: Trace, reference: Trace, key: Key) -> bool:
    return not np.array_equal(shown.tensors.get(key, ()), reference.tensors[key], equal_nan=True)
