"""The forced pass: each boundary of the candidate judged alone, since what goes in is the reference's.

Both sides play the same batch. At every paired boundary the candidate's value is compared with the reference's and then
replaced by it, backward as well. So noise does not add up from module to module, and one fault hides no other.

The noise floor is measured on the reference alone, which is forced to its own values: every operation's result, and
what goes in, is moved by `SAFETY` ulps, and the floor is the largest change over a few draws, divided by `SAFETY`. For
what is smooth that is the change by one ulp. Where rounding can turn a decision over (a unit that is nearly 0, two
maxima that are nearly equal), it is the jump, which no multiple of a smaller change would cover.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import log2
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backend.convention import Change
from parity.backend.port import Forced, Played, Port, Rounding
from parity.pair.pairing import Pairing
from parity.pair.sites import Site, sites, trace
from parity.pair.weight_map import WeightMap
from parity.verdict.compare import SAFETY, Distance, apart, compare, in_units, rms_or_inf
from parity.verdict.noise import DRAWS, MANTISSA_BITS, Witness, measure_floors
from parity.verdict.trace import Array, Key, Kind, Mode, Trace


@dataclass(frozen=True)
class Batch:
    """A batch as both sides are given it, and the mode in which it is played.

    Args:
        number: of the batch.
        mode: train or evaluation.
        ours: the reference's inputs.
        theirs: the candidate's.
        step: the update before which it is played.
        where: the positions that count, along the first axes of values; None for all.
        layouts: the order of axes of the candidate's outputs, by module of the reference, where the user has given it.
    """

    number: int
    mode: Mode
    ours: Mapping[str, Any]
    theirs: Mapping[str, Any]
    step: int = 0
    where: NDArray[np.bool_] | None = None
    layouts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What both sides showed of a batch.

    Args:
        batch: that was played.
        state: the reference's, before the batch.
        own: what the reference showed.
        shown: what the candidate showed.
        pairing: the boundaries.
        sites: what was compared, by key.
        witness: the reference's trace, and its noise floors.
        distances: of the candidate, in causal order.
    """

    batch: Batch
    state: Mapping[str, Array]
    own: Played
    shown: Played
    pairing: Pairing
    sites: Mapping[Key, Site]
    witness: Witness
    distances: tuple[Distance, ...]

    def floors_from(self, key: Key, array: Array) -> float:
        """Return how far what the candidate showed is from what the reference would show, in noise floors.

        The floor of numbers that become larger grows with them, as rounding does.

        Args:
            key: of a site.
            array: what the reference would show there.
        """
        shown = self.sites[key].theirs(self.shown)
        if array.shape != shown.shape:
            return np.inf
        own, other = (float(rms_or_inf(each)) for each in (self.witness.trace.tensors[key], array))
        growth = max(1.0, other / own) if 0 < own < np.inf and other < np.inf else 1.0
        return float(in_units(np.asarray(apart(shown, array)), np.asarray(growth * self.witness.floors[key])))

    @property
    def beyond(self) -> tuple[Distance, ...]:
        """The distances beyond their limits."""
        return tuple(distance for distance in self.distances if distance.is_beyond)

    def without_arrays(self) -> "Answer":
        """Return it without what both sides showed, of which a cause alone has need."""
        nothing = Played(values={})
        return replace(self, state={}, own=nothing, shown=nothing, witness=Witness(Trace(), self.witness.floors))


@dataclass(frozen=True)
class Asked:
    """A batch, the reference's state before it, and what the reference shows of it."""

    batch: Batch
    state: Mapping[str, Array]
    own: Played


def ask(reference: Port, batch: Batch) -> Asked:
    """Play a batch with the reference."""
    return Asked(batch, reference.state(), reference.play(batch.ours, batch.mode))


def judge(
    reference: Port,
    candidate: Port,
    asked: Asked,
    pairing: Pairing,
    weights: WeightMap,
    is_forced: bool = True,
    kinds: Collection[Kind] = tuple(Kind),
) -> Answer:
    """Play a batch with the candidate and judge what it shows.

    Args:
        reference: its port.
        candidate: the same.
        asked: what the reference showed.
        pairing: the boundaries that are compared, and replaced.
        weights: the tensors that are compared.
        is_forced: whether the boundaries are replaced.
        kinds: of what is compared.
    """
    batch, own = asked.batch, asked.own
    is_backward = Kind.COTANGENT in kinds or Kind.GRADIENT in kinds
    forced = pairing.forced(own) if is_forced else None
    shown = candidate.play(batch.theirs, batch.mode, forced, is_backward=is_backward)
    found = [site for site in sites(pairing, weights, own, shown, batch.where) if site.kind in kinds]
    seen = witness(reference, asked, found, pairing.own(own) if is_forced else None, is_backward=is_backward)
    distances = tuple(compare(trace(found, batch.number, batch.mode, theirs=shown), seen.trace, seen.floors))
    keys = {site.key(batch.number, batch.mode): site for site in found}
    return Answer(batch, asked.state, own, shown, pairing, keys, seen, distances)


def witness(
    reference: Port,
    asked: Asked,
    found: list[Site],
    forced: Forced | None,
    bits: int = MANTISSA_BITS["float64"],
    is_backward: bool = True,
    change: Change | None = None,
) -> Witness:
    """Return what the reference shows, with the noise floor of each site.

    Args:
        reference: its port.
        asked: the batch, and what the reference shows of it.
        found: the sites.
        forced: what replaces the reference's values.
        bits: of mantissa, of the rounding that is allowed.
        is_backward: whether any site is backward.
        change: a convention that is changed in the draws.
    """
    batch, coarser = asked.batch, bits - round(log2(SAFETY))

    def draws() -> Iterator[Trace]:
        for seed in range(DRAWS):
            rounding = Rounding(bits=coarser, seed=seed)
            play = partial(reference.play, is_backward=is_backward, change=change)
            # What is played is not kept.
            yield trace(found, batch.number, batch.mode, ours=play(batch.ours, batch.mode, forced, rounding))

    seen = measure_floors(trace(found, batch.number, batch.mode, ours=asked.own), draws(), coarser)
    # Where rounding makes what is no number, nothing can be judged.
    floors = {key: np.where(np.isnan(floor), np.inf, floor) / SAFETY for key, floor in seen.floors.items()}
    return Witness(seen.trace, floors)
