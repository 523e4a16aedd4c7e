"""Many learning rates trained at once, in JAX: one program for a pass of a whole population."""

from collections.abc import Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from bnjax.model import MultiLayerPerceptron
from bnjax.train import TrainState, evaluate, sgd_step, state_from_variables
from bnjax.weights import from_native, to_native
from parity.backend import Evaluation, PassRecord
from parity.spec import DType, ModelSpec
from parity.weights import Array, Weights

EVALUATION_CHUNK = 2000  # samples; bounds the memory of members times samples activations


class Population:
    """A `parity.backend.Population`: members are stacked along a leading axis of every array of the state.

    Args:
        spec: the network.
        weights: where every member starts.
        learning_rates: one for each member.
        inputs: the training set, shape (n, input_dim), uploaded once.
        labels: shape (n,).
        dtype: working dtype.
    """

    def __init__(
        self,
        spec: ModelSpec,
        weights: Mapping[str, Array],
        learning_rates: Sequence[float],
        inputs: Array,
        labels: NDArray[np.integer],
        dtype: DType = "float32",
    ) -> None:
        self._spec, self._dtype = spec, dtype
        with self._precision():
            net = state_from_variables(MultiLayerPerceptron.from_spec(spec, dtype), to_native(weights, spec, dtype))
            members = len(learning_rates)
            self._nets = jax.tree.map(lambda leaf: jnp.repeat(leaf[None], members, axis=0), net)
            with np.errstate(over="ignore"):  # a rate beyond float32's range is infinite
                self._learning_rates = jnp.asarray(np.array(learning_rates, dtype))
            self._inputs, self._labels = self._upload(inputs, labels)

    def _precision(self):
        return jax.enable_x64(self._dtype == "float64")

    def _upload(self, inputs: Array, labels: NDArray[np.integer]) -> tuple[jax.Array, jax.Array]:
        # NumPy copies of our own first: JAX may alias the memory of an array that it is given.
        return jnp.asarray(np.array(inputs, self._dtype)), jnp.asarray(np.array(labels, np.int32))

    def run_pass(self, indices: NDArray[np.integer]) -> PassRecord:
        """Train every member on the minibatches `indices`, shape (updates, batch), as one program."""
        with self._precision():
            batches = jnp.asarray(np.array(indices, np.int32))
            self._nets, losses, finite = _run_pass(
                self._nets, self._inputs, self._labels, batches, self._learning_rates
            )
            return PassRecord(losses=np.array(losses), finite=np.array(finite))

    def evaluate(self, inputs: Array, labels: NDArray[np.integer]) -> Evaluation:
        """Loss and accuracy of every member in evaluation mode, chunk by chunk."""
        loss, correct = np.zeros(()), np.zeros(())
        with self._precision():
            for start in range(0, len(inputs), EVALUATION_CHUNK):
                chunk = slice(start, start + EVALUATION_CHUNK)
                sums = _evaluate(self._nets, *self._upload(inputs[chunk], labels[chunk]))
                loss, correct = loss + np.array(sums[0], np.float64), correct + np.array(sums[1])
        return Evaluation(loss=loss / len(inputs), accuracy=correct / len(inputs))

    def weights(self, member: int) -> Weights:
        """The state of one member, by neutral name."""
        with self._precision():
            return from_native(jax.tree.map(lambda leaf: leaf[member], self._nets.variables), self._spec)


@partial(jax.jit, donate_argnames="nets")
def _run_pass(
    nets: TrainState, inputs: jax.Array, labels: jax.Array, batches: jax.Array, learning_rates: jax.Array
) -> tuple[TrainState, jax.Array, jax.Array]:
    def update(nets: TrainState, batch: jax.Array) -> tuple[TrainState, tuple[jax.Array, jax.Array]]:
        nets, output = jax.vmap(sgd_step, in_axes=(0, None, None, 0))(
            nets, inputs[batch], labels[batch], learning_rates
        )
        return nets, (output.loss, jax.vmap(_all_finite)(nets))

    nets, (losses, finite) = jax.lax.scan(update, nets, batches)
    return nets, losses, finite


def _all_finite(net: TrainState) -> jax.Array:
    return jnp.all(jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(net.variables)]))


@jax.jit
def _evaluate(nets: TrainState, inputs: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    def sums(net: TrainState) -> tuple[jax.Array, jax.Array]:
        log_probabilities = jax.nn.log_softmax(evaluate(net, inputs))
        loss = -jnp.take_along_axis(log_probabilities, labels[:, None], axis=-1).sum()
        return loss, (log_probabilities.argmax(axis=-1) == labels).sum()

    return jax.vmap(sums)(nets)
