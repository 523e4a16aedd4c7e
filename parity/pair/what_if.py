"""What if one convention were another: what the reference would then show, computed from what it recorded.

A what-if is named as the cause only if it reproduces the candidate within the limit. Each is a function of a `Case`
that yields the values of the convention and what the reference would show; `WHAT_IFS` lists them, and another is one
more entry.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import erf, pi, sqrt
from typing import Any

import numpy as np

from parity.backend.convention import EXACT, FITTED, GENERAL, LARGEST_EPSILON
from parity.backend.port import Boundary, End
from parity.pair.findings import LOSS, FindingKind, Map, Segment
from parity.pair.forced import Answer
from parity.pair.sites import Site
from parity.verdict.compare import SAFETY
from parity.verdict.trace import Array, Key, Kind

# How far off a fitted value may be for the round number beside it to be meant.
TIDY = 1e-6


@dataclass(frozen=True)
class Case:
    """A segment that is off, in one batch.

    Args:
        answer: what both sides showed.
        graph: the boundaries.
        segment: which.
        state: the reference's parameters and statistics before the batch.
        roles: the paths of the module's own tensors by their roles: "weight", "bias", "mean", "variance".
    """

    answer: Answer
    graph: Map
    segment: Segment
    state: Mapping[str, Array]
    roles: Mapping[str, str]

    def values(self, end: End) -> list[Array]:
        """What enters or leaves the module, as the reference has it; numbers only."""
        return [
            value
            for b, value in self.answer.own.values.items()
            if b.call == (self.segment.reference, 0) and b.end is end and value.dtype.kind == "f"
        ]

    def tensor(self, role: str) -> Array | None:
        """The reference's tensor of a role; None if it has none."""
        return self.state[self.roles[role]] if role in self.roles else None

    def keys(self, kind: Kind, path: str | None = None) -> list[Key]:
        """The keys of the segment's sites of a kind."""
        return [
            key
            for key, site in self.answer.sites.items()
            if site.kind is kind and (path is None or site.path == path) and self.is_of(site)
        ]

    def is_of(self, site: Site) -> bool:
        """Whether a site is of this segment."""
        if site.owner is not None:
            return site.owner.reference.module == self.segment.reference
        if site.boundary is None:
            return self.segment.reference == LOSS
        if site.kind is not Kind.ACTIVATION:
            return False
        return self.graph.segment_before(site.boundary) == self.segment

    def shown(self, key: Key) -> Array:
        """What the candidate showed, as the reference has it."""
        return self.answer.sites[key].theirs(self.answer.shown)

    def own(self, key: Key) -> Array:
        """What the reference showed."""
        return self.answer.witness.trace.tensors[key]

    def reproduces(self, predicted: Mapping[Key, Array]) -> bool:
        """Whether a prediction is what the candidate showed, within the limit."""
        return bool(predicted) and all(self.answer.floors_from(*each) <= SAFETY for each in predicted.items())


@dataclass(frozen=True)
class Predicted:
    """What the reference would show.

    Args:
        evidence: the values of the convention, in words.
        tensors: by key.
        remedy: what to write in the candidate.
        weakness: EXACT, FITTED, GENERAL or ROUNDING of `parity.backend.convention`.
    """

    evidence: str
    tensors: Mapping[Key, Array]
    remedy: str
    weakness: int = EXACT


@dataclass(frozen=True)
class WhatIf:
    """One convention changed.

    Args:
        name: of the cause.
        kind: of the findings that it may explain.
        predict: yields what the reference would show, for each value of the convention that is tried.
    """

    name: str
    kind: FindingKind
    predict: Callable[[Case], Iterator[Predicted]]


def tidy(value: float) -> float:
    """Return the round number that a fitted one is near to."""
    short = float(f"{value:.3g}")
    return short if abs(short - value) <= TIDY * abs(value) else value


# running statistics


@dataclass(frozen=True)
class _Average:
    """The running average of a norm: what it took in, and how."""

    mean: str
    variance: str
    decay: float
    batch_mean: Array
    batch_variance: Array
    count: int
    is_unbiased: bool

    def variance_of(self, unbiased: bool) -> Array:
        return self.batch_variance * (self.count / (self.count - 1) if unbiased else 1.0)


def _average(case: Case) -> _Average | None:
    """Solve for what the reference's norm does, from its input and its statistics before and after."""
    if not {"mean", "variance"} <= case.roles.keys():
        return None
    mean, variance = case.roles["mean"], case.roles["variance"]
    own, old = case.answer.own.statistics, case.state[mean]
    if mean not in own or variance not in own:
        return None
    new = own[mean]
    for x in case.values(End.INPUT):
        for axis in [a for a in (1, x.ndim - 1, 0) if a < x.ndim and x.shape[a] == len(old)]:
            rows = np.moveaxis(x, axis, -1).reshape(-1, x.shape[axis])
            batch, biased, count = rows.mean(axis=0), rows.var(axis=0), len(rows)
            decay = tidy(_slope(new - batch, old - batch))
            if not _is_near(new, decay * old + (1 - decay) * batch):
                continue
            for unbiased in (True, False):
                taken = biased * (count / (count - 1) if unbiased else 1.0)
                if _is_near(own[variance], decay * case.state[variance] + (1 - decay) * taken):
                    return _Average(mean, variance, decay, batch, biased, count, unbiased)
    return None


def _slope(y: Array, x: Array) -> float:
    square = float(np.vdot(x, x))
    return float(np.vdot(x, y)) / square if square else float("nan")


def _is_near(one: Any, other: Array) -> bool:
    return bool(np.allclose(one, other, rtol=1e-9, atol=1e-12))


def _statistics(case: Case, average: _Average, decay: float, unbiased: bool) -> dict[Key, Array]:
    """What the statistics would be after the batch: what the reference shows, changed by what is otherwise.

    So only the change has the rounding of these formulas.
    """
    predicted = {}
    own = (average.batch_mean, average.variance_of(average.is_unbiased))
    other = (average.batch_mean, average.variance_of(unbiased))
    for path, one, two in zip((average.mean, average.variance), own, other, strict=True):
        change = (decay - average.decay) * (case.state[path] - one) + (1 - decay) * (two - one)
        for key in case.keys(Kind.STATISTIC, path):
            predicted[key] = case.own(key) + change
    return predicted


def biased_running_variance(case: Case) -> Iterator[Predicted]:
    """The running variance takes in the biased variance of the batch, or the unbiased one, and not the other."""
    average = _average(case)
    if average is not None:
        n = average.count
        words = ("biased", "unbiased") if average.is_unbiased else ("unbiased", "biased")
        yield Predicted(
            f"the running variance takes in the {words[0]} variance of the batch, the reference's the {words[1]} one: "
            f"the ratio is {n - 1}/{n}" if average.is_unbiased else f"the ratio is {n}/{n - 1}",
            _statistics(case, average, average.decay, not average.is_unbiased),
            f"multiply the variance of the batch by {n}/{n - 1} before it enters the average, or accept the difference"
            if average.is_unbiased
            else "divide by n, as the reference does, or accept the difference",
        )  # fmt: skip


def default_momentum(case: Case) -> Iterator[Predicted]:
    """The running average keeps another part of the old value."""
    average = _average(case)
    keys = case.keys(Kind.STATISTIC, average.mean) if average else []
    if average is None or not keys or case.answer.batch.step:
        return  # what begins at a later update only is no other constant
    if abs(average.decay) < TIDY or abs(average.decay - 1) < TIDY:
        return  # the first update of an average of all batches, which has no momentum; or none, as in evaluation
    old = case.state[average.mean]
    decay = tidy(_slope(case.shown(keys[0]) - average.batch_mean, old - average.batch_mean))
    if not np.isfinite(decay) or min(abs(decay - average.decay), abs(decay - 1)) < TIDY:
        return
    for unbiased in (average.is_unbiased, not average.is_unbiased):
        yield Predicted(
            f"the running average keeps {decay:g} of the old value, the reference's {average.decay:g}"
            + ("" if unbiased == average.is_unbiased else ", and the variance of the batch is biased on one side only"),
            _statistics(case, average, decay, unbiased),
            f"set the momentum to {average.decay:g} where it is what is kept (Flax, Equinox), to "
            f"{tidy(1 - average.decay):g} where it is what is new (PyTorch)",
            weakness=FITTED,
        )


# norms


def norm_epsilon(case: Case) -> Iterator[Predicted]:
    """The epsilon within the square root of a norm, solved from input and output::

        y = (x - mean) / sqrt(variance + epsilon) * scale + shift

    Over each group of elements that are normalized together, `x - mean` is proportional to `(y - shift) / scale`, with
    the factor `s = sqrt(variance + epsilon)` for the reference and `s'` for the candidate: `s'^2 - s^2` is the
    difference of the two epsilons, the same for every group.
    """
    outputs, keys = case.values(End.OUTPUT), case.keys(Kind.ACTIVATION)
    if len(outputs) != 1 or len(keys) != 1:
        return
    y, shown = outputs[0], case.shown(keys[0])
    for x in case.values(End.INPUT):
        if x.shape != y.shape:
            continue
        for scale, shift in _affine(case, y):
            ours, theirs = (y - shift) / scale, (shown - shift) / scale
            for axes, centered, variance in _moments(case, x):
                own, other = (
                    _epsilon(centered, each.reshape(centered.shape), variance, axes) for each in (ours, theirs)
                )
                if own is None or other is None or own == other:
                    continue
                predicted = (centered / np.sqrt(variance + other)).reshape(x.shape) * scale + shift
                yield Predicted(
                    f"epsilon is {other:.6g}; in the reference it is {own:.6g}",
                    {keys[0]: predicted},
                    f"set its epsilon to {own:g}",
                    weakness=FITTED,
                )


def _moments(case: Case, x: Array) -> Iterator[tuple[tuple[int, ...], Array, Array]]:
    """What a norm may subtract and divide by: axes that are normalized together, the rest of x, and the variance.

    The moments are those of a batch, of a layer, of an instance or of groups of channels, for which that axis is split;
    centered or not; or the running statistics.
    """
    batch, last, channels_last = (0, *range(2, x.ndim)), (x.ndim - 1,), tuple(range(x.ndim - 1))
    whole = (batch, last, (*range(1, x.ndim),), (*range(2, x.ndim),), channels_last)
    views = [(x.shape, axes) for axes in whole if axes]
    for axis in {1, x.ndim - 1} if x.ndim > 1 else ():
        size = x.shape[axis]
        for count in (count for count in range(2, size) if size % count == 0):
            shape = (*x.shape[:axis], count, size // count, *x.shape[axis + 1 :])
            views.append((shape, tuple(each for each in range(1, len(shape)) if each != axis)))
    for shape, axes in dict.fromkeys(views):
        split = x.reshape(shape)
        for centered in (split - split.mean(axis=axes, keepdims=True), split):
            yield axes, centered, (centered**2).mean(axis=axes, keepdims=True)
    mean, variance = (case.tensor(role) for role in ("mean", "variance"))
    if mean is None or variance is None or mean.ndim != 1:
        return
    for axes in dict.fromkeys((batch, channels_last)):
        form = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
        if np.prod(form) == mean.size:
            yield axes, x - mean.reshape(form), variance.reshape(form)


def _affine(case: Case, y: Array) -> Iterator[tuple[Array, Array]]:
    """The scale and the shift of a norm, along the axis that has their size."""
    weight, bias = case.tensor("weight"), case.tensor("bias")
    if weight is None and bias is None:
        yield np.ones(1), np.zeros(1)
        return
    form = weight if weight is not None else bias
    assert form is not None
    scale = np.ones(form.shape) if weight is None else weight
    shift = np.zeros(form.shape) if bias is None else bias
    for axis in range(y.ndim - form.ndim + 1):
        if y.shape[axis : axis + form.ndim] == form.shape:
            spread = (*form.shape, *[1] * (y.ndim - form.ndim - axis))
            yield scale.reshape(spread), shift.reshape(spread)


def _epsilon(centered: Array, normalized: Array, variance: Array, axes: tuple[int, ...]) -> float | None:
    """Solve `centered = sqrt(variance + epsilon) normalized` for epsilon, by the groups of least variance.

    A group of 0s, as a unit gives that is never active, tells nothing.
    """
    sizes, others = ((each**2).mean(axis=axes, keepdims=True) for each in (centered, normalized))
    is_alive = (sizes > 0) & (others > 0)
    if not is_alive.any():
        return None
    square = np.divide(sizes, others, out=np.ones_like(sizes), where=is_alive)
    if np.any(np.abs(centered - np.sqrt(square) * normalized) > 1e-6 * np.sqrt(square), where=is_alive):
        return None
    found, spread = (square - variance)[is_alive], variance[is_alive]
    least = np.argsort(spread)[: max(1, found.size // 4)]
    epsilon = float(np.median(found[least]))
    noise = 100 * float(np.median(spread[least])) * 1e-14
    if not -noise <= epsilon <= LARGEST_EPSILON:  # what is as large as a variance is no epsilon
        return None
    return tidy(epsilon) if epsilon > noise else 0.0


# activations


GELU = {
    "tanh": "approximate=True (Flax, JAX), approximate='tanh' (PyTorch)",
    "erf": "approximate=False (Flax, JAX), approximate='none' (PyTorch)",
}


def gelu_form(case: Case) -> Iterator[Predicted]:
    """GELU by the error function, or its approximation by tanh; what is added to it, as in a residual block, stays."""
    forms: dict[str, Callable[[Array], Array]] = {"erf": gelu, "tanh": gelu_tanh}
    for key in case.keys(Kind.ACTIVATION):
        boundary = case.answer.sites[key].boundary
        for source in _sources(case, boundary) if boundary else ():
            x = case.answer.own.values[source]
            if x.dtype.kind != "f" or x.shape != case.own(key).shape:
                continue
            for own, other in (("erf", "tanh"), ("tanh", "erf")):
                predicted = case.own(key) - forms[own](x) + forms[other](x)
                yield Predicted(f"GELU is its {other} form, the reference's {own}", {key: predicted}, GELU[own])


def _sources(case: Case, boundary: Boundary) -> list[Boundary]:
    return [*case.graph.sources(boundary)]


def gelu(x: Array) -> Array:
    """Return `x (1 + erf(x / sqrt(2))) / 2`."""
    return x * (1 + np.vectorize(erf, otypes=[float])(x / sqrt(2))) / 2


def gelu_tanh(x: Array) -> Array:
    """Return `x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`."""
    return x * (1 + np.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2


def extra_scale(case: Case) -> Iterator[Predicted]:
    """The values are those of the reference times a number."""
    for key in case.keys(Kind.ACTIVATION):
        own, shown = case.own(key), case.shown(key)
        factor = tidy(_slope(shown, own))
        if own.size > 1 and np.isfinite(factor) and factor not in (0.0, 1.0):
            yield Predicted(
                f"it is {factor:g} times what the reference has",
                {key: factor * own},
                f"multiply by {tidy(1 / factor):g}, or leave the factor out",
                weakness=GENERAL,
            )


WHAT_IFS = (
    WhatIf("default_momentum", FindingKind.STATISTICS, default_momentum),
    WhatIf("biased_running_variance", FindingKind.STATISTICS, biased_running_variance),
    WhatIf("norm_epsilon", FindingKind.FORWARD, norm_epsilon),
    WhatIf("gelu_form", FindingKind.FORWARD, gelu_form),
    WhatIf("extra_scale", FindingKind.FORWARD, extra_scale),
)
