"""`compare`: do a model of one framework and one of another compute the same, and if not, where do they part?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from parity.backend.batch import map_arrays
from parity.backend.port import Anatomy, Port
from parity.errors import InputError
from parity.pair.drawn_state import without_constants
from parity.pair.findings import Located, Map, locate
from parity.pair.forced import Answer, Asked, Batch, ask, judge
from parity.pair.inputs import Inputs, batches
from parity.pair.settle import Settled, Settling, pair
from parity.pair.weight_map import WeightMap, weight_maps
from parity.verdict.trace import Mode

Models = tuple[Anatomy, Anatomy]


@dataclass(frozen=True)
class Compared:
    """What was compared, and what was found."""

    settled: Settled
    graph: Map
    answers: tuple[Answer, ...]
    located: tuple[Located, ...]
    drawn: tuple[str, ...]


def compare(reference: Port, candidate: Port, *, inputs: Inputs | Sequence[Inputs], seed: int = 0) -> Compared:
    """Compare two models."""
    return _Comparison(reference, candidate, batches(inputs, seed), seed).run()


class _Comparison:
    def __init__(self, reference: Port, candidate: Port, given: Sequence[dict[str, Any]], seed: int) -> None:
        self._reference, self._candidate, self._given, self._seed = reference, candidate, given, seed

    def run(self) -> Compared:
        ours = self._reference.anatomy(self._given[0], Mode.TRAIN)
        theirs, order = self._with_input_layout(ours)
        maps = weight_maps(ours, theirs)
        state, drawn = without_constants(self._reference.state(), maps[0], frozenset(ours.statistics), self._seed)
        self._reference.load(state)
        asked = [
            ask(self._reference, Batch(number, mode, given, order(given)))
            for number, given in enumerate(self._given)
            for mode in Mode
        ]
        first = [each for each in asked if each.batch.number == 0]
        settled = Settling(self._candidate, (ours, theirs), first, state).settle(maps)
        answers: list[Answer] = []
        graph = Map(ours, theirs, settled.pairing)
        for each in asked:
            pairing = settled.pairing
            if each.batch.number:
                models = tuple(
                    port.anatomy(given, Mode.TRAIN)
                    for port, given in ((self._reference, each.batch.ours), (self._candidate, each.batch.theirs))
                )
                pairing = pair(self._candidate, models, each, settled.weights, settled.dropped)
            answers.append(judge(self._reference, self._candidate, each, pairing, settled.weights))
        return Compared(settled, graph, tuple(answers), tuple(locate(graph, answers)), drawn)

    def _with_input_layout(self, ours: Anatomy) -> tuple[Anatomy, Any]:
        """Find how the candidate takes its inputs: the order of axes with which its tensors are the reference's."""
        found: list[tuple[int, Anatomy, Any]] = []
        errors: list[Exception] = []
        for order in _input_orders(self._given[0]):
            try:
                self._candidate.prepare(order(self._given[0]))
                theirs = self._candidate.anatomy(order(self._given[0]), Mode.TRAIN)
            except InputError:
                raise
            except Exception as error:  # what a model does with an input of another shape
                errors.append(error)
                continue
            found.append((_unmapped(weight_maps(ours, theirs)), theirs, order))
            if found[-1][0] == 0:
                break
        if not found:
            raise errors[0]
        _, theirs, order = min(found, key=lambda each: each[0])
        self._candidate.prepare(order(self._given[0]))
        return theirs, order


def _unmapped(maps: Sequence[WeightMap]) -> int:
    return min(len(each.unmapped[0]) + len(each.unmapped[1]) for each in maps)


def _input_orders(inputs: Mapping[str, Any]) -> list[Any]:
    """The orders of axes that are tried: as they are, channels last, channels second."""
    ndim: dict[str, int] = {}

    def note(name: str) -> None:
        map_arrays(lambda leaf: ndim.__setitem__(name, max(ndim.get(name, 0), np.ndim(leaf))), inputs[name])

    for name in inputs:
        note(name)
    choices = [(None, (1, -1), (-1, 1)) if ndim.get(name, 0) >= 3 else (None,) for name in inputs]

    def order(moves: Sequence[tuple[int, int] | None]) -> Any:
        def apply(given: Mapping[str, Any]) -> dict[str, Any]:
            return {
                name: each if move is None else map_arrays(lambda leaf, m=move: _moved(leaf, m), each)
                for (name, each), move in zip(given.items(), moves, strict=True)
            }

        return apply

    return [order(moves) for moves in product(*choices)]


def _moved(leaf: Any, move: tuple[int, int]) -> Any:
    return np.ascontiguousarray(np.moveaxis(leaf, *move)) if np.ndim(leaf) >= 3 else leaf


__all__ = ["Asked", "Compared", "compare"]
