"""The weight map, the pairs of calls and the layouts, settled by what the candidate then computes.

Of the proposals the one is taken under which the fewest values are off, in the forced pass. Then what is off is tried
otherwise: a tensor made in another way, two modules of the same shapes exchanged, a module that only contains others
not paired. A change is kept if fewer values are off with it. Nothing is settled by the candidate's noise: what is off
here is off by far more than rounding, and whether it is within the limit is judged afterwards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from parity.backend.port import Anatomy, Boundary, Call, End, Played, Port
from parity.pair.findings import Map
from parity.pair.forced import Asked
from parity.pair.owners import Member
from parity.pair.pairing import Pairing, pair_boundaries, pair_calls, pair_values
from parity.pair.sites import Site, sites
from parity.pair.trials import Change, Settled, exchange, name, trials
from parity.pair.weight_map import WeightMap
from parity.verdict.noise import rms
from parity.verdict.trace import Kind
from parity.weights import Array

OFF = 1e-7  # of a value's size: in float64 a billion times what rounding does, and below any usual mistake
MOST_PLAYS = 500
MOST_ROUNDS = 10


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
        off = (b for b in settled.pairing.boundaries if name(Kind.ACTIVATION, b) in settled.off)
        given = Call("", 0), End.INPUT
        at_inputs = (all((each.call, each.end) == given for each in graph.sources(b)) for b in off)
        return any(at_inputs) or any(name.startswith(f"{Kind.LOSS}: ") for name in settled.off)

    def _better(self, best: Settled) -> Settled | None:
        """A change with which fewer are off; of what is left out with it, nothing counts."""
        for trial in trials(best, self._anatomies):
            if self._plays > MOST_PLAYS:
                return None
            left_out = {
                name(kind, b) for b in trial.dropped - best.dropped for kind in (Kind.ACTIVATION, Kind.COTANGENT)
            }
            found = self._try(trial.weights, trial.dropped)
            if len(found.off) - found.paired < len(best.off - left_out) - best.paired:
                return replace(found, changes=(*best.changes, *trial.changes))
        return None

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
            changes.append(exchange(named, partner))
    return tuple(changes)


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
        name(site.kind, site.boundary) if site.boundary else f"{site.kind}: {site.path} {site.number}"
        for site, distance, size in apart
        if not distance <= OFF * max(size, least.get(site.kind, 0.0))
    }
