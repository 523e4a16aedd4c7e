"""JAX's programs compiled for a TPU by its own compiler, which runs on a machine without one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from math import ceil
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from bnjax.device import GPU_LANES
from bnjax.jitted_work import ModelWork
from bnjax.layout import Layout
from bnjax.learner import Learner
from bnjax.parts import Parts
from bnjax.population import Population
from bnjax.programs import update_lanes
from bnjax.settings import matmul_precision
from parity.backend.compiler import CannotBeCompiled, ChipProgram, Chips, Compiled, no_machine
from parity.backend.port import Task
from parity.errors import InputError, choices
from parity.spec import DType, ModelSpec, Precision
from parity.weights import draw_weights

# The smallest slice of four chips of each kind. A v4 chip has two cores, which JAX uses as one device there.
TOPOLOGIES: dict[str, tuple[str, dict[str, Any]]] = {
    "v4": ("v4:2x2x1", {"chip_config_name": "megacore"}),
    "v5e": ("v5e:2x2", {}),
    "v5p": ("v5p:2x2x1", {}),
    "v6e": ("v6e:2x2", {}),
}
MOST_ROUNDED = 0.05  # of an estimate
MOST_OPERATIONS, MOST_BYTES = 1e13, 1e11  # of what takes, on any of these chips, far less than a second
BATCH = "batch"  # the axis of samples, over several chips


def devices_to_compile_for(chips: Chips) -> list[Any]:
    """Return what stands for the chips. From now on JAX computes on the CPU, if it has not begun.

    Raises:
        InputError: there is no compiler for them here.
    """
    if chips.kind not in TOPOLOGIES:
        raise InputError(f"JAX compiles for no {chips.kind!r} here; {choices(chips.kind, TOPOLOGIES)}")
    if find_spec("libtpu") is None:
        raise InputError("to compile for a TPU JAX needs its compiler, libtpu; install the extra tpu of bnparity")
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)  # the time to compile is told
    name, options = TOPOLOGIES[chips.kind]
    with no_machine():
        found = list(topologies.get_topology_desc(platform="tpu", topology_name=name, **options).devices)
    if not 1 <= chips.count <= len(found):
        raise InputError(f"chips must be 1 to {len(found)}, got {chips.count}")
    return found[: chips.count]


@dataclass(frozen=True)
class Placed:
    """Where the arguments of a program are: all of them everywhere, or some cut along an axis."""

    devices: Sequence[Any]

    def form(self, array: Any, axis: int = -1) -> jax.ShapeDtypeStruct:
        """Return the form of an array there: whole, or cut along an axis that is not negative."""
        sharding: Sharding = SingleDeviceSharding(self.devices[0])
        if len(self.devices) > 1:
            cut = PartitionSpec() if axis < 0 else PartitionSpec(*[None] * axis, BATCH)
            sharding = NamedSharding(Mesh(np.array(self.devices), (BATCH,)), cut)
        return jax.ShapeDtypeStruct(np.shape(array), array.dtype, sharding=sharding)


def compiled(lower: Callable[[], Any]) -> Compiled:
    """Compile a program, and return what the compiler says of it.

    The compiler's estimate has -1 s for each operation that it cannot estimate. What takes far less than a second can
    be told apart from these; but it is a float32, in which among many of them nothing is left of it.

    Raises:
        CannotBeCompiled: the compiler refuses it.
    """
    try:
        program = lower().compile()
    except Exception as error:  # an operation that the chip lacks, say, of a user's model
        words = str(error).strip().partition("\n")[0] or type(error).__name__
        raise CannotBeCompiled(words, lacks_memory="RESOURCE_EXHAUSTED" in words) from error
    cost, memory = program.cost_analysis(), program.memory_analysis()
    seconds = cost.get("optimal_seconds", 0.0)
    unknown = max(0, ceil(-seconds))
    operations, moved = cost.get("flops", 0.0), cost.get("bytes accessed", 0.0)
    is_rounded = seconds + unknown <= np.spacing(np.float32(unknown)) / MOST_ROUNDED
    is_long = operations > MOST_OPERATIONS or moved > MOST_BYTES
    least = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return Compiled(
        operations=operations,
        moved_bytes=moved,
        least_bytes=least,
        memory_bytes=least
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.generated_code_size_in_bytes,
        estimate_s=None if is_rounded or is_long else seconds + unknown,
        has_loop=" while(" in program.as_text(),
        not_estimated=unknown,
    )


class TpuCompiler:
    """See `parity.backend.compiler.Compiler`.

    Args:
        chips: what is compiled for.
        parts: the formulas of the networks.
        precision: of float32 matrix products.

    Raises:
        InputError: there is no compiler for the chips here.
    """

    lanes: Sequence[int] = (1, GPU_LANES)

    def __init__(self, chips: Chips, parts: Parts, precision: Precision) -> None:
        self._devices, self._parts = devices_to_compile_for(chips), parts
        self._precision: Precision = precision

    def population(
        self, spec: ModelSpec, members: int, lanes: int, samples: int, dtype: DType, batch_size: int
    ) -> list[ChipProgram]:
        """See `Compiler`. Lanes do not communicate, so that the update is that of one chip."""

        def layout(devices: Sequence[Any]) -> Layout:
            everywhere = lanes * len(devices)
            conventions = self._parts.conventions(spec)
            return Layout(conventions, members * everywhere, everywhere, dtype, self._parts, devices, self._precision)

        alone, whole, programs = layout(self._devices[:1]), layout(self._devices), Population.programs
        update, size = jax.jit(update_lanes, donate_argnames="nets"), whole.evaluated_at_once
        trained, evaluated = members * lanes, lambda: whole.lower_evaluation(programs.evaluate, size)
        return [
            _program("update", trained, "model-step", trained, lambda: alone.lower_update(update, batch_size)),
            _program("pass", trained, "model-step", 0, lambda: whole.lower_run(programs.run, samples, batch_size)),
            _program(f"evaluation ({size})", trained, "model", trained, evaluated),
        ]

    def learner(self, spec: ModelSpec, dtype: DType, batch_size: int) -> list[ChipProgram]:
        """See `Compiler`."""
        learner = Learner(spec, draw_weights(spec, 0), dtype, self._parts, "cpu", self._precision)
        placed = Placed(self._devices[:1])
        with learner.settings():
            net = jax.tree.map(placed.form, learner.net)
            rate = placed.form(np.zeros((), learner.dtype))
        inputs = placed.form(np.zeros((batch_size, spec.input_dim), learner.dtype))
        batch = inputs, placed.form(np.zeros(batch_size, np.int32))
        masks = None
        if spec.dropout_rate:
            masks = placed.form(np.zeros((spec.num_hidden_layers, batch_size, spec.hidden_width), np.bool_))

        def lower(function: Any, *arguments: Any) -> Any:
            with jax.enable_x64(dtype == "float64"), matmul_precision(self._precision):
                return function.lower(net, *arguments)

        wide = ", float64" if dtype == "float64" else ""
        trained = *batch, rate, masks
        return [
            _program(f"check: step{wide}", 1, "model-step", 1, lambda: lower(Learner.train_program, *trained)),
            _program(f"check: evaluation{wide}", 1, "batch", 1, lambda: lower(Learner.logits_program, inputs)),
            _program(f"check: activations{wide}", 1, "batch", 1, lambda: lower(Learner.activations_program, inputs)),
        ]


def work_program(work: ModelWork, chips: Chips, axes: Mapping[str, Any], task: Task) -> ChipProgram:
    """Return the program of a task of a model. See `parity.backend.compiler.Compilable`."""
    placed = Placed(devices_to_compile_for(chips))

    def lower() -> Any:
        function, state, inputs = work.program()
        with work.settings():
            return function.lower(*jax.tree.map(placed.form, state), jax.tree.map(placed.form, inputs, dict(axes)))

    return _program(str(task), 1, "batch", 1, lower)


def _program(name: str, models: int, per: str, count: int, lower: Callable[[], Any]) -> ChipProgram:
    return ChipProgram(name=name, models=models, per=per, count=count, compile=partial(compiled, lower))
