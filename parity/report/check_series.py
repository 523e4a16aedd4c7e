"""The measurements of a check, sorted for drawing: by question and setting, by kind of tensor, by layer and step."""

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from parity.check.records import CheckReport, Measurement, Question, Setting
from parity.verdict import trace as tensor

H = TypeVar("H", bound=Hashable)
MOST_PANELS = 12


class Kind(StrEnum):
    """What a tensor is, in the words of the legend."""

    FORWARD = "forward: activations, logits, loss"
    STATISTICS = "running statistics"
    GRADIENTS = "gradients"
    UPDATES = "updated weights"
    EVALUATION = "evaluation"
    STATE = "inputs, loaded state, other"


KINDS = {
    tensor.Kind.PRESENTED: Kind.STATE,
    tensor.Kind.LOADED: Kind.STATE,
    tensor.Kind.STATISTIC: Kind.STATISTICS,
    tensor.Kind.GRADIENT: Kind.GRADIENTS,
    tensor.Kind.UPDATED: Kind.UPDATES,
    tensor.Kind.INCREMENT: Kind.UPDATES,
    tensor.Kind.SIDE_EFFECT: Kind.EVALUATION,
    tensor.Kind.OUTCOME: Kind.STATE,
    tensor.Kind.REFUSAL: Kind.STATE,
}


def kind_of(m: Measurement) -> Kind:
    """Return what a measured tensor is in the legend."""
    if m.key.mode is tensor.Mode.EVALUATION:
        return Kind.EVALUATION
    return KINDS.get(m.key.kind, Kind.FORWARD)


def excess(m: Measurement) -> float:
    """Distance over floor; infinite where it is not a number."""
    return math.inf if math.isnan(m.times_noise) else m.times_noise


def is_beyond(report: CheckReport, times_noise: float) -> bool:
    """Whether a distance, in units of the noise floor, is beyond the limit; what is not a number is."""
    return not times_noise <= report.safety


@dataclass(frozen=True, eq=False)
class Group:
    """What one question found in one setting.

    Args:
        question: that was asked.
        setting: of the network.
        measurements: in causal order.
        beyond: those of them that are beyond the limit.
        sensitivity: see `CheckReport.sensitivity`.
    """

    question: Question
    setting: Setting
    measurements: tuple[Measurement, ...]
    beyond: tuple[Measurement, ...]
    sensitivity: float

    @property
    def worst(self) -> Measurement:
        """The measurement that is furthest above its floor."""
        return max(self.measurements, key=excess)


def groups_of(report: CheckReport) -> list[Group]:
    """The groups in the order of the questions, and within one in the order in which settings were looked at."""
    found: dict[tuple[Question, Setting], list[Measurement]] = {}
    for m in report.measurements:
        found.setdefault((m.question, m.setting), []).append(m)
    ordered = sorted(found.items(), key=lambda item: list(Question).index(item[0][0]))
    return [_group(report, question, setting, tuple(ms)) for (question, setting), ms in ordered]


def _group(report: CheckReport, question: Question, setting: Setting, found: tuple[Measurement, ...]) -> Group:
    beyond = tuple(m for m in found if is_beyond(report, m.times_noise))
    # Of the group alone: the whole report goes through every measurement, once for each of hundreds of settings.
    sensitivity = replace(report, measurements=found).sensitivity(question, setting)
    return Group(question, setting, found, beyond, sensitivity)


def chosen(groups: Sequence[Group], most: int = MOST_PANELS) -> list[Group]:
    """The groups that are furthest above the noise floor, as many as a figure can hold, in their order."""
    worst = sorted(groups, key=lambda group: excess(group.worst), reverse=True)[:most]
    return [group for group in groups if group in worst]


def worst_by(measurements: Iterable[Measurement], place: Callable[[Measurement], H]) -> dict[H, Measurement]:
    """The worst measurement at each place."""
    found: dict[H, Measurement] = {}
    for m in measurements:
        if (at := place(m)) not in found or excess(m) > excess(found[at]):
            found[at] = m
    return found
