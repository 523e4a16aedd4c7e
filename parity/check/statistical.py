"""The fourth question: over many seeds, do two implementations train equally well?

Rounding decides single trainings of a chaotic system, but not their averages. Both sides train from the same weights,
on the same batches, for several seeds. Candidate minus reference, paired by seed, is held against a margin by two
one-sided t tests. With the differences' mean `m` and standard deviation `s` over `n` seeds, and the reference's own
standard deviation from seed to seed `s_ref` (all ddof 1)::

    margin   = max(MARGIN_SHARE * s_ref, resolution)
    interval = m -+ t(1 - ALPHA, n - 1) * s / sqrt(n)

    equivalent    the interval lies wholly within -margin .. margin
    different     it lies wholly outside
    inconclusive  the rest

`ALPHA` and `MARGIN_SHARE` are declared, not derived. The margin is a share of the spread that these seeds showed: the
error rate holds for that margin, not for a true one that nobody knows. It is not below what a value is known to: one
test image, or the ratio at which the bisection of learning rates ends. Should mean and spread stay as they are, an
inconclusive test is settled by the smallest `n` at which the interval no longer reaches the margin's nearer end::

    t(1 - ALPHA, n - 1) * s / sqrt(n) < | |m| - margin |

A training that diverged has no final loss and no accuracy, and a divergent learning rate can lie beyond the grid. Such
a value is infinite, in the direction in which it lies. Seeds at which both sides have the same infinity say nothing.
Seeds at which only one has it are counted by sign: were the two alike, either sign would be as likely (McNemar's exact
test). If that test rejects at `ALPHA`, they are different; while there is any such seed, they are not equivalent.

Reference: Schuirmann, "A comparison of the two one-sided tests procedure and the power approach", 1987.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from parity.backend import Backend, Inputs
from parity.check.config import CheckConfig
from parity.check.records import Equivalence, Setting
from parity.data import IndexStream, Masks, MaskStream, label_entropy, mask_arguments
from parity.divergence import (
    BRACKET_RATIO,
    LearningRates,
    Status,
    bisect,
    classify,
    drive,
    final_loss,
    find_bracket,
    geometric_mean,
)
from parity.process import Side
from parity.spec import DType, ModelSpec
from parity.weights import Array, Weights, cast_weights, draw_weights

ALPHA = 0.05
MARGIN_SHARE = 0.5
QUANTITIES = ("final loss", "test accuracy", "divergent learning rate")
UPDATES = 120
MOST_SEEDS = 1_000_000  # beyond that nothing is settled
RATES = LearningRates(0.1, 12.8, 8)  # a factor 2 apart: three halvings bring a bracket below `BRACKET_RATIO`


def statistical(
    candidate: Side, reference: Side, config: CheckConfig, data: Inputs, spec: ModelSpec, setting: Setting
) -> tuple[Equivalence, ...]:
    """Train both sides at `config.statistical_seeds` seeds, from the setting's on, and hold them against each other.

    Args:
        candidate: the one side.
        reference: the other, whose spread sets the margin.
        config: gives the number of seeds, the batch size, and the learning rate of final loss and test accuracy.
        data: what both train on; weights and batches are drawn anew for each seed.
        spec: the network.
        setting: the configuration; its dtype is the working dtype.

    Returns:
        One for each of `QUANTITIES`. That of the divergent learning rate is in natural logarithms.

    Raises:
        SideError: a side raised, died or gave no answer in time.
    """
    seeds = range(setting.seed, setting.seed + config.statistical_seeds)
    options = config.batch_size, config.learning_rate, setting.dtype
    values = np.array(
        [[side.call(train_seed, spec, data, s, *options) for s in seeds] for side in (candidate, reference)]
    )
    known_to = 0.0, 1 / len(data.test_labels), math.log(BRACKET_RATIO)
    series = zip(QUANTITIES, *np.moveaxis(values, -1, 1), known_to, strict=True)
    return tuple(compare_paired(setting, *each) for each in series)


def train_seed(
    backend: Backend, spec: ModelSpec, data: Inputs, seed: int, batch_size: int, learning_rate: float, dtype: DType
) -> tuple[float, float, float]:
    """Train one seed over a grid of learning rates, and bisect where training breaks down.

    A backend without `population` is trained through its learner, one learning rate after the other.

    Returns:
        Final loss and test accuracy at `learning_rate` (inf and -inf if it diverged), and the logarithm of the
        bracket's middle (inf if no rate failed, -inf if none trained).
    """
    dtype = dtype if dtype in backend.dtypes else backend.dtypes[0]
    rates = sorted({*RATES.values(), learning_rate})
    members = len(rates) if backend.has_population else 1
    weights, batches = draw_weights(spec, seed), _draw_batches(len(data.train_labels), batch_size, seed)
    masks = MaskStream(spec, batch_size, seed).next_updates(len(batches)) if spec.dropout_rate else None
    entropy = label_entropy(data.train_labels)
    shown: dict[float, tuple[float, float]] = {}

    def run(wanted: Sequence[float]) -> dict[float, _Ended]:
        trials = {}
        for start in range(0, len(wanted), members):
            block = list(wanted[start : start + members])
            padded = block + block[-1:] * (members - len(block))  # rounding may depend on the number of members
            losses, finite, accuracy = _train(backend, spec, data, weights, batches, padded, dtype, masks)
            for m, rate in enumerate(block):
                status = classify(losses[:, m], finite[:, m], entropy)
                trials[rate] = _Ended(rate, status)
                ended = status is not Status.DIVERGED
                shown[rate] = (final_loss(losses[:, m]), float(accuracy[m])) if ended else (math.inf, -math.inf)
        return trials

    trials = run(rates)
    bracket = find_bracket(trials.values())
    if bracket is None:
        any_trained = any(trial.status is Status.TRAINED for trial in trials.values())
        return *shown[learning_rate], math.inf if any_trained else -math.inf
    low, high = find_bracket([*trials.values(), *drive(bisect(*bracket, members), run)]) or bracket
    return *shown[learning_rate], math.log(geometric_mean(low, high))


class _Ended(NamedTuple):
    learning_rate: float
    status: Status


def _train(
    backend: Backend,
    spec: ModelSpec,
    data: Inputs,
    weights: Weights,
    batches: NDArray,
    rates: list[float],
    dtype: DType,
    masks: Masks | None,
) -> tuple[Array, NDArray[np.bool_], Array]:
    """Losses and finiteness, shape (updates, members), and test accuracy, shape (members,)."""
    inputs, labels = data.train_inputs.copy(), data.train_labels.copy()
    if backend.has_population:
        population = backend.population(spec, cast_weights(weights, "float32"), rates, inputs, labels, dtype)
        record = population.run_pass(batches.copy(), **mask_arguments(masks))
        if not np.shape(record.losses) == np.shape(record.finite) == (expected := (len(batches), len(rates))):
            raise ValueError(f"losses and finite must have shape {expected}, got {np.shape(record.losses)}")
        accuracy = population.evaluate(data.test_inputs.copy(), data.test_labels.copy()).accuracy
        if np.shape(accuracy) != (len(rates),) or not np.isfinite(accuracy).all():
            raise ValueError(f"accuracy must be {len(rates)} finite numbers, got {accuracy}")
        return record.losses, record.finite, accuracy
    learner = backend.learner(spec, cast_weights(weights, "float32"), dtype)
    losses, finite = [], []
    for t, batch in enumerate(batches):
        given = mask_arguments(None if masks is None else masks[t])
        losses.append([learner.train_step(inputs[batch], labels[batch], rates[0], **given).loss])
        finite.append([all(np.isfinite(array).all() for array in learner.weights().values())])
    hits = learner.evaluate(data.test_inputs.copy()).argmax(axis=-1) == data.test_labels
    return np.array(losses), np.array(finite), np.array([hits.mean()])


def _draw_batches(samples: int, batch_size: int, seed: int) -> NDArray[np.integer]:
    """The index stream's first `UPDATES` minibatches, shape (updates, batch)."""
    stream = IndexStream(samples, batch_size, seed)
    first = stream.next_pass()
    return np.concatenate([first, *(stream.next_pass() for _ in range(UPDATES // len(first)))])[:UPDATES]


def compare_paired(
    setting: Setting, quantity: str, candidate: Array, reference: Array, resolution: float = 0.0
) -> Equivalence:
    """Two one-sided t tests on `candidate - reference`, and a sign test on what only one of them has.

    Args:
        setting: for the record.
        quantity: for the record.
        candidate: a value for each seed, shape (seeds,); infinite where there is none, not NaN.
        reference: the same.
        resolution: what a value is known to.
    """
    candidate, reference = np.array(candidate, np.float64), np.array(reference, np.float64)
    with np.errstate(invalid="ignore"):
        differences = candidate - reference
    paired, signs = differences[np.isfinite(differences)], np.sign(differences[np.isinf(differences)])
    mean = deviation = half_width = margin = math.nan
    if len(paired) >= 2:
        mean, deviation = float(paired.mean()), _deviation(paired)
        half_width = _half_width(deviation, len(paired))
        margin = max(MARGIN_SHARE * _deviation(reference[np.isfinite(reference)]), resolution)
    outcome = _judge(mean - half_width, mean + half_width, margin, signs)
    unhelped = outcome != "inconclusive" or len(signs) or len(paired) < 2
    return Equivalence(
        setting=setting,
        quantity=quantity,
        outcome=outcome,
        mean=mean,
        low=mean - half_width,
        high=mean + half_width,
        margin=margin,
        seeds=len(paired),
        seeds_needed=None if unhelped else seeds_needed(mean, deviation, margin),
        candidate=candidate,
        reference=reference,
        note=_note(len(differences), len(paired), signs, margin),
    )


def describe(found: Equivalence) -> str:
    """Say how two implementations differ: by their mean, or at how many seeds only one has a number."""
    if abs(found.mean) > found.margin:
        return f"{found.quantity} differs by {found.mean:.3g}, beyond the margin of {found.margin:.3g}"
    lacking = "fails to train, or trains at every learning rate," if found.quantity == QUANTITIES[2] else "diverges"
    sides = np.isfinite(found.candidate), np.isfinite(found.reference)
    counts = [int(np.sum(~own & others)) for own, others in (sides, sides[::-1])]
    parts = [
        f"the {side} {lacking} at {count} of {len(found.candidate)} seeds where the {other} does not"
        for count, side, other in zip(counts, ("candidate", "reference"), ("reference", "candidate"), strict=True)
        if count
    ]
    return f"{found.quantity}: {' and '.join(parts)} ({found.note})"


def _judge(low: float, high: float, margin: float, signs: Array) -> str:
    if low > margin or high < -margin or (len(signs) and _sign_test(signs) <= ALPHA):
        return "different"
    return "equivalent" if -margin <= low and high <= margin and not len(signs) else "inconclusive"


def _note(seeds: int, pairs: int, signs: Array, margin: float) -> str:
    lacking = f"both sides have a number at {pairs} of {seeds} seeds, only one of them at {len(signs)}"
    notes = [lacking] if pairs < seeds else []
    if len(signs):
        notes.append(f"a sign test on these has p = {_sign_test(signs):.2g}")
    if margin == 0:
        notes.append("the reference shows no spread from seed to seed, so the margin is 0")
    return "; ".join(notes)


def _sign_test(signs: Array) -> float:
    from scipy.stats import binomtest

    return float(binomtest(int((signs > 0).sum()), len(signs)).pvalue)


def _deviation(values: Array) -> float:
    """Standard deviation, ddof 1; of equal values exactly 0, not the rounding of their mean."""
    return float(values.std(ddof=1)) if np.ptp(values) > 0 else 0.0


def _half_width(deviation: float, seeds: int) -> float:
    """Of the 90% confidence interval, which both one-sided tests at `ALPHA` share."""
    from scipy.stats import t

    return float(t.ppf(1 - ALPHA, seeds - 1)) * deviation / math.sqrt(seeds)


def seeds_needed(mean: float, deviation: float, margin: float) -> int | None:
    """The smallest number of seeds whose interval stays clear of the margin's nearer end; None above `MOST_SEEDS`.

    >>> seeds_needed(mean=0.0, deviation=1.0, margin=0.5)
    13
    """
    gap = abs(abs(mean) - margin)
    # The half-width falls with the number of seeds.
    found = bisect_left(range(MOST_SEEDS + 1), True, lo=2, key=lambda seeds: not _half_width(deviation, seeds) >= gap)
    return found if found <= MOST_SEEDS else None
