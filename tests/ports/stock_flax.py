"""A port with Flax's stock layers, `nn.Dense` and `nn.BatchNorm`, and optax's SGD.

Stock Flax keeps the biased variance in its running statistics, so `make_biased` is honest for
`ModelSpec(running_variance="biased")`. `make_backend` corrects the running variance by hand after each update, so it
is honest for either.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.core import FrozenDict
from flax.traverse_util import flatten_dict, unflatten_dict

from parity import ModelSpec, Step
from parity.weights import Array, Weights

from .collection import FLOAT32, Candidate, refuse_extras

# The neutral name's last part, and where the tensor lies in the variables of `Network`.
BLOCK = {"kernel": ("params", "Dense_{i}", "kernel"), "bias": ("params", "Dense_{i}", "bias")}
NORM = {
    "gamma": ("params", "BatchNorm_{i}", "scale"),
    "beta": ("params", "BatchNorm_{i}", "bias"),
    "running_mean": ("batch_stats", "BatchNorm_{i}", "mean"),
    "running_var": ("batch_stats", "BatchNorm_{i}", "var"),
}


class Network(nn.Module):
    """Dense layers, ReLU and stock batch norm, with the settings that match the spec, and a head."""

    spec: ModelSpec
    dtype: str

    def norm(self, layer: int, train: bool) -> nn.Module:
        """Stock batch norm: its momentum is the spec's decay."""
        return nn.BatchNorm(name=f"BatchNorm_{layer}", use_running_average=not train, **self.norm_settings(layer))

    def norm_settings(self, layer: int) -> dict[str, Any]:
        """What people forget to set."""
        del layer
        return {
            "momentum": self.spec.decay,
            "epsilon": self.spec.eps,
            "use_fast_variance": False,
            "force_float32_reductions": False,
            "param_dtype": self.dtype,
        }

    def relu(self, x: jax.Array) -> jax.Array:
        """The activation."""
        return nn.relu(x)

    def dense(self, features: int) -> nn.Module:
        """A linear layer."""
        return nn.Dense(features, param_dtype=self.dtype)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Logits; what each layer gives is kept under "activations"."""
        for i in range(self.spec.num_hidden_layers):
            x = self.show(f"hidden.{i}.linear", self.dense(self.spec.hidden_width)(x))
            if self.spec.block_order == "activation_first":
                x = self.show(f"hidden.{i}.relu", self.relu(x))
            if self.spec.use_batch_norm:
                x = self.show(f"hidden.{i}.norm", self.norm(i, train)(x))
            if self.spec.block_order == "norm_first":
                x = self.show(f"hidden.{i}.relu", self.relu(x))
        return self.dense(self.spec.output_dim)(x)

    def show(self, name: str, value: jax.Array) -> jax.Array:
        """Keep a value for the caller."""
        self.sow("activations", name, value, init_fn=lambda: value, reduce_fn=lambda old, new: new)
        return value


class StockFlax:
    """The variables and the optimizer's state, stepped from outside."""

    port: ClassVar[str] = "stock Flax"
    network_class: ClassVar[type[Network]] = Network
    corrects_variance: ClassVar[bool] = True

    def __init__(self, spec: ModelSpec, weights: Mapping[str, Array], dtype: str) -> None:
        refuse_extras(spec)
        self.spec, self.dtype, self.network = spec, dtype, self.network_class(spec, dtype)
        with jax.enable_x64(dtype == "float64"):
            arrays = {path: jnp.asarray(np.array(weights[name], dtype)) for name, path in paths(spec).items()}
            self.variables = {"batch_stats": {}, **unflatten_dict(arrays)}
            self.memory = self.optimizer(0.0).init(self.variables["params"])

    @staticmethod
    def optimizer(rate: jax.Array | float) -> optax.GradientTransformation:
        """What turns gradients into updates."""
        return optax.sgd(rate)

    def train_step(self, inputs: Array, labels: Array, learning_rate: float) -> Step:
        """See `parity.backend.Learner`."""
        if self.spec.use_batch_norm and len(inputs) < 2:
            raise ValueError(f"batch norm needs at least 2 samples in training, got {len(inputs)}")
        with jax.enable_x64(self.dtype == "float64"):
            old = self.variables["batch_stats"]
            x, rate = np.array(inputs, self.dtype), np.array(learning_rate, self.dtype)
            (self.variables, self.memory), loss, logits, gradients, shown = update(
                self.network, self.optimizer, self.variables, self.memory, x, np.array(labels), rate
            )
            if self.corrects_variance and self.spec.running_variance == "unbiased":
                self.variables["batch_stats"] = unbiased(old, self.variables["batch_stats"], len(x), self.spec.decay)
        return Step(
            loss=float(loss),
            logits=np.array(logits),
            gradients=self.named({"params": gradients}),
            activations={name: np.array(value) for name, value in shown.items()},
        )

    def evaluate(self, inputs: Array) -> Array:
        """See `parity.backend.Learner`."""
        return np.array(self.evaluated(inputs)[0])

    def activations(self, inputs: Array) -> Weights:
        """What each part of each hidden layer gives in evaluation mode."""
        return {name: np.array(value) for name, value in self.evaluated(inputs)[1]["activations"].items()}

    def evaluated(self, inputs: Array) -> Any:
        """Logits and activations in evaluation mode."""
        with jax.enable_x64(self.dtype == "float64"):
            return evaluated(self.network, self.variables, np.array(inputs, self.dtype))

    def weights(self) -> Weights:
        """See `parity.backend.Learner`."""
        return self.named(self.variables)

    def named(self, variables: Mapping[str, Any]) -> Weights:
        """Copies by neutral name, of what the variables hold."""
        flat = flatten_dict(variables)
        return {name: np.array(flat[path]) for name, path in paths(self.spec).items() if path in flat}


class BiasedFlax(StockFlax):
    """Stock Flax as it is."""

    corrects_variance = False


def paths(spec: ModelSpec) -> dict[str, tuple[str, ...]]:
    """Where each tensor lies, by neutral name."""
    leaves, depth = BLOCK | (NORM if spec.use_batch_norm else {}), spec.num_hidden_layers
    hidden = {
        f"hidden.{i}.{leaf}": tuple(part.format(i=i) for part in path)
        for i in range(depth)
        for leaf, path in leaves.items()
    }
    return hidden | {f"head.{leaf}": ("params", f"Dense_{depth}", leaf) for leaf in BLOCK}


@partial(jax.jit, static_argnums=(0, 1))
def update(network: Network, optimizer: Any, variables: Any, memory: Any, x: Any, y: Any, rate: Any) -> Any:
    """One update as a compiled program: the new variables and memory, and what the step showed."""

    def objective(params: Any) -> Any:
        given = {"params": params, "batch_stats": variables["batch_stats"]}
        logits, new = network.apply(given, x, train=True, mutable=["batch_stats", "activations"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), (logits, new)  # pyright: ignore[reportArgumentType]

    (loss, (logits, new)), gradients = jax.value_and_grad(objective, has_aux=True)(variables["params"])
    updates, memory = optimizer(rate).update(gradients, memory, variables["params"])
    params = optax.apply_updates(variables["params"], updates)
    state = {"params": params, "batch_stats": new.get("batch_stats", FrozenDict())}
    return (state, memory), loss, logits, gradients, new["activations"]


@partial(jax.jit, static_argnums=0)
def evaluated(network: Network, variables: Any, x: Any) -> Any:
    """Logits and activations in evaluation mode."""
    return network.apply(variables, x, train=False, mutable=["activations"])


def unbiased(old: Any, new: Any, n: int, decay: float) -> Any:
    """Statistics whose variance has taken in n/(n-1) times what stock Flax put in."""

    def corrected(path: tuple[Any, ...], before: jax.Array, after: jax.Array) -> jax.Array:
        if path[-1].key != "var":
            return after
        return decay * before + (after - decay * before) * (n / (n - 1))

    return jax.tree_util.tree_map_with_path(corrected, old, new)


def make_backend() -> Candidate:
    """Stock Flax with the running variance corrected."""
    return Candidate("stock Flax, variance corrected", StockFlax)


def make_biased() -> Candidate:
    """Stock Flax as it is: honest where the spec's running variance is the biased one."""
    return Candidate("stock Flax", BiasedFlax)


def make_float32() -> Candidate:
    """Stock Flax with the running variance corrected, offering float32 only."""
    return Candidate("stock Flax, float32 only", StockFlax, FLOAT32)
