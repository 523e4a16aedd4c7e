"""A user's model at work, to be timed: as compiled programs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bnjax.functional import Functional, Ran, flattened
from bnjax.settings import matmul_precision
from parity.backend.batch import loss_of, map_arrays
from parity.backend.port import Mode, Task, size_of
from parity.spec import Precision

WAYS = ("jitted",)


class ModelWork:
    """See `parity.backend.port.Work`.

    Args:
        model: as a function.
        loss: of its output.
        optimizer: an optax transformation.
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
        with self.settings():
            given = (model.parameters, model.statistics, dict(inputs))
            self._parameters, self._statistics, self._inputs = (
                map_arrays(partial(_in_dtype, dtype=dtype), each) for each in given
            )
            self._state: Any = None
            if task is Task.STEP:  # copies, since a state may hold the parameters themselves, which are given away
                self._state = jax.tree.map(jnp.copy, optimizer.init(model.nested(dict(self._parameters))))
            self._order = list(inputs)
            self._forward = jax.jit(self._outputs)
            self._step = jax.jit(self._stepped, donate_argnums=(0, 1, 2))

    @property
    def is_on_cpu(self) -> bool:
        """See `Work`."""
        return all(each.platform == "cpu" for leaf in jax.tree.leaves(self._parameters) for each in leaf.devices())

    def program(self) -> tuple[Any, tuple[Any, ...], Any]:
        """Return the jitted function of the task, what it is given first, and the batch, which comes last."""
        if self._task is Task.FORWARD:
            return self._forward, (self._parameters, self._statistics), self._inputs
        return self._step, (self._parameters, self._statistics, self._state), self._inputs

    def run(self, count: int) -> None:
        """See `Work`."""
        with self.settings():
            for _ in range(count):
                function, state, inputs = self.program()
                self._last = function(*state, inputs)
                if self._task is not Task.FORWARD:
                    self._last, self._parameters, self._statistics, self._state = self._last
            jax.block_until_ready((self._last, self._parameters, self._statistics))

    def size(self) -> float:
        """See `Work`."""
        last: Any = self._last
        if self._task is not Task.FORWARD:
            return float(last[0])
        if self._loss is not None:
            with self.settings():
                return float(jax.jit(self._loss_at)(self._parameters, self._statistics, self._inputs))
        floats = (leaf for leaf in last if jnp.issubdtype(leaf.dtype, jnp.floating))
        return size_of(np.asarray(leaf, np.float64) for leaf in floats)

    @contextmanager
    def settings(self) -> Iterator[None]:
        """Set the dtype and the precision of the task, and restore them afterwards."""
        with jax.enable_x64(self._dtype == "float64"), matmul_precision(self._precision):
            yield

    def _ran(self, parameters: Any, statistics: Any, inputs: Any, mode: Mode) -> Ran:
        in_order = {name: inputs[name] for name in self._order}  # JAX sorts what it is given
        return self._model.run(parameters, statistics, in_order, mode, None)

    def _outputs(self, parameters: Any, statistics: Any, inputs: Any) -> list[Any]:
        outputs = self._ran(parameters, statistics, inputs, Mode.EVALUATION).outputs
        return [leaf for leaf in jax.tree.leaves(outputs) if hasattr(leaf, "dtype")]

    def _loss_at(self, parameters: Any, statistics: Any, inputs: Any) -> Any:
        ran = self._ran(parameters, statistics, inputs, Mode.EVALUATION)
        assert self._loss is not None
        return loss_of(self._loss, ran.outputs, ran.left)

    def _stepped(self, parameters: Any, statistics: Any, state: Any, inputs: Any) -> tuple[Any, ...]:
        def loss_at(parameters: Any) -> tuple[Any, Any]:
            ran = self._ran(parameters, statistics, inputs, Mode.TRAIN)
            assert self._loss is not None
            return loss_of(self._loss, ran.outputs, ran.left), ran.statistics

        (loss, after), gradients = jax.value_and_grad(loss_at, has_aux=True)(parameters)
        if self._task is Task.BACKWARD:
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
