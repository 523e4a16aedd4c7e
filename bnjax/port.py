"""Any JAX model, as it is compared with a model of another framework."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np

from bnjax.functional import CallModel, Functional, flattened
from bnjax.islands import is_narrow, islands
from bnjax.jitted_work import WAYS, ModelWork
from bnjax.kinds import functional
from bnjax.lifted import lifted_function
from bnjax.perturbed import perturbed
from bnjax.program import Program, on_device
from bnjax.quick import quickly_compiled
from bnjax.settings import matmul_precision
from parity.backend.batch import map_arrays
from parity.backend.compiler import ChipProgram, Chips
from parity.backend.convention import Change, Option, is_lifted_by, of_islands
from parity.backend.port import Anatomy, Forced, Island, Mode, Played, Rounding, Task, Tensor, check_state
from parity.errors import InputError
from parity.spec import Precision
from parity.weights import Array

FLOAT64 = "float64"


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
    title = "JAX"

    def __init__(self, model: Any, variables: Any, loss: Any, optimizer: Any, call: CallModel | None) -> None:
        self._model, self._variables, self._call = model, variables, call
        if loss is not None and not callable(loss):
            raise InputError(f"loss={loss!r} cannot be used; give a function of the model's output and the labels")
        if optimizer is not None and not all(callable(getattr(optimizer, name, None)) for name in ("init", "update")):
            raise InputError(f"optimizer={optimizer!r} cannot be used; give an optax transformation, as optax.sgd(0.1)")
        self.versions = {"jax": jax.__version__, "flax": flax.__version__}
        self.loss: Any = loss
        self.optimizer: Any = optimizer
        self.has_loss, self.has_optimizer = loss is not None, optimizer is not None
        self._functional: Functional | None = None
        self._programs: dict[Any, Program] = {}
        self._steps: dict[tuple[bool, int | None], Any] = {}  # the optimizer's: lifted or not, bits of a rounding
        self._is_lifted = False

    def _of(self, inputs: Mapping[str, Any]) -> Functional:
        if self._functional is None:
            self._functional = functional(self._model, self._variables, self._call, on_device(inputs))
            self._functional.parameters = _widened(self._functional.parameters)
            self._functional.statistics = _widened(self._functional.statistics)
        return self._functional

    def _prepared(self) -> Functional:
        """The model that was set up; of its tensors perhaps only the forms."""
        if self._functional is None:
            raise InputError("the model has not seen a batch yet, which may decide its shapes; play one first")
        return self._functional

    def _seen(self) -> Functional:
        """The model that was set up, with all its numbers."""
        model = self._prepared()
        trees = model.parameters, model.statistics
        if any(isinstance(leaf, jax.ShapeDtypeStruct) for tree in trees for leaf in tree.values()):
            drawn = _widened(model.initial())
            for tree in trees:
                tree.update({p: drawn[p] for p, leaf in tree.items() if isinstance(leaf, jax.ShapeDtypeStruct)})
        return model

    @_in_float64
    def prepare(self, inputs: Mapping[str, Any]) -> None:
        """See `Port`."""
        self._functional, self._programs, self._steps = None, {}, {}
        self._of(inputs)

    def lift(self) -> None:
        """See `Port`."""
        self._is_lifted, self._programs = True, {}

    @_in_float64
    def anatomy(self, inputs: Mapping[str, Any], mode: Mode) -> Anatomy:
        """See `Port`."""
        model = self._of(inputs)
        program = self._program(inputs, mode, (model.parameters, model.statistics), FLOAT64)
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
            islands=program.islands,
            runs_in_float64=program.runs_in_float64,
            sources=program.sources,
            unused=program.unused,
        )

    def options(self, inputs: Mapping[str, Any], mode: Mode) -> Sequence[Option]:
        """See `Port`. What a traced program follows cannot be told from its operations, but for how narrow they are."""
        return of_islands(self.anatomy(inputs, mode).islands)

    @_in_float64
    def state(self) -> Mapping[str, Array]:
        """See `Port`."""
        model = self._seen()
        return {name: np.array(leaf) for name, leaf in {**model.parameters, **model.statistics}.items()}

    @_in_float64
    def load(self, state: Mapping[str, Array]) -> None:
        """See `Port`."""
        model = self._prepared()
        check_state(state, _tensors({**model.parameters, **model.statistics}))
        if any(path in model.statistics for path in state):
            state = {**model.once_loaded, **state}
        for tree in (model.parameters, model.statistics):
            tree.update({path: jnp.array(state[path], tree[path].dtype) for path in tree if path in state})

    def play(
        self,
        inputs: Mapping[str, Any],
        mode: Mode,
        forced: Forced | None = None,
        rounding: Rounding | None = None,
        dtype: str = FLOAT64,
        is_backward: bool = True,
        change: Change | None = None,
    ) -> Played:
        """See `Port`. One program computes both ways: to compile another takes longer than to run it."""
        with jax.enable_x64(True):
            self._of(inputs)
            model = self._seen()
        parameters, statistics = model.parameters, model.statistics
        if dtype != FLOAT64:
            inputs, parameters, statistics = (
                map_arrays(partial(_narrowed, dtype=dtype), each) for each in (inputs, parameters, statistics)
            )
        with jax.enable_x64(dtype == FLOAT64):
            program = self._program(inputs, mode, (parameters, statistics), dtype, is_lifted_by(change))
            if rounding is not None:
                inputs, forced = rounding.move(inputs, 0), rounding.move_forced(forced, 1)
                parameters, statistics = rounding.move(parameters, 3), rounding.move(statistics, 4)
            return program.play(parameters, statistics, inputs, forced, rounding)

    def _program(
        self, inputs: Mapping[str, Any], mode: Mode, state: tuple[Any, Any], dtype: str, is_lifted: bool = False
    ) -> "Program":
        is_lifted = (is_lifted or self._is_lifted) and dtype == FLOAT64
        form = mode, dtype, is_lifted, str(map_arrays(lambda leaf: (np.shape(leaf), np.asarray(leaf).dtype), inputs))
        if form not in self._programs:
            given = on_device(inputs)
            with matmul_precision("highest"):
                program = Program(self._of(inputs), state, given, mode, self.loss, is_lifted)
            same = (each for each in self._programs.values() if each.is_same(program))
            self._programs[form] = next(same, program)  # one that is compiled already
        return self._programs[form]

    @_in_float64
    def optimizer_islands(self) -> Sequence[Island]:
        """See `Port`."""
        if self._is_lifted:
            return ()
        flat = {name: jnp.asarray(array) for name, array in self._seen().parameters.items()}
        state = self._first_state(flat)
        traced = jax.make_jaxpr(self._step)(flat, state, flat)
        kept = (("a constant", traced.consts), ("its state", jax.tree.leaves(state)))
        stored = {Island("", name, str(each.dtype)): None for name, of in kept for each in of if is_narrow(each)}
        return (*islands(traced.jaxpr), *stored)

    def optimizer_options(self) -> Sequence[Option]:
        """See `Port`. An optax transformation does not tell its numbers."""
        return ()

    @_in_float64
    def optimize(
        self,
        gradients: Sequence[Mapping[str, Array]],
        rounding: Rounding | None = None,
        change: Change | None = None,
    ) -> list[dict[str, Array]]:
        """See `Port`."""
        is_lifted, bits = self._is_lifted or is_lifted_by(change), None if rounding is None else rounding.bits
        flat = {name: jnp.asarray(array) for name, array in self._seen().parameters.items()}
        state, found, names = self._first_state(flat), [], list(flat)
        if (is_lifted, bits) not in self._steps:
            step = lifted_function(self._step, flat, state, flat) if is_lifted else self._step
            self._steps[is_lifted, bits] = quickly_compiled(step if bits is None else perturbed(step, bits))
        run = self._steps[is_lifted, bits]
        for number, each in enumerate(gradients):
            given = {name: jnp.asarray(each.get(name, np.zeros(np.shape(flat[name])))) for name in names}
            if rounding is None:
                flat, state = run(flat, state, given)
            else:
                moved = map_arrays(jnp.asarray, rounding.move(given, number))
                flat, state = run(jnp.uint64(rounding.seed + 1 + 1000 * number), flat, state, moved)
            found.append({name: np.array(array) for name, array in flat.items()})
        return found

    ways = WAYS

    def own_process(self) -> None:
        """See `Workable`."""
        jax.config.update("jax_enable_compilation_cache", False)

    def work(self, inputs: Mapping[str, Any], task: Task, way: str, dtype: str, precision: Precision) -> ModelWork:
        """See `Workable`."""
        with jax.enable_x64(True):
            self._of(inputs)
            model = self._seen()
        return ModelWork(model, self.loss, self.optimizer, inputs, task, dtype, precision)

    def compile_for(
        self,
        chips: Chips,
        inputs: Mapping[str, Any],
        axes: Mapping[str, Any],
        task: Task,
        dtype: str,
        precision: Precision,
    ) -> ChipProgram:
        """See `Compilable`."""
        from bnjax.compiler import work_program

        return work_program(self.work(inputs, task, WAYS[0], dtype, precision), chips, axes, task)

    def forget(self) -> None:
        """See `Workable`. A program goes with the work that it is for."""

    def _first_state(self, flat: Mapping[str, Any]) -> Any:
        return self.optimizer.init(self._seen().nested(dict(flat)))

    def _step(self, flat: Any, state: Any, gradient: Any) -> tuple[Any, Any]:
        """Take one step of the optimizer."""
        model = self._seen()
        parameters = model.nested(flat)
        updates, state = self.optimizer.update(model.nested(gradient), state, parameters)
        updated = jax.tree.map(lambda p, u: p + u, parameters, updates)
        return flattened(model, flat, updated), state


def _narrowed(leaf: Any, dtype: str) -> Any:
    array = np.asarray(leaf)
    return jnp.asarray(array).astype(dtype) if array.dtype.kind == "f" else array


def _tensors(tree: Mapping[str, Any]) -> dict[str, Tensor]:
    return {path: Tensor(np.shape(leaf), str(leaf.dtype)) for path, leaf in tree.items()}


def _widened(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Floats as float64, where that is switched on."""

    def wide(leaf: Any) -> Any:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        is_form = isinstance(leaf, jax.ShapeDtypeStruct)
        # NumPy widens, since JAX compiles a program for each shape.
        return jax.ShapeDtypeStruct(leaf.shape, jnp.float64) if is_form else jnp.asarray(np.asarray(leaf, np.float64))

    return {path: wide(leaf) for path, leaf in tree.items()}
