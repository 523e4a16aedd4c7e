"""What a fault would have to be, fitted to what a side showed: a decay, an epsilon, a factor.

A fit proposes; whether the reference with that fault reproduces the side is decided elsewhere (`diagnose`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from parity.check.episode import Episode
from parity.reference.parts import log_softmax
from parity.spec import BlockOrder, ModelSpec
from parity.verdict.trace import Key, Kind, Mode, Trace
from parity.weights import STATISTICS, Array, is_statistic, weight_shapes

Values = Mapping[str, Any]
USUAL_LEAST = (1e-7, 1e-8, 1e-6, 1e-10, 1e-12, 1e-5, 1e-15)  # of Keras, and what is seen
USUAL_EPSILONS = (1e-3, 1e-5, 1e-6, 1e-8, 1e-12)  # of Keras, Torch and Flax, and what is seen in papers' code


@dataclass(frozen=True)
class Case:
    """An episode as a side showed it, and as the witness did.

    Args:
        episode: what both played.
        side: what the side showed.
        seen: what the honest reference showed.
        layer: the hidden layer that is looked at; None for all of them.
    """

    episode: Episode
    side: Trace
    seen: Trace
    layer: int | None = None

    @property
    def spec(self) -> ModelSpec:
        """The network."""
        return self.episode.spec

    @property
    def layers(self) -> Sequence[int]:
        """The hidden layers that are looked at."""
        return range(self.spec.num_hidden_layers) if self.layer is None else [self.layer]

    @property
    def honest(self) -> "Case":
        """The same, of a side that showed what the witness did."""
        return replace(self, side=self.seen)

    def shown(self, kind: Kind, path: str, update: int = 0) -> Array:
        """Return a tensor of an update as the side showed it; the witness's where the side does not show it."""
        key = Key(update, Mode.TRAIN, kind, path)
        return self.side.tensors.get(key, self.seen.tensors.get(key, np.zeros(0)))

    def weight(self, name: str, after: int) -> Array:
        """A weight or statistic after so many updates; 0 is as loaded."""
        if after == 0:
            return self.shown(Kind.LOADED, name)
        return self.shown(Kind.STATISTIC if is_statistic(name) else Kind.UPDATED, name, after - 1)

    def gradient(self, name: str, update: int = 0) -> Array:
        """The gradient of a weight in an update."""
        return self.shown(Kind.GRADIENT, name, update)

    def given_to_norm(self, layer: int, update: int = 0) -> Array:
        """What a hidden layer's norm was given."""
        first = self.spec.block_order is BlockOrder.ACTIVATION_FIRST
        return self.shown(Kind.ACTIVATION, f"hidden.{layer}.{'relu' if first else 'linear'}", update)

    def trained(self) -> list[str]:
        """The names of everything that is trained."""
        return [name for name in weight_shapes(self.spec) if not is_statistic(name)]

    def batch_variances(self, ddof: int) -> Array:
        """The batch variances of the first update, every layer's channels in a row."""
        return np.concatenate([self.given_to_norm(i).var(axis=0, ddof=ddof) for i in self.layers])

    def increments(self, leaf: str) -> Array:
        """`new - decay * old` of a running statistic in the first update, every layer's channels in a row."""
        names = [f"hidden.{i}.{leaf}" for i in self.layers]
        return np.concatenate([self.weight(n, 1) - self.spec.decay * self.weight(n, 0) for n in names])


def slope(y: Array, x: Array) -> float:
    """The least-squares `a` of `y = a x`."""
    square = float(np.vdot(x, x))
    return float(np.vdot(y, x)) / square if square > 0 else np.nan


def near(value: float) -> Iterator[float]:
    """A fitted value, and before it the short decimals that it may be meant to be; reproduction decides."""
    if np.isfinite(value):
        yield from dict.fromkeys([*(float(f"{value:.{digits}g}") for digits in range(1, 10)), value])


def tidy(value: float) -> float:
    """A fitted value as the short decimal that it plainly is, where it is one to six digits."""
    short = float(f"{value:.4g}")
    return short if np.isfinite(value) and abs(short - value) <= 1e-6 * abs(value) else value


Fit = Callable[[Case, Case], Iterable[Values]]
"""Proposes values from the first natural episode and the episode of the first divergence."""


def fit_decay(case: Case, there: Case) -> Iterator[Values]:
    """`new = d old + (1 - d) batch`, solved for `d`: over both statistics, and over the mean alone."""
    for leaves in (STATISTICS, STATISTICS[:1]):
        for decay in near(solved_decay(case, leaves=leaves)):
            if 0 <= decay < 1:
                yield {"decay": decay}


def solved_decay(case: Case, update: int = 0, leaves: Sequence[str] = STATISTICS) -> float:
    """Return the decay that one update of the running statistics fits."""
    y, x = [], []
    for i in case.layers:
        given = case.given_to_norm(i, update)
        ddof = 1 if case.spec.running_variance == "unbiased" else 0
        batch = {"running_mean": given.mean(axis=0), "running_var": given.var(axis=0, ddof=ddof)}
        for leaf in leaves:
            old, new = (case.weight(f"hidden.{i}.{leaf}", update + k) for k in (0, 1))
            y.append(new - batch[leaf])
            x.append(old - batch[leaf])
    return round(slope(np.concatenate(y), np.concatenate(x)), 15) + 0.0


def fit_epsilon(case: Case, there: Case) -> Iterator[Values]:
    """`y - beta = s gamma (x - mean)` with `s = 1 / sqrt(v + e)`, solved for `e` in a layer, the first if it is all."""
    layer = case.layers[0]
    x = case.given_to_norm(layer)
    gamma, beta = case.weight(f"hidden.{layer}.gamma", 0), case.weight(f"hidden.{layer}.beta", 0)
    centered = gamma * (x - x.mean(axis=0))
    square = np.sum(centered**2, axis=0)
    with np.errstate(all="ignore"):
        s = np.sum((case.shown(Kind.ACTIVATION, f"hidden.{layer}.norm") - beta) * centered, axis=0) / square
        eps, weight = 1 / s**2 - x.var(axis=0), 1 / (1 / s**2) ** 2
    good = np.isfinite(eps) & (square > 0) & (s > 0)
    if good.any():
        yield from ({"eps": value} for value in near(float(np.average(eps[good], weights=weight[good]))) if value > 0)
    yield from ({"eps": value} for value in USUAL_EPSILONS)


def fit_slope(case: Case, there: Case) -> Iterator[Values]:
    """`a = s z` where `z < 0`, solved for `s`."""
    first = "linear" if case.spec.block_order is BlockOrder.ACTIVATION_FIRST else "norm"
    given = first if case.spec.use_batch_norm else "linear"
    z = np.concatenate([case.shown(Kind.ACTIVATION, f"hidden.{i}.{given}").ravel() for i in case.layers])
    a = np.concatenate([case.shown(Kind.ACTIVATION, f"hidden.{i}.relu").ravel() for i in case.layers])
    negative = z < 0
    yield from ({"slope": value} for value in near(slope(a[negative], z[negative])) if 0 < value < 1)


def fit_limit(case: Case, there: Case) -> Iterator[Values]:
    """ReLU6's, and the largest activation where the divergence is."""
    yield {"limit": 6.0}
    yield {"limit": max(float(there.shown(Kind.ACTIVATION, f"hidden.{i}.relu").max(initial=0.0)) for i in case.layers)}


def _applied(case: Case, update: int = 0) -> dict[str, Array]:
    """`(old - new) / lr` of every weight: what the optimizer took for the gradient."""
    lr = case.episode.learning_rates[update]
    return {n: (case.weight(n, update) - case.weight(n, update + 1)) / lr for n in case.trained()}


def _joined(arrays: Mapping[str, Array]) -> Array:
    return np.concatenate([array.ravel() for array in arrays.values()])


def _gradients(case: Case, update: int = 0) -> Array:
    return np.concatenate([case.gradient(n, update).ravel() for n in case.trained()])


def _factor(case: Case, update: int = 0) -> float:
    """What the gradient of an update is multiplied by, over every weight."""
    return slope(_joined(_applied(case, update)), _gradients(case, update))


def fit_factor(case: Case, there: Case) -> Iterator[Values]:
    """`new - old = -f lr gradient`, solved for `f` over every weight; 1 is no fault."""
    factor = _factor(case)
    if abs(factor - 1) > 1e-9:
        yield from ({"factor": value} for value in near(factor) if value != 1)


def fit_coefficient(case: Case, there: Case) -> Iterator[Values]:
    """`-(new - old) / lr - gradient = c old`, solved for `c` over every weight, and over the kernels alone."""
    for kernels_only in (False, True):
        coefficient = _coefficient(case, kernels_only)
        if np.isfinite(coefficient) and coefficient != 0:
            yield {"coefficient": coefficient} | ({"kernels_only": True} if kernels_only else {})


def _coefficient(case: Case, kernels_only: bool) -> float:
    names = [n for n in case.trained() if n.endswith(".kernel") or not kernels_only]
    applied = _applied(case)
    residue = np.concatenate([(applied[n] - case.gradient(n)).ravel() for n in names])
    return tidy(slope(residue, np.concatenate([case.weight(n, 0).ravel() for n in names])))


def fit_momentum(case: Case, there: Case) -> Iterator[Values]:
    """In the second update `-(new - old) / lr - gradient = m (the first gradient)`, solved for `m`."""
    if len(case.episode.batches) > 1:
        yield from _momentum(case, _gradients(case), _gradients(case, 1))


def _momentum(case: Case, first: Array, second: Array) -> Iterator[Values]:
    """Solve for the momentum, given what the first two updates would be without it."""
    momentum = tidy(slope(_joined(_applied(case, 1)) - second, first))
    if np.isfinite(momentum) and momentum != 0:
        yield {"momentum": momentum}


def fit_momentum_and_decay(case: Case, there: Case) -> Iterator[Values]:
    """The coefficient from the first update; with it the momentum from the second."""
    for found in fit_coefficient(case, there) if len(case.episode.batches) > 1 else ():
        first, second = (_gradients(case, k) + _decay(case, k, **found) for k in (0, 1))
        yield from ({**found, **momentum} for momentum in _momentum(case, first, second))


def _decay(case: Case, update: int, coefficient: float, kernels_only: bool = False) -> Array:
    """`coefficient * weight` of every weight, or 0 for all but the kernels."""
    taken = {n: coefficient * (n.endswith(".kernel") or not kernels_only) for n in case.trained()}
    return _joined({n: c * case.weight(n, update) for n, c in taken.items()})


def fit_nesterov(case: Case, there: Case) -> Iterator[Values]:
    """The first update is `1 + m` times the gradient."""
    yield from ({"momentum": value} for value in near(tidy(_factor(case) - 1)) if 0 < value < 1)


def fit_warmup(case: Case, there: Case) -> Iterator[Values]:
    """The first update's factor is one over the number of updates."""
    factor = _factor(case)
    if 0 < factor < 1:
        yield {"updates": float(round(1 / factor))}


def fit_norm(case: Case, there: Case) -> Iterator[Values]:
    """The norm of what the first update that was clipped took; PyTorch adds 1e-6 to the gradient's."""
    for update in range(len(case.episode.batches)):
        factor, norm = _factor(case, update), float(np.linalg.norm(_gradients(case, update)))
        if 0 < factor < 1 - 1e-6:
            for eps in (0.0, 1e-6):
                yield from ({"max_norm": value, "eps": eps} for value in near(tidy(factor * (norm + eps))))
            return


def fit_value(case: Case, there: Case) -> Iterator[Values]:
    """The largest element that the first update took."""
    yield from ({"limit": value} for value in near(tidy(float(np.abs(_joined(_applied(case))).max()))) if value > 0)


def fit_smoothing(case: Case, there: Case) -> Iterator[Values]:
    """`loss = (1 - s) nll + s mean(-log p)`, solved for `s`."""
    log_p = log_softmax(case.shown(Kind.ACTIVATION, "head.logits"))
    labels = case.episode.batches[0][1]
    nll, uniform = -log_p[np.arange(len(labels)), labels].mean(), -log_p.mean()
    smoothing = tidy(float((case.shown(Kind.LOSS, "loss") - nll) / (uniform - nll)))
    if 0 < smoothing <= 1:
        yield {"smoothing": smoothing}


def fit_padding(case: Case, there: Case) -> Iterator[Values]:
    """The batch size itself, and the sizes to which batches are usually padded."""
    own = len(case.episode.batches[0][0])
    yield from ({"size": size} for size in dict.fromkeys((own, 4, 8, 16, 32, 64, 128, 256, 512, 1024)))


def fit_name(case: Case, there: Case) -> Iterator[Values]:
    """The parameters whose gradient is 0 on this side alone."""
    for name in case.trained():
        key = Key(0, Mode.TRAIN, Kind.GRADIENT, name)
        if not case.gradient(name).any() and case.seen.tensors[key].any():
            yield {"parameter": name}


def fit_source(case: Case, there: Case) -> Iterator[Values]:
    """For each layer, the other whose batch mean fits its increment best."""
    decay, layers = case.spec.decay, range(case.spec.num_hidden_layers)
    means = [case.given_to_norm(i).mean(axis=0) for i in layers]
    for i in layers:
        old, new = (case.weight(f"hidden.{i}.running_mean", k) for k in (0, 1))
        misfits = [float(np.abs(new - decay * old - (1 - decay) * mean).max()) for mean in means]
        source = int(np.argmin(misfits))
        if source != i:
            yield {"target": i, "source": source}


FITS: dict[str, Fit] = {
    "wrong_decay": fit_decay,
    "wrong_epsilon": fit_epsilon,
    "leaky_slope": fit_slope,
    "clipped_activation": fit_limit,
    "relu_at_zero": lambda case, there: ({"derivative": value} for value in (0.5, 1.0)),
    "clipped_log": lambda case, there: ({"least": value} for value in USUAL_LEAST),
    "scaled_learning_rate": fit_factor,
    "weight_decay": fit_coefficient,
    "heavy_ball": fit_momentum,
    "momentum_and_decay": fit_momentum_and_decay,
    "nesterov": fit_nesterov,
    "warmup": fit_warmup,
    "clipped_gradients": fit_norm,
    "clipped_gradient_values": fit_value,
    "untrained_parameter": fit_name,
    "statistics_of_another_layer": fit_source,
    "label_smoothing": fit_smoothing,
    "padded_batch": fit_padding,
}


def as_fraction(ratio: float, size: int) -> str:
    """A ratio, and the fraction of the batch size that it is, if it is one.

    >>> as_fraction(0.96875, 32)
    '0.96875 = 31/32'
    """
    short = f"{ratio:.6g}"
    if not np.isfinite(ratio):
        return short
    found = Fraction(ratio).limit_denominator(size)
    close = abs(float(found) - ratio) < 1e-6 and found.denominator > 1
    return f"{short} = {found.numerator}/{found.denominator}" if close else short
