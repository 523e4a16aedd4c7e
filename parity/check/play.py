"""Have a side compute an episode, and record everything that it shows."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backend import Backend, Step
from parity.check.answers import CheckedLearner, check_unwritten
from parity.check.episode import Episode
from parity.check.play_population import NO_POPULATION, play_population
from parity.data import mask_arguments
from parity.process import SideError
from parity.spec import DType, ModelSpec
from parity.verdict.trace import Key, Kind, Mode, Trace
from parity.weights import Array, Weights, activation_names, is_statistic, weight_shapes

Patterns = Mapping[tuple[Mode, int], Mapping[str, NDArray[np.bool_]]]
NO_ACTIVATIONS = "activations of the hidden layers"


def play(backend: Backend, episode: Episode, dtype: DType, patterns: Patterns | None = None) -> Trace:
    """Have a backend compute an episode.

    Args:
        backend: the side.
        episode: what to compute.
        dtype: the working dtype.
        patterns: active units to impose, for the reference; as `Trace.patterns`.

    Raises:
        SideError: what came back does not fit the network, or the inputs were written to.
        InputError: the side refuses what it is given.
    """
    given = {name: array.copy() for name, array in episode.weights.items()}
    with np.errstate(all="ignore"):  # a network that blows up is a result
        if episode.is_population and not backend.has_population:
            trace = Trace(absent=frozenset([NO_POPULATION]))
        elif episode.is_population:
            trace = play_population(backend, episode, given, dtype)
        else:
            learners = [CheckedLearner(backend.learner(episode.spec, given, dtype), episode.spec)]
            if episode.has_bystander:
                learners.append(CheckedLearner(backend.learner(episode.spec, given, dtype), episode.spec))
            trace = record(learners[0], episode, patterns or {}, *learners[1:])
    if given.keys() != episode.weights.keys():
        raise SideError("it changed the dictionary of weights that it was given; a side must copy what it is given")
    check_unwritten(given.values(), episode.weights.values())
    return trace


def record(learner: Any, episode: Episode, patterns: Patterns, bystander: Any = None) -> Trace:
    """Have a learner compute an episode, and record what it shows.

    Args:
        learner: at the episode's weights; of many states at once if its arrays have axes before their own.
        episode: what to compute.
        patterns: active units to impose.
        bystander: another learner, to be trained beside it; what it shows is not recorded.
    """
    return _Recorder(learner, episode, patterns, bystander).record()


class _Recorder:
    def __init__(self, learner: Any, episode: Episode, patterns: Patterns, bystander: Any) -> None:
        self._learner, self._bystander = learner, bystander
        self._episode, self._spec, self._patterns = episode, episode.spec, patterns
        self._trace, self._absent = Trace(), set[str]()
        self._state = self._read_state()

    def record(self) -> Trace:
        episode = self._episode
        if episode.expects_refusal:
            return Trace({Key(0, Mode.TRAIN, Kind.REFUSAL, "refusal"): np.array(float(self._refuses()))})
        self._record(Kind.LOADED, self._state)
        self._evaluate(0)
        for update in range(len(episode.batches)):
            self._update(update)
            self._evaluate(update + 1)
        return Trace(self._trace.tensors, self._trace.scales, frozenset(self._absent), self._trace.patterns)

    def _read_state(self) -> Weights:
        weights = self._learner.weights()
        return {name: np.array(weights[name], np.float64) for name in weight_shapes(self._spec)}

    def _record(self, kind: Kind, tensors: Mapping[str, Array], **place: Any) -> None:
        for path, array in tensors.items():
            self._trace.tensors[Key(**({"step": 0, "mode": Mode.TRAIN} | place), kind=kind, path=path)] = array

    def _imposed(self, mode: Mode, number: int) -> dict[str, Any]:
        return {"pattern": self._patterns[mode, number]} if (mode, number) in self._patterns else {}

    def _train(self, learner: Any, update: int) -> Step:
        episode = self._episode
        masks = mask_arguments(deepcopy(episode.masks[update]) if episode.masks else None)
        imposed = self._imposed(Mode.TRAIN, update)
        return learner.train_step(*episode.batches[update], episode.learning_rates[update], **imposed, **masks)

    def _refuses(self) -> bool:
        try:
            self._train(self._learner, 0)
        except ValueError:
            return True
        return False

    def _update(self, update: int) -> None:
        if self._bystander is not None:  # on another batch, so that whatever the two share shows
            self._train(self._bystander, (update + 1) % len(self._episode.batches))
        step = self._train(self._learner, update)
        before, self._state = self._state, self._read_state()
        self._trace.tensors.update(_shown(update, step, self._state, self._spec))
        if (activations := getattr(step, "activations", None)) is None:
            self._absent.add(NO_ACTIVATIONS)
        else:
            self._trace.patterns[Mode.TRAIN, update] = _active(activations)
        if update > 0:
            rate = self._episode.learning_rates[update]
            for key, residue, scale in residues(self._spec, rate, update, before, step, self._state):
                self._trace.tensors[key], self._trace.scales[key] = residue, scale

    def _logits(self, inputs: Array, imposed: dict[str, Any]) -> Array | None:
        """Logits in evaluation mode; None if a single sample is refused."""
        try:
            return np.array(self._learner.evaluate(inputs, **imposed), np.float64)
        except ValueError:
            if len(inputs) > 1:
                raise
            return None

    def _evaluate(self, updates: int) -> None:
        """Make the evaluations that come after so many updates; the state must stay as it is."""
        place = {"step": max(updates - 1, 0), "mode": Mode.EVALUATION}
        found = [(n, each.inputs) for n, each in enumerate(self._episode.evaluations) if each.after == updates]
        for number, inputs in found:
            imposed = self._imposed(Mode.EVALUATION, number)
            # Before the activations: a call of these could put the network in the mode that this one forgets.
            logits = self._logits(inputs, imposed)
            if len(inputs) == 1:  # which evaluation in training mode refuses
                refused = {"refusal": np.array(float(logits is None))}
                self._record(Kind.REFUSAL, refused, **place, number=number)
            if logits is None:
                continue
            activations = self._learner.activations(inputs, **imposed)
            if activations is None:
                self._absent.add(f"{NO_ACTIVATIONS} in evaluation")
            else:
                self._trace.patterns[Mode.EVALUATION, number] = _active(activations)
                ordered = {name: np.array(activations[name], np.float64) for name in activation_names(self._spec)}
                self._record(Kind.ACTIVATION, ordered, **place, number=number)
            self._record(Kind.ACTIVATION, {"head.logits": logits}, **place, number=number)
        if found:
            for path, array in self._read_state().items():
                key = Key(**place, kind=Kind.SIDE_EFFECT, path=path, number=found[0][0])
                self._trace.tensors[key], self._trace.scales[key] = array - self._state[path], self._state[path]


def _active(activations: Mapping[str, Array]) -> dict[str, NDArray[np.bool_]]:
    # Plain names: one of a class of the side's own would need its module wherever it is sent.
    return {"".join(name): np.asarray(array) > 0 for name, array in activations.items() if name.endswith(".relu")}


def _shown(update: int, step: Step, after: Weights, spec: ModelSpec) -> Iterator[tuple[Key, Array]]:
    """What an update showed, in causal order: forward, layer by layer; loss; backward; the new weights."""

    def at(kind: Kind, path: str) -> Key:
        return Key(update, Mode.TRAIN, kind, path)

    activations = getattr(step, "activations", None) or {}
    for i in range(spec.num_hidden_layers):
        for name in activation_names(spec):
            if name in activations and name.startswith(f"hidden.{i}."):
                yield at(Kind.ACTIVATION, name), np.array(activations[name], np.float64)
        for name in (f"hidden.{i}.{leaf}" for leaf in ("running_mean", "running_var")):
            if name in after:
                yield at(Kind.STATISTIC, name), after[name]
    yield at(Kind.ACTIVATION, "head.logits"), np.array(step.logits, np.float64)
    yield at(Kind.LOSS, "loss"), np.array(step.loss, np.float64)
    trained = [name for name in weight_shapes(spec) if not is_statistic(name)]
    for name in reversed(trained):
        yield at(Kind.GRADIENT, name), np.array(step.gradients[name], np.float64)
    for name in trained:
        yield at(Kind.UPDATED, name), after[name]


def residues(
    spec: ModelSpec, learning_rate: float, update: int, before: Weights, step: Step, after: Weights
) -> Iterator[tuple[Key, Array, Array]]:
    """Yield what an update left that the side's own activations and gradients do not explain.

    For a weight `new - (old - learning_rate * gradient)`, and for a running statistic `new - (decay * old + (1 -
    decay) * batch)` with the statistic of the side's own activations. Both are 0 but for rounding, however far the
    side's state has drifted from another's. The third value is the array whose size sets that rounding.
    """
    for name, new in after.items():
        if is_statistic(name):
            if (activations := getattr(step, "activations", None)) is None:
                continue
            old, batch = before[name], batch_statistic(spec, activations, name)
            expected = spec.decay * old + (1 - spec.decay) * batch
        else:
            expected = before[name] - learning_rate * np.asarray(step.gradients[name], np.float64)
        yield Key(update, Mode.TRAIN, Kind.INCREMENT, name), new - expected, new


def batch_statistic(spec: ModelSpec, activations: Mapping[str, Array], name: str) -> Array:
    """Return the mean or variance that a running statistic should have taken in, from what the norm was given."""
    layer = name.rpartition(".")[0]
    names = activation_names(spec)
    given = np.asarray(activations[names[names.index(f"{layer}.norm") - 1]], np.float64)
    if name.endswith("running_mean"):
        return given.mean(axis=-2)
    return given.var(axis=-2, ddof=1 if spec.running_variance == "unbiased" else 0)


def play_all(backend: Backend, episodes: Sequence[Episode], dtype: DType) -> list[Trace]:
    """Play one episode after the other, and the first of them once more: it must say the same again."""
    return [play(backend, episode, dtype) for episode in (*episodes, episodes[0])]
