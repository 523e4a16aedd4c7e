"""What a comparison finds, as values: findings, causes, coverage, the report."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from parity.pair.findings import LOSS, FindingKind, is_within
from parity.verdict.verdict import UNEXPLAINED, Verdict

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class PairCause:
    """Why two models part.

    Args:
        name: of a what-if, or "unexplained".
        evidence: the values of the convention, in a sentence.
        remedy: what to write in the candidate; "" if only its author can know.
    """

    name: str = UNEXPLAINED
    evidence: str = ""
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A place where two models part.

    Args:
        kind: of difference.
        reference: path of the module there; of a stretch of code, of the module that it leads to.
        candidate: the same.
        between: of a stretch, where it comes from and where it leads to, as the reference calls them.
        candidate_between: the same, as the candidate calls them.
        value: which value is off, in words.
        step: the update.
        modes: in which it was seen: train, evaluation.
        times_noise: how far it is off, in noise floors.
        relative: the RMS of the difference over the RMS of the value.
        largest: the same of all that is off at a place of the forced pass, backward as well: the largest.
        agrees: what around it agrees, in words.
        cause: why.
        source: file and line of the call, by side; of a stretch, of the call next to it; None if not known.
    """

    kind: FindingKind
    reference: str = ""
    candidate: str = ""
    between: tuple[str, str] | None = None
    candidate_between: tuple[str, str] | None = None
    value: str = ""
    step: int = 0
    modes: tuple[str, ...] = ()
    times_noise: float | None = None
    relative: float | None = None
    largest: float | None = None
    agrees: str = ""
    cause: PairCause = PairCause()
    source: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Where, in words."""
        if self.between is not None:
            return stretch_words(*self.between)
        if self.kind is FindingKind.WEIGHTS and self.candidate and not self.reference:
            return f"{self.candidate} of the candidate"  # the reference has no such module
        if self.kind is FindingKind.WEIGHTS and self.reference and not self.candidate:
            return f"{self.reference} of the reference"
        both = module_words(self.reference), module_words(self.candidate)
        return both[0] if both[0] == both[1] else f"{both[0]} ({both[1]} in the candidate)"

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "kind": str(self.kind),
            "reference": self.reference,
            "candidate": self.candidate,
            "between": None if self.between is None else list(self.between),
            "candidate_between": None if self.candidate_between is None else list(self.candidate_between),
            "value": self.value,
            "step": self.step,
            "modes": list(self.modes),
            "times_noise": _finite(self.times_noise),
            "relative": _finite(self.relative),
            "largest": _finite(self.largest),
            "agrees": self.agrees,
            "cause": {"name": self.cause.name, "evidence": self.cause.evidence, "remedy": self.cause.remedy},
            "source": {side: self.source.get(side) for side in ("reference", "candidate")},
        }


def place_words(finding: Finding) -> str:
    """Say where a finding is, as the reference calls it."""
    return module_words(finding.reference) if finding.between is None else stretch_words(*finding.between)


def module_words(module: str) -> str:
    """Name a module; the path of the model itself is empty."""
    return module or "the model"


def stretch_words(start: str, end: str) -> str:
    """Say between which values a stretch of code lies, given the modules that it comes from and leads to.

    >>> stretch_words("block", "block.conv"), stretch_words("block.conv", "block")
    ('between the input of block and block.conv', 'between block.conv and the output of block')
    """
    one, other = module_words(start), module_words(end)
    if end == LOSS:
        one = f"the output of {one}"
    elif start != end and is_within(end, start):
        one = f"the input of {one}"
    elif start != end and is_within(start, end):
        other = f"the output of {other}"
    return f"between {one} and {other}"


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


@dataclass(frozen=True, kw_only=True)
class Covered:
    """How much of something was compared: how many, of how many, and the names of the rest."""

    compared: int
    all: int
    rest: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Mapped:
    """What a tensor of the candidate is made of.

    Args:
        candidate: its path.
        transform: how it is rearranged.
        proof: why it is this one.
    """

    candidate: str
    transform: str
    proof: str


class Mark(StrEnum):
    """What was seen of a module."""

    AGREES = "agrees"
    DIFFERS = "differs"
    WITHIN = "within a stretch"  # it is not compared by itself, but what is computed from it is
    NOT_COMPARED = "not compared"


@dataclass(frozen=True, kw_only=True)
class ModuleRow:
    """A module of the reference, in the order of the first calls.

    Args:
        path: its path.
        type: the name of its class.
        candidate: path of its partner; None without one.
        mark: what was seen of it.
        times_noise: the largest distance of what it makes of the reference's values, in noise floors, without what
            follows from a finding elsewhere; None if it is not compared by itself.
    """

    path: str
    type: str
    candidate: str | None
    mark: Mark
    times_noise: float | None


@dataclass(frozen=True, kw_only=True)
class StretchRow:
    """A stretch of code between modules.

    Args:
        between: where it comes from and where it leads to, as the reference calls them.
        candidate_between: the same, as the candidate calls them.
        mark: what was seen of it.
        times_noise: as of a module.
    """

    between: tuple[str, str]
    candidate_between: tuple[str, str]
    mark: Mark
    times_noise: float | None

    @property
    def is_within(self) -> bool:
        """Whether it is the end of the module that it leads to, up to whose output it goes."""
        start, end = self.between
        return start != end and is_within(start, end)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One value, along the depth.

    Args:
        path: where.
        module: of the reference, whose value or tensor it is.
        kind: of tensor.
        mode: train or evaluation.
        relative: the RMS of the difference over that of the value.
        limit: the largest that it may be.
    """

    path: str
    module: str
    kind: str
    mode: str
    relative: float
    limit: float


@dataclass(frozen=True, kw_only=True)
class CompareReport:
    """The verdict on a pair of models.

    Args:
        verdict: do they compute the same?
        findings: where they part, in causal order.
        accepted: the accepted differences, where each was seen, and why it is accepted.
        coverage: what was compared: of modules, parameters, statistics, values.
        not_compared: what was not, and why.
        weights: what each tensor of the reference is, by its path.
        layouts: the order in which the candidate takes the axes of an input, by name, where it is not the reference's.
        comparisons: how many values were held against each other.
        sensitivity: the largest limit over the size of its value: the smallest relative error that is seen everywhere.
        worst: the largest distance within its limit, in noise floors.
        free: how far the outputs are apart when nothing is replaced, in noise floors, by mode.
        drawn: the tensors that were drawn since their elements were all alike.
        environment: versions and settings.
        titles: the frameworks' names as their makers write them, by name.
        modules: of the reference, each with what was seen of it.
        stretches: the code between them, the same.
        measured: what was compared in the first batch, in causal order.
        command: that made it.
        title: what the pair is called.
        seconds: that it took.
    """

    verdict: Verdict
    findings: tuple[Finding, ...]
    accepted: tuple[Mapping[str, Any], ...] = ()
    coverage: Mapping[str, Covered] = field(default_factory=dict)
    not_compared: tuple[str, ...] = ()
    weights: Mapping[str, Mapped] = field(default_factory=dict)
    layouts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    islands: tuple[Mapping[str, Any], ...] = ()
    comparisons: int = 0
    sensitivity: float = 0.0
    worst: float = 0.0
    free: Mapping[str, float] = field(default_factory=dict)
    drawn: tuple[str, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)
    modules: tuple[ModuleRow, ...] = ()
    stretches: tuple[StretchRow, ...] = ()
    measured: tuple[Measured, ...] = ()
    command: str = ""
    title: str = ""
    seconds: float = 0.0

    @property
    def agrees(self) -> bool:
        """Whether the two compute the same."""
        return self.verdict is Verdict.AGREE

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "schema": SCHEMA,
            "verdict": str(self.verdict),
            "comparisons": self.comparisons,
            "findings": [finding.as_json() for finding in self.findings],
            "accepted": [dict(each) for each in self.accepted],
            "coverage": {name: [covered.compared, covered.all] for name, covered in self.coverage.items()},
            "not_compared": list(self.not_compared),
            "weights": {
                path: {"candidate": each.candidate, "transform": each.transform, "proof": each.proof}
                for path, each in self.weights.items()
            },
            "layouts": {name: list(axes) for name, axes in self.layouts.items()},
            "islands": [dict(each) for each in self.islands],
            "sensitivity": _finite(self.sensitivity),
            "worst_times_noise": _finite(self.worst),
            "free": {mode: _finite(times) for mode, times in self.free.items()},
            "drawn": list(self.drawn),
            "modules": [
                {
                    "path": row.path,
                    "type": row.type,
                    "candidate": row.candidate,
                    "mark": str(row.mark),
                    "times_noise": _finite(row.times_noise),
                }
                for row in self.modules
            ],
            "stretches": [
                {
                    "between": list(row.between),
                    "candidate_between": list(row.candidate_between),
                    "mark": str(row.mark),
                    "times_noise": _finite(row.times_noise),
                }
                for row in self.stretches
            ],
            "environment": dict(self.environment),
            "command": self.command,
            "title": self.title,
            "seconds": self.seconds,
        }
