"""`compare`: do a model of one framework and one of another compute the same, and if not, where do they part?"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from parity.backend.port import Anatomy, Call, Port
from parity.pair.drawn_state import without_constants
from parity.pair.explain import Accepted, Cases, with_accepted
from parity.pair.findings import Map, locate
from parity.pair.forced import Answer, Asked, Batch, ask, judge
from parity.pair.input_layout import find_order
from parity.pair.inputs import Inputs, batches
from parity.pair.pairing import Pairing
from parity.pair.records import CompareReport
from parity.pair.report import Material, report
from parity.pair.settle import Settled, Settling, pair
from parity.pair.weight_map import weight_maps
from parity.verdict.trace import Mode

WHOLE = Call("", 0)


def compare(
    reference: Port,
    candidate: Port,
    *,
    inputs: Inputs | Sequence[Inputs],
    accept: Sequence[str] = (),
    seed: int = 0,
    command: str = "",
) -> CompareReport:
    """Compare two models, and say where they part.

    Args:
        reference: a port of the model that is right (`bntorch.port`, `bnjax.port`).
        candidate: a port of the other.
        inputs: a batch, by name, in the reference's layout: arrays, or `parity.normal` and the like. A list of several
            is played one after the other, other shapes say.
        accept: differences that are accepted, as NAME@PLACE.
        seed: of the inputs that are drawn.
        command: that the report is said to be made by.

    Raises:
        InputError: something that was given cannot be used.
    """
    accepted = [Accepted.parse(each) for each in accept]
    return _Comparison(reference, candidate, batches(inputs, seed), accepted, seed).report(command)


class _Comparison:
    def __init__(
        self,
        reference: Port,
        candidate: Port,
        given: Sequence[dict[str, Any]],
        accepted: Sequence[Accepted],
        seed: int,
    ) -> None:
        self._reference, self._candidate = reference, candidate
        self._given, self._accepted, self._seed = given, accepted, seed

    def report(self, command: str) -> CompareReport:
        """Compare, and report."""
        self._reference.prepare(self._given[0])
        ours = self._reference.anatomy(self._given[0], Mode.TRAIN)
        order, theirs = find_order(self._candidate, ours, self._given[0])
        maps = weight_maps(ours, theirs)
        own = self._reference.state()
        state, drawn = without_constants(own, maps[0], frozenset(ours.statistics), self._seed)
        self._reference.load(state)
        asked = [
            ask(self._reference, Batch(number, mode, given, order(given)))
            for number, given in enumerate(self._given)
            for mode in Mode
        ]
        first = [each for each in asked if each.batch.number == 0]
        settled = Settling(self._candidate, (ours, theirs), first, state).settle(maps)
        answers, free = self._judged(asked, settled, (ours, theirs))
        graph = Map(ours, theirs, settled.pairing)
        cases = Cases(graph, state)
        judged, seen = with_accepted(cases, answers, self._accepted)
        located = locate(graph, judged)
        material = Material(
            graph=graph,
            cases=cases,
            settled=settled,
            answers=judged,
            located=located,
            seen=seen,
            free=free,
            drawn=drawn,
        )
        return replace(report(material), command=command)

    def _judged(
        self, asked: Sequence[Asked], settled: Settled, models: tuple[Anatomy, Anatomy]
    ) -> tuple[list[Answer], list[Answer]]:
        """The forced pass of every batch, and the outputs of the free pass."""
        answers, free = [], []
        pairings: dict[int, Pairing] = {0: settled.pairing}
        for each in asked:
            number = each.batch.number
            if number not in pairings:
                pairings[number] = self._paired_again(each, settled)
            pairing = pairings[number]
            answers.append(judge(self._reference, self._candidate, each, pairing, settled.weights))
            ends = pairing.only(WHOLE)
            free.append(
                judge(self._reference, self._candidate, each, ends, replace(settled.weights, modules=()), False)
            )
        return answers, free

    def _paired_again(self, asked: Asked, settled: Settled) -> Pairing:
        """The boundaries of a batch of another shape."""
        ours = self._reference.anatomy(asked.batch.ours, Mode.TRAIN)
        theirs = self._candidate.anatomy(asked.batch.theirs, Mode.TRAIN)
        return pair(self._candidate, (ours, theirs), asked, settled.weights, settled.dropped)
