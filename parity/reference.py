"""The third witness: the experiment by hand, in NumPy float64.

It shares no code with either framework, so that where two of the three agree the third is wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backend import Evaluation, PassRecord, Step
from parity.spec import BlockOrder, DType, ModelSpec, RunningVariance, check_training_batch
from parity.weights import (
    Array,
    Weights,
    cast_weights,
    check_names,
    check_weights,
    is_statistic,
    select_arrays,
    weight_shapes,
)


@dataclass(frozen=True)
class _NormCache:
    centered: Array  # x - mean
    inverse_std: Array  # 1 / sqrt(var + eps)


def normalize_batch(x: Array, gamma: Array, beta: Array, eps: float) -> tuple[Array, Array, Array, _NormCache]:
    """`y = gamma (x - m) / sqrt(v + eps) + beta` with the batch's mean `m` and biased variance `v`, two-pass.

    Args:
        x: shape (batch, features).
        gamma: shape (features,).
        beta: shape (features,).
        eps: inside the square root.

    Returns:
        `y`, `m`, `v`, and what the backward pass needs.
    """
    mean = x.mean(axis=0)
    centered = x - mean
    var = (centered**2).mean(axis=0)
    inverse_std = 1 / np.sqrt(var + eps)
    return gamma * centered * inverse_std + beta, mean, var, _NormCache(centered, inverse_std)


def normalize_batch_backward(dy: Array, gamma: Array, cache: _NormCache) -> tuple[Array, Array, Array]:
    """Gradients through `normalize_batch`, mean and variance included.

    With `h = (x - m) / sqrt(v + eps)` and means over the batch::

        dgamma = sum(dy * h);  dbeta = sum(dy)
        dx = gamma / sqrt(v + eps) * (dy - mean(dy) - h * mean(dy * h))

    Returns:
        `dx`, `dgamma`, `dbeta`.
    """
    h = cache.centered * cache.inverse_std
    dx = gamma * cache.inverse_std * (dy - dy.mean(axis=0) - h * (dy * h).mean(axis=0))
    return dx, (dy * h).sum(axis=0), dy.sum(axis=0)


def cross_entropy(logits: Array, labels: NDArray[np.integer]) -> tuple[float, Array]:
    """Mean cross entropy in nats, and its gradient with respect to the logits."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rows = np.arange(len(labels))
    gradient = np.exp(log_probabilities)
    gradient[rows, labels] -= 1
    return float(-log_probabilities[rows, labels].mean()), gradient / len(labels)


def evaluate(spec: ModelSpec, weights: Weights, inputs: Array) -> Array:
    """Logits in evaluation mode, by the running statistics; shape (batch, output_dim)."""
    x = inputs
    for i in range(spec.num_hidden_layers):
        w = _layer(weights, i)
        z = x @ w["kernel"] + w["bias"]
        if spec.block_order is BlockOrder.ACTIVATION_FIRST:
            z = np.maximum(z, 0)
        if spec.use_batch_norm:
            z = w["gamma"] * (z - w["running_mean"]) / np.sqrt(w["running_var"] + spec.eps) + w["beta"]
        x = np.maximum(z, 0) if spec.block_order is BlockOrder.NORM_FIRST else z
    return x @ weights["head.kernel"] + weights["head.bias"]


def _layer(weights: Mapping[str, Array], i: int) -> dict[str, Array]:
    prefix = f"hidden.{i}."
    return {name.removeprefix(prefix): array for name, array in weights.items() if name.startswith(prefix)}


@dataclass
class _BlockCache:
    inputs: Array
    pre_activation: Array  # what ReLU was given
    norm: _NormCache | None = None


def _forward_block(spec: ModelSpec, w: dict[str, Array], x: Array, statistics: Weights) -> tuple[Array, _BlockCache]:
    """One hidden block in train mode; the new running statistics are added to `statistics`."""
    cache = _BlockCache(inputs=x, pre_activation=x)

    def relu(z: Array) -> Array:
        cache.pre_activation = z
        return np.maximum(z, 0)

    def norm(z: Array) -> Array:
        if not spec.use_batch_norm:
            return z
        y, mean, var, cache.norm = normalize_batch(z, w["gamma"], w["beta"], spec.eps)
        if spec.running_variance is RunningVariance.UNBIASED:
            var = var * (len(z) / (len(z) - 1))
        statistics["running_mean"] = spec.decay * w["running_mean"] + (1 - spec.decay) * mean
        statistics["running_var"] = spec.decay * w["running_var"] + (1 - spec.decay) * var
        return y

    z = x @ w["kernel"] + w["bias"]
    y = norm(relu(z)) if spec.block_order is BlockOrder.ACTIVATION_FIRST else relu(norm(z))
    return y, cache


def _backward_block(spec: ModelSpec, w: dict[str, Array], dy: Array, cache: _BlockCache, gradients: Weights) -> Array:
    """The gradient with respect to the block's input; those of its weights are added to `gradients`."""

    def relu(dy: Array) -> Array:
        return dy * (cache.pre_activation > 0)

    def norm(dy: Array) -> Array:
        if cache.norm is None:
            return dy
        dx, gradients["gamma"], gradients["beta"] = normalize_batch_backward(dy, w["gamma"], cache.norm)
        return dx

    dz = relu(norm(dy)) if spec.block_order is BlockOrder.ACTIVATION_FIRST else norm(relu(dy))
    gradients["kernel"] = cache.inputs.T @ dz
    gradients["bias"] = dz.sum(axis=0)
    return dz @ w["kernel"].T


def train_step(
    spec: ModelSpec, weights: Weights, inputs: Array, labels: NDArray[np.integer], learning_rate: float
) -> tuple[Weights, Step]:
    """One SGD update in train mode: `weight - learning_rate * gradient`, and the new running statistics.

    Args:
        spec: the network.
        weights: by neutral name; left as they are.
        inputs: shape (batch, input_dim).
        labels: shape (batch,).
        learning_rate: of plain SGD.

    Returns:
        The new weights, and what the step showed.

    Raises:
        InputError: batch norm is given fewer than two samples.
    """
    if spec.use_batch_norm:
        check_training_batch(len(inputs))
    x, caches, updated = inputs, [], {}
    for i in range(spec.num_hidden_layers):
        statistics: Weights = {}
        x, cache = _forward_block(spec, _layer(weights, i), x, statistics)
        caches.append(cache)
        updated |= {f"hidden.{i}.{name}": array for name, array in statistics.items()}
    logits = x @ weights["head.kernel"] + weights["head.bias"]
    loss, dlogits = cross_entropy(logits, labels)

    gradients = {"head.kernel": x.T @ dlogits, "head.bias": dlogits.sum(axis=0)}
    dx = dlogits @ weights["head.kernel"].T
    for i in reversed(range(spec.num_hidden_layers)):
        block: Weights = {}
        dx = _backward_block(spec, _layer(weights, i), dx, caches[i], block)
        gradients |= {f"hidden.{i}.{name}": array for name, array in block.items()}
    updated |= {name: weights[name] - learning_rate * gradient for name, gradient in gradients.items()}
    gradients = {name: gradients[name] for name in weights if not is_statistic(name)}
    return {name: updated[name] for name in weights}, Step(loss=loss, logits=logits, gradients=gradients)


class NumpyLearner:
    """The reference as a `parity.backend.Learner`."""

    def __init__(self, spec: ModelSpec, weights: Mapping[str, Array]) -> None:
        check_weights(weights, spec)
        self._spec = spec
        self._weights = cast_weights(weights, "float64")

    def train_step(self, inputs: Array, labels: NDArray[np.integer], learning_rate: float) -> Step:
        """One SGD update; see `train_step`."""
        # Overflow is a result here, not an accident: a diverging trial runs through inf and nan.
        with np.errstate(all="ignore"):
            self._weights, step = train_step(
                self._spec,
                self._weights,
                np.array(inputs, np.float64),
                np.array(labels),
                float(learning_rate),
            )
        return step

    def evaluate(self, inputs: Array) -> Array:
        """Logits in evaluation mode."""
        with np.errstate(all="ignore"):
            return evaluate(self._spec, self._weights, np.array(inputs, np.float64))

    def weights(self) -> Weights:
        """A copy of the state."""
        return cast_weights(self._weights, "float64")


class NumpyPopulation:
    """The reference as a `parity.backend.Population`: one learner after the other."""

    def __init__(
        self,
        learners: Sequence[NumpyLearner],
        learning_rates: Sequence[float],
        inputs: Array,
        labels: NDArray[np.integer],
    ) -> None:
        self._learners, self._learning_rates = list(learners), [float(rate) for rate in learning_rates]
        self._inputs, self._labels = np.array(inputs, np.float64), np.array(labels)

    def run_pass(self, indices: NDArray[np.integer]) -> PassRecord:
        """Train every member on the same minibatches."""
        shape = (len(indices), len(self._learners))
        losses, finite = np.empty(shape), np.empty(shape, bool)
        for t, batch in enumerate(np.asarray(indices)):
            for m, (learner, rate) in enumerate(zip(self._learners, self._learning_rates, strict=True)):
                losses[t, m] = learner.train_step(self._inputs[batch], self._labels[batch], rate).loss
                finite[t, m] = all(np.isfinite(array).all() for array in learner.weights().values())
        return PassRecord(losses=losses, finite=finite)

    def evaluate(self, inputs: Array, labels: NDArray[np.integer]) -> Evaluation:
        """Loss and accuracy of every member in evaluation mode."""
        logits = [learner.evaluate(inputs) for learner in self._learners]
        with np.errstate(all="ignore"):
            loss = np.array([cross_entropy(z, labels)[0] for z in logits])
        return Evaluation(loss=loss, accuracy=np.array([(z.argmax(axis=1) == labels).mean() for z in logits]))

    def weights(self, member: int) -> Weights:
        """A copy of one member's state."""
        return self._learners[member].weights()


class NumpyBackend:
    """The reference as a `parity.backend.Backend`, in float64 only."""

    name = "numpy"
    dtypes: Sequence[DType] = ("float64",)

    def versions(self) -> dict[str, str]:
        """NumPy's version."""
        return {"numpy": np.__version__}

    def learner(self, spec: ModelSpec, weights: Mapping[str, Array], dtype: DType) -> NumpyLearner:
        """A network at the given weights; `dtype` must be float64."""
        self._check(dtype)
        return NumpyLearner(spec, weights)

    def population(
        self,
        spec: ModelSpec,
        weights: Mapping[str, Array],
        learning_rates: Sequence[float],
        inputs: Array,
        labels: NDArray[np.integer],
        dtype: DType,
    ) -> NumpyPopulation:
        """A member for each learning rate."""
        self._check(dtype)
        learners = [NumpyLearner(spec, weights) for _ in learning_rates]
        return NumpyPopulation(learners, learning_rates, inputs, labels)

    def to_native(
        self, weights: Mapping[str, Array], spec: ModelSpec, dtype: DType, names: Mapping[str, Any] | None = None
    ) -> Weights:
        """NumPy's own form is the neutral one; `names` renames it."""
        check_weights(weights, spec)
        names = names or {name: name for name in weights}
        check_names(names, spec)
        return {names[name]: array for name, array in cast_weights(weights, dtype).items()}

    def from_native(self, native: Any, spec: ModelSpec, names: Mapping[str, Any] | None = None) -> Weights:
        """NumPy's own form is the neutral one; `names` renames it."""
        names = names or {name: name for name in weight_shapes(spec)}
        check_names(names, spec)
        weights = select_arrays(native, names)
        check_weights(weights, spec)
        return weights

    def _check(self, dtype: DType) -> None:
        if dtype not in self.dtypes:
            raise ValueError(f"the reference computes in float64 only, got {dtype}")
