"""Everything of two models that is compared: where it is, and what each side shows of it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from parity.backend.port import Boundary, End, Played
from parity.pair.owners import Piece
from parity.pair.pairing import BoundaryPair, Pairing
from parity.pair.part import Part, parts
from parity.pair.weight_map import ModulePair, TensorPair, WeightMap
from parity.verdict.trace import Key, Kind, Mode, Trace
from parity.weights import Array

Shown = Callable[[Played], Array]


@dataclass(frozen=True)
class Site:
    """Something that both sides show.

    Args:
        kind: of tensor.
        path: in words.
        number: tells apart what has the same path.
        ours: what the reference shows of it.
        theirs: what the candidate shows, as the reference has it.
        boundary: of the reference, if it is a value there or its cotangent.
        owner: the modules that hold it, if it is a gradient or a statistic.
    """

    kind: Kind
    path: str
    number: int
    ours: Shown
    theirs: Shown
    boundary: Boundary | None = None
    owner: ModulePair | None = None

    def key(self, batch: int, mode: Mode) -> Key:
        """Return its key in a trace."""
        return Key(batch, mode, self.kind, self.path, self.number)


def words(boundary: Boundary) -> str:
    """Name a boundary: `encoder.0 output`, with the number of the call and the leaf where there are several."""
    (module, number), end, leaf = boundary
    if end is End.VALUE:
        return f"value {leaf}{f' (step {number})' if number else ''}"
    return f"{module or 'the model'}{f' (call {number})' if number else ''} {end}{leaf}"


def sites(
    pairing: Pairing, weights: WeightMap, ours: Played, theirs: Played, where: NDArray[np.bool_] | None = None
) -> list[Site]:
    """Return what is compared, in causal order; no loss, gradient or statistic that the reference has not as numbers.

    Args:
        pairing: the boundaries.
        weights: the tensors.
        ours: what the reference shows.
        theirs: what the candidate shows.
        where: the positions that count, along the first axes of values; what has other axes counts as a whole.
    """
    both = [pair for b, pair in pairing.boundaries.items() if b in ours.values and pair.candidate in theirs.values]
    backward = [
        p for p in both if p.has_cotangent and p.reference in ours.cotangents and p.candidate in theirs.cotangents
    ]
    found = [site for pair in both for site in _values(Kind.ACTIVATION, "values", pair, ours.values, where)]
    if ours.loss is not None and theirs.loss is not None and np.isfinite(ours.loss):
        found.append(Site(Kind.LOSS, "loss", 0, _loss, _loss))
    for pair in reversed(backward):
        found += _values(Kind.COTANGENT, "cotangents", pair, ours.cotangents, where)
    for kind, name in ((Kind.GRADIENT, "gradients"), (Kind.STATISTIC, "statistics")):
        found += _tensors(kind, name, weights, getattr(ours, name), getattr(theirs, name))
    return found


def _loss(played: Played) -> Array:
    return np.array(played.loss, float)


def _values(
    kind: Kind, name: str, pair: BoundaryPair, own: Mapping[Boundary, Array], where: NDArray[np.bool_] | None
) -> Iterator[Site]:
    """What crosses a boundary; where it holds a mask's numbers, those and the rest each for itself."""

    def ours(part: Part, played: Played) -> Array:
        return part.ours(np.asarray(getattr(played, name)[pair.reference], float))

    def theirs(part: Part, played: Played) -> Array:
        return part.theirs(pair.layout.to_reference(np.asarray(getattr(played, name)[pair.candidate], float)))

    for number, part in enumerate(parts(np.asarray(own[pair.reference], float), where)):
        path = words(pair.reference) + (", where it is masked" if number else "")
        yield Site(kind, path, number, partial(ours, part), partial(theirs, part), boundary=pair.reference)


def _tensors(
    kind: Kind, name: str, weights: WeightMap, ours: Mapping[str, Array], theirs: Mapping[str, Array]
) -> Iterator[Site]:
    """Each piece of the reference beside each of the candidate's that is made of it, in the candidate's layout."""

    def own(pair: TensorPair, piece: Piece, played: Played) -> Array:
        return pair.ways[0](piece.of(getattr(played, name)))

    def other(pair: TensorPair, piece: Piece, played: Played) -> Array:
        return piece.of(getattr(played, name))

    for owner in weights.modules:
        for pair in owner.tensors:
            if kind is Kind.GRADIENT and not pair.ways[0].moves_only:
                continue  # how its gradient is made is not known
            for piece in pair.reference:
                for number, partner in enumerate(pair.candidate):
                    if piece.path in ours and partner.path in theirs and _is_number(ours[piece.path]):
                        shown = partial(own, pair, piece), partial(other, pair, partner)
                        yield Site(kind, str(piece), number, *shown, owner=owner)


def _is_number(array: Array) -> bool:
    """Whether it can be compared: it is finite; of complex numbers the two frameworks' gradients are conjugates."""
    return array.dtype.kind != "c" and bool(np.isfinite(array).all())


def trace(found: list[Site], batch: int, mode: Mode, ours: Played | None = None, theirs: Played | None = None) -> Trace:
    """Return what one side showed at these sites."""
    if ours is not None:
        return Trace({site.key(batch, mode): site.ours(ours) for site in found})
    assert theirs is not None
    return Trace({site.key(batch, mode): site.theirs(theirs) for site in found})
