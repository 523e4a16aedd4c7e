"""The optimizers: both take the same steps from the same parameters, with the same gradients.

The gradients are made up: of several sizes, and in one step so large that a clip fires. A fault of the model does not
enter; what is held against each other is the change of each parameter in each step.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log2

import numpy as np

from parity.backend.port import Port, Rounding
from parity.pair.weight_map import ModulePair, TensorPair, WeightMap
from parity.verdict.compare import SAFETY, Distance, compare
from parity.verdict.noise import DRAWS, MANTISSA_BITS, measure_floors
from parity.verdict.trace import Array, Key, Kind, Mode, Trace

SIZES = (0.1, 0.1, 100.0, 0.01, 0.1)  # of the gradients, for each step
State = Mapping[str, Array]


@dataclass(frozen=True)
class OptimizerChange:
    """The change of a parameter in a step that is beyond its limit."""

    owner: ModulePair
    pair: TensorPair
    distance: Distance


def compare_optimizers(
    reference: Port, candidate: Port, weights: WeightMap, state: State, own: State, seed: int
) -> tuple[list[OptimizerChange], tuple[Distance, ...]]:
    """Return the changes that are beyond their limits, and all distances, step by step.

    Args:
        reference: its port, with an optimizer.
        candidate: the same.
        weights: the map.
        state: the reference's parameters.
        own: the candidate's.
        seed: of the gradients.
    """
    pairs = [
        (owner, pair)
        for owner in weights.modules
        for pair in owner.tensors
        if pair.ways[0].moves_only and all(piece.path in state for piece in pair.reference)
    ]
    ours, theirs = _gradients(weights, state, own, seed)
    bits = MANTISSA_BITS["float64"] - round(log2(SAFETY))

    def draws() -> Iterator[Trace]:
        for number in range(DRAWS):
            yield _trace(pairs, state, reference.optimize(ours, Rounding(bits=bits, seed=number)), is_reference=True)

    exact = _trace(pairs, state, reference.optimize(ours), is_reference=True)
    floors = {key: f / SAFETY for key, f in measure_floors(exact, draws(), bits).floors.items()}
    shown = _trace(pairs, own, candidate.optimize(theirs), is_reference=False)
    distances = tuple(compare(shown, exact, floors))
    places = {str(pair.reference[0]): (owner, pair) for owner, pair in pairs}
    beyond = [OptimizerChange(*places[d.key.path], d) for d in distances if d.is_beyond]
    return beyond, distances


def _gradients(
    weights: WeightMap, state: State, own: State, seed: int
) -> tuple[Sequence[dict[str, Array]], Sequence[dict[str, Array]]]:
    """Made-up gradients of the reference, and the same of the candidate, for each step."""
    rng = np.random.default_rng(seed)
    ours, theirs = [], []
    for size in SIZES:
        step = {name: size * rng.normal(size=array.shape) for name, array in state.items()}
        given = {name: np.zeros(array.shape) for name, array in own.items()}
        for pair in weights.tensors:
            if pair.reference[0].path not in state:
                continue
            for piece in pair.reference[1:]:  # what is added up has one gradient
                step[piece.path][piece.indices] = pair.reference[0].of(step)
            for piece in pair.candidate:
                given[piece.path][piece.indices] = pair.ways[0](pair.reference[0].of(step))
        ours.append(step)
        theirs.append(given)
    return ours, theirs


def _trace(
    pairs: Sequence[tuple[ModulePair, TensorPair]], start: State, steps: Sequence[State], is_reference: bool
) -> Trace:
    """The change of each parameter in each step; its rounding is that of the parameter."""
    found = Trace()
    before = start
    for number, after in enumerate(steps):
        for _, pair in pairs:
            piece = pair.reference[0] if is_reference else pair.candidate[0]
            key = Key(number, Mode.TRAIN, Kind.UPDATED, str(pair.reference[0]))
            change = piece.of(after) - piece.of(before)
            found.tensors[key] = pair.ways[0](change) if is_reference else change
            found.scales[key] = np.asarray(piece.of(after))
        before = after
    return found
