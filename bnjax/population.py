"""Many learning rates trained at once, in JAX: one program for a pass of a whole population."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from bnjax.device import find_device, matmul_precision
from bnjax.model import MultiLayerPerceptron
from bnjax.parts import HONEST, MEMBERS, Parts
from bnjax.train import TrainState, sgd_step, state_from_variables
from bnjax.weights import from_native, to_native, weights_dtype
from parity.backend import Evaluation, PassRecord
from parity.spec import DType, ModelSpec, Precision
from parity.weights import Array, Weights

EVALUATION_CHUNK = 2000  # samples; bounds the memory of members times samples activations


def run_pass(
    nets: TrainState, inputs: jax.Array, labels: jax.Array, batches: jax.Array, learning_rates: jax.Array
) -> tuple[TrainState, jax.Array, jax.Array]:
    """Train all members on minibatches, given as indices of shape (updates, batch). A pure function, not jitted.

    Returns:
        The new states; the losses before each update, and whether all is finite after it, of shape (updates, members).
    """

    def update(nets: TrainState, batch: jax.Array) -> tuple[TrainState, tuple[jax.Array, jax.Array]]:
        nets, output = jax.vmap(sgd_step, in_axes=(0, None, None, 0), axis_name=MEMBERS)(
            nets, inputs[batch], labels[batch], learning_rates
        )
        return nets, (output.loss, jax.vmap(_all_finite)(nets))

    nets, (losses, finite) = jax.lax.scan(update, nets, batches)
    return nets, losses, finite


def _all_finite(net: TrainState) -> jax.Array:
    return jnp.all(jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(net.variables)]))


def evaluation_sums(nets: TrainState, inputs: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
    """Each member's summed cross entropy and number of correct classifications in evaluation mode, and the statistics
    that it leaves. A pure function, not jitted.
    """

    def sums(net: TrainState) -> tuple[jax.Array, jax.Array, Any]:
        logits, batch_stats, _ = net.model.parts.apply(net, inputs, False)
        log_probabilities = jax.nn.log_softmax(logits)
        loss = -jnp.take_along_axis(log_probabilities, labels[:, None], axis=-1).sum()
        return loss, (log_probabilities.argmax(axis=-1) == labels).sum(), batch_stats

    return jax.vmap(sums, axis_name=MEMBERS)(nets)


class Population:
    """A `parity.backend.Population`: members are stacked along a leading axis of every array of the state.

    Args:
        spec: the network.
        weights: where every member starts.
        learning_rates: one for each member.
        inputs: the training set, shape (n, input_dim), uploaded once.
        labels: shape (n,).
        dtype: working dtype.
        parts: what the members are made of.
        device: as `find_device` takes it.
        precision: of float32 matrix products.
    """

    _run_pass = staticmethod(jax.jit(run_pass, donate_argnames="nets"))
    _evaluate = staticmethod(jax.jit(evaluation_sums))

    def __init__(
        self,
        spec: ModelSpec,
        weights: Mapping[str, Array],
        learning_rates: Sequence[float],
        inputs: Array,
        labels: NDArray[np.integer],
        dtype: DType = "float32",
        parts: Parts = HONEST,
        device: str = "",
        precision: Precision = "highest",
    ) -> None:
        self._spec, self._parts = parts.conventions(spec), parts
        self._precision: Precision = precision
        self._dtype, self._device = weights_dtype(dtype), find_device(device)
        with self._settings():
            model = MultiLayerPerceptron.from_spec(self._spec, dtype, parts)
            net = state_from_variables(model, to_native(parts.weight_import.load(weights), self._spec, dtype))
            members = len(learning_rates)
            self._nets = jax.tree.map(lambda leaf: jnp.repeat(leaf[None], members, axis=0), net)
            with np.errstate(over="ignore"):  # a rate beyond float32's range is infinite
                self._learning_rates = jnp.asarray(np.array(learning_rates, self._dtype))
            self._inputs, self._labels = self._upload(inputs, labels)

    @contextmanager
    def _settings(self) -> Iterator[None]:
        x64 = jax.enable_x64(self._dtype == "float64")
        with x64, jax.default_device(self._device), matmul_precision(self._precision):
            yield

    def _upload(self, inputs: Array, labels: NDArray[np.integer]) -> tuple[jax.Array, jax.Array]:
        # NumPy copies of our own first: JAX may alias the memory of an array that it is given.
        return jnp.asarray(np.array(inputs, self._dtype)), jnp.asarray(np.array(labels, np.int32))

    def run_pass(self, indices: NDArray[np.integer]) -> PassRecord:
        """Train every member on the minibatches `indices`, shape (updates, batch), as one program."""
        with self._settings():
            batches = jnp.asarray(np.array(indices, np.int32))
            self._nets, losses, finite = self._run_pass(
                self._nets, self._inputs, self._labels, batches, self._learning_rates
            )
            return PassRecord(losses=np.array(losses), finite=np.array(finite))

    def evaluate(self, inputs: Array, labels: NDArray[np.integer]) -> Evaluation:
        """Loss and accuracy of every member in evaluation mode, chunk by chunk."""
        loss, correct = np.zeros(()), np.zeros(())
        with self._settings():
            for start in range(0, len(inputs), EVALUATION_CHUNK):
                chunk = slice(start, start + EVALUATION_CHUNK)
                *sums, batch_stats = self._evaluate(self._nets, *self._upload(inputs[chunk], labels[chunk]))
                self._nets = replace(self._nets, batch_stats=batch_stats)
                loss, correct = loss + np.array(sums[0], np.float64), correct + np.array(sums[1])
        return Evaluation(loss=loss / len(inputs), accuracy=correct / len(inputs))

    def weights(self, member: int) -> Weights:
        """The state of one member, by neutral name."""
        with self._settings():
            variables = jax.tree.map(lambda leaf: leaf[member], self._nets.variables)
            return self._parts.weight_import.save(from_native(variables, self._spec))
