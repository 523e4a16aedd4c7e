"""The timed ways to run, in JAX."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from bnjax.backend import JaxBackend
from bnjax.learner import Learner
from bnjax.parts import HONEST, Parts
from bnjax.train import TrainState, sgd_step
from parity.backend import Mode, PassRecord, lane_batches, member_states
from parity.spec import DType, ModelSpec, Precision
from parity.weights import Array, Weights


@partial(jax.jit, donate_argnames="net")
def loop_step(
    net: TrainState, inputs: jax.Array, labels: jax.Array, batch: jax.Array, learning_rate: jax.Array
) -> tuple[TrainState, jax.Array]:
    """One update on the samples that `batch` names, and the loss before it: one program, the minibatch's choice in it."""
    net, output = sgd_step(net, inputs[batch], labels[batch], learning_rate)
    return net, output.loss


class LoopPopulation:
    """One member, trained by a call of a compiled step for each update.

    The arguments are those of `Population`. Whether all is finite is told from the losses, as from that loop.
    """

    def __init__(
        self,
        spec: ModelSpec,
        weights: Mapping[str, Array] | Sequence[Mapping[str, Array]],
        learning_rates: Sequence[float],
        inputs: Array,
        labels: NDArray[np.integer],
        dtype: DType = "float32",
        lanes: int = 1,
        parts: Parts = HONEST,
        device: str = "",
        precision: Precision = "highest",
    ) -> None:
        (state,), (rate,) = member_states(weights, learning_rates, lanes), learning_rates
        self._learner = Learner(spec, state, dtype, parts, device, precision)
        with self._learner.settings():
            self._inputs = jnp.asarray(np.array(inputs, self._learner.dtype))
            self._labels = jnp.asarray(np.array(labels, np.int32))
            self._rate = jnp.asarray(np.array(rate, self._learner.dtype))

    def run_pass(self, indices: NDArray[np.integer]) -> PassRecord:
        """Train the member, and wait for it."""
        losses = []
        with self._learner.settings():
            for batch in np.array(lane_batches(indices, 1)[0], np.int32):
                self._learner.net, loss = loop_step(self._learner.net, self._inputs, self._labels, batch, self._rate)
                losses.append(loss)
            shown = np.array(jnp.stack(losses))[:, None]
        return PassRecord(losses=shown, finite=np.isfinite(shown))

    def weights(self, member: int) -> Weights:
        """The state of the member, by neutral name."""
        del member
        return self._learner.weights()


class LoopBackend(JaxBackend):
    """Trains by `LoopPopulation`."""

    _population: Any = LoopPopulation


def loop(backend: JaxBackend) -> JaxBackend:
    """A loop of single updates."""
    return LoopBackend(backend.device, backend.precision, backend.parts)


def population(backend: JaxBackend) -> JaxBackend:
    """The engine of the sweep."""
    return backend


MODES: dict[str, Mode] = {
    "jit_step": Mode(of=loop, loop=True),
    "scan": Mode(of=population),
    "population_vmap": Mode(of=population, many=True),
    "population_sharded": Mode(of=population, many=True, side_by_side=True),
}
