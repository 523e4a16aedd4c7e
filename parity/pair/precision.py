"""The precision question: is each side as close to float64 as its dtype allows?

The forced pass in a narrower dtype: each boundary is given the float64 reference's value, rounded, and what is computed
from it is held against float64, in units of what one rounding of that dtype does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from parity.backend.port import Port
from parity.pair.forced import Asked, witness
from parity.pair.pairing import Pairing
from parity.pair.sites import Site, sites, trace
from parity.pair.weight_map import WeightMap
from parity.verdict.compare import Distance, compare
from parity.verdict.noise import MANTISSA_BITS
from parity.verdict.trace import Array, Key


@dataclass(frozen=True)
class NarrowAnswer:
    """How far both sides are from float64.

    Args:
        dtype: the narrower one.
        sites: what was compared, by key.
        ours: distances of the reference.
        theirs: of the candidate.
    """

    dtype: str
    sites: dict[Key, Site]
    ours: tuple[Distance, ...]
    theirs: tuple[Distance, ...]


def judge_narrow(
    reference: Port,
    candidate: Port,
    asked: Asked,
    pairing: Pairing,
    weights: WeightMap,
    dtype: str,
    accepted: Mapping[Key, Array],
) -> NarrowAnswer:
    """Play a batch in a narrower dtype, on both sides.

    Args:
        reference: its port.
        candidate: the same.
        asked: the batch, and what the reference shows of it in float64.
        pairing: the boundaries.
        weights: the tensors.
        dtype: "float32" or "bfloat16".
        accepted: what the reference shows with the differences that are accepted.
    """
    batch, own = asked.batch, asked.own
    at = batch.number, batch.mode
    forced = pairing.own(own)
    ours = reference.play(batch.ours, batch.mode, forced, dtype=dtype)
    theirs = candidate.play(batch.theirs, batch.mode, pairing.forced(own), dtype=dtype)
    found = sites(pairing, weights, own, theirs, batch.where)
    seen = witness(reference, asked, found, forced, MANTISSA_BITS[dtype])
    expected = replace(seen.trace, tensors={**seen.trace.tensors, **accepted})
    return NarrowAnswer(
        dtype,
        {site.key(*at): site for site in found},
        tuple(compare(trace(found, *at, ours=ours), seen.trace, seen.floors)),
        tuple(compare(trace(found, *at, theirs=theirs), expected, seen.floors)),
    )
