"""What may be settled otherwise, where something is off: how tensors are made, their partners, what is paired."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations

from parity.backend.port import Anatomy, Boundary, End
from parity.pair.findings import Map, is_within
from parity.pair.owners import Member
from parity.pair.pairing import Pairing
from parity.pair.weight_map import ModulePair, TensorPair, WeightMap, is_named, likeness
from parity.verdict.trace import Kind


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
class Trial:
    """What may be changed: the weight map, or the boundaries that are left out."""

    weights: WeightMap
    dropped: frozenset[Boundary]
    changes: tuple[Change, ...] = ()


def trials(best: Settled, anatomies: tuple[Anatomy, Anatomy]) -> Iterator[Trial]:
    """Yield what may be changed where something is off, the likeliest first.

    Args:
        best: what is settled so far.
        anatomies: of both models.
    """
    graph = Map(*anatomies, best.pairing)
    off = [b for b in best.pairing.boundaries if name(Kind.ACTIVATION, b) in best.off]
    suspects = _suspects(best, off)
    sources = {source.call.module for b in off for source in graph.sources(b)}
    near = [each for each in best.weights.modules if each in suspects or each.reference.module in sources]
    if best.weights.converter is not None:
        near = []  # what the user has given is not exchanged
    return chain(
        _without_values(best), _other_ways(best, suspects), _exchanges(best, near), _without_boundaries(best, graph)
    )


def _without_values(best: Settled) -> Iterator[Trial]:
    """Values of a function left out: a module may use what it gives once more, as an LSTM's cell does.

    Then a function's value of these numbers has another gradient.
    """
    values = [b for b, p in best.pairing.boundaries.items() if p.is_of_value and name(Kind.COTANGENT, b) in best.off]
    for each in ([values] if len(values) > 1 else []) + [[b] for b in values]:
        yield Trial(best.weights, best.dropped.union(each))


def _suspects(best: Settled, off: Sequence[Boundary]) -> list[ModulePair]:
    """The modules whose tensors may be made in another way."""
    # A symmetric matrix shows only in its gradient how it lies.
    kernels = {each for each in best.off if each.startswith(f"{Kind.GRADIENT}: ")}
    modules = {b.call.module for b in off} | {
        each.reference.module
        for each in best.weights.modules
        if any(f"{Kind.GRADIENT}: {piece} 0" in kernels for pair in each.tensors for piece in pair.reference)
    }
    paired = {call.module for call in best.pairing.calls}
    # What is not paired itself computes within a module that is; what holds a module may use its tensors before it.
    return [
        each
        for each in best.weights.modules
        if (module := each.reference.module) in modules
        or (module not in paired and any(is_within(module, other) for other in modules))
        or any(is_within(other, module) for other in modules)
    ]


def _exchanges(best: Settled, near: Sequence[ModulePair]) -> Iterator[Trial]:
    """Two modules exchanged. A function holds each tensor by itself: then what a module holds goes together."""
    held: dict[Member, list[ModulePair]] = defaultdict(list)
    for each in near:
        held[each.reference].append(each)
    together = [each for each in held.values() if len(each) > 1]
    # Of a recurrent layer what it makes of its input, kernel and bias, has the form of what it makes of its state.
    halves = [half for each in together for half in _halves(each)]
    for ones, others in (*combinations(together, 2), *combinations([[each] for each in near], 2), *halves):
        if (exchanged := best.weights.exchanged(ones, others)) is not None:
            changes = tuple(exchange(one, other) for one, other in zip(ones, others, strict=True))
            yield Trial(exchanged, best.dropped, changes)
    for module in near:
        if (turned := best.weights.turned(module)) is not None:
            yield Trial(turned, best.dropped)


def _halves(held: Sequence[ModulePair]) -> Iterator[tuple[Sequence[ModulePair], Sequence[ModulePair]]]:
    """Two tensors after each other, and the two after these."""
    for start in range(0, len(held) - 3, 2):
        yield held[start : start + 2], held[start + 2 : start + 4]


def _without_boundaries(best: Settled, graph: Map) -> Iterator[Trial]:
    """A boundary left out, where both compute the same with another border between two modules."""
    owners = {each.reference.module: each for each in best.weights.modules}
    for b, boundaries in best.pairing.boundaries.items():
        is_off = any(name(kind, b) in best.off for kind in (Kind.ACTIVATION, Kind.COTANGENT))
        owner, without = owners.get(b.call.module), Trial(best.weights, best.dropped | {b})
        if not is_off or not b.call.module:
            continue
        if owner is None:
            yield without
        elif b.end is End.INPUT and boundaries.layout.changes_axes:
            # What enters a convolution and a dense layer over patches has no layout in common; its kernel then lies
            # as the patches do.
            yield without
            for trial in _other_ways(best, [owner]):
                yield replace(trial, dropped=without.dropped)
        elif b.end is End.OUTPUT and any(name(Kind.ACTIVATION, each) in best.off for each in graph.users(b)):
            # One side may do after a module what the other does in it, scale an embedding say: if what follows is
            # right once this is left out, both compute the same.
            yield without


def _other_ways(best: Settled, suspects: Sequence[ModulePair]) -> Iterator[Trial]:
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
        yield Trial(weights, best.dropped, tuple(changes))


def _leaves(pair: TensorPair) -> tuple[str, ...]:
    return tuple(pieces[0].path.rpartition(".")[2] for pieces in (pair.reference, pair.candidate))


def exchange(one: ModulePair, other: ModulePair) -> Change:
    """Return that two modules are exchanged."""
    words = f"{one.candidate} does what {other.reference} does, and {other.candidate} {one.reference}"
    return Change(words, (one, other))


def name(kind: Kind, boundary: Boundary) -> str:
    """Return what a site at a boundary is called among those that are off."""
    return f"{kind}: {boundary}"
