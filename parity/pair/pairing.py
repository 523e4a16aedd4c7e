"""Which boundary of the candidate is which of the reference's: by the tensors that modules hold, and by values."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from parity.backend.port import Anatomy, Boundary, Call, End, Forced, Played
from parity.pair.layout import EXACT, Layout, best_layout, misfit
from parity.pair.owners import Member
from parity.pair.weight_map import WeightMap, is_named
from parity.weights import Array

Values = Mapping[Boundary, Array]
ROUNDED = 1e-13  # of a value's size: apart by a few roundings, so that which of two fits better means nothing
NEARLY = 100.0  # times the best fit


@dataclass(frozen=True)
class BoundaryPair:
    """A value of the reference and the candidate's that should equal it.

    Args:
        reference: where it crosses.
        candidate: the same.
        layout: how the candidate's lies.
        has_cotangent: whether their cotangents are a pair too.
    """

    reference: Boundary
    candidate: Boundary
    layout: Layout
    has_cotangent: bool = True

    @property
    def is_of_value(self) -> bool:
        """Whether it is paired by its numbers: one side has no modules."""
        return End.VALUE in (self.reference.end, self.candidate.end)


@dataclass(frozen=True)
class Pairing:
    """Calls and boundaries of two models, side by side.

    Args:
        calls: the candidate's for each of the reference's.
        boundaries: by the reference's, in the order in which values cross them.
    """

    calls: Mapping[Call, Call]
    boundaries: Mapping[Boundary, BoundaryPair]

    def forced(self, own: Played) -> Forced:
        """Return what is put in the place of the candidate's values: the reference's, as the candidate has them."""
        values, cotangents = (
            {
                pair.candidate: pair.layout.to_candidate(shown[boundary])
                for boundary, pair in self.boundaries.items()
                if boundary in shown and (pair.has_cotangent or shown is own.values)
            }
            for shown in (own.values, own.cotangents)
        )
        return Forced(values=values, cotangents=cotangents)

    def own(self, played: Played) -> Forced:
        """Return the reference's own values at these boundaries, to be put in the place of what it computes."""
        values, cotangents = (
            {
                boundary: shown[boundary]
                for boundary, pair in self.boundaries.items()
                if boundary in shown and (pair.has_cotangent or shown is played.values)
            }
            for shown in (played.values, played.cotangents)
        )
        return Forced(values=values, cotangents=cotangents)

    def only(self, call: Call) -> "Pairing":
        """Return it with the boundaries of one call alone."""
        return replace(self, boundaries={b: pair for b, pair in self.boundaries.items() if b.call == call})

    def without(self, boundaries: Iterable[Boundary]) -> "Pairing":
        """Return it without some boundaries."""
        dropped = set(boundaries)
        return replace(self, boundaries={b: pair for b, pair in self.boundaries.items() if b not in dropped})

    def pinned(self, layouts: Mapping[str, Sequence[int]]) -> "Pairing":
        """Return it with the given order of axes for what leaves some modules of the reference."""
        found = dict(self.boundaries)
        for b, pair in self.boundaries.items():
            axes = layouts.get(b.call.module)
            if axes is not None and b.end is End.OUTPUT and len(axes) == len(pair.layout.reference):
                shape = pair.layout.reference
                found[b] = replace(pair, layout=Layout(shape, shape, tuple(axes), pair.layout.candidate))
        return replace(self, boundaries=found)

    def with_layouts(self, ours: Values, theirs: Values) -> "Pairing":
        """Return it with the layouts that fit values best; those that fit as they are stay."""
        found = {}
        for boundary, pair in self.boundaries.items():
            best = best_layout(ours[boundary], theirs[pair.candidate], pair.layout)
            found[boundary] = pair if best is None else replace(pair, layout=best[0])
        return replace(self, boundaries=found)


def pair_calls(reference: Anatomy, candidate: Anatomy, weights: WeightMap) -> dict[Call, Call]:
    """Return the candidate's call for each call of the reference that has one.

    What holds tensors is paired by the weight map, and what contains the same of these: the outermost with the
    outermost. The two models themselves are a pair.
    """
    members = {(pair.reference, pair.candidate): number for number, pair in enumerate(weights.modules)}
    ours = _contents(reference, {number: ours for (ours, _), number in members.items()})
    theirs = _contents(candidate, {number: theirs for (_, theirs), number in members.items()})
    found: dict[Call, Call] = {}
    whole = Call("", 0)
    for held in ours:
        levels = list(zip(_levels(ours[held]), _levels(theirs.get(held, [])), strict=False))
        for one, other in levels:
            if len(one) == len(other):
                found |= zip(one, other, strict=True)
    found[whole] = whole
    holders = {member.module for pair in members for member in pair}
    found |= _by_name(found, reference, candidate, holders)
    return {each.call: found[each.call] for each in reference.calls if each.call in found}


def _by_name(
    found: Mapping[Call, Call], reference: Anatomy, candidate: Anatomy, holders: Collection[str]
) -> dict[Call, Call]:
    """Pairs of modules without tensors that have the same name, called in modules that are a pair.

    What holds tensors and is called another number of times in the other model computes something else: one side has a
    layer for a whole sequence, say, and the other a cell for a step of it.
    """
    taken = set(found.values())
    waiting = {
        (each.parent, each.call.module.rpartition(".")[2], each.call.number): each.call
        for each in candidate.calls
        if each.call not in taken and is_named(each.call.module) and each.call.module not in holders
    }
    pairs: dict[Call, Call] = {}
    for each in reference.calls:
        parent = None if each.parent is None else found.get(each.parent)
        other = waiting.get((parent, each.call.module.rpartition(".")[2], each.call.number))
        is_free = each.call not in found and each.call.module not in holders
        if is_free and parent is not None and other is not None:
            pairs[each.call] = other
    return pairs


Contents = dict[frozenset[int], list[tuple[int, Call]]]


def _contents(anatomy: Anatomy, members: Mapping[int, Member]) -> Contents:
    """The calls, with their depths, by the pairs of modules that compute within them."""
    called = {each.call.module for each in anatomy.calls}
    by_module: dict[str, list[tuple[int, Member]]] = defaultdict(list)
    for number, member in members.items():
        module = member.module
        while module and module not in called:  # what is not called itself is used by what holds it
            module = module.rpartition(".")[0]
        by_module[module].append((number, member if module == member.module else Member(module)))
    parents = {each.call: each.parent for each in anatomy.calls}
    within: dict[Call, set[int]] = defaultdict(set)
    depths: dict[Call, int] = {}
    for each in anatomy.calls:
        depths[each.call] = 0 if each.parent is None else depths.get(each.parent, 0) + 1
        here = {
            number for number, member in by_module[each.call.module] if each.call.number % member.steps == member.step
        }
        at: Call | None = each.call
        while at is not None:
            within[at] |= here
            at = parents.get(at)
    found: Contents = defaultdict(list)
    for call, held in within.items():
        if held:
            found[frozenset(held)].append((depths[call], call))
    return found


def _levels(calls: Sequence[tuple[int, Call]]) -> list[list[Call]]:
    """Calls of the same contents: those of the outermost module first."""
    found: dict[tuple[int, str], list[Call]] = defaultdict(list)
    for depth, call in calls:
        found[depth, call.module].append(call)
    return [found[key] for key in sorted(found, key=lambda key: key[0])]


def pair_boundaries(
    calls: Mapping[Call, Call], reference: Anatomy, candidate: Anatomy, ours: Values, theirs: Values
) -> Pairing:
    """Pair what enters and leaves the paired calls: by value where that tells, else in order.

    Args:
        calls: the pairs.
        reference: its anatomy.
        candidate: the same.
        ours: the reference's values.
        theirs: the candidate's.
    """
    found: dict[Boundary, BoundaryPair] = {}
    own, other = _by_call(reference), _by_call(candidate)
    for call, partner in calls.items():
        for end in (End.INPUT, End.OUTPUT):
            found |= _pair_end(own[call, end], other[partner, end], ours, theirs)
    return Pairing(calls, {b: found[b] for b in reference.boundaries if b in found})


def pair_values(
    pairing: Pairing,
    models: tuple[Anatomy, Anatomy],
    ours: Played,
    theirs: Played,
    forward_only: Collection[Boundary] = frozenset(),
) -> Pairing:
    """Pair what modules of one side give with what operations give of a function without modules, by their numbers.

    Two values are a pair if they hold the same numbers in some layout. So only what is computed from right values is
    paired. Where several values hold the same numbers, as before and after a reshape, the one is taken whose gradient
    fits as well: another may be used elsewhere too. If none does, the first in the order of computation is taken, and
    its gradient is not compared.

    Args:
        pairing: what is paired already.
        models: both anatomies.
        ours: what the reference shows.
        theirs: what the candidate shows.
        forward_only: boundaries of the reference whose cotangents are not compared.
    """
    if not any(b.end is End.VALUE for anatomy in models for b in anatomy.boundaries):
        return pairing
    found = {b: pair for b, pair in pairing.boundaries.items() if pair.has_cotangent or not pair.is_of_value}
    alike, waiting = (_by_numbers(*each) for each in zip(models, (ours, theirs), strict=True))
    taken = {pair.candidate for pair in found.values()}
    ours_used, theirs_used = map(_used, models)
    for numbers, own in alike.items():
        for b in own:
            fitting = [] if b in found else _fitting(b, [c for c in waiting[numbers] if c not in taken], ours, theirs)
            if fitting:
                best = next((each for each in fitting if _gradients_fit(each, ours, theirs)), None)
                is_single = len(own) == len(waiting[numbers]) == 1 and b not in forward_only
                # A module may give what nothing uses, as a recurrent one its last state beside all of its states.
                is_single &= (b in ours_used) is (fitting[0].candidate in theirs_used)
                found[b] = best or replace(fitting[0], has_cotangent=is_single)
                taken.add(found[b].candidate)
    return replace(pairing, boundaries={b: found[b] for b in models[0].boundaries if b in found})


def _used(anatomy: Anatomy) -> set[Boundary]:
    """The boundaries whose values something is computed from; the model's output is the loss's."""
    outputs = {b for b in anatomy.boundaries if not b.call.module and b.end is End.OUTPUT}
    return outputs.union(*anatomy.sources.values())


def _by_numbers(anatomy: Anatomy, played: Played) -> dict[tuple[int, str], list[Boundary]]:
    """The floating-point values that something gives, by what arrays of the same numbers share in whatever order."""
    found: dict[tuple[int, str], list[Boundary]] = defaultdict(list)
    for b in anatomy.boundaries:
        value = played.values[b]
        if b.end is not End.INPUT and value.dtype.kind == "f" and value.size:
            with np.errstate(all="ignore"):
                found[value.size, f"{np.sqrt(np.mean(np.square(value))):.6e}"].append(b)
    return found


def _fitting(b: Boundary, others: Iterable[Boundary], ours: Played, theirs: Played) -> list[BoundaryPair]:
    """The pairs that hold the same numbers; what is nearly the same, as a saturated unit is, gives way to what is."""
    tried = ((c, best_layout(ours.values[b], theirs.values[c])) for c in others)
    fits = [(best[1], BoundaryPair(b, c, best[0])) for c, best in tried if best is not None and best[1] <= EXACT]
    least = min((misfit for misfit, _ in fits), default=0.0)
    return [pair for misfit, pair in fits if misfit <= max(ROUNDED, NEARLY * least)]


def _gradients_fit(pair: BoundaryPair, ours: Played, theirs: Played) -> bool:
    one, other = ours.cotangents.get(pair.reference), theirs.cotangents.get(pair.candidate)
    return one is not None and other is not None and misfit(pair.layout, one, other) <= EXACT


def _by_call(anatomy: Anatomy) -> Mapping[tuple[Call, End], list[Boundary]]:
    found: dict[tuple[Call, End], list[Boundary]] = defaultdict(list)
    for boundary in anatomy.boundaries:
        found[boundary.call, boundary.end].append(boundary)
    return found


def _once(boundaries: Sequence[Boundary], values: Values) -> tuple[list[Boundary], set[Boundary]]:
    """Each value once, and those that are there again."""
    kept: list[Boundary] = []
    repeated: set[Boundary] = set()
    for b in boundaries:
        same = (c for c in kept if values[b].size > 1 and np.array_equal(values[b], values[c]))
        if (first := next(same, None)) is None:
            kept.append(b)
        else:
            repeated.add(first)
    return kept, repeated


def _have_one_structure(ours: Sequence[Boundary], theirs: Sequence[Boundary]) -> bool:
    """Whether values go by their names: those of a dictionary, and what leaves the two models as a whole."""
    if [b.leaf for b in ours] != [c.leaf for c in theirs] and {b.leaf for b in ours} != {c.leaf for c in theirs}:
        return False
    is_output = all(b.call == Call("", 0) and b.end is End.OUTPUT for b in (*ours, *theirs))
    return is_output or all(b.leaf.endswith("']") for b in ours)


def _pair_end(
    ours: Sequence[Boundary], theirs: Sequence[Boundary], own: Values, other: Values
) -> Iterator[tuple[Boundary, BoundaryPair]]:
    """Pair the values of one end of a call: the best fits first. What is no float must be equal to be paired.

    Of a value that enters more than once, as query, key and value say, nothing tells which gradient is which: it is
    paired once, without its cotangent. The sum of the gradients is compared where the value comes from. Where names
    tell, each is paired.
    """
    is_by_leaf = _have_one_structure(ours, theirs)
    repeated, others = set(), set()
    if not is_by_leaf:
        (ours, repeated), (theirs, others) = _once(ours, own), _once(theirs, other)
    fits = []
    for i, b in enumerate(ours):
        for j, c in enumerate(theirs):
            if is_by_leaf and b.leaf != c.leaf:
                continue
            is_float = own[b].dtype.kind == "f", other[c].dtype.kind == "f"
            best = best_layout(own[b], other[c]) if is_float[0] == is_float[1] else None
            if best is not None and (is_float[0] or best[1] == 0):
                # What does not fit goes by its order.
                fits.append((min(best[1], 1e-3), abs(i - j), i, j, best[0]))
    taken: tuple[set[int], set[int]] = set(), set()
    for _, _, i, j, layout in sorted(fits, key=lambda fit: fit[:4]):
        if i not in taken[0] and j not in taken[1]:
            taken[0].add(i)
            taken[1].add(j)
            is_single = ours[i] not in repeated and theirs[j] not in others
            yield ours[i], BoundaryPair(ours[i], theirs[j], layout, is_single)
