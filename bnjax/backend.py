"""JAX/Flax behind `parity.backend`: NumPy goes in, NumPy comes out, and nothing is shared."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from bnjax.model import MultiLayerPerceptron
from bnjax.population import Population
from bnjax.train import evaluate, sgd_step, state_from_variables
from bnjax.weights import from_native, gradients_from_native, to_native
from parity.backend import Step
from parity.spec import DType, ModelSpec
from parity.weights import Array, Weights


class Learner:
    """A `parity.backend.Learner`: one network, stepped from outside."""

    def __init__(self, spec: ModelSpec, weights: Mapping[str, Array], dtype: DType = "float32") -> None:
        self._spec, self._dtype = spec, dtype
        with self._precision():
            model = MultiLayerPerceptron.from_spec(spec, dtype)
            self._net = state_from_variables(model, to_native(weights, spec, dtype))

    def _precision(self):
        # The setting belongs to a thread and a block, so a caller's own stays as it is.
        return jax.enable_x64(self._dtype == "float64")

    def train_step(self, inputs: Array, labels: NDArray[np.integer], learning_rate: float) -> Step:
        """One SGD update in train mode."""
        with self._precision():
            x, y = _copy(inputs, self._dtype), _copy(labels, np.int32)
            self._net, output = _train_step(self._net, x, y, learning_rate)
            gradients = gradients_from_native(output.gradients, self._spec)
            return Step(loss=float(output.loss), logits=np.array(output.logits), gradients=gradients)

    def evaluate(self, inputs: Array) -> Array:
        """Logits in evaluation mode."""
        with self._precision():
            return np.array(_evaluate(self._net, _copy(inputs, self._dtype)))

    def weights(self) -> Weights:
        """A copy of the state."""
        return from_native(self._net.variables, self._spec)


def _copy(array: Any, dtype: Any) -> jax.Array:
    # A NumPy copy of our own first: JAX may alias the memory of an array that it is given.
    return jnp.asarray(np.array(array, dtype))


_train_step = jax.jit(sgd_step, donate_argnames="net")
_evaluate = jax.jit(evaluate)


class JaxBackend:
    """A `parity.backend.Backend`."""

    name = "jax"
    dtypes: Sequence[DType] = ("float32", "float64")

    def versions(self) -> dict[str, str]:
        """Versions of the packages that decide the numbers."""
        return {package: version(package) for package in ("jax", "jaxlib", "flax", "optax")}

    def learner(self, spec: ModelSpec, weights: Mapping[str, Array], dtype: DType) -> Learner:
        """A network at the given weights."""
        return Learner(spec, weights, dtype)

    def population(
        self,
        spec: ModelSpec,
        weights: Mapping[str, Array],
        learning_rates: Sequence[float],
        inputs: Array,
        labels: NDArray[np.integer],
        dtype: DType,
    ) -> Population:
        """A member for each learning rate."""
        return Population(spec, weights, learning_rates, inputs, labels, dtype)

    def to_native(
        self, weights: Mapping[str, Array], spec: ModelSpec, dtype: DType, names: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Flax variables."""
        with jax.enable_x64(dtype == "float64"):
            return to_native(weights, spec, dtype, names)

    def from_native(self, native: Any, spec: ModelSpec, names: Mapping[str, Any] | None = None) -> Weights:
        """The neutral dictionary of Flax variables."""
        return from_native(native, spec, names)
