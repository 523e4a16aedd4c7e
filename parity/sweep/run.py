"""Training the trials of a sweep, a population at a time."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from parity.backend import Backend, Evaluation, Population
from parity.data import IndexStream, StandardizedData
from parity.sweep.classify import bisect, classify, final_loss, find_bracket, first_offense
from parity.sweep.grid import Group, SweepConfig
from parity.sweep.records import Status, Trial
from parity.weights import draw_weights

Runner = Callable[[Sequence[float]], Mapping[float, Trial]]


def run_group(config: SweepConfig, run: Runner) -> list[Trial]:
    """The trials of a group: its grid, then the bisection of its first bracket.

    Args:
        config: the sweep.
        run: trains at any number of learning rates, up to `config.population_size` of them as one population.
    """
    rates = config.learning_rates.values()
    trials: dict[float, Trial] = {}
    for start in range(0, len(rates), config.population_size):
        trials |= run(rates[start : start + config.population_size])
    bracket = find_bracket(trials.values())
    if bracket is not None:
        # The middle of a bracket around a crashed trial is that trial again: one row for each learning rate.
        trials |= {trial.learning_rate: trial for trial in bisect(*bracket, run, config.population_size)}
    return [trials[rate] for rate in sorted(trials)]


def run_block(
    backend: Backend, config: SweepConfig, group: Group, data: StandardizedData, learning_rates: Sequence[float]
) -> dict[float, Trial]:
    """Train one population and say how each of its members ended.

    The population always has `config.population_size` members (the last learning rate repeated), since a framework's
    rounding may depend on that number. A block that raises gives trials of status `error`.
    """
    try:
        return _run_block(backend, config, group, data, learning_rates)
    except Exception as error:  # whatever a framework raises, the other blocks go on
        message = " ".join(f"{type(error).__name__}: {error}".split())
        return {
            rate: Trial(group=group, learning_rate=rate, status=Status.ERROR, message=message)
            for rate in learning_rates
        }


def _run_block(
    backend: Backend, config: SweepConfig, group: Group, data: StandardizedData, learning_rates: Sequence[float]
) -> dict[float, Trial]:
    spec, training = config.model_spec(group), config.train_spec(group.seed)
    padded = [*learning_rates, *[learning_rates[-1]] * (config.population_size - len(learning_rates))]
    dtype = training.dtype if training.dtype in backend.dtypes else backend.dtypes[0]
    population = backend.population(
        spec, draw_weights(spec, group.seed), padded, data.train_inputs, data.train_labels, dtype
    )
    losses, finite = _train(population, IndexStream(len(data.train_labels), config.batch_size, group.seed), config)
    statuses = [classify(losses[:, m], finite[:, m], data.label_entropy) for m in range(len(learning_rates))]
    train = test = None
    if any(status is not Status.DIVERGED for status in statuses):
        train = population.evaluate(data.train_inputs, data.train_labels)
        test = population.evaluate(data.test_inputs, data.test_labels)
    return {
        rate: _trial(group, rate, statuses[m], losses[:, m], finite[:, m], _member(train, m), _member(test, m))
        for m, rate in enumerate(learning_rates)
    }


def _train(population: Population, stream: IndexStream, config: SweepConfig) -> tuple[np.ndarray, np.ndarray]:
    """Losses and finiteness, shape (updates, members); ends early once every member has diverged."""
    losses, finite = [], []
    for _ in range(config.num_passes):
        batches = stream.next_pass()
        record = population.run_pass(batches)
        expected = (len(batches), config.population_size)
        if record.losses.shape != expected or record.finite.shape != expected:
            raise ValueError(f"losses and finite must have shape {expected}, got {record.losses.shape}")
        losses.append(record.losses)
        finite.append(record.finite)
        columns = zip(np.concatenate(losses).T, np.concatenate(finite).T, strict=True)
        if all(first_offense(loss, ok) is not None for loss, ok in columns):
            break
    return np.concatenate(losses), np.concatenate(finite)


def _member(evaluation: Evaluation | None, member: int) -> tuple[float | None, float | None]:
    if evaluation is None:
        return None, None
    return float(evaluation.loss[member]), float(evaluation.accuracy[member])


def _trial(
    group: Group,
    learning_rate: float,
    status: Status,
    losses: np.ndarray,
    finite: np.ndarray,
    train: tuple[float | None, float | None],
    test: tuple[float | None, float | None],
) -> Trial:
    offense = first_offense(losses, finite)
    # The offending update's own loss is kept: it shows how the run left.
    losses = losses if offense is None else losses[: offense + 1]
    with np.errstate(over="ignore"):  # a float64 loss beyond float32's range is shown as infinite
        shown = losses.astype(np.float32)
    ended = (
        {}
        if offense is not None
        else {
            "final_loss": final_loss(losses),
            "train_loss": train[0],
            "train_accuracy": train[1],
            "test_loss": test[0],
            "test_accuracy": test[1],
        }
    )
    return Trial(
        group=group,
        learning_rate=learning_rate,
        status=status,
        steps=len(losses) if offense is None else offense,
        initial_loss=float(losses[0]),
        losses=shown,
        **ended,
    )
