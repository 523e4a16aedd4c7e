"""The reference behind `parity.backend`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from parity.backend import Backend, Evaluation, Inputs, Learner, PassRecord, Step, lane_masks
from parity.data import Dataset, Masks
from parity.errors import InputError
from parity.faults import read_conventions, replace_part
from parity.reference.faults import FAULTS, part_of
from parity.reference.network import HONEST, State, run, sgd_step
from parity.reference.parts import Parts, Pattern, cross_entropy
from parity.spec import DType, ModelSpec, TrainSpec
from parity.weights import Array, Weights, cast_weights, check_names, check_weights, select_arrays, weight_shapes

FLOAT64: Sequence[DType] = ("float64",)


class NumpyLearner(Learner):
    """The reference as a `parity.backend.Learner`."""

    def __init__(self, spec: ModelSpec, weights: Mapping[str, Array], parts: Parts | None = None) -> None:
        check_weights(weights, spec)
        self._parts = parts or Parts()
        self._state = load_state(spec, weights, self._parts)
        self._initial, self._update = self._state, 0

    def train_step(
        self,
        inputs: Array,
        labels: NDArray[np.integer],
        learning_rate: float,
        pattern: Pattern | None = None,
        masks: Masks | None = None,
    ) -> Step:
        """Take one SGD update; `pattern` replaces the active units of each ReLU (see `sgd_step`)."""
        self._update += 1
        state = self._parts.carry(self._state, self._initial, self._update)
        # Overflow is a result here, not an accident: a diverging trial runs through inf and nan.
        with np.errstate(all="ignore"):
            self._state, step = sgd_step(
                state, np.array(inputs, np.float64), np.array(labels), float(learning_rate), self._parts, pattern, masks
            )
        gradients = self._parts.weight_import.save(step.gradients)
        # Where a part passes an array through, what the step shows would be what the state holds.
        loss: Any = np.asarray(step.loss)[()]  # a float, or an array of stacked networks' losses
        return replace(step, loss=loss, gradients=cast_weights(gradients, "float64"))

    def evaluate(self, inputs: Array, pattern: Pattern | None = None) -> Array:
        """Return the logits in evaluation mode."""
        with np.errstate(all="ignore"):
            output = run(self._state, self._parts, pattern, np.array(inputs, np.float64), False)
        self._state = replace(self._state, weights=self._state.weights | output.statistics)
        return output.logits

    def activations(self, inputs: Array, pattern: Pattern | None = None) -> Weights:
        """Return the output of each part of each hidden layer in evaluation mode."""
        with np.errstate(all="ignore"):
            return run(self._state, self._parts, pattern, np.array(inputs, np.float64), False).activations

    def weights(self) -> Weights:
        """Return a copy of the state."""
        return cast_weights(self._parts.weight_import.save(self._state.weights), "float64")

    def move(self, change: Callable[[Weights], Weights]) -> None:
        """Replace the weights and statistics by `change` of them; the optimizer's memory stays."""
        self._state = replace(self._state, weights=change(self._state.weights))

    def stack(self, count: int) -> None:
        """Become so many networks at once, each a population of one: arrays have the shape (count, 1, ...)."""
        self.move(lambda weights: {n: np.repeat(array[None, None], count, axis=0) for n, array in weights.items()})
        self._initial = self._state


def load_state(spec: ModelSpec, weights: Mapping[str, Array], parts: Parts) -> State:
    """Return the state of a network at a copy of the given weights."""
    return State(parts.conventions(spec), cast_weights(parts.weight_import.load(weights), "float64"))


class NumpyPopulation:
    """The reference as a `parity.backend.Population`: one network whose weights are stacked, member by member."""

    def __init__(
        self,
        spec: ModelSpec,
        weights: Mapping[str, Array],
        learning_rates: Sequence[float],
        inputs: Array,
        labels: NDArray[np.integer],
        parts: Parts | None = None,
    ) -> None:
        check_weights(weights, spec)
        self._parts = parts or Parts()
        state = load_state(spec, weights, self._parts)
        self._learning_rates = np.array(learning_rates, np.float64)
        members = len(self._learning_rates)
        stacked = {name: np.repeat(array[None], members, axis=0) for name, array in state.weights.items()}
        self._state = replace(state, weights=stacked)
        self._inputs, self._labels = np.array(inputs, np.float64), np.array(labels)

    def run_pass(self, indices: NDArray[np.integer], masks: Masks | None = None) -> PassRecord:
        """Train every member on the same minibatches."""
        own = lane_masks(masks, self._state.spec, np.asarray(indices)[None])
        losses = np.empty((len(indices), len(self._learning_rates)))
        finite = np.empty(losses.shape, bool)
        with np.errstate(all="ignore"):
            for t, batch in enumerate(np.asarray(indices)):
                minibatch = self._inputs[batch], self._labels[batch]
                kept = None if own is None else own[0, t]
                self._state, step = sgd_step(self._state, *minibatch, self._learning_rates, self._parts, masks=kept)
                arrays = self._state.weights.values()
                losses[t] = step.loss
                finite[t] = np.all([np.isfinite(a).reshape(len(a), -1).all(axis=1) for a in arrays], axis=0)
        return PassRecord(losses=losses, finite=finite)

    def evaluate(self, inputs: Array, labels: NDArray[np.integer]) -> Evaluation:
        """Return loss and accuracy of every member in evaluation mode."""
        with np.errstate(all="ignore"):
            output = run(self._state, self._parts, None, np.array(inputs, np.float64), False)
            loss, _ = cross_entropy(output.logits, labels)
        self._state = replace(self._state, weights=self._state.weights | output.statistics)
        return Evaluation(loss=np.array(loss), accuracy=(output.logits.argmax(axis=-1) == labels).mean(axis=-1))

    def weights(self, member: int) -> Weights:
        """Return a copy of one member's state."""
        own = {name: array[member] for name, array in self._state.weights.items()}
        return cast_weights(self._parts.weight_import.save(own), "float64")


@dataclass(frozen=True)
class NumpyBackend(Backend):
    """The reference as a `parity.backend.Backend`, in float64 only."""

    parts: Parts = HONEST

    name = "numpy"
    title = "NumPy"
    dtypes = FLOAT64

    def versions(self) -> dict[str, str]:
        """Return NumPy's version."""
        return {"numpy": np.__version__}

    def learner(self, spec: ModelSpec, weights: Mapping[str, Array], dtype: DType) -> NumpyLearner:
        """Return a network at the given weights; `dtype` must be float64."""
        self._check(dtype)
        return NumpyLearner(spec, weights, self.parts)

    def population(
        self,
        spec: ModelSpec,
        weights: Mapping[str, Array],
        learning_rates: Sequence[float],
        inputs: Array,
        labels: NDArray[np.integer],
        dtype: DType,
    ) -> NumpyPopulation:
        """Return a population with a member for each learning rate."""
        self._check(dtype)
        return NumpyPopulation(spec, weights, learning_rates, inputs, labels, self.parts)

    def inputs(self, dataset: Dataset, spec: ModelSpec, training: TrainSpec) -> Inputs:
        """Return what the reference trains on."""
        return self.parts.inputs(self, dataset, spec, training)

    def with_fault(self, name: str, layer: int | None = None, **values: Any) -> Self:
        """Return the reference with one of its parts replaced by a faulty one: in one hidden layer, or everywhere."""
        if layer is None:
            parts, layers = replace_part(self.parts, FAULTS, name, **values), self.parts.layers
            if part_of(name) != "conventions":
                layers = {index: replace_part(own, FAULTS, name, **values) for index, own in layers.items()}
            return replace(self, parts=replace(parts, layers=layers))
        # The conventions of the whole are read when a network is made.
        present = self.parts.layers.get(layer, replace(self.parts, conventions=read_conventions, layers={}))
        own = replace_part(present, FAULTS, name, **values)
        return replace(self, parts=replace(self.parts, layers={**self.parts.layers, layer: own}))

    def to_native(
        self, weights: Mapping[str, Array], spec: ModelSpec, dtype: DType, names: Mapping[str, Any] | None = None
    ) -> Weights:
        """Return the weights: NumPy's own form is the neutral one. `names` renames it."""
        check_weights(weights, spec)
        names = names or {name: name for name in weights}
        check_names(names, spec)
        return {names[name]: array for name, array in cast_weights(weights, dtype).items()}

    def from_native(self, native: Any, spec: ModelSpec, names: Mapping[str, Any] | None = None) -> Weights:
        """Return the weights: NumPy's own form is the neutral one. `names` renames it."""
        names = names or {name: name for name in weight_shapes(spec)}
        check_names(names, spec)
        weights = select_arrays(native, names)
        check_weights(weights, spec)
        return weights

    def _check(self, dtype: DType) -> None:
        if dtype not in self.dtypes:
            raise InputError(f"the NumPy reference computes in float64 only, got {dtype}; choose --dtype float64")
