"""Whether a mode's steps are those of the reference: only then does its time count."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parity.bench.worker import Key, Sample
from parity.check.compare import SAFETY, compare, drowned_tensors, first_beyond
from parity.check.episode import Episode, Recording, place
from parity.check.episode import Key as Tensor
from parity.check.lockstep import unknown_pattern
from parity.check.noise import Witness, unit_of, witness
from parity.check.records import Question, Setting
from parity.reference import NumpyBackend
from parity.spec import Precision
from parity.weights import Array, Weights, cast_weights, is_statistic

TRIES = 4  # minibatches that are looked at for one at which rounding can switch no ReLU


@dataclass(frozen=True)
class Judgement:
    """What became of one sampled step.

    Args:
        problem: what is wrong with it; "" if nothing is.
        compared: tensors that were compared.
    """

    problem: str
    compared: int


def choose_batch(
    key: Key, precision: Precision, weights: Weights, draw: Callable[[], NDArray[np.integer]], data: tuple
) -> NDArray[np.integer]:
    """A minibatch at which rounding alone can switch no ReLU of the reference, if one of a few is such.

    Nothing of the mode's enters but its state before the step.
    """
    batch = draw()
    for _ in range(TRIES):
        episode = _episode(key, weights, (data[0][batch], data[1][batch]), 1.0)
        seen = witness(NumpyBackend(), episode, unit_of(key.dtype, precision), draws=2)
        if unknown_pattern(episode, Recording(), seen) is None:
            break
        batch = draw()
    return batch


def judge(key: Key, precision: Precision, sample: Sample) -> Judgement:
    """Hold one step of a mode against the reference's from the same state.

    In float64 everything is compared: the loss, every running statistic and every updated weight, each within `SAFETY`
    times its noise floor. In a coarser dtype a unit whose pre-activation is within rounding of 0 may be active on one
    side only, which moves gradients by far more than rounding: where that can be, loss and statistics are compared,
    which are continuous there, and the updated weights are held to be finite.
    """
    episode = _episode(key, sample.before, (sample.inputs, sample.labels), sample.learning_rate)
    unit = unit_of(key.dtype, precision)
    with np.errstate(all="ignore"):
        seen = witness(NumpyBackend(), episode, unit)
        unsure = key.dtype != "float64" and unknown_pattern(episode, Recording(), seen) is not None
        shown = _recording(sample, continuous=unsure)
        drowned = drowned_tensors(episode, seen)
        found = list(
            compare(
                Question.PRECISION, _setting(key), episode, ("mode", "reference"), shown, seen.recording,
                _of(seen, shown), drowned,
            )
        )  # fmt: skip
    spoiled = [name for name, array in sample.after.items() if not np.isfinite(array).all()]
    if spoiled or not np.isfinite(sample.loss):
        return Judgement(f"not finite: {', '.join(spoiled) or 'the loss'}", len(found))
    worst = first_beyond(found)
    if worst is not None:
        where = "" if worst.layer is None else f" of layer {worst.layer}"
        return Judgement(
            f"{worst.tensor}{where} is off by {worst.times_noise:.3g} times the noise floor ({SAFETY:g} allowed)",
            len(found),
        )
    return Judgement("", len(found))


def _of(seen: Witness, shown: Recording) -> dict:
    return {tensor: seen.floors[tensor] for tensor in seen.floors if tensor in shown.tensors}


def _episode(key: Key, weights: Weights, batch: tuple, learning_rate: float) -> Episode:
    inputs, labels = batch
    return Episode(
        step=0,
        spec=key.case.spec,
        weights=cast_weights(weights, "float64"),
        batches=((np.asarray(inputs, np.float64), labels),),
        learning_rate=learning_rate,
    )


def _setting(key: Key) -> Setting:
    return Setting(depth=key.case.depth, batch_norm=key.case.batch_norm, seed=0, dtype=key.dtype)


def _recording(sample: Sample, continuous: bool) -> Recording:
    tensors: dict[Tensor, Array] = {Tensor(0, None, "loss"): np.array(sample.loss, np.float64)}
    for name, array in sample.after.items():
        layer, word = place(name)
        if is_statistic(name):
            tensors[Tensor(0, layer, word)] = np.array(array, np.float64)
        elif not continuous:
            tensors[Tensor(0, layer, f"updated {word}")] = np.array(array, np.float64)
    return Recording(tensors)
