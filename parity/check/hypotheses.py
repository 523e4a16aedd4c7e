"""What a fault would have to be, fitted to what a side showed: a decay, an epsilon, a factor.

A fit proposes; whether the reference with that fault reproduces the side is decided elsewhere (`diagnose`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from parity.check.episode import Episode
from parity.reference.parts import log_softmax
from parity.spec import BlockOrder, ModelSpec
from parity.verdict.trace import Key, Kind, Mode, Trace
from parity.weights import STATISTICS, Array, is_statistic, weight_shapes

Values = Mapping[str, float]
USUAL_EPSILONS = (1e-3, 1e-5, 1e-6, 1e-8, 1e-12)  # of Keras, Torch and Flax, and what is seen in papers' code


@dataclass(frozen=True)
class Case:
    """The first natural episode as a side showed it, and as the witness did.

    Args:
        episode: what both played.
        side: what the side showed.
        seen: what the honest reference showed.
    """

    episode: Episode
    side: Trace
    seen: Trace

    @property
    def spec(self) -> ModelSpec:
        """The network."""
        return self.episode.spec

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
        return np.concatenate(
            [self.given_to_norm(i).var(axis=0, ddof=ddof) for i in range(self.spec.num_hidden_layers)]
        )

    def increments(self, leaf: str) -> Array:
        """`new - decay * old` of a running statistic in the first update, every layer's channels in a row."""
        names = [f"hidden.{i}.{leaf}" for i in range(self.spec.num_hidden_layers)]
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


def fit_decay(case: Case) -> Iterator[Values]:
    """`new = d old + (1 - d) batch`, solved for `d`: over both statistics, and over the mean alone."""
    for leaves in (STATISTICS, STATISTICS[:1]):
        for decay in near(solved_decay(case, leaves=leaves)):
            if 0 <= decay < 1:
                yield {"decay": decay}


def solved_decay(case: Case, update: int = 0, leaves: Sequence[str] = STATISTICS) -> float:
    """The decay that one update of the running statistics fits."""
    y, x = [], []
    for i in range(case.spec.num_hidden_layers):
        given = case.given_to_norm(i, update)
        ddof = 1 if case.spec.running_variance == "unbiased" else 0
        batch = {"running_mean": given.mean(axis=0), "running_var": given.var(axis=0, ddof=ddof)}
        for leaf in leaves:
            old, new = (case.weight(f"hidden.{i}.{leaf}", update + k) for k in (0, 1))
            y.append(new - batch[leaf])
            x.append(old - batch[leaf])
    return round(slope(np.concatenate(y), np.concatenate(x)), 15) + 0.0


def fit_epsilon(case: Case) -> Iterator[Values]:
    """`y - beta = s gamma (x - mean)` with `s = 1 / sqrt(v + e)`, solved for `e` in the first layer."""
    x = case.given_to_norm(0)
    gamma, beta = case.weight("hidden.0.gamma", 0), case.weight("hidden.0.beta", 0)
    centered = gamma * (x - x.mean(axis=0))
    square = np.sum(centered**2, axis=0)
    with np.errstate(all="ignore"):
        s = np.sum((case.shown(Kind.ACTIVATION, "hidden.0.norm") - beta) * centered, axis=0) / square
        eps, weight = 1 / s**2 - x.var(axis=0), 1 / (1 / s**2) ** 2
    good = np.isfinite(eps) & (square > 0) & (s > 0)
    if good.any():
        yield from ({"eps": value} for value in near(float(np.average(eps[good], weights=weight[good]))) if value > 0)
    yield from ({"eps": value} for value in USUAL_EPSILONS)


def fit_factor(case: Case) -> Iterator[Values]:
    """`new - old = -f lr gradient`, solved for `f` over every weight."""
    steps = np.concatenate([(case.weight(n, 1) - case.weight(n, 0)).ravel() for n in case.trained()])
    gradients = np.concatenate([case.gradient(n).ravel() for n in case.trained()])
    factor = slope(steps, -case.episode.learning_rates[0] * gradients)
    yield from ({"factor": value} for value in near(factor))


def fit_coefficient(case: Case) -> Iterator[Values]:
    """`-(new - old) / lr - gradient = c old`, solved for `c` over every weight."""
    lr = case.episode.learning_rates[0]
    residue = [(-(case.weight(n, 1) - case.weight(n, 0)) / lr - case.gradient(n)).ravel() for n in case.trained()]
    old = [case.weight(n, 0).ravel() for n in case.trained()]
    coefficient = tidy(slope(np.concatenate(residue), np.concatenate(old)))
    if np.isfinite(coefficient) and coefficient != 0:
        yield {"coefficient": coefficient}


def fit_momentum(case: Case) -> Iterator[Values]:
    """In the second update `-(new - old) / lr - gradient = m (the first gradient)`, solved for `m`."""
    if len(case.episode.batches) < 2:
        return
    lr = case.episode.learning_rates[0]
    residue = [(-(case.weight(n, 2) - case.weight(n, 1)) / lr - case.gradient(n, 1)).ravel() for n in case.trained()]
    first = [case.gradient(n).ravel() for n in case.trained()]
    momentum = tidy(slope(np.concatenate(residue), np.concatenate(first)))
    if np.isfinite(momentum) and momentum != 0:
        yield {"momentum": momentum}


def fit_smoothing(case: Case) -> Iterator[Values]:
    """`loss = (1 - s) nll + s mean(-log p)`, solved for `s`."""
    log_p = log_softmax(case.shown(Kind.ACTIVATION, "head.logits"))
    labels = case.episode.batches[0][1]
    nll, uniform = -log_p[np.arange(len(labels)), labels].mean(), -log_p.mean()
    smoothing = tidy(float((case.shown(Kind.LOSS, "loss") - nll) / (uniform - nll)))
    if 0 < smoothing <= 1:
        yield {"smoothing": smoothing}


def fit_padding(case: Case) -> Iterator[Values]:
    """The batch size itself, and the sizes to which batches are usually padded."""
    own = len(case.episode.batches[0][0])
    yield from ({"size": size} for size in dict.fromkeys((own, 4, 8, 16, 32, 64, 128, 256, 512, 1024)))


FITS: dict[str, Callable[[Case], Iterable[Values]]] = {
    "wrong_decay": fit_decay,
    "wrong_epsilon": fit_epsilon,
    "scaled_learning_rate": fit_factor,
    "weight_decay": fit_coefficient,
    "heavy_ball": fit_momentum,
    "label_smoothing": fit_smoothing,
    "padded_batch": fit_padding,
}


def as_fraction(ratio: float, size: int) -> str:
    """A ratio, and the fraction of the batch size that it is, if it is one.

    >>> as_fraction(0.96875, 32)
    '0.96875 = 31/32'
    """
    found = Fraction(ratio).limit_denominator(size)
    short = f"{ratio:.6g}"
    close = abs(float(found) - ratio) < 1e-6 and found.denominator > 1
    return f"{short} = {found.numerator}/{found.denominator}" if close else short
