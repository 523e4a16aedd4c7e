"""What a check finds, as values: measurements, divergences, causes, the report."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from parity.check.catalogue import CATALOGUE
from parity.check.config import CheckConfig
from parity.check.words import Layer, layer_of, size_words, tensor_words
from parity.verdict.compare import Distance
from parity.verdict.noise import rms
from parity.verdict.trace import Array
from parity.verdict.verdict import Verdict

SCHEMA = 1
CANDIDATE, REFERENCE, WITNESS = "candidate", "reference", "witness"


class Question(StrEnum):
    """What a check asks, in the order in which it does."""

    CRASH = "crash"
    INPUTS = "inputs"
    SEMANTIC = "semantic"
    PRECISION = "precision"
    FREE_RUN = "free_run"
    STATISTICAL = "statistical"


@dataclass(frozen=True, kw_only=True, order=True)
class Setting:
    """One configuration of the network in a check."""

    depth: int
    batch_norm: bool
    seed: int
    dtype: str = "float64"

    def __str__(self) -> str:
        norm = "with" if self.batch_norm else "without"
        return f"depth {self.depth} {norm} batch norm, seed {self.seed}, {self.dtype}"


@dataclass(frozen=True, kw_only=True)
class Measurement(Distance):
    """The distance of one tensor between two of the three.

    Args:
        question: to which it belongs.
        setting: the configuration.
        pair: who is held against whom: (candidate or reference, reference or witness).
        step: the update of the trajectory, or "probe:NAME".
    """

    question: Question
    setting: Setting
    pair: tuple[str, str]
    step: int | str

    @property
    def layer(self) -> Layer:
        """The layer: 0 to depth-1, "head", "input" or None."""
        return layer_of(self.key.path)

    @property
    def tensor(self) -> str:
        """The tensor, in words."""
        return tensor_words(self.key)

    @property
    def is_candidates(self) -> bool:
        """Whether the candidate showed one of the two tensors."""
        return CANDIDATE in self.pair

    @property
    def relative(self) -> float:
        """The RMS of the difference over the RMS of the tensor; infinite where the tensor should be 0."""
        return self.distance / self.size if self.size else math.inf

    @property
    def magnitude(self) -> str:
        """How large the difference is, in words."""
        return size_words(self.distance, self.size)


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Why two disagree.

    Args:
        name: of the catalogue, or "unexplained".
        evidence: the fitted numbers, in a sentence.
        side: "candidate" or "reference".
        predicted: what the honest reference says, for the drawing; None if there is nothing to draw.
        observed: what the side showed, of the same shape.
        axes: what the two are, for the drawing's axes.
    """

    name: str
    evidence: str
    side: str = "candidate"
    predicted: Array | None = None
    observed: Array | None = None
    axes: str = ""

    @property
    def remedy(self) -> str:
        """What to change in the side; "" where only its author can know."""
        return CATALOGUE[self.name].remedy if self.name in CATALOGUE else ""

    @property
    def relative(self) -> float | None:
        """The RMS of the difference over the RMS of what is predicted; None where there is no drawing of it."""
        distance, size = self._sizes()
        return None if distance is None else distance / size if size else math.inf

    @property
    def magnitude(self) -> str:
        """How large the difference is, in words; "" where there is no drawing of it."""
        distance, size = self._sizes()
        return "" if distance is None else ": ".join(filter(None, (self.axes, size_words(distance, size))))

    def _sizes(self) -> tuple[float | None, float]:
        if self.predicted is None or self.observed is None:
            return None, 0.0
        predicted, observed = (np.ravel(np.asarray(a, np.float64)) for a in (self.predicted, self.observed))
        with np.errstate(all="ignore"):
            return float(rms(observed - predicted)), float(rms(predicted))


@dataclass(frozen=True, kw_only=True)
class FreeRun:
    """Two trainings left to themselves from the same weights.

    Args:
        setting: the configuration.
        distances: of the candidate's weights from the reference's after each update, shape (updates,), as RMS.
        from_witness: the same of the candidate's and of the reference's from the NumPy reference, shape (2, updates).
        twins: the largest distance of the NumPy reference's one-ulp twins after each update, shape (updates,).
        travelled: RMS distance of the NumPy reference's weights from where they started, shape (updates,).
        horizon: the first update after which the two are as far apart as the reference has travelled, or None.
        twin_horizon: the same for the twins.
        judged: how many updates come before saturation.
        times_noise: the largest distance of any pair over the twins' in these; 0 if there is none.
    """

    setting: Setting
    distances: Array
    from_witness: Array
    twins: Array
    travelled: Array
    horizon: int | None
    twin_horizon: int | None
    judged: int
    times_noise: float


@dataclass(frozen=True, kw_only=True)
class Equivalence:
    """Two one-sided tests on differences paired by seed.

    Args:
        setting: the configuration; its seed is the first one.
        quantity: "final loss", "test accuracy" or "divergent learning rate".
        outcome: "equivalent", "different" or "inconclusive".
        mean: of candidate minus reference.
        low: lower end of the 90% confidence interval of the mean.
        high: its upper end.
        margin: half the reference's seed-to-seed standard deviation.
        seeds: how many pairs.
        seeds_needed: how many would settle it, where it is inconclusive.
        candidate: the values by seed.
        reference: the values by seed.
        note: what else led to the outcome, such as values that are missing.
    """

    setting: Setting
    quantity: str
    outcome: str
    mean: float
    low: float
    high: float
    margin: float
    seeds: int
    seeds_needed: int | None
    candidate: Array
    reference: Array
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """The verdict and all that it rests on.

    Args:
        config: what was asked.
        reference: the reference's name.
        candidate: the candidate's name.
        verdict: agree, disagree or incomplete.
        failed_question: the first question whose answer is no.
        message: what a crashed side said, else "".
        first_divergence: the first measurement beyond its limit, in causal order.
        cause: why; None unless they disagree.
        other_causes: further, independent causes.
        measurements: every comparison.
        free_runs: the free-run question's.
        equivalences: the statistical question's.
        not_compared: what could not be compared, and why.
        not_asked: what could not be asked of a side though it was asked for, and how to ask for less.
        environment: versions, machine, precision, threads.
        safety: the one safety factor.
        command: what made it.
        seconds: how long it took.
        titles: the names of backends as their makers write them, by name.
    """

    config: CheckConfig
    reference: str
    candidate: str
    verdict: Verdict
    failed_question: Question | None = None
    message: str = ""
    first_divergence: Measurement | None = None
    cause: Cause | None = None
    other_causes: tuple[Cause, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    free_runs: tuple[FreeRun, ...] = ()
    equivalences: tuple[Equivalence, ...] = ()
    not_compared: tuple[str, ...] = ()
    not_asked: tuple[str, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    safety: float = 1.0
    command: str = ""
    seconds: float = 0.0
    titles: Mapping[str, str] = field(default_factory=dict)

    def title(self, name: str) -> str:
        """The name of a side for people; what it was played with stays.

        >>> config = CheckConfig()
        >>> report = CheckReport(config=config, reference="a", candidate="b", verdict=Verdict.AGREE, titles={"a": "A"})
        >>> report.title("a with fast_variance"), report.title("b")
        ('A with fast_variance', 'b')
        """
        backend, played_with, faults = name.partition(" with ")
        return self.titles.get(backend, backend) + played_with + faults

    @property
    def agrees(self) -> bool:
        """Whether the verdict is `agree`."""
        return self.verdict is Verdict.AGREE

    @property
    def disagrees(self) -> bool:
        """Whether the verdict is `disagree`."""
        return self.verdict is Verdict.DISAGREE

    @property
    def accepted(self) -> tuple[str, ...]:
        """The differences that the reference was played with."""
        return self.config.accept

    @property
    def comparisons(self) -> int:
        """How many of the candidate's tensors, updates and trainings were held against others."""
        return (
            sum(m.is_candidates for m in self.measurements)
            + len(self.equivalences)
            + sum(len(run.distances) for run in self.free_runs)
        )

    def sensitivity(self, question: Question = Question.SEMANTIC, setting: Setting | None = None) -> float:
        """The largest limit over RMS: the smallest relative error of any tensor that would have been caught.

        Over the candidate's tensors of natural steps that start from a shared state, and whose size is above their
        own floor (probes plant channels on which noise is large on purpose). 0 if there is none.
        """
        relative = [
            self.safety * m.floor / m.size
            for m in self.measurements
            if m.question is question
            and m.is_candidates
            and m.shared
            and isinstance(m.step, int)
            and m.size > m.floor
            and setting in (None, m.setting)
        ]
        return max(relative, default=0.0)

    def settings(self, question: Question) -> list[Setting]:
        """The configurations of which a question was asked, in order."""
        return list(dict.fromkeys(m.setting for m in self.measurements if m.question is question))

    def worst(self, question: Question, setting: Setting) -> Measurement | None:
        """The measurement that is furthest above its floor."""
        found = [m for m in self.measurements if m.question is question and m.setting == setting]
        return max(found, key=lambda m: m.times_noise, default=None)
