"""Derivatives of a loss up to Hessian-vector products, in JAX."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from numpy.typing import NDArray

from bnjax.model import MultiLayerPerceptron
from bnjax.parts import HONEST
from bnjax.state import TrainState
from bnjax.weights import native_names
from parity.spec import ModelSpec
from parity.weights import Array, is_statistic, weight_shapes


def hessian_vector_product(loss: Callable[[jax.Array], jax.Array], point: jax.Array, vector: jax.Array) -> jax.Array:
    """`H v`, for the Hessian `H` of `loss` at `point`: the derivative of the gradient along `v`.

    Forward mode over reverse mode, so it costs a few gradients, and `H` is never made (Pearlmutter, "Fast Exact
    Multiplication by the Hessian", 1994).
    """
    return jax.jvp(jax.grad(loss), (point,), (vector,))[1]


class Objective:
    """A `parity.backend.Objective`, in float64.

    Args:
        loss: of a vector of parameters, shape (parameters,), and the data, to a scalar.
        data: arrays. They are no part of the compiled programs.
    """

    def __init__(self, loss: Callable[..., jax.Array], *data: Any) -> None:
        def product(point: jax.Array, vector: jax.Array, *data: Any) -> jax.Array:
            return hessian_vector_product(lambda p: loss(p, *data), point, vector)

        self._value, self._gradient, self._product = jax.jit(loss), jax.jit(jax.grad(loss)), jax.jit(product)
        with jax.enable_x64(True):
            self._data = jax.tree.map(lambda array: jnp.asarray(np.array(array)), data)

    def value(self, point: Array) -> float:
        """The loss."""
        return float(self._run(self._value, point))

    def gradient(self, point: Array) -> Array:
        """Its gradient."""
        return self._run(self._gradient, point)

    def hessian_vector_product(self, point: Array, vector: Array) -> Array:
        """Its Hessian at a point times a vector."""
        return self._run(self._product, point, vector)

    def _run(self, program: Any, *vectors: Array) -> Array:
        with jax.enable_x64(True):
            return np.array(program(*(np.array(vector, np.float64) for vector in vectors), *self._data))


def network_objective(
    spec: ModelSpec, weights: Mapping[str, Array], inputs: Array, labels: NDArray[np.integer]
) -> Objective:
    """The mean cross entropy of a network in training mode, as a function of all its trained tensors.

    Args:
        spec: the network.
        weights: its running statistics are kept; the trained tensors are the objective's argument, in the order of
            `weight_shapes`.
        inputs: shape (batch, input_dim).
        labels: shape (batch,).
    """
    names, shapes = native_names(spec), weight_shapes(spec)
    trained = [name for name in shapes if not is_statistic(name)]
    sizes = np.cumsum([int(np.prod(shapes[name])) for name in trained])[:-1]
    with jax.enable_x64(True):
        model = MultiLayerPerceptron.from_spec(spec, "float64")
    statistics = {names[n]: np.array(weights[n], np.float64) for n in shapes if is_statistic(n)}
    fixed = unflatten_dict(statistics).get("batch_stats", {})

    def loss(point: jax.Array, batch_stats: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        pieces = jnp.split(point, sizes)
        own = {names[name]: piece.reshape(shapes[name]) for name, piece in zip(trained, pieces, strict=True)}
        net = TrainState(model, unflatten_dict(own)["params"], batch_stats, None)
        return HONEST.objective(HONEST.apply(net, x, True).logits, y)

    return Objective(loss, fixed, np.array(inputs, np.float64), np.array(labels, np.int32))


def regression_objective(inputs: Array, targets: Array) -> Objective:
    """`sum((inputs @ w - targets)**2) / (2 n)`, as a function of `w`.

    Args:
        inputs: shape (n, d).
        targets: shape (n,).
    """
    x, y = (np.array(array, np.float64) for array in (inputs, targets))
    return Objective(lambda w, x, y: jnp.square(x @ w - y).sum() / (2 * len(y)), x, y)
