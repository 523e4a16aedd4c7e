"""The weight map, the pairs of calls and the layouts, settled by what the candidate then computes.

Of the proposals the one is taken under which the fewest values are off, in the forced pass. Then what is off is tried
otherwise: a tensor made in another way, two modules of the same shapes exchanged, a module that only contains others
not paired. A change is kept if fewer values are off with it. Nothing is settled by the candidate's noise: what is off
here is off by far more than rounding, and whether it is within the limit is judged afterwards.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from parity.backend.port import Anatomy, Boundary, Call, End, Played, Port
from parity.pair.findings import Map, is_within
from parity.pair.forced import Asked
from parity.pair.owners import Member
from parity.pair.pairing import Pairing, pair_boundaries, pair_calls, pair_values
from parity.pair.sites import Site, sites
from parity.pair.weight_map import ModulePair, TensorPair, WeightMap, is_named, likeness
from parity.verdict.noise import rms
from parity.verdict.trace import Kind
from parity.weights import Array

OFF = 1e-7  # of a value's size: in float64 a billion times what rounding does, and below any usual mistake
MOST_PLAYS = 500
MOST_ROUNDS = 10


@dataclass(frozen=True)
class Change:
    """Something that the proposed weight map had otherwise.

    Args:
        words: what is so instead.
        modules: the pairs of modules that it is about, as they were proposed.
        tensor: the tensor that is made in another way; None where two modules are exchanged.
    """

    words: str
    modules: tuple[ModulePair, ...]
    tensor: TensorPair | None = None

    @property
    def is_difference(self) -> bool:
        """Whether it contradicts what names and conventions say, and so is a difference of the two models."""
        if self.tensor is not None:
            return self.tensor.is_usual
        one, other = self.modules
        if not all(is_named(str(member)) for pair in self.modules for member in (pair.reference, pair.candidate)):
            return False
        # A guess by names that are only a little alike is no evidence: each must mean the same in both models.
        return all(_last_likeness(pair.reference, pair.candidate) == 1 for pair in self.modules) and not any(
            _last_likeness(pair.reference, partner.candidate) == 1 for pair, partner in ((one, other), (other, one))
        )


def _last_likeness(one: Member, other: Member) -> float:
    return likeness(str(one).rpartition(".")[2], str(other).rpartition(".")[2])


@dataclass(frozen=True)
class Settled:
    """What was settled.

    Args:
        weights: the map.
        pairing: the boundaries.
        off: the sites that are off with it.
        dropped: boundaries of the reference that are not paired, since the candidate has no such value, or none that is
            used as this one is: then its cotangent alone is not.
        changes: what was changed of the proposal.
    """

    weights: WeightMap
    pairing: Pairing
    off: frozenset[str]
    dropped: frozenset[Boundary] = frozenset()
    changes: tuple[Change, ...] = ()

    @property
    def paired(self) -> int:
        """How many boundaries are paired, or left out on purpose: what is not paired cannot be off."""
        return len(self.pairing.boundaries.keys() | self.dropped)


@dataclass(frozen=True)
class _Trial:
    """What may be changed: the weight map, or the boundaries that are left out."""

    weights: WeightMap
    dropped: frozenset[Boundary]
    changes: tuple[Change, ...] = ()


class Settling:
    """Tries weight maps and pairings on one batch.

    Args:
        candidate: its port.
        anatomies: of both.
        state: of the reference.
    """

    def __init__(self, candidate: Port, anatomies: tuple[Anatomy, Anatomy], state: Mapping[str, Array]) -> None:
        self._candidate, self._anatomies, self._state = candidate, anatomies, state
        self._asked: Sequence[Asked] = ()
        self._plays = 0

    def settle(self, maps: Sequence[WeightMap], asked: Sequence[Asked]) -> Settled:
        """Return the best of several weight maps, with what can be mended in it.

        Args:
            maps: are tried.
            asked: a batch in its modes, and what the reference shows of it.
        """
        self._asked = asked
        tried = [self._try(weights, frozenset()) for weights in maps]
        best = min(tried, key=lambda each: len(each.off) - each.paired)
        changes = _renamed(maps[0], best.weights)
        best = replace(best, changes=changes)
        while best.off and (better := self._better(best)) is not None:
            best = better
        self.load(best.weights)
        return best

    def is_off_at_inputs(self, settled: Settled) -> bool:
        """Whether something is off that the model, or the loss, computes at once of what it is given."""
        graph = Map(*self._anatomies, settled.pairing)
        off = (b for b in settled.pairing.boundaries if _name(Kind.ACTIVATION, b) in settled.off)
        given = Call("", 0), End.INPUT
        at_inputs = (all((each.call, each.end) == given for each in graph.sources(b)) for b in off)
        return any(at_inputs) or any(name.startswith(f"{Kind.LOSS}: ") for name in settled.off)

    def _better(self, best: Settled) -> Settled | None:
        """A change with which fewer are off; of what is left out with it, nothing counts."""
        for trial in self._trials(best):
            if self._plays > MOST_PLAYS:
                return None
            left_out = {
                _name(kind, b) for b in trial.dropped - best.dropped for kind in (Kind.ACTIVATION, Kind.COTANGENT)
            }
            found = self._try(trial.weights, trial.dropped)
            if len(found.off) - found.paired < len(best.off - left_out) - best.paired:
                return replace(found, changes=(*best.changes, *trial.changes))
        return None

    def _trials(self, best: Settled) -> Iterator[_Trial]:
        dropped = best.dropped
        # A module may use what it gives once more, as an LSTM's cell does: then a function's value of these numbers has
        # another gradient.
        values = [
            b for b, p in best.pairing.boundaries.items() if p.is_of_value and _name(Kind.COTANGENT, b) in best.off
        ]
        for each in ([values] if len(values) > 1 else []) + [[b] for b in values]:
            yield _Trial(best.weights, dropped.union(each))
        graph = Map(*self._anatomies, best.pairing)
        off = [b for b in best.pairing.boundaries if _name(Kind.ACTIVATION, b) in best.off]
        modules = {b.call.module for b in off}
        # A symmetric matrix shows only in its gradient how it lies.
        kernels = {name for name in best.off if name.startswith(f"{Kind.GRADIENT}: ")}
        modules |= {
            each.reference.module
            for each in best.weights.modules
            if any(f"{Kind.GRADIENT}: {piece} 0" in kernels for pair in each.tensors for piece in pair.reference)
        }
        paired = {call.module for call in best.pairing.calls}
        # What is not paired itself computes within a module that is; what holds a module may use its tensors before it.
        suspects = [
            each
            for each in best.weights.modules
            if (module := each.reference.module) in modules
            or (module not in paired and any(is_within(module, other) for other in modules))
            or any(is_within(other, module) for other in modules)
        ]
        yield from _other_ways(best, suspects)
        sources = {source.call.module for b in off for source in graph.sources(b)}
        if best.weights.converter is not None:
            sources, suspects = set(), []  # what the user has given is not exchanged
        near = [each for each in best.weights.modules if each in suspects or each.reference.module in sources]
        held: dict[Member, list[ModulePair]] = defaultdict(list)
        for (
            each
        ) in near:  # a function holds each tensor by itself: then what the reference's module holds goes together
            held[each.reference].append(each)
        together = [each for each in held.values() if len(each) > 1]
        for ones, others in (*combinations(together, 2), *combinations([[each] for each in near], 2)):
            if (exchanged := best.weights.exchanged(ones, others)) is not None:
                changes = tuple(_exchange(one, other) for one, other in zip(ones, others, strict=True))
                yield _Trial(exchanged, dropped, changes)
        owners = {each.reference.module: each for each in best.weights.modules}
        for b, boundaries in best.pairing.boundaries.items():
            is_off = any(_name(kind, b) in best.off for kind in (Kind.ACTIVATION, Kind.COTANGENT))
            owner = owners.get(b.call.module)
            if not is_off or not b.call.module:
                continue
            if owner is None:
                yield _Trial(best.weights, dropped | {b})
            elif b.end is End.INPUT and boundaries.layout.changes_axes:
                # What enters a convolution and a dense layer over patches has no layout in common; its kernel then lies
                # as the patches do.
                yield _Trial(best.weights, dropped | {b})
                for trial in _other_ways(best, [owner]):
                    yield replace(trial, dropped=dropped | {b})
            elif b.end is End.OUTPUT and any(_name(Kind.ACTIVATION, each) in best.off for each in graph.users(b)):
                # One side may do after a module what the other does in it, scale an embedding say: if what follows is
                # right once this is left out, both compute the same.
                yield _Trial(best.weights, dropped | {b})

    def load(self, weights: WeightMap) -> None:
        """Give the candidate the reference's weights."""
        theirs = self._anatomies[1]
        forms = {**theirs.parameters, **theirs.statistics}
        paths = {piece.path for pair in weights.tensors for piece in pair.candidate}
        empty = {path: np.zeros(forms[path].shape, forms[path].dtype) for path in paths}
        self._candidate.load(weights.load(self._state, empty))

    def _try(self, weights: WeightMap, dropped: frozenset[Boundary]) -> Settled:
        """What is off with a weight map; layouts are found again for it."""
        self.load(weights)
        self._plays += 1
        pairing = pair(self._candidate, self._anatomies, self._asked[0], weights, dropped)
        off: set[str] = set()
        for asked in self._asked:
            shown = self._candidate.play(asked.batch.theirs, asked.batch.mode, pairing.forced(asked.own))
            off |= _off(sites(pairing, weights, asked.own, shown, asked.batch.where), asked.own, shown)
        return Settled(weights, pairing, frozenset(off), dropped)


def _other_ways(best: Settled, suspects: Sequence[ModulePair]) -> Iterator[_Trial]:
    """Tensors made in another way; where no names tell the way all of one name first, as a model has one convention.

    A layer that is saturated does not show how its kernel lies, and goes by the others.
    """
    tried, every = (
        [(each, pair, way) for each in modules for pair in each.tensors for way in pair.ways[1:]]
        for modules in (suspects, best.weights.modules)
    )
    groups = [
        [each for each in every if not each[1].is_usual and (*_leaves(each[1]), each[2].name) == key]
        for key in dict.fromkeys((*_leaves(pair), way.name) for _, pair, way in tried)
    ]
    for group in (*(group for group in groups if len(group) > 1), *([each] for each in tried)):
        weights, changes = best.weights, []
        for module, pair, way in group:
            weights = weights.changed(pair, way)
            changes.append(Change(f"{pair.candidate[0]} is {pair.reference[0]} {way.name}", (module,), pair))
        yield _Trial(weights, best.dropped, tuple(changes))


def _leaves(pair: TensorPair) -> tuple[str, ...]:
    return tuple(pieces[0].path.rpartition(".")[2] for pieces in (pair.reference, pair.candidate))


def pair(
    candidate: Port,
    anatomies: tuple[Anatomy, Anatomy],
    asked: Asked,
    weights: WeightMap,
    dropped: frozenset[Boundary] = frozenset(),
) -> Pairing:
    """Pair the boundaries of a batch, by the values that the candidate computes.

    Args:
        candidate: its port, with the reference's weights.
        anatomies: of both, for this batch.
        asked: the batch, and what the reference shows of it.
        weights: the map.
        dropped: boundaries of the reference that have no partner.
    """
    calls = pair_calls(*anatomies, weights)
    batch, own = asked.batch, asked.own
    free = candidate.play(batch.theirs, batch.mode)
    pairing = pair_boundaries(calls, *anatomies, own.values, free.values).without(dropped)
    pairing = pairing.pinned(batch.layouts)
    pairing = pair_values(pairing, anatomies, own, free, dropped)
    del free  # a model's values are many
    for _ in range(MOST_ROUNDS):  # where the free pass was off, values fit only once what goes in is right
        shown = candidate.play(batch.theirs, batch.mode, pairing.forced(own))
        fitted = pairing.with_layouts(own.values, shown.values).pinned(batch.layouts)
        fitted = pair_values(fitted, anatomies, own, shown, dropped)
        if fitted == pairing:
            break
        pairing = fitted
    return pairing


def _renamed(proposal: WeightMap, chosen: WeightMap) -> tuple[Change, ...]:
    """Pairs of modules that are exchanged, compared with what their names say."""
    by_name = {pair.reference: pair for pair in proposal.modules}
    now = {pair.candidate: pair for pair in chosen.modules}
    changes: list[Change] = []
    seen: set[Member] = set()
    for pair in chosen.modules:
        named = by_name.get(pair.reference)
        other = None if named is None else now.get(named.candidate)
        if named is None or other is None or named.candidate == pair.candidate or pair.reference in seen:
            continue
        seen |= {pair.reference, other.reference}
        partner = by_name.get(other.reference)
        if partner is not None and partner.candidate == pair.candidate:
            changes.append(_exchange(named, partner))
    return tuple(changes)


def _exchange(one: ModulePair, other: ModulePair) -> Change:
    words = f"{one.candidate} does what {other.reference} does, and {other.candidate} {one.reference}"
    return Change(words, (one, other))


def _name(kind: Kind, boundary: Boundary) -> str:
    return f"{kind}: {boundary}"


def _off(found: Sequence[Site], ours: Played, theirs: Played) -> set[str]:
    """The sites where the two differ by far more than rounding, or where one is no number."""
    largest: dict[Kind, float] = {}
    apart: list[tuple[Site, float, float]] = []
    for site in found:
        one, other = site.ours(ours), site.theirs(theirs)
        if one.shape != other.shape:
            apart.append((site, np.inf, 1.0))
            continue
        with np.errstate(all="ignore"):
            apart.append((site, float(rms(other - one)), float(rms(one))))
        largest[site.kind] = max(largest.get(site.kind, 0.0), apart[-1][2])
    # What is 0 up to rounding, such as the gradient of a bias before batch norm, has no size of its own.
    least = {kind: OFF * size for kind, size in largest.items()}
    return {
        _name(site.kind, site.boundary) if site.boundary else f"{site.kind}: {site.path} {site.number}"
        for site, distance, size in apart
        if not distance <= OFF * max(size, least.get(site.kind, 0.0))
    }
