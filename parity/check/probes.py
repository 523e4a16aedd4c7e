"""The episodes of one configuration: natural steps along a real trajectory, then probes of what these cannot show."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from parity.backend import Inputs
from parity.check.episode import Episode, Evaluation
from parity.data import Masks, draw_masks
from parity.reference import State, sgd_step
from parity.spec import ModelSpec
from parity.verdict.noise import MANTISSA_BITS
from parity.weights import Array, Weights, cast_weights, is_statistic

WINDOW = 5  # updates of a carried window: the shared one and four that each side carries on by itself
EVALUATED = 32  # samples


@dataclass(frozen=True)
class Samples:
    """Where minibatches come from: standardized inputs, labels, and the index stream; all sides are handed the same."""

    train_inputs: Array
    train_labels: NDArray[np.integer]
    test_inputs: Array
    batches: NDArray[np.integer]

    def batch(self, update: int, size: int | None = None) -> tuple[Array, NDArray[np.integer]]:
        """The minibatch of an update, or `size` samples from there on."""
        stream = self.batches.reshape(-1)
        start = update * self.batches.shape[1]
        rows = stream[np.arange(start, start + (size or self.batches.shape[1])) % len(stream)]
        return self.train_inputs[rows].astype(np.float64), self.train_labels[rows]

    def masks(self, spec: ModelSpec, update: int, size: int | None = None) -> Masks | None:
        """Dropout's masks for `batch(update, size)`; None for a network without."""
        batch_size = size or self.batches.shape[1]
        return draw_masks(spec, batch_size, np.random.default_rng([update, batch_size])) if spec.dropout_rate else None


def samples_of(inputs: Inputs) -> Samples:
    """The samples of the reference's own inputs."""
    return Samples(inputs.train_inputs, inputs.train_labels, inputs.test_inputs, inputs.batches)


def draw_samples(spec: ModelSpec, batch_size: int, seed: int, count: int = 512) -> Samples:
    """Standard normal inputs and uniform labels, for a network that fits no data set."""
    rng = np.random.default_rng([seed, spec.input_dim, spec.output_dim])
    return Samples(
        rng.standard_normal((count, spec.input_dim)).astype(np.float32),
        rng.integers(spec.output_dim, size=count),
        rng.standard_normal((EVALUATED, spec.input_dim)).astype(np.float32),
        rng.integers(count, size=(count // batch_size + 1, batch_size)),
    )


def natural_episodes(
    spec: ModelSpec, weights: Weights, samples: Samples, learning_rate: float, steps: tuple[int, ...], windows: int
) -> Iterator[Episode]:
    """Episodes along the reference's own trajectory.

    Args:
        spec: the network.
        weights: the initial state.
        samples: where minibatches come from.
        learning_rate: of the trajectory.
        steps: the updates at which it is sampled, the first of them 0.
        windows: how many of these, from the first on, are followed by a carried window.
    """
    state = State(spec, cast_weights(weights, "float64"))
    for update in range(max(steps) + 1):
        if update in steps:
            length = WINDOW if steps.index(update) < windows else 1
            yield Episode(
                step=update,
                spec=spec,
                weights=state.weights,
                batches=tuple(samples.batch(update + k) for k in range(length)),
                masks=tuple(samples.masks(spec, update + k) for k in range(length)),
                learning_rates=(learning_rate,) * length,
                evaluations=(Evaluation(samples.test_inputs[:EVALUATED].astype(np.float64)),),
            )
        with np.errstate(all="ignore"):  # a trajectory that blows up is a result
            state, _ = sgd_step(state, *samples.batch(update), learning_rate, masks=samples.masks(spec, update))


def probe_episodes(
    spec: ModelSpec, weights: Weights, samples: Samples, learning_rate: float, seed: int, large_mean: float = 1e4
) -> Iterator[Episode]:
    """Probes of one update each, in a fixed order, from a state whose every tensor is away from its initial value.

    Args:
        spec: the network.
        weights: the initial state.
        samples: where minibatches come from.
        learning_rate: of the updates.
        seed: of what the state is moved by.
        large_mean: of the channel that has one, its standard deviation being about 1.
    """
    rng = np.random.default_rng([seed, spec.num_hidden_layers])
    state = _stir(weights, rng)
    batch_size = samples.batches.shape[1]
    evaluated = samples.test_inputs[:EVALUATED].astype(np.float64)

    def probe(name: str, size: int = batch_size, weights: Weights = state, **options) -> Episode:
        return Episode(
            step=f"probe:{name}",
            spec=spec,
            weights=weights,
            batches=(samples.batch(1, size),),
            masks=(samples.masks(spec, 1, size),),
            learning_rates=(learning_rate,),
            evaluations=(Evaluation(evaluated),),
            per_channel=True,
            **options,
        )

    yield probe("batch_of_2", 2)
    yield probe("partial_batch", max(2, 5 * batch_size // 8))
    if spec.use_batch_norm:
        yield probe("low_variance", weights=_plant(state, kernel=2.0**-12, bias=0.0))
        yield probe("large_mean", weights=_plant(state, kernel=1.0, bias=large_mean))
        yield probe("constant_channel", weights=_plant(state, kernel=0.0, bias=1.0))
        yield probe("dead_channel", weights=_plant(state, kernel=1.0, bias=-large_mean))
    if spec.hidden_width not in (batch_size, 1):
        yield probe("batch_equals_width", spec.hidden_width)
    first, others = evaluated[:1], samples.batch(2)[0][: EVALUATED - 1]
    yield Episode(
        step="probe:batch_mate_swap",
        spec=spec,
        weights=state,
        evaluations=(Evaluation(evaluated, 0), Evaluation(np.concatenate([first, others]), 0)),
        per_channel=True,
    )
    yield Episode(
        step="probe:population",
        spec=spec,
        weights=cast_weights(weights, "float64"),
        batches=tuple(samples.batch(update) for update in range(2)),
        masks=tuple(samples.masks(spec, update) for update in range(2)),
        learning_rates=(learning_rate / 4, learning_rate, learning_rate / 2),
        is_population=True,
    )
    if spec.use_batch_norm:
        yield Episode(
            step="probe:batch_of_one",
            spec=spec,
            weights=state,
            batches=(samples.batch(1, 1),),
            masks=(samples.masks(spec, 1, 1),),
            learning_rates=(learning_rate,),
            expects_refusal=True,
        )


def precise(episode: Episode, bits: int) -> Episode:
    """The same episode from a state that the working dtype holds exactly, so that every dtype starts at one point."""
    held = "float32" if bits < MANTISSA_BITS["float64"] else "float64"
    rounded = cast_weights(cast_weights(episode.weights, held), "float64")
    return replace(episode, weights=rounded, batches=episode.batches[:1])


def _stir(weights: Weights, rng: np.random.Generator) -> Weights:
    """Vectors moved off 0 and 1, which hide factors and terms that are missing, and variances kept positive."""
    return {
        name: array
        + rng.uniform(0.1, 0.4, array.shape) * (1 if is_statistic(name) else rng.choice([-1, 1], array.shape))
        if array.ndim == 1
        else array
        for name, array in cast_weights(weights, "float64").items()
    }


def _plant(weights: Weights, *, kernel: float, bias: float) -> Weights:
    """The first unit of the first hidden layer with its kernel scaled and a bias of its own."""
    planted = cast_weights(weights, "float64")
    planted["hidden.0.kernel"][:, 0] *= kernel
    planted["hidden.0.bias"][0] = bias
    return planted
