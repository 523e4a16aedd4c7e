"""Whether a side still has a difference that was accepted."""

from collections.abc import Sequence

from parity.check.accepted import reference_with
from parity.check.lockstep import Comparison, compare_lockstep
from parity.check.records import Question
from parity.check.witness import witness_all
from parity.process import Side
from parity.reference import NumpyBackend
from parity.verdict.compare import first_beyond
from parity.verdict.noise import Unit, Witness


def is_gone(name: str, accepted: Sequence[str], found: Comparison, role: str, third: Side, unit: Unit) -> bool:
    """Return whether a side computes what the reference computes without one of the accepted differences.

    Args:
        name: of the difference.
        accepted: all that were accepted; the others stay in the reference.
        found: of lockstep, in one configuration.
        role: the side.
        third: the NumPy reference.
        unit: the rounding that is allowed.
    """
    others = [other for other in accepted if other != name]
    played = found.traces[role]
    patterns = None if found.question is Question.SEMANTIC else [shown.patterns for shown in played]
    seen = third.call(_witness_with, others, found.episodes, unit, patterns)
    without = compare_lockstep(found.question, found.setting, found.episodes, {role: played}, {role: seen})
    return first_beyond(without.measurements) is None


def _witness_with(reference: NumpyBackend, names: Sequence[str], *asked) -> list[Witness]:
    """Witness with a reference that has these differences; the one of the process has them all."""
    return witness_all(reference_with(names), *asked)
