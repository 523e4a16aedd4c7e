"""A port in plain JAX: pure functions of a dictionary of parameters, a norm by hand, and optax's SGD."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array as Tensor

from parity import ModelSpec, Step
from parity.weights import Array, Weights

from .collection import FLOAT32, Candidate, refuse_extras

Tree = dict[str, Tensor]


class State(NamedTuple):
    """What training carries from update to update; parameters and statistics by neutral name."""

    params: Tree
    stats: Tree
    optimizer: Any


class Shown(NamedTuple):
    """What a training step shows."""

    loss: Tensor
    logits: Tensor
    gradients: Tree
    activations: Tree


@dataclass(frozen=True)
class PlainModel:
    """The experiment as pure functions; hashable, so that a compiled step is shared by all learners of a spec."""

    spec: ModelSpec

    # The network.

    def linear(self, p: Tree, layer: str, x: Tensor) -> Tensor:
        """A linear layer."""
        return x @ p[f"{layer}.kernel"] + p[f"{layer}.bias"]

    def relu(self, x: Tensor) -> Tensor:
        """The activation, whose derivative at 0 is 0."""
        return jax.nn.relu(x)

    def epsilon(self, layer: str) -> float:
        """What is added to the variance."""
        del layer
        return self.spec.eps

    def normalize(self, p: Tree, layer: str, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        """Normalize by given statistics, and scale."""
        return p[f"{layer}.gamma"] * (x - mean) / jnp.sqrt(var + self.epsilon(layer)) + p[f"{layer}.beta"]

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance of a batch, in two passes."""
        mean = x.mean(axis=0)
        return mean, ((x - mean) ** 2).mean(axis=0)

    def correction(self, layer: str, n: int) -> float:
        """What turns the batch's biased variance into the one that the running variance takes in."""
        del layer
        return n / (n - 1) if self.spec.running_variance == "unbiased" else 1.0

    def moved(self, layer: str, old: tuple[Tensor, Tensor], mean: Tensor, var: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """The new running statistics."""
        d = self.spec.decay
        return d * old[0] + (1 - d) * mean, d * old[1] + (1 - d) * self.correction(layer, n) * var

    def norm(self, p: Tree, stats: Tree, layer: str, x: Tensor, train: bool) -> tuple[Tensor, Tree]:
        """Batch norm, and the layer's new statistics."""
        names = f"{layer}.running_mean", f"{layer}.running_var"
        old = stats[names[0]], stats[names[1]]
        if not train:
            return self.normalize(p, layer, x, *old), dict(zip(names, old, strict=True))
        mean, var = self.moments(x)
        new = self.moved(layer, old, mean, var, len(x))
        return self.normalize(p, layer, x, mean, var), dict(zip(names, new, strict=True))

    def forward(self, p: Tree, stats: Tree, x: Tensor, train: bool) -> tuple[Tensor, Tree, Tree]:
        """Logits, new statistics, and what each part of each layer gives."""
        new, shown = dict(stats), {}
        for i in range(self.spec.num_hidden_layers):
            layer = f"hidden.{i}"
            x = shown[f"{layer}.linear"] = self.linear(p, layer, x)
            if self.spec.block_order == "activation_first":
                x = shown[f"{layer}.relu"] = self.relu(x)
            if self.spec.use_batch_norm:
                x, moved = self.norm(p, stats, layer, x, train)
                shown[f"{layer}.norm"] = x
                new |= moved
            if self.spec.block_order == "norm_first":
                x = shown[f"{layer}.relu"] = self.relu(x)
        return self.linear(p, "head", x), new, shown

    # Training.

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross entropy."""
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def optimizer(self, rate: Tensor | float) -> optax.GradientTransformation:
        """What turns gradients into updates."""
        return optax.sgd(rate)

    def gradients(self, state: State, x: Tensor, y: Tensor) -> tuple[Shown, Tree]:
        """What a step shows, and the new statistics."""

        def objective(p: Tree) -> tuple[Tensor, tuple[Tensor, Tree, Tree]]:
            logits, stats, shown = self.forward(p, state.stats, x, train=True)
            return self.loss(logits, y), (logits, stats, shown)

        (loss, (logits, stats, shown)), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
        return Shown(loss, logits, grads, shown), stats

    @partial(jax.jit, static_argnums=0)
    def step(self, state: State, x: Tensor, y: Tensor, rate: Tensor) -> tuple[State, Shown]:
        """One update as a compiled program."""
        shown, stats = self.gradients(state, x, y)
        updates, memory = self.optimizer(rate).update(shown.gradients, state.optimizer, state.params)
        return State(dict(optax.apply_updates(state.params, updates)), stats, memory), shown  # pyright: ignore[reportArgumentType, reportCallIssue]

    @partial(jax.jit, static_argnums=0)
    def evaluated(self, state: State, x: Tensor) -> tuple[Tensor, Tree]:
        """Logits and activations in evaluation mode."""
        logits, _, shown = self.forward(state.params, state.stats, x, train=False)
        return logits, shown


class PlainJax:
    """The state, and NumPy at its borders."""

    port: ClassVar[str] = "plain JAX"
    model_class: ClassVar[type[PlainModel]] = PlainModel

    def __init__(self, spec: ModelSpec, weights: Mapping[str, Array], dtype: str) -> None:
        refuse_extras(spec)
        self.spec, self.dtype, self.model = spec, dtype, self.model_class(spec)
        with self.precision():
            arrays = {name: jnp.asarray(np.array(value, dtype)) for name, value in weights.items()}
            stats = {name: value for name, value in arrays.items() if "running_" in name}
            params = {name: value for name, value in arrays.items() if name not in stats}
            self.state = State(params, stats, self.model.optimizer(0.0).init(params))

    def precision(self) -> Any:
        """The context in which JAX computes in the working dtype."""
        return jax.enable_x64(self.dtype == "float64")

    def train_step(self, inputs: Array, labels: Array, learning_rate: float) -> Step:
        """See `parity.backend.Learner`."""
        if self.spec.use_batch_norm and len(inputs) < 2:
            raise ValueError(f"batch norm needs at least 2 samples in training, got {len(inputs)}")
        with self.precision():
            x, rate = np.array(inputs, self.dtype), np.array(learning_rate, self.dtype)
            self.state, shown = self.take_step(x, np.array(labels), rate)
        return Step(
            loss=float(shown.loss),
            logits=np.array(shown.logits),
            gradients=copied(shown.gradients),
            activations=copied(shown.activations),
        )

    def take_step(self, x: Array, labels: Array, rate: Array) -> tuple[State, Shown]:
        """The next state, and what the step showed."""
        return self.model.step(self.state, x, labels, rate)

    def evaluate(self, inputs: Array) -> Array:
        """See `parity.backend.Learner`."""
        with self.precision():
            return np.array(self.model.evaluated(self.state, np.array(inputs, self.dtype))[0])

    def activations(self, inputs: Array) -> Weights:
        """What each part of each hidden layer gives in evaluation mode."""
        with self.precision():
            return copied(self.model.evaluated(self.state, np.array(inputs, self.dtype))[1])

    def weights(self) -> Weights:
        """See `parity.backend.Learner`."""
        return copied({**self.state.params, **self.state.stats})


def copied(tree: Mapping[str, Tensor]) -> Weights:
    """The tensors as NumPy arrays of their own."""
    return {name: np.array(value) for name, value in tree.items()}


def make_backend() -> Candidate:
    """Plain JAX."""
    return Candidate("plain JAX", PlainJax)


def make_float32() -> Candidate:
    """The same, offering float32 only."""
    return Candidate("plain JAX, float32 only", PlainJax, FLOAT32)
