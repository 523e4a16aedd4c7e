"""Whether a side still has a difference that was accepted."""

from collections.abc import Sequence

import numpy as np

from parity.check.accepted import reference_with
from parity.check.lockstep import Comparison, compare_lockstep
from parity.check.records import Question
from parity.check.witness import witness_all
from parity.process import Side
from parity.reference import NumpyBackend
from parity.verdict.compare import first_beyond
from parity.verdict.noise import Unit, Witness
from parity.verdict.trace import Trace


def has_difference(
    name: str, accepted: Sequence[str], found: Comparison, role: str, third: Side, unit: Unit
) -> bool | None:
    """Return whether a side computes something else than the reference without one of the accepted differences.

    None if the reference computes the same with it and without, so that nothing tells.

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
    if all(_are_equal(one.trace, other.trace) for one, other in zip(found.witnesses[role], seen, strict=True)):
        return None
    without = compare_lockstep(found.question, found.setting, found.episodes, {role: played}, {role: seen})
    return first_beyond(without.measurements) is not None


def _are_equal(one: Trace, other: Trace) -> bool:
    return all(np.array_equal(array, other.tensors[key], equal_nan=True) for key, array in one.tensors.items())


def _witness_with(reference: NumpyBackend, names: Sequence[str], *asked) -> list[Witness]:
    """Witness with a reference that has these differences; the one of the process has them all."""
    return witness_all(reference_with(names), *asked)
