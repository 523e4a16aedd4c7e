"""One network stepped from outside, in JAX: the state is a value, and each update donates its memory to the next."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from bnjax.device import find_device
from bnjax.model import MultiLayerPerceptron
from bnjax.parts import HONEST, Parts
from bnjax.programs import evaluation_activations, evaluation_logits
from bnjax.settings import matmul_precision
from bnjax.state import state_from_variables
from bnjax.train import sgd_step
from bnjax.weights import from_native, gradients_from_native, to_native, weights_dtype
from parity.backend import Learner as LearnerProtocol
from parity.backend import Step
from parity.data import Masks
from parity.spec import DType, ModelSpec, Precision
from parity.weights import Array, Weights, activation_names


class Learner(LearnerProtocol):
    """A learner of `parity.backend`.

    Args:
        spec: the network.
        weights: where it starts.
        dtype: working dtype.
        parts: the formulas of the network and its training.
        device: as `find_device` takes it.
        precision: of float32 matrix products.
    """

    train_program = staticmethod(jax.jit(sgd_step, donate_argnames="net"))
    logits_program = staticmethod(jax.jit(evaluation_logits))
    activations_program = staticmethod(jax.jit(evaluation_activations))

    def __init__(
        self,
        spec: ModelSpec,
        weights: Mapping[str, Array],
        dtype: DType = "float32",
        parts: Parts = HONEST,
        device: str = "",
        precision: Precision = "highest",
    ) -> None:
        self._spec, self._parts = parts.conventions(spec), parts
        self._precision: Precision = precision
        self.dtype, self._device, self._updates = weights_dtype(dtype), find_device(device), 0
        with self.settings():
            model = MultiLayerPerceptron.from_spec(self._spec, dtype, parts)
            variables = to_native(parts.weight_import.load(weights), self._spec, dtype)
            self.net, self._initial = state_from_variables(model, variables), state_from_variables(model, variables)

    @contextmanager
    def settings(self) -> Iterator[None]:
        """Set the dtype, the device and the precision of the learner, and restore them afterwards."""
        # The settings belong to a thread and a block, so a caller's own stay as they are.
        x64 = jax.enable_x64(self.dtype == "float64")
        with x64, jax.default_device(self._device), matmul_precision(self._precision):
            yield

    def train_step(
        self, inputs: Array, labels: NDArray[np.integer], learning_rate: float, masks: Masks | None = None
    ) -> Step:
        """Take one SGD update in train mode."""
        with self.settings():
            x, y = _copy(inputs, self.dtype), _copy(labels, np.int32)
            net = self._parts.carry(self.net, self._initial, self._updates + 1)
            with np.errstate(over="ignore"):  # a rate beyond float32's range is infinite
                rate = np.array(learning_rate, self.dtype)
            kept = None if masks is None else _copy(masks, np.bool_)
            self.net, output = self.train_program(net, x, y, rate, kept)
            self._updates += 1
            gradients = self._parts.weight_import.save(gradients_from_native(output.gradients, self._spec))
            return Step(
                loss=float(output.loss),
                logits=np.array(output.logits),
                gradients=gradients,
                activations=self._in_order(output.activations),
            )

    def evaluate(self, inputs: Array) -> Array:
        """Return the logits in evaluation mode."""
        with self.settings():
            logits, batch_stats = self.logits_program(self.net, _copy(inputs, self.dtype))
            self.net = replace(self.net, batch_stats=batch_stats)
            return np.array(logits)

    def activations(self, inputs: Array) -> Weights:
        """Return the output of each part of each hidden layer in evaluation mode; the state stays as it is."""
        with self.settings():
            return self._in_order(self.activations_program(self.net, _copy(inputs, self.dtype)))

    def _in_order(self, activations: Mapping[str, jax.Array]) -> Weights:
        # A compiled program gives a dictionary back in alphabetical order.
        return {name: np.array(activations[name], self.dtype) for name in activation_names(self._spec)}

    def weights(self) -> Weights:
        """Return a copy of the state."""
        return self._parts.weight_import.save(from_native(self.net.variables, self._spec))


def _copy(array: Any, dtype: Any) -> jax.Array:
    # A NumPy copy of our own first: JAX may alias the memory of an array that it is given.
    return jnp.asarray(np.array(array, dtype))
