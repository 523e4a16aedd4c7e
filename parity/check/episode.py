"""What a side is asked to compute, and what it shows: the unit that every question of the check is made of."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from parity.backend import Backend, Learner, Step
from parity.data import Masks, mask_arguments
from parity.process import SideError
from parity.spec import DType, ModelSpec
from parity.weights import Array, Weights, activation_names, is_statistic, weight_shapes

Layer = int | str | None  # a hidden layer, "input", "head", or none


class Key(NamedTuple):
    """Where a tensor stands: the update of the episode (from 0), the layer, and which tensor of it."""

    update: int
    layer: Layer
    tensor: str


@dataclass(frozen=True, kw_only=True)
class Episode:
    """A state, updates from it, and evaluations after the first update.

    Args:
        step: the update of the trajectory at which it starts, or "probe:NAME".
        spec: the network.
        weights: the state that every side is handed, by neutral name, in float64.
        batches: (inputs, labels) of each update. In updates after the first each side goes on from its own state.
        masks: of dropout, for each update; None for a network without.
        learning_rate: of plain SGD.
        evaluations: inputs to be evaluated after the first update, or at once if there is none.
        per_channel: whether each channel has a limit of its own: a planted channel must not hide in the others.
        expects_refusal: whether training on the batch must be refused.
        members: learning rates of a population that is trained on the batches, in place of a lone network.
    """

    step: int | str
    spec: ModelSpec
    weights: Weights
    batches: tuple[tuple[Array, NDArray[np.integer]], ...] = ()
    masks: tuple[Masks | None, ...] = ()
    learning_rate: float = 0.0
    evaluations: tuple[Array, ...] = ()
    per_channel: bool = False
    expects_refusal: bool = False
    members: tuple[float, ...] = ()

    def label(self, key: Key) -> int | str:
        """The step of a key for people: updates of a carried window are counted along the trajectory."""
        return self.step + key.update if isinstance(self.step, int) else self.step


@dataclass(frozen=True)
class Recording:
    """What a side showed, in causal order.

    Args:
        tensors: every tensor, by its key.
        scales: for tensors that are a residue of larger ones, the array whose size sets their rounding.
        absent: what the side does not show.
        patterns: the active units of each ReLU, by update and by evaluation, where the side shows them.
    """

    tensors: dict[Key, Array] = field(default_factory=dict)
    scales: dict[Key, Array] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()
    patterns: dict[tuple[str, int], Mapping[str, NDArray[np.bool_]]] = field(default_factory=dict)


WORDS = {
    "running_mean": "running mean",
    "running_var": "running variance",
    "linear": "pre-activation",
    "relu": "activation",
    "norm": "norm output",
    "dropout": "dropout output",
    "sum": "block output",
}
NO_ACTIVATIONS = "activations of the hidden layers"
NO_POPULATION = "a population (many learning rates trained at once)"


@cache
def place(name: str) -> tuple[Layer, str]:
    """The layer and the word for a neutral name.

    >>> place("hidden.2.running_var")
    (2, 'running variance')
    """
    layer, _, leaf = name.rpartition(".")
    return (int(layer.removeprefix("hidden.")) if layer.startswith("hidden.") else layer), WORDS.get(leaf, leaf)


def play(backend: Backend, episode: Episode, dtype: DType, patterns: Mapping | None = None) -> Recording:
    """Have a backend compute an episode.

    Args:
        backend: the side.
        episode: what to compute.
        dtype: the working dtype.
        patterns: active units to impose, for the reference; as `Recording.patterns`.

    Raises:
        SideError: what came back does not fit the network, or the inputs were written to.
        InputError: the side refuses what it is given.
    """
    given = {name: array.copy() for name, array in episode.weights.items()}
    with np.errstate(all="ignore"):  # a network that blows up is a result
        if episode.members:
            recording = _play_population(backend, episode, given, dtype)
        else:
            recording = _play_learner(backend, episode, given, dtype, patterns or {})
    if given.keys() != episode.weights.keys():
        raise SideError("it changed the dictionary of weights that it was given; a side must copy what it is given")
    _unwritten(given.values(), episode.weights.values())
    return recording


def _play_learner(backend: Backend, episode: Episode, weights: Weights, dtype: DType, patterns: Mapping) -> Recording:
    recording = Recording()
    absent: set[str] = set()
    learner = backend.learner(episode.spec, weights, dtype)
    before = _state(learner, episode.spec)
    recording.tensors.update({Key(0, *_loaded(name)): array for name, array in before.items()})
    for update, (inputs, labels) in enumerate(episode.batches):
        imposed = {"pattern": patterns["train", update]} if ("train", update) in patterns else {}
        imposed |= mask_arguments(deepcopy(episode.masks[update]) if episode.masks else None)
        step = _train(learner, episode, inputs, labels, imposed)
        if step is None:
            recording.tensors[Key(update, None, "refusal")] = np.array(1.0)
            break
        after = _state(learner, episode.spec)
        recording.tensors.update(_shown(update, step, after, episode.spec))
        if (activations := getattr(step, "activations", None)) is None:
            absent.add(NO_ACTIVATIONS)
        else:
            recording.patterns["train", update] = _active(activations)
        if update > 0:
            for key, residue, scale in residues(episode, update, before, step, after):
                recording.tensors[key], recording.scales[key] = residue, scale
        before = after
        if update == 0:
            _evaluate(learner, episode, recording, patterns, before, absent)
    if not episode.batches:
        _evaluate(learner, episode, recording, patterns, before, absent)
    if episode.expects_refusal:
        recording.tensors.setdefault(Key(0, None, "refusal"), np.array(0.0))
        kept = {key: array for key, array in recording.tensors.items() if key.tensor == "refusal"}
        return Recording(kept)
    return Recording(recording.tensors, recording.scales, frozenset(absent), recording.patterns)


def _play_population(backend: Backend, episode: Episode, weights: Weights, dtype: DType) -> Recording:
    """Every member's losses and final state; the members share the batches, and nothing else."""
    if not hasattr(backend, "population"):
        return Recording(absent=frozenset([NO_POPULATION]))
    inputs = np.concatenate([x for x, _ in episode.batches])
    labels = np.concatenate([y for _, y in episode.batches])
    # Backwards, so that indices matter; two passes, so that the state between them does; and other data to evaluate.
    indices = np.arange(len(inputs))[::-1].reshape(len(episode.batches), -1)
    other_inputs, other_labels = inputs[1::2], labels[1::2]
    given_data, given_other = (inputs.copy(), labels.copy()), (other_inputs.copy(), other_labels.copy())
    given_indices = indices.copy()
    population = backend.population(episode.spec, weights, episode.members, *given_data, dtype)
    masks = mask_arguments(np.array(episode.masks) if episode.spec.dropout_rate else None)
    passes, members = [population.run_pass(given_indices, **masks) for _ in range(2)], len(episode.members)
    evaluated = population.evaluate(*given_other)
    _unwritten((*given_data, *given_other, given_indices), (inputs, labels, other_inputs, other_labels, indices))
    for record in passes:
        pair = {"losses": record.losses, "finite": np.asarray(record.finite, np.float64)}
        _check_shapes("run_pass", pair, dict.fromkeys(pair, (len(indices), members)))
    shown = {"losses": np.concatenate([np.asarray(record.losses) for record in passes])}
    shown["finite"] = np.concatenate([np.asarray(record.finite, np.float64) for record in passes])
    totals = {"loss": evaluated.loss, "accuracy": evaluated.accuracy}
    _check_shapes("evaluate", totals, dict.fromkeys(totals, (members,)))
    recording = Recording()
    for member in range(members):
        for word, array in shown.items():
            recording.tensors[Key(0, None, f"{word} of member {member}")] = np.array(array[:, member], np.float64)
        for word, array in totals.items():
            key = Key(0, None, f"evaluated {word} of member {member}")
            recording.tensors[key] = np.array(np.asarray(array)[member], np.float64)
        weights = population.weights(member)
        _check_shapes("weights", weights, weight_shapes(episode.spec))
        for name in weight_shapes(episode.spec):
            layer, word = place(name)
            recording.tensors[Key(0, layer, f"{word} of member {member}")] = np.array(weights[name], np.float64)
    return recording


def _loaded(name: str) -> tuple[Layer, str]:
    layer, word = place(name)
    return layer, f"loaded {word}"


def _train(learner: Learner, episode: Episode, inputs: Array, labels: NDArray, imposed: Mapping) -> Step | None:
    """One update; None if it is refused where that is what is asked."""
    given = inputs.copy(), labels.copy()
    try:
        step = learner.train_step(*given, episode.learning_rate, **imposed)
    except ValueError:
        if episode.expects_refusal:
            return None
        raise
    _unwritten(given, (inputs, labels))
    if episode.expects_refusal:
        return step
    _check_step(step, episode.spec, len(inputs))
    return step


def _unwritten(given: Iterable[NDArray], kept: Iterable[NDArray]) -> None:
    if not all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(given, kept, strict=True)):
        raise SideError("it wrote into the inputs that it was given; a side must copy what it is given")


def _check_step(step: Any, spec: ModelSpec, batch: int) -> None:
    for name in ("loss", "logits", "gradients"):
        if not hasattr(step, name):
            raise SideError(f"train_step returned {type(step).__name__} without {name!r}; it must be a parity.Step")
    shapes = {name: shape for name, shape in weight_shapes(spec).items() if not is_statistic(name)}
    _check_shapes("gradients", step.gradients, shapes)
    shown = {"loss": step.loss, "logits": step.logits}
    _check_shapes("train_step", shown, {"loss": (), "logits": (batch, spec.output_dim)})
    if getattr(step, "activations", None) is not None:
        expected = dict.fromkeys(activation_names(spec), (batch, spec.hidden_width))
        _check_shapes("activations", step.activations, expected)


def _check_shapes(what: str, found: Any, expected: Mapping[str, tuple[int, ...]]) -> None:
    if not isinstance(found, Mapping):
        raise SideError(f"{what} must be a dict of arrays by neutral name, got {type(found).__name__}")
    problems = [f"missing {name}" for name in expected if name not in found]
    problems += [f"unexpected {name}" for name in found if name not in expected]
    for name in expected.keys() & found.keys():
        array = np.asarray(found[name])
        if array.shape != expected[name]:
            problems.append(f"{name} has shape {array.shape} instead of {expected[name]}")
        elif array.dtype.kind not in "fiu":
            problems.append(f"{name} has dtype {array.dtype}, which is no real number")
    if problems:
        raise SideError(f"{what} do not fit the network: {'; '.join(sorted(problems))}")


def _state(learner: Learner, spec: ModelSpec) -> Weights:
    weights = learner.weights()
    _check_shapes("weights", weights, weight_shapes(spec))
    return {name: np.array(weights[name], np.float64) for name in weight_shapes(spec)}


def _active(activations: Mapping[str, Array]) -> dict[str, NDArray[np.bool_]]:
    # Plain names: one of a class of the side's own would need its module wherever it is sent.
    return {"".join(name): np.asarray(array) > 0 for name, array in activations.items() if name.endswith(".relu")}


def _shown(update: int, step: Step, after: Weights, spec: ModelSpec) -> Iterator[tuple[Key, Array]]:
    """What an update showed, in causal order: forward, layer by layer; loss; backward; the new weights."""
    activations = getattr(step, "activations", None) or {}
    for i in range(spec.num_hidden_layers):
        for name in activation_names(spec):
            if name in activations and place(name)[0] == i:
                yield Key(update, *place(name)), np.array(activations[name], np.float64)
        for leaf in ("running_mean", "running_var") if spec.use_batch_norm else ():
            yield Key(update, *place(f"hidden.{i}.{leaf}")), after[f"hidden.{i}.{leaf}"]
    yield Key(update, "head", "logits"), np.array(step.logits, np.float64)
    yield Key(update, None, "loss"), np.array(step.loss, np.float64)
    for name in reversed(list(weight_shapes(spec))):
        if not is_statistic(name):
            layer, word = place(name)
            yield Key(update, layer, f"gradient of {word}"), np.array(step.gradients[name], np.float64)
    for name, array in after.items():
        if not is_statistic(name):
            layer, word = place(name)
            yield Key(update, layer, f"updated {word}"), array


def _evaluate(
    learner: Learner, episode: Episode, recording: Recording, patterns: Mapping, before: Weights, absent: set[str]
) -> None:
    spec = episode.spec
    for index, inputs in enumerate(episode.evaluations):
        imposed = {"pattern": patterns["eval", index]} if ("eval", index) in patterns else {}
        suffix = f" {index + 1}" if index else ""
        # Before the activations, lest a call of these put the network in the mode that this one forgets.
        given = inputs.copy()
        logits = learner.evaluate(given, **imposed)
        _unwritten([given], [inputs])
        _check_shapes("evaluate", {"logits": logits}, {"logits": (len(inputs), spec.output_dim)})
        if hasattr(learner, "activations"):
            given = inputs.copy()
            activations = learner.activations(given, **imposed)  # pyright: ignore[reportAttributeAccessIssue]
            _unwritten([given], [inputs])
            shapes = {name: (len(inputs), spec.hidden_width) for name in activation_names(spec)}
            _check_shapes("activations", activations, shapes)
            recording.patterns["eval", index] = _active(activations)
            for name in activation_names(spec):
                layer, word = place(name)
                recording.tensors[Key(0, layer, f"evaluated {word}{suffix}")] = np.array(activations[name], np.float64)
        else:
            absent.add(f"{NO_ACTIVATIONS} in evaluation")
        recording.tensors[Key(0, "head", f"evaluated logits{suffix}")] = np.array(logits, np.float64)
    if episode.evaluations:
        for name, array in _state(learner, spec).items():
            layer, word = place(name)
            key = Key(0, layer, f"{word} after evaluation")
            recording.tensors[key], recording.scales[key] = array - before[name], before[name]


def residues(
    episode: Episode, update: int, before: Weights, step: Step, after: Weights
) -> Iterator[tuple[Key, Array, Array]]:
    """What an update left that the side's own activations and gradients do not explain.

    For a weight `new - (old - learning_rate * gradient)`, and for a running statistic `new - (decay * old + (1 -
    decay) * batch)` with the statistic of the side's own activations. Both are 0 but for rounding, however far the
    side's state has drifted from another's. The third value is the array whose size sets that rounding.
    """
    spec = episode.spec
    for name, new in after.items():
        layer, word = place(name)
        if is_statistic(name):
            if (activations := getattr(step, "activations", None)) is None:
                continue
            old, batch = before[name], batch_statistic(spec, activations, name)
            expected = spec.decay * old + (1 - spec.decay) * batch
        else:
            expected = before[name] - episode.learning_rate * np.asarray(step.gradients[name], np.float64)
        yield Key(update, layer, f"increment of {word}"), new - expected, new


def batch_statistic(spec: ModelSpec, activations: Mapping[str, Array], name: str) -> Array:
    """The mean or variance that a running statistic should have taken in, from what the norm was given."""
    layer = name.rpartition(".")[0]
    names = activation_names(spec)
    given = np.asarray(activations[names[names.index(f"{layer}.norm") - 1]], np.float64)
    if name.endswith("running_mean"):
        return given.mean(axis=0)
    return given.var(axis=0, ddof=1 if spec.running_variance == "unbiased" else 0)


def play_all(backend: Backend, episodes: Sequence[Episode], dtype: DType) -> list[Recording]:
    """`play`, one episode after the other, and the first of them once more: it must say the same again."""
    return [play(backend, episode, dtype) for episode in (*episodes, episodes[0])]
