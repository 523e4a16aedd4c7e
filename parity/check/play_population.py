"""Have a side train a population: members share the batches, and nothing else."""

from typing import Any

import numpy as np

from parity.check.answers import check_shapes, check_unwritten
from parity.check.episode import Episode
from parity.data import mask_arguments
from parity.spec import DType
from parity.verdict.trace import Key, Kind, Mode, Trace
from parity.weights import Weights, weight_shapes

NO_POPULATION = "a population (many learning rates trained at once)"


def play_population(backend: Any, episode: Episode, weights: Weights, dtype: DType) -> Trace:
    """Record every member's losses and final state.

    Args:
        backend: has `population`.
        episode: what to compute.
        weights: where every member starts.
        dtype: the working dtype.

    Raises:
        SideError: what came back does not fit the network, or the inputs were written to.
    """
    inputs = np.concatenate([x for x, _ in episode.batches])
    labels = np.concatenate([y for _, y in episode.batches])
    # Backwards, so that indices matter; two passes, so that the state between them does; and other data to evaluate.
    indices = np.arange(len(inputs))[::-1].reshape(len(episode.batches), -1)
    kept: tuple[Any, ...] = inputs, labels, inputs[1::2], labels[1::2], indices
    given = [array.copy() for array in kept]
    population = backend.population(episode.spec, weights, episode.learning_rates, given[0], given[1], dtype)
    masks = mask_arguments(np.array(episode.masks) if episode.spec.dropout_rate else None)
    passes, members = [population.run_pass(given[4], **masks) for _ in range(2)], len(episode.learning_rates)
    evaluated = population.evaluate(given[2], given[3])
    check_unwritten(given, kept)
    for record in passes:
        pair = {"losses": record.losses, "finite": np.asarray(record.finite, np.float64)}
        check_shapes("run_pass", pair, dict.fromkeys(pair, (len(indices), members)))
    shown = {"losses": np.concatenate([np.asarray(record.losses) for record in passes])}
    shown["finite"] = np.concatenate([np.asarray(record.finite, np.float64) for record in passes])
    totals = {"loss": evaluated.loss, "accuracy": evaluated.accuracy}
    check_shapes("evaluate", totals, dict.fromkeys(totals, (members,)))
    trace = Trace()
    for member in range(members):
        own = {(Mode.TRAIN, name): array[:, member] for name, array in shown.items()}
        own |= {(Mode.EVALUATION, name): np.asarray(array)[member] for name, array in totals.items()}
        state = population.weights(member)
        check_shapes("weights", state, weight_shapes(episode.spec))
        own |= {(Mode.TRAIN, name): state[name] for name in weight_shapes(episode.spec)}
        for (mode, path), array in own.items():
            trace.tensors[Key(0, mode, Kind.OUTCOME, path, member)] = np.array(array, np.float64)
    return trace
