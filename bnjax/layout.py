"""The layout of a population on devices, and the arguments of its programs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from bnjax.device import find_device
from bnjax.fast_parts import with_fast_parts
from bnjax.model import MultiLayerPerceptron
from bnjax.parts import Parts
from bnjax.programs import LANES, Programs
from bnjax.settings import matmul_precision
from bnjax.state import TrainState
from bnjax.weights import native_on_host, weights_dtype
from parity.spec import DType, ModelSpec, Precision
from parity.weights import weight_shapes

CHUNK = 64  # updates in one call of the compiled program, which is the same for any number up to this
EVALUATION_CHUNK = 2000  # samples; bounds the memory of activations
EVALUATION_SLOTS = 64 * EVALUATION_CHUNK  # members times samples; bounds the memory of many members on one device


def devices_of(name: str = "") -> list[Any]:
    """Return the devices of a kind, the one that `find_device` returns first."""
    first = find_device(name)
    return [first, *(device for device in jax.local_devices(backend=first.platform) if device != first)]


def share_devices(devices: Sequence[Any], lanes: int) -> tuple[Sequence[Any], int]:
    """Return those of some devices that `lanes` are distributed over, and the number of equal blocks.

    On a CPU a lane is a block, the work of one core. Otherwise take the most devices that divide the lanes evenly, with
    one block each.
    """
    if devices[0].platform == "cpu":
        return devices[:lanes], lanes
    count = next(n for n in range(min(lanes, len(devices)), 0, -1) if lanes % n == 0)
    return devices[:count], count


class Layout:
    """The layout of a population on devices, and the arguments of its programs.

    Args:
        spec: the network, as the parts read it.
        members: their number.
        lanes: how many equal runs of members have minibatches of their own.
        dtype: working dtype.
        parts: the formulas of the members.
        devices: of one kind, the first for what is not distributed. They may be those of a compiler alone.
        precision: of float32 matrix products.
    """

    def __init__(
        self,
        spec: ModelSpec,
        members: int,
        lanes: int,
        dtype: DType,
        parts: Parts,
        devices: Sequence[Any],
        precision: Precision,
    ) -> None:
        self.spec, self.parts = spec, with_fast_parts(parts)
        self.precision: Precision = precision
        self.dtype, self.device = weights_dtype(dtype), devices[0]
        self.devices, self.blocks = share_devices(devices, lanes)
        self.mesh = Mesh(np.array(self.devices), (LANES,))
        self.members, self.lanes = members // self.blocks, lanes // self.blocks  # of a block
        self.evaluated_at_once = max(1, min(EVALUATION_CHUNK, EVALUATION_SLOTS // self.members))
        with self.settings():
            self.model = MultiLayerPerceptron.from_spec(spec, dtype, self.parts)

    @contextmanager
    def settings(self) -> Iterator[None]:
        """Set the dtype, the device and the precision of the population, and restore them afterwards."""
        x64 = jax.enable_x64(self.dtype == "float64")
        with x64, jax.default_device(self.device), matmul_precision(self.precision):
            yield

    def sharding(self, *axes: str) -> NamedSharding:
        """Return a sharding: whole on every device, or cut along the leading axis."""
        return NamedSharding(self.mesh, PartitionSpec(*axes))

    def lowered(self, programs: Programs, samples: int, batch_size: int, evaluated: Sequence[int]) -> list[Any]:
        """Return the programs of `run_pass` and `evaluate`, traced and ready to `compile()`.

        Args:
            programs: of the population.
            samples: the size of the training set.
            batch_size: of the minibatches.
            evaluated: the numbers of samples to evaluate.
        """
        most = self.evaluated_at_once
        sizes = {size for count in evaluated for size in (min(count, most), count % most)} - {0}
        evaluations = [self.lower_evaluation(programs.evaluate, size) for size in sorted(sizes)]
        return [self.lower_run(programs.run, samples, batch_size), *evaluations]

    def lower_run(self, program: Any, samples: int, batch_size: int) -> Any:
        """Trace `run_lanes`, ready to `compile()`; put nothing on a device."""
        spec, lanes = self.spec, self.lanes * self.mesh.size
        whole, shared = self.sharding(), self.sharding(LANES)
        with self.settings():
            nets, rates = self._abstract_block()
            masks = lanes, CHUNK, spec.num_hidden_layers, batch_size, spec.hidden_width
            return program.lower(
                nets,
                *self._abstract_samples(samples),
                jax.ShapeDtypeStruct((lanes, CHUNK, batch_size), np.int32, sharding=shared),
                jax.ShapeDtypeStruct((), np.int32, sharding=whole),
                rates,
                jax.ShapeDtypeStruct(masks, np.bool_, sharding=shared) if spec.dropout_rate else None,
                mesh=self.mesh,
            )

    def lower_update(self, program: Any, batch_size: int) -> Any:
        """Trace `update_lanes` on one device, ready to `compile()`; put nothing on it."""
        nets, rates = self._abstract_block()
        inputs, labels = self._abstract_samples(self.lanes * batch_size)
        minibatches = (
            jax.ShapeDtypeStruct((self.lanes, batch_size, *each.shape[1:]), each.dtype, sharding=each.sharding)
            for each in (inputs, labels)
        )
        spec = self.spec
        masks = self.lanes, spec.num_hidden_layers, batch_size, spec.hidden_width
        kept = jax.ShapeDtypeStruct(masks, np.bool_, sharding=inputs.sharding) if spec.dropout_rate else None
        with self.settings():
            return program.lower(nets, *minibatches, rates, kept)

    def lower_evaluation(self, program: Any, samples: int) -> Any:
        """Trace `evaluation_sums`, ready to `compile()`; put nothing on a device."""
        with self.settings():
            return program.lower(self._abstract_block()[0], *self._abstract_samples(samples))

    def _abstract_samples(self, count: int) -> tuple[Any, Any]:
        shapes = ((count, self.spec.input_dim), self.dtype), ((count,), np.int32)
        return tuple(jax.ShapeDtypeStruct(*shape, sharding=self.sharding()) for shape in shapes)  # pyright: ignore[reportReturnType]

    def _abstract_block(self) -> tuple[Any, Any]:
        """Return the shapes of a block on each device, as `Population._together` joins them."""
        zeros = {name: np.zeros(shape) for name, shape in weight_shapes(self.spec).items()}
        variables = native_on_host(zeros, self.spec, "float64" if self.dtype == "float64" else "float32")
        members = self.members * self.mesh.size
        sharding = self.sharding(LANES) if self.mesh.size > 1 else SingleDeviceSharding(self.devices[0])

        def stacked(leaf: Any) -> Any:
            return jax.ShapeDtypeStruct((members, *leaf.shape), leaf.dtype, sharding=sharding)

        params, batch_stats = (jax.tree.map(stacked, variables[kind]) for kind in ("params", "batch_stats"))
        opt_state = jax.tree.map(stacked, jax.eval_shape(self.parts.optimizer(0.0).init, variables["params"]))
        rates = jax.ShapeDtypeStruct((members,), self.dtype, sharding=sharding)
        return TrainState(self.model, params, batch_stats, opt_state), rates
