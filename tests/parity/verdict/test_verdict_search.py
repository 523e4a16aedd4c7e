"""The search for a cause, on traces made by hand: a reference is what it shows, a fault is what it changes of that."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from places import at

from parity.verdict.compare import SAFETY
from parity.verdict.noise import Witness
from parity.verdict.search import Explanation, Search
from parity.verdict.trace import Key, Kind, Mode, Trace

FLOOR = 1e-3
FIRST, SECOND = (tuple(at(f"hidden.{i}.linear", step=step) for i in range(3)) for step in (0, 1))
ACCURACY = at("accuracy", Kind.OUTCOME, mode=Mode.EVALUATION)
HONEST = dict.fromkeys((*FIRST, *SECOND, ACCURACY), 1.0)
Shown = Mapping[Key, float]


@dataclass(frozen=True)
class Hypothesis:
    """A reference that shows some tensors otherwise."""

    name: str
    reference: Shown
    has_evidence: bool = True
    is_rounding: bool = False

    def has_own_evidence(self, opened: Any, own: Any) -> bool:
        return self.has_evidence

    def is_rival(self, other: Any) -> bool:
        return self.name != other.name


def trace(shown: Shown) -> Trace:
    return Trace({key: np.full(4, value) for key, value in shown.items()})


def search(side: Shown, allows_rivals: bool = True) -> Search[Hypothesis]:
    def measure(reference: Shown, index: int) -> Witness:
        return Witness(trace(reference), {key: np.array(FLOOR) for key in reference})

    return Search([trace(side)], [False], lambda reference, _: trace(reference), measure, allows_rivals=allows_rivals)


def find(side: Shown, faults: Mapping[str, Shown], **options: Any) -> tuple[list[Explanation[Hypothesis]], set[Key]]:
    """What is found, and what stays open. Each fault is put on top of what was found before."""

    def tried(reference: Shown, opened: Any, taken: Any) -> Iterable[Hypothesis]:
        untaken = (item for item in faults.items() if item[0] not in [each.name for each in taken])
        return [Hypothesis(name, {**reference, **changes}) for name, changes in untaken]

    found, opened = search({**HONEST, **side}, **options).run(HONEST, tried)
    return found, {key for _, key in opened}


def names(found: list[Explanation[Hypothesis]]) -> list[str]:
    return [each.hypothesis.name for each in found]


def test_an_honest_side_has_no_cause() -> None:
    assert find({FIRST[0]: 1 + (SAFETY - 1) * FLOOR}, {"fault": {FIRST[0]: 2.0}}) == ([], set())


def test_what_reproduces_the_side_is_the_cause_and_the_rest_stays_open() -> None:
    found, left = find({FIRST[0]: 2.0, FIRST[2]: 7.0}, {"other": {FIRST[0]: 3.0}, "right": {FIRST[0]: 2.0}})
    assert names(found) == ["right"]
    assert (found[0].first[0], found[0].first[1].key) == (0, FIRST[0])
    assert left == {FIRST[2]}


def test_two_causes_are_found_one_after_the_other() -> None:
    side = {FIRST[0]: 2.0, FIRST[1]: 3.0}
    found, left = find(side, {"a": {FIRST[0]: 2.0}, "b": {FIRST[1]: 3.0}})
    assert (names(found), left) == (["a", "b"], set())


def test_the_one_that_leaves_least_is_taken() -> None:
    side = {FIRST[0]: 2.0, FIRST[1]: 3.0}
    assert names(find(side, {"half": {FIRST[0]: 2.0}, "whole": side})[0]) == ["whole"]


def test_what_spoils_a_tensor_is_no_cause() -> None:
    for spoilt in (1 + (SAFETY + 4) * FLOOR, 1e9):  # seen by its noise, and at a glance
        assert names(find({FIRST[0]: 2.0}, {"fault": {FIRST[0]: 2.0, FIRST[1]: spoilt}})[0]) == []


def test_what_one_update_suggests_yields_to_what_the_next_refutes() -> None:
    side = {FIRST[0]: 2.0, SECOND[0]: 2.0}
    found, left = find(side, {"once": {FIRST[0]: 2.0}, "decaying": {FIRST[0]: 2.0, SECOND[0]: 1.5}})
    assert (names(found), left) == ([], set(side))


def test_one_tensor_of_many_that_fits_is_no_proof() -> None:
    side = dict.fromkeys(FIRST, 2.0)
    assert names(find(side, {"one of three": {FIRST[0]: 2.0, FIRST[1]: 2.5, FIRST[2]: 2.5}})[0]) == []
    assert names(find(side, {"two of three": {FIRST[0]: 2.0, FIRST[1]: 2.0, FIRST[2]: 2.5}})[0]) == ["two of three"]


def test_an_outcome_may_come_and_go_beside_another_fault_and_counts_where_it_is_alone() -> None:
    faults = {"a": {FIRST[0]: 2.0, ACCURACY: 0.5}, "b": {FIRST[1]: 3.0}}
    found, left = find({FIRST[0]: 2.0, FIRST[1]: 3.0}, faults)
    assert (sorted(names(found)), left) == (["a", "b"], {ACCURACY})
    assert names(find({FIRST[0]: 2.0, ACCURACY: 0.7}, {"by chance": {ACCURACY: 0.7}})[0]) == []
    assert names(find({ACCURACY: 0.7}, {"leak": {ACCURACY: 0.7}})[0]) == ["leak"]


def test_rivals_that_explain_as_much_are_told_where_none_may_be_preferred() -> None:
    faults = {"a": {FIRST[0]: 2.0}, "b": {FIRST[0]: 2.0 + FLOOR}}
    (explanation,), _ = find({FIRST[0]: 2.0}, faults, allows_rivals=False)
    assert [rival.name for rival in explanation.rivals] == ["b"]
    assert names(find({FIRST[0]: 2.0}, faults)[0]) == ["a"]


def test_a_cause_that_is_itself_rounding_has_the_size_and_may_have_the_other_sign() -> None:
    """Both are off by as much, each way, and the noise floor of such a reference says so."""
    side = {**HONEST, FIRST[0]: 1 + 2.5 * SAFETY * FLOOR}
    floors = {True: SAFETY / 1.6 * FLOOR, False: FLOOR}

    def measure(reference: Shown, index: int) -> Witness:
        return Witness(trace(reference), {key: np.array(floors[reference is rounded]) for key in reference})

    rounded = {**HONEST, FIRST[0]: 1 - 2.5 * SAFETY * FLOOR}
    looking = Search([trace(side)], [False], lambda reference, _: trace(reference), measure)
    for is_rounding in (True, False):
        fault = Hypothesis("fault", rounded, is_rounding=is_rounding)
        found, _ = looking.run(HONEST, lambda *_, fault=fault: [fault])
        assert names(found) == ["fault"] * is_rounding


def test_what_lacks_its_own_evidence_is_no_cause() -> None:
    side = {**HONEST, FIRST[0]: 2.0}
    found, _ = search(side).run(HONEST, lambda *_: [Hypothesis("fault", side, has_evidence=False)])
    assert found == []


def test_the_nearest_explains_more_than_half_of_the_first_distance() -> None:
    looking = search({**HONEST, FIRST[0]: 2.0})
    opened = looking.divergences(HONEST)
    tried = [Hypothesis(f"{value}", {**HONEST, FIRST[0]: value}) for value in (1.4, 1.7, 1.6)]
    assert looking.nearest(HONEST, opened, tried[:1]) is None
    nearest = looking.nearest(HONEST, opened, tried)
    assert nearest is not None
    assert nearest[0] == "1.7"
