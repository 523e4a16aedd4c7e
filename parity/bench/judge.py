"""Whether a mode's steps are those of the reference: only then does its time count."""

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from parity.bench.worker import Key, Sample
from parity.errors import InputError
from parity.reference import NumpyBackend, NumpyLearner
from parity.reference.rounding import RoundingBackend, RoundingLearner
from parity.spec import Precision
from parity.verdict import trace
from parity.verdict.active_units import can_switch
from parity.verdict.compare import SAFETY, compare, drowned_tensors, first_beyond
from parity.verdict.noise import DRAWS, Witness, measure_floors, unit_of
from parity.verdict.trace import Kind, Mode, Trace
from parity.weights import Array, Weights, check_weights, is_statistic

TRIES = 4  # minibatches that are looked at for one at which rounding can switch no ReLU


def choose_batch(
    key: Key, precision: Precision, weights: Weights, draw: Callable[[], NDArray[np.integer]], data: tuple
) -> NDArray[np.integer]:
    """Return a minibatch at which rounding alone can switch no ReLU of the reference, if one of a few is such.

    Nothing of the mode's enters but its state before the step.
    """
    batch = draw()
    for _ in range(TRIES):
        seen = _witness(key, precision, weights, (data[0][batch], data[1][batch], 1.0), draws=2)
        if not _can_switch(seen):
            break
        batch = draw()
    return batch


def judge(key: Key, precision: Precision, sample: Sample) -> str:
    """Hold one step of a mode against the reference's from the same state; return what is wrong, "" if nothing is.

    In float64 everything is compared: the loss, every running statistic and every updated weight, each within `SAFETY`
    times its noise floor; in a deep network what comes before rounding could make anything of the rest. In a coarser
    dtype a unit whose pre-activation is within rounding of 0 may be active on one side only, which moves gradients by
    far more than rounding: where that can be, loss and statistics are compared, which are continuous there, and the
    updated weights are held to be finite.
    """
    with np.errstate(all="ignore"):
        try:
            check_weights(sample.after, key.case.spec)
        except InputError as error:
            return str(error)
        seen = _witness(key, precision, sample.before, (sample.inputs, sample.labels, sample.learning_rate))
        unsure = key.dtype != "float64" and _can_switch(seen)
        shown = _trace(sample.loss, sample.after, {})
        left_out = {k for k in seen.floors if unsure and k.kind is Kind.UPDATED} | drowned_tensors(seen)
        compared = list(compare(shown, seen.trace, seen.floors, left_out=frozenset(left_out)))
        worst = first_beyond(compared)
    spoiled = [name for name, array in sample.after.items() if not np.isfinite(array).all()]
    if spoiled or not np.isfinite(sample.loss):
        return f"not finite: {', '.join(spoiled) or 'the loss'}"
    if worst is None:
        return "" if compared else "nothing could be compared: rounding alone could make anything of such a step"
    times = f"{worst.times_noise:.3g} times the noise floor ({SAFETY:g} allowed)"
    return f"{worst.key.kind} {worst.key.path} is off by {times}"


def _witness(key: Key, precision: Precision, weights: Weights, step: tuple, draws: int = DRAWS) -> Witness:
    """What the reference shows of one update on `(inputs, labels, learning rate)`, and how far rounding moves it."""
    spec, unit = key.case.spec, unit_of(key.dtype, precision)

    def take(learner: NumpyLearner | RoundingLearner) -> Trace:
        shown = learner.train_step(*step)
        return _trace(shown.loss, learner.weights(), shown.activations or {})

    rounding = RoundingBackend(NumpyBackend(), unit, np.random.default_rng(draws))
    return measure_floors(take(NumpyLearner(spec, weights)), [take(rounding.learners(spec, weights, draws))], unit.bits)


def _trace(loss: float, after: Weights, activations: Mapping[str, Array]) -> Trace:
    """One update in causal order: layer by layer, the loss, the new weights."""
    shown = [(Kind.ACTIVATION, path, array) for path, array in activations.items()]
    shown += [(Kind.STATISTIC, path, array) for path, array in after.items() if is_statistic(path)]
    shown.sort(key=lambda each: _layer(each[1]))  # stable: activations of a layer, then its statistics
    tensors = {(kind, path): array for kind, path, array in shown}
    tensors[Kind.LOSS, "loss"] = np.asarray(loss)
    tensors |= {(Kind.UPDATED, path): array for path, array in after.items() if not is_statistic(path)}
    return Trace({trace.Key(0, Mode.TRAIN, *at): np.array(array, np.float64) for at, array in tensors.items()})


def _layer(path: str) -> float:
    place, number, *_ = path.split(".")
    return int(number) if place == "hidden" else math.inf


def _can_switch(seen: Witness) -> bool:
    return can_switch(seen, (key for key in seen.floors if key.path.endswith(".linear")))
