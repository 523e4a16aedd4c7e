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
LONG_WINDOW = 12  # of the first window in one configuration: what happens only now and then
LARGE_LOGITS = 3000.0  # times the head's kernel: exp() of such logits overflows
DRAWN = 512  # samples of a network that fits no data set
EVALUATED = 32  # samples of most evaluations
MANY_EVALUATED = 67  # samples of one: no power of two, and more than any batch
# Factors of the learning rate during a window: a value kept from an earlier update shows. The batch size changes too.
RATE_FACTORS = (1.0, 0.5, 1.0, 2.0, 0.25)


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

    def evaluated(self, count: int = EVALUATED) -> Array:
        """Return test inputs, as many as are asked for."""
        rows = np.arange(count) % len(self.test_inputs)
        return self.test_inputs[rows].astype(np.float64)

    def masks(self, spec: ModelSpec, update: int, size: int | None = None) -> Masks | None:
        """Dropout's masks for `batch(update, size)`; None for a network without."""
        batch_size = size or self.batches.shape[1]
        return draw_masks(spec, batch_size, np.random.default_rng([update, batch_size])) if spec.dropout_rate else None


def samples_of(inputs: Inputs) -> Samples:
    """The samples of the reference's own inputs."""
    return Samples(inputs.train_inputs, inputs.train_labels, inputs.test_inputs, inputs.batches)


def draw_samples(spec: ModelSpec, batch_size: int, seed: int) -> Samples:
    """Standard normal inputs and uniform labels, for a network that fits no data set."""
    rng = np.random.default_rng([seed, spec.input_dim, spec.output_dim])
    return Samples(
        rng.standard_normal((DRAWN, spec.input_dim)).astype(np.float32),
        rng.integers(spec.output_dim, size=DRAWN),
        rng.standard_normal((MANY_EVALUATED, spec.input_dim)).astype(np.float32),
        rng.integers(DRAWN, size=(DRAWN // batch_size + 1, batch_size)),
    )


@dataclass(frozen=True, kw_only=True)
class Course:
    """A training of one network, along which the sides are asked.

    Args:
        spec: the network.
        weights: the initial state.
        samples: where minibatches come from.
        learning_rate: of the trajectory and of the probes.
        steps: the updates at which the trajectory is sampled, the first of them 0.
        seed: of what the probes' state is moved by.
        is_first: whether it is the first network that is asked: its first window is a long one.
    """

    spec: ModelSpec
    weights: Weights
    samples: Samples
    learning_rate: float
    steps: tuple[int, ...]
    seed: int
    is_first: bool = False


def natural_episodes(course: Course, windows: tuple[int, ...] = (), sizes_change: bool = True) -> Iterator[Episode]:
    """Yield episodes along the reference's own trajectory.

    Args:
        course: the training.
        windows: lengths of the carried windows of the first of its steps, in updates; the others have one update.
        sizes_change: whether the batch size changes during a window.
    """
    spec, samples, steps = course.spec, course.samples, course.steps
    state = State(spec, cast_weights(course.weights, "float64"))
    for update in range(max(steps) + 1):
        if update in steps:
            number = steps.index(update)
            length = windows[number] if number < len(windows) else 1
            yield _natural(course, state.weights, update, length, sizes_change)
        with np.errstate(all="ignore"):  # a trajectory that blows up is a result
            state, _ = sgd_step(state, *samples.batch(update), course.learning_rate, masks=samples.masks(spec, update))


def _natural(course: Course, weights: Weights, update: int, length: int, sizes_change: bool) -> Episode:
    """An update from these weights, and its carried window.

    In a window the learning rate changes and perhaps the batch size, and the same samples are evaluated before, between
    and after updates; in a long one, other numbers of samples too.
    """
    spec, samples, learning_rate = course.spec, course.samples, course.learning_rate
    batch_size = samples.batches.shape[1]
    cycle = (batch_size, batch_size, _partial(batch_size), batch_size, 2 * batch_size)
    sizes = [cycle[k % len(cycle)] if sizes_change else batch_size for k in range(length)]
    evaluations = [Evaluation(samples.evaluated(), 1)]
    if length > 1:
        # Before the first update only along the way: at step 0 what training shows comes first.
        evaluations += [Evaluation(samples.evaluated(), after) for after in ((0, 2, length) if update else (2, length))]
    if length > WINDOW:
        evaluations += [Evaluation(samples.evaluated(1), 2), Evaluation(samples.evaluated(MANY_EVALUATED), 3)]
    return Episode(
        step=update,
        spec=spec,
        weights=weights,
        batches=tuple(samples.batch(update + k, size) for k, size in enumerate(sizes)),
        masks=tuple(samples.masks(spec, update + k, size) for k, size in enumerate(sizes)),
        learning_rates=tuple(learning_rate * RATE_FACTORS[k % len(RATE_FACTORS)] for k in range(length)),
        evaluations=tuple(evaluations),
        has_bystander=length > 1,
    )


def probe_episodes(course: Course, large_mean: float = 1e4) -> Iterator[Episode]:
    """Probes of one update each, in a fixed order, from a state whose every tensor is away from its initial value.

    Args:
        course: the training.
        large_mean: of the channel that has one, its standard deviation being about 1.
    """
    spec, samples, learning_rate = course.spec, course.samples, course.learning_rate
    rng = np.random.default_rng([course.seed, spec.num_hidden_layers])
    state = _stir(course.weights, rng)
    batch_size = samples.batches.shape[1]
    evaluated = samples.evaluated()

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
    yield probe("partial_batch", _partial(batch_size))
    if spec.use_batch_norm:
        yield probe("low_variance", weights=_plant(state, kernel=2.0**-12, bias=0.0))
        yield probe("large_mean", weights=_plant(state, kernel=1.0, bias=large_mean))
        yield probe("constant_channel", weights=_plant(state, kernel=0.0, bias=1.0))
        yield probe("dead_channel", weights=_plant(state, kernel=1.0, bias=-large_mean))
    yield probe("exact_zero", weights=_plant(state, kernel=0.0, bias=0.0, beta=0.0))
    yield probe("large_activation", weights=_plant(state, kernel=1.0, bias=100.0))
    yield probe("large_logits", weights=state | {"head.kernel": state["head.kernel"] * LARGE_LOGITS})
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
        weights=cast_weights(course.weights, "float64"),
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


def semantic_episodes(course: Course) -> list[Episode]:
    """Return what the semantic question asks of a network: natural steps with two carried windows, then every probe."""
    windows = LONG_WINDOW if course.is_first else WINDOW, WINDOW
    return [*natural_episodes(course, windows), *probe_episodes(course)]


def precision_episodes(course: Course, bits: int) -> list[Episode]:
    """Return what the precision question asks of a network, from states that the working dtype holds exactly.

    Args:
        course: the training.
        bits: of the working dtype's mantissa. The mean of a channel is as large as its variance can still be held.

    Other batch sizes than the usual are asked of the first network only: each is compiled anew, which takes most of the
    time, and the semantic question asks them of every network.
    """
    windows = (LONG_WINDOW if course.is_first else WINDOW,)
    episodes = list(natural_episodes(course, windows, sizes_change=course.is_first))
    for probe in probe_episodes(course, large_mean=2.0 ** (bits // 2)):
        # Many members and a refusal are matters of semantics.
        if not (probe.is_population or probe.expects_refusal):
            usual = all(len(labels) == course.samples.batches.shape[1] for _, labels in probe.batches)
            episodes += [probe] if course.is_first or usual else []
    return [replace(episode, weights=_rounded(episode.weights, bits)) for episode in episodes]


def _partial(batch_size: int) -> int:
    """The size of a partial batch: odd, so that no half of it is whole."""
    return max(2, 5 * batch_size // 8 | 1)


def _rounded(weights: Weights, bits: int) -> Weights:
    held = "float32" if bits < MANTISSA_BITS["float64"] else "float64"
    return cast_weights(cast_weights(weights, held), "float64")


def _stir(weights: Weights, rng: np.random.Generator) -> Weights:
    """Vectors moved off 0 and 1, which hide missing factors and terms; gamma of both signs, variances positive."""

    def stir(name: str, array: Array) -> Array:
        signs = 1 if is_statistic(name) else rng.choice([-1, 1], array.shape)
        moved = array + rng.uniform(0.1, 0.4, array.shape) * signs
        return moved * rng.choice([-1, 1], array.shape) if name.endswith(".gamma") else moved

    return {n: stir(n, a) if a.ndim == 1 else a for n, a in cast_weights(weights, "float64").items()}


def _plant(weights: Weights, *, kernel: float, bias: float, beta: float | None = None) -> Weights:
    """The first unit of the first hidden layer with its kernel scaled, a bias and perhaps a beta of its own."""
    planted = cast_weights(weights, "float64")
    planted["hidden.0.kernel"][:, 0] *= kernel
    planted["hidden.0.bias"][0] = bias
    if beta is not None and "hidden.0.beta" in planted:
        planted["hidden.0.beta"][0] = beta
    return planted
