"""A port of the experiment with stock `flax.linen.BatchNorm(momentum=0.9)`, to be held against the reference.

    bnparity check --candidate examples.stock_flax:make_backend

It is honest work, and computes something else all the same: Flax keeps the biased variance in its running statistics,
where PyTorch (and this experiment's spec) keeps the unbiased one, and takes the variance of a batch as E[x^2] -
E[x]^2. Where both are meant, the check is told so, and judges everything else exactly:

    bnparity check --candidate examples.stock_flax:make_backend --running-variance biased --accept fast_variance

The protocol that it satisfies is the smallest that can be checked with all questions but those on its own inputs and on
populations: a backend with `learner`, and a learner with `train_step`, `evaluate`, `weights` and `activations`.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

import parity
from parity.spec import check_training_batch

# Where each tensor of the neutral dictionary lies in the variables of `Network`.
LEAVES = {
    "kernel": ("params", "Dense_{i}", "kernel"),
    "bias": ("params", "Dense_{i}", "bias"),
    "gamma": ("params", "BatchNorm_{i}", "scale"),
    "beta": ("params", "BatchNorm_{i}", "bias"),
    "running_mean": ("batch_stats", "BatchNorm_{i}", "mean"),
    "running_var": ("batch_stats", "BatchNorm_{i}", "var"),
}


class Network(nn.Module):
    """Linear, ReLU and stock batch norm, and a linear head."""

    spec: parity.ModelSpec
    dtype: str

    @nn.compact
    def __call__(self, x, train: bool):
        """Logits; what each layer gives is kept under "activations"."""
        for i in range(self.spec.num_hidden_layers):
            x = self._show(f"hidden.{i}.linear", nn.Dense(self.spec.hidden_width, param_dtype=self.dtype)(x))
            x = self._show(f"hidden.{i}.relu", nn.relu(x))
            if self.spec.use_batch_norm:
                norm = nn.BatchNorm(use_running_average=not train, momentum=0.9, param_dtype=self.dtype)
                x = self._show(f"hidden.{i}.norm", norm(x))
        return nn.Dense(self.spec.output_dim, param_dtype=self.dtype)(x)

    def _show(self, name, value):
        self.sow("activations", name, value, init_fn=lambda: None, reduce_fn=lambda old, new: new)
        return value


class Learner:
    """One network, stepped from outside: NumPy arrays go in and come out."""

    def __init__(self, spec, weights, dtype):
        self.spec, self.dtype, self.network = spec, dtype, Network(spec, dtype)
        with jax.enable_x64(dtype == "float64"):
            arrays = {path: jnp.asarray(np.array(weights[name], dtype)) for name, path in paths(spec).items()}
            self.variables = {"batch_stats": {}} | unflatten_dict(arrays)

    def train_step(self, inputs, labels, learning_rate):
        """One update of plain SGD; what it showed before the update."""
        if self.spec.use_batch_norm:
            check_training_batch(len(inputs))  # stock Flax would quietly give beta for a batch of one
        with jax.enable_x64(self.dtype == "float64"):
            x, rate = np.array(inputs, self.dtype), np.array(learning_rate, self.dtype)
            self.variables, loss, logits, gradients, activations = update(
                self.network, self.variables, x, np.array(labels), rate
            )
        return parity.Step(
            loss=float(loss),
            logits=np.array(logits),
            gradients=self._named({"params": gradients}),
            activations={name: np.array(value) for name, value in activations.items()},
        )

    def evaluate(self, inputs):
        """Logits in evaluation mode."""
        return np.array(self._evaluate(inputs)[0])

    def activations(self, inputs):
        """What each layer gives in evaluation mode."""
        return {name: np.array(value) for name, value in self._evaluate(inputs)[1]["activations"].items()}

    def weights(self):
        """A copy of the state."""
        return self._named(self.variables)

    def _evaluate(self, inputs):
        with jax.enable_x64(self.dtype == "float64"):
            x = np.array(inputs, self.dtype)
            return self.network.apply(self.variables, x, train=False, mutable=["activations"])

    def _named(self, variables):
        flat = flatten_dict(variables)
        return {name: np.array(flat[path]) for name, path in paths(self.spec).items() if path in flat}


def paths(spec) -> Mapping[str, tuple[str, ...]]:
    """The place of each tensor, by neutral name."""
    leaves = LEAVES if spec.use_batch_norm else {leaf: LEAVES[leaf] for leaf in ("kernel", "bias")}
    depth = spec.num_hidden_layers
    names = {
        f"hidden.{i}.{leaf}": tuple(part.format(i=i) for part in path)
        for i in range(depth)
        for leaf, path in leaves.items()
    }
    return names | {f"head.{leaf}": ("params", f"Dense_{depth}", leaf) for leaf in ("kernel", "bias")}


@jax.jit(static_argnums=0)
def update(network, variables, inputs, labels, learning_rate):
    """One SGD step as a compiled program."""

    def loss_of(params):
        logits, new = network.apply(
            variables | {"params": params}, inputs, train=True, mutable=["batch_stats", "activations"]
        )
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), (logits, new)

    (loss, (logits, new)), gradients = jax.value_and_grad(loss_of, has_aux=True)(variables["params"])
    params = jax.tree.map(lambda weight, gradient: weight - learning_rate * gradient, variables["params"], gradients)
    state = {"params": params, "batch_stats": new.get("batch_stats", {})}
    return state, loss, logits, gradients, new["activations"]


class Backend:
    """What `bnparity check --candidate` is given."""

    name = "stock Flax"
    dtypes = ("float32", "float64")

    def learner(self, spec, weights, dtype):
        """A network at the given weights."""
        return Learner(spec, weights, dtype)


def make_backend():
    """The factory that `--candidate` names."""
    return Backend()
