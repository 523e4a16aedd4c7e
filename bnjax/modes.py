"""The timed modes of training, in JAX."""

import gzip
import json
import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from bnjax.device import find_device
from bnjax.learner import Learner
from bnjax.parts import HONEST, Parts
from bnjax.population import Population
from bnjax.programs import ONE_THREAD_EACH, loop_step
from bnjax.settings import matmul_precision
from parity.backend import Mode, PassRecord, lane_batches, member_states
from parity.spec import DType, ModelSpec, Precision
from parity.weights import Array, Weights

Shape = tuple[int, ...]
PRODUCTS = 8  # in one call, to make the cost of the call itself small


class LoopPopulation:
    """One member, trained with one call of a compiled step for each update.

    The arguments are those of `Population`. A member counts as finite while its losses are.
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
        """Train the member, and wait for the result."""
        losses = []
        with self._learner.settings():
            for batch in np.array(lane_batches(indices, 1)[0], np.int32):
                self._learner.net, loss = loop_step(self._learner.net, self._inputs, self._labels, batch, self._rate)
                losses.append(loss)
            shown = np.array(jnp.stack(losses))[:, None]
        return PassRecord(losses=shown, finite=np.isfinite(shown))

    def weights(self, member: int) -> Weights:
        """Return the state of the member, by neutral name."""
        return self._learner.weights()


def loop(backend: Any) -> Any:
    """Return the backend that trains in a loop of single updates."""
    return replace(backend, population_type=LoopPopulation)


def population(backend: Any) -> Any:
    """Return the backend as it is: the engine of the sweep."""
    return backend


MODES: dict[str, Mode] = {
    "jit_step": Mode(of=loop, loop=True),
    "scan": Mode(of=population),
    "population_vmap": Mode(of=population, many=True),
    "population_sharded": Mode(of=population, many=True, side_by_side=True),
}


def offered(device: str) -> dict[str, Mode]:
    """Return the modes that a device has: all of them."""
    return MODES


def product(device: str, precision: Precision, left: Shape, right: Shape) -> Callable[[], None]:
    """Return a function that makes `PRODUCTS` products of float32 matrices on one device or CPU core, and waits."""

    def multiply(many: jax.Array, y: jax.Array) -> jax.Array:
        return jax.lax.map(lambda x: x @ y, many)

    with jax.default_device(find_device(device)), matmul_precision(precision):
        operands = jnp.ones((PRODUCTS, *left)), jnp.ones(right)
        program = jax.jit(multiply, compiler_options=ONE_THREAD_EACH).lower(*operands).compile()
    return lambda: program(*operands).block_until_ready()


def copy(device: str, size: int) -> Callable[[], None]:
    """Return a function that copies `size` bytes on one device and waits."""
    with jax.default_device(find_device(device)):
        array = jnp.ones(size // 4)
        program = jax.jit(jnp.negative).lower(array).compile()
    return lambda: program(array).block_until_ready()


def profile(population: Population, indices: NDArray[np.integer]) -> list[tuple[str, float]]:
    """Return the operations of `population.run_pass(indices)`, each with its seconds, by their names in the source.

    A fused operation has the name of the last operation in it.
    """
    program = population.layout.lower_run(population.programs.run, len(population.labels), indices.shape[-1])
    names = _operations(program.compile().as_text())
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            population.run_pass(indices)
        (path,) = Path(folder).rglob("*.trace.json.gz")
        events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    found: dict[str, float] = defaultdict(float)
    for event in events:
        operation = event.get("args", {}).get("hlo_op")
        if operation in names:
            found[names[operation]] += event.get("dur", 0.0) / 1e6
    return sorted(found.items(), key=lambda item: -item[1])


def _operations(program: str) -> dict[str, str]:
    """Return a name for each instruction of a compiled program, such as `backward linear dot_general`."""
    names = {}
    for name, path in re.findall(r"%?([\w.-]+) = [^\n]*op_name=\"([^\"]+)\"", program):
        if "/while" in path and " while(" not in path:
            *_, layer, operation = ["", *re.sub(r"_\d+", "", path).split("/")]
            layer = layer if layer.isidentifier() else ""
            names[name] = " ".join(filter(None, ["backward" if "transpose(" in path else "", layer, operation]))
    return names


def environment(device: str) -> dict[str, str]:
    """Return the devices, and the flags that the user has set."""
    first = find_device(device)
    count = len(jax.local_devices(backend=first.platform))
    return {"jax devices": f"{count} of {first.device_kind}", "XLA_FLAGS": os.environ.get("XLA_FLAGS", "")}
