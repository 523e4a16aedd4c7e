"""A user's model at work, to be timed: as compiled programs."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bnjax.device import matmul_precision
from bnjax.functional import Functional, flattened
from parity.backend.batch import loss_of, map_arrays
from parity.backend.port import Mode, Task, size_of
from parity.spec import Precision

WAYS = ("jitted",)


class ModelWork:
    """See `parity.backend.port.Work`.

    Args:
        model: as a function.
        loss: of its output.
        optimizer: an optax transformation; None to take no steps.
        inputs: the batch.
        task: what is done.
        dtype: of parameters, statistics and floating-point inputs.
        precision: of float32 matrix products.
    """

    def __init__(
        self,
        model: Functional,
        loss: Callable[..., Any] | None,
        optimizer: Any,
        inputs: Mapping[str, Any],
        task: Task,
        dtype: str,
        precision: Precision,
    ) -> None:
        self._model, self._loss, self._optimizer, self._task = model, loss, optimizer, task
        self._precision: Precision = precision
        self._dtype, self._last = dtype, None
        with self._settings():
            given = (model.parameters, model.statistics, dict(inputs))
            self._parameters, self._statistics, self._inputs = (
                map_arrays(partial(_in_dtype, dtype=dtype), each) for each in given
            )
            self._state: Any = None
            if optimizer is not None and task is Task.STEP:
                self._state = optimizer.init(model.nested(dict(self._parameters)))
            order = list(inputs)
            in_order = lambda inputs: {name: inputs[name] for name in order}  # noqa: E731  JAX sorts what it is given
            self._forward = jax.jit(lambda p, s, x: self._outputs(p, s, in_order(x)))
            self._step = jax.jit(lambda p, s, o, x: self._stepped(p, s, o, in_order(x)), donate_argnums=(0, 1, 2))

    def run(self, count: int) -> None:
        """See `Work`."""
        with self._settings(), matmul_precision(self._precision):
            for _ in range(count):
                if self._task is Task.FORWARD:
                    self._last = self._forward(self._parameters, self._statistics, self._inputs)
                else:
                    self._last, self._parameters, self._statistics, self._state = self._step(
                        self._parameters, self._statistics, self._state, self._inputs
                    )
            jax.block_until_ready((self._last, self._parameters, self._statistics))

    def size(self) -> float:
        """See `Work`."""
        last: Any = self._last
        if self._task is Task.STEP:
            return float(last[0])
        floats = (leaf for leaf in jax.tree.leaves(last) if jnp.issubdtype(leaf.dtype, jnp.floating))
        return size_of(np.asarray(leaf, np.float64) for leaf in floats)

    def _settings(self) -> AbstractContextManager[Any]:
        return jax.enable_x64(self._dtype == "float64")

    def _outputs(self, parameters: Any, statistics: Any, inputs: Any) -> list[Any]:
        outputs = self._model.run(parameters, statistics, inputs, Mode.EVALUATION, None).outputs
        return [leaf for leaf in jax.tree.leaves(outputs) if hasattr(leaf, "dtype")]

    def _stepped(self, parameters: Any, statistics: Any, state: Any, inputs: Any) -> tuple[Any, ...]:
        def loss_at(parameters: Any) -> tuple[Any, Any]:
            ran = self._model.run(parameters, statistics, inputs, Mode.TRAIN, None)
            assert self._loss is not None
            return loss_of(self._loss, ran.outputs, ran.left), ran.statistics

        (loss, after), gradients = jax.value_and_grad(loss_at, has_aux=True)(parameters)
        if self._optimizer is None:
            return (loss, gradients), parameters, after, state
        model = self._model
        nested = model.nested(parameters)
        updates, state = self._optimizer.update(model.nested(gradients), state, nested)
        updated = jax.tree.map(lambda p, u: p + u.astype(p.dtype), nested, updates)
        return (loss, None), flattened(model, parameters, updated), after, state


def _in_dtype(leaf: Any, dtype: str) -> Any:
    array = np.asarray(leaf)
    is_float = array.dtype.kind == "f" or array.dtype == jnp.bfloat16
    return jnp.array(array, dtype) if is_float else jnp.array(array)
