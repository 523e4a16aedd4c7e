"""Any JAX model, as it is compared with a model of another framework."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bnjax.functional import CallModel, Functional
from bnjax.kinds import functional
from bnjax.program import Program, on_device
from parity.backend.batch import map_arrays
from parity.backend.port import Anatomy, Forced, Mode, Played, Rounding, Tensor, check_state
from parity.errors import InputError
from parity.weights import Array


def port(
    model: Any,
    variables: Any = None,
    *,
    loss: Callable[..., Any] | None = None,
    optimizer: Any = None,
    call: CallModel | None = None,
) -> "ModelPort":
    """Wrap a model for `parity.compare`.

    Args:
        model: a linen, NNX or Equinox module, or a function whose first argument is its parameters.
        variables: of a linen module (by default, as it initializes itself), parameters of a function, `State` of an
            Equinox module.
        loss: of the model's output and the inputs that the model does not take; a scalar. Without it nothing backward
            is compared.
        optimizer: an optax transformation.
        call: `(model, batch, train)` gives the model's output for a batch of inputs by name. By default inputs are
            matched to the parameters of the model's `__call__` by name, and the rest in order.
    """
    return ModelPort(model, variables, loss, optimizer, call)


def _in_float64(method: Callable[..., Any]) -> Callable[..., Any]:
    """Switch float64 on while a method runs; the caller's setting stays."""

    @wraps(method)
    def wide(*args: Any, **kwargs: Any) -> Any:
        with jax.enable_x64(True):
            return method(*args, **kwargs)

    return wide


class ModelPort:
    """See `port`, and `parity.backend.port.Port`."""

    framework = "jax"

    def __init__(self, model: Any, variables: Any, loss: Any, optimizer: Any, call: CallModel | None) -> None:
        self._model, self._variables, self._call = model, variables, call
        self.loss, self.optimizer = loss, optimizer
        self._functional: Functional | None = None
        self._programs: dict[Any, Program] = {}

    def _of(self, inputs: Mapping[str, Any]) -> Functional:
        if self._functional is None:
            self._functional = functional(self._model, self._variables, self._call, on_device(inputs))
            self._functional.parameters = _widened(self._functional.parameters)
            self._functional.statistics = _widened(self._functional.statistics)
        return self._functional

    def _seen(self) -> Functional:
        if self._functional is None:
            raise InputError("the model has not seen a batch yet, which may decide its shapes; play one first")
        return self._functional

    @_in_float64
    def prepare(self, inputs: Mapping[str, Any]) -> None:
        """See `Port`."""
        self._functional, self._programs = None, {}
        self._of(inputs)

    @_in_float64
    def anatomy(self, inputs: Mapping[str, Any], mode: Mode) -> Anatomy:
        """See `Port`."""
        model, program = self._of(inputs), self._program(inputs, mode)
        return Anatomy(
            calls=program.calls,
            boundaries={
                boundary: Tensor(crossing.aval.shape, str(crossing.aval.dtype))
                for crossing in program.crossings
                for _, boundary in crossing.boundaries()
            },
            parameters=_tensors(model.parameters),
            statistics=_tensors(model.statistics),
            modules=model.modules or {each.call.module: each.type for each in program.calls},
            sources=program.sources,
        )

    def state(self) -> Mapping[str, Array]:
        """See `Port`."""
        model = self._seen()
        return {name: np.array(leaf) for name, leaf in {**model.parameters, **model.statistics}.items()}

    @_in_float64
    def load(self, state: Mapping[str, Array]) -> None:
        """See `Port`."""
        model = self._seen()
        check_state(state, _tensors({**model.parameters, **model.statistics}))
        if any(path in model.statistics for path in state):
            state = {**model.once_loaded, **state}
        for tree in (model.parameters, model.statistics):
            tree.update({path: jnp.array(state[path], tree[path].dtype) for path in tree if path in state})

    @_in_float64
    def play(
        self,
        inputs: Mapping[str, Any],
        mode: Mode,
        forced: Forced | None = None,
        rounding: Rounding | None = None,
    ) -> Played:
        """See `Port`."""
        model = self._of(inputs)
        parameters, statistics = model.parameters, model.statistics
        program = self._program(inputs, mode)
        if rounding is not None:
            inputs, forced = rounding.move(inputs, 0), rounding.move_forced(forced, 1)
            parameters, statistics = rounding.move(parameters, 3), rounding.move(statistics, 4)
        return program.play(parameters, statistics, inputs, forced, rounding)

    def _program(self, inputs: Mapping[str, Any], mode: Mode) -> "Program":
        form = str(map_arrays(lambda leaf: (np.shape(leaf), np.asarray(leaf).dtype), inputs))
        if (mode, form) not in self._programs:
            self._programs[mode, form] = Program(self._of(inputs), on_device(inputs), mode, self.loss)
        return self._programs[mode, form]


def _tensors(tree: Mapping[str, Any]) -> dict[str, Tensor]:
    return {path: Tensor(np.shape(leaf), str(leaf.dtype)) for path, leaf in tree.items()}


def _widened(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Floats as float64, where that is switched on."""
    return {
        path: jnp.asarray(leaf, float) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
        for path, leaf in tree.items()
    }
