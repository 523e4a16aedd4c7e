"""Differences that nobody can explain, and that are accepted at one place up to a size.

Each place of the forced pass is given the reference's values, so what is known to be off at one enters no other: the
rest is judged as ever. Only what a module or a stretch of code computes can be set aside, forward and backward, and
only if all that is off there is within the size. A tensor without a partner is no matter of size; what is kept from one
step to the next, statistics and the optimizer's, grows.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from parity.pair.explain import Accepted
from parity.pair.findings import FindingKind, Located
from parity.pair.records import Finding, place_words
from parity.verdict.compare import SAFETY, Distance
from parity.verdict.trace import Key
from parity.verdict.verdict import UNEXPLAINED

SET_ASIDE = (FindingKind.FORWARD, FindingKind.BACKWARD, FindingKind.GRADIENT)


@dataclass(frozen=True)
class Aside:
    """What was set aside.

    Args:
        findings: that are none any more.
        limits: the largest relative size of each value that is off there.
    """

    findings: tuple[Finding, ...]
    limits: Mapping[Key, float]

    def covers(self, distance: Distance) -> bool:
        """Whether a distance in a narrower dtype is no larger than what is known and rounding make together."""
        limit = self.limits.get(distance.key)
        return limit is not None and distance.distance <= limit * distance.size + SAFETY * distance.floor


def set_aside(
    found: Iterable[tuple[Located, Finding]], seen: Mapping[Accepted, list[str]]
) -> tuple[list[Finding], Aside]:
    """Return the findings that are left, and what was set aside.

    Args:
        found: where the forced pass is off.
        seen: what is accepted; the modules at which it is seen are added.
    """
    left: list[Finding] = []
    aside: list[Finding] = []
    limits: dict[Key, float] = {}
    for located, finding in found:
        entries = list(_entries(finding, seen))
        for each in entries:
            seen[each].append(finding.reference)
        limit = max((each.at_most or 0.0 for each in entries), default=None)
        if limit is None:
            left.append(finding)
        elif finding.largest is not None and finding.largest <= limit:
            aside.append(finding)
            limits |= {each.distance.key: limit for each in located.seen}
        else:
            left.append(_larger(finding, limit))
    return left, Aside(tuple(aside), limits)


def _entries(finding: Finding, seen: Iterable[Accepted]) -> Iterator[Accepted]:
    """What is accepted at the place of a finding that has no cause."""
    if finding.kind in SET_ASIDE and finding.cause.name == UNEXPLAINED:
        names = finding.place, place_words(finding)
        yield from (each for each in seen if each.name == UNEXPLAINED and each.place in names)


def _larger(finding: Finding, limit: float) -> Finding:
    size = "it has no size" if finding.largest is None else f"the largest difference here is {finding.largest:.2g}"
    words = f"it is accepted up to {limit:g} of its size, and {size}"
    evidence = f"{finding.cause.evidence}; {words}" if finding.cause.evidence else words
    return replace(finding, cause=replace(finding.cause, evidence=evidence))
