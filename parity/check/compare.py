"""Distances in units of the noise floor.

**The limit.** A tensor of one side may be further from another's by at most `SAFETY` times its noise floor. The floor
simulates one rounding at every place where any implementation must round; where an honest one rounds more often, or in
another order, it comes out further away. How much further was measured over every tensor of every probe, on honest
siblings against each other and against the reference (`make honest-seeds`, and depths 1 to 50): the largest distance is
below 7.2 floors. `SAFETY` is the next power of two above twice that.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from parity.check.episode import Episode, Key, Recording
from parity.check.noise import Witness, rms
from parity.check.records import Measurement, Question, Setting
from parity.weights import Array

SAFETY = 16.0


def compare(
    question: Question,
    setting: Setting,
    episode: Episode,
    pair: tuple[str, str],
    actual: Recording,
    expected: Recording,
    floors: Mapping[Key, Array],
    drowned: frozenset[Key] = frozenset(),
    nan_matches: bool = False,
) -> Iterator[Measurement]:
    """Every tensor that two recordings share, in causal order.

    Args:
        question: for the record.
        setting: for the record.
        episode: what both played.
        pair: who they are.
        actual: of the one.
        expected: of the other.
        floors: the noise floor of each tensor.
        drowned: tensors that are left out.
        nan_matches: whether NaN in the same places is agreement: it is where a fault that makes NaN is to be told,
            and nowhere else.
    """
    for order, (key, floor) in enumerate(floors.items()):
        if key in drowned or key not in actual.tensors or key not in expected.tensors:
            continue
        a, b = actual.tensors[key], expected.tensors[key]
        if nan_matches and np.array_equal(np.isnan(a), np.isnan(b)):
            a, b, floor = np.nan_to_num(a), np.nan_to_num(b), np.nan_to_num(floor, nan=np.inf)
        with np.errstate(all="ignore"):
            distance = rms_or_inf(a - b, episode.per_channel)
            ratio = _in_units(distance, floor)
            size = rms_or_inf(expected.scales.get(key, b), episode.per_channel)
        worst = np.unravel_index(np.argmax(ratio), np.shape(ratio))
        yield Measurement(
            question=question,
            setting=setting,
            pair=pair,
            step=episode.label(key),
            layer=key.layer,
            tensor=key.tensor,
            order=order,
            distance=float(distance[worst]),
            floor=float(floor[worst]),
            size=float(size[worst]),
            times_noise=float(ratio[worst]),
            shared=key.update == 0 or key in expected.scales,
        )


def rms_or_inf(array: Array, per_channel: bool) -> Array:
    """RMS, and infinity where an element is not finite."""
    value = rms(array, per_channel)
    return np.where(np.isfinite(value), value, np.inf)


def _in_units(distance: Array, floor: Array) -> Array:
    """Distance over floor; 0 where both are 0, infinite where only the floor is or the distance is."""
    ratio = distance / floor
    return np.where(distance == 0, 0.0, np.where(np.isnan(ratio), np.inf, ratio))


def drowned_tensors(episode: Episode, witness: Witness) -> frozenset[Key]:
    """The tensors that rounding alone could turn into anything, so that no limit on them is honest.

    In a deep network with batch norm noise grows from layer to layer. Where the limit on a whole activation reaches its
    size, that activation is drowned, and with it all that follows it in causal order. In updates after the first, which
    each side takes from its own state, every tensor is judged for itself.
    """
    found: set[Key] = set()
    submerged = False
    for key, array in witness.recording.tensors.items():
        if key in witness.recording.scales:
            continue
        with np.errstate(all="ignore"):
            floor, size = np.max(witness.floors[key]), rms(array)
        drowned = not np.isfinite(floor) or (size > 0 and SAFETY * floor >= size)
        is_activation = key.tensor.endswith(("activation", "output", "logits"))
        submerged |= drowned and is_activation and key.update == 0
        if submerged or (drowned and key.update > 0):
            found.add(key)
    return frozenset(found)


def first_beyond(measurements: list[Measurement]) -> Measurement | None:
    """The first measurement beyond its limit; they come in causal order."""
    return next((m for m in measurements if not m.times_noise <= SAFETY), None)
