"""Many learning rates trained at once, in JAX: one program for a whole population, on all devices."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from numpy.typing import NDArray

from bnjax.layout import CHUNK, Layout, devices_of
from bnjax.parts import HONEST, Parts
from bnjax.programs import COMPILED, LANES, Programs, Run
from bnjax.state import TrainState
from bnjax.weights import from_native, native_on_host
from parity.backend import Evaluation, PassRecord, lane_batches, lane_masks, member_states
from parity.data import Masks
from parity.schedule import share_out
from parity.spec import DType, ModelSpec, Precision
from parity.weights import Array, Weights

Block = tuple[TrainState, jax.Array]
"""The lanes that a device trains together (one per core on a CPU): stacked states, and their learning rates."""


class Population:
    """A `parity.backend.Population`: members are stacked along a leading axis of every array of the state.

    Args:
        spec: the network.
        weights: where every member starts, or one state for each.
        learning_rates: one for each member.
        inputs: the training set, shape (n, input_dim), uploaded once.
        labels: shape (n,).
        dtype: working dtype.
        lanes: how many equal runs of members have minibatches of their own; they are distributed over the devices.
        parts: the formulas of the members.
        device: as `find_device` takes it.
        precision: of float32 matrix products.
    """

    programs: Programs = COMPILED

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
        states = member_states(weights, learning_rates, lanes)
        self._lanes, self._parts = lanes, parts
        layout = Layout(parts.conventions(spec), len(states), lanes, dtype, parts, devices_of(device), precision)
        self.layout, self._mesh, self._spec = layout, layout.mesh, layout.spec
        self._on_host: dict[int, Any] = {}
        with layout.settings():
            natives = {
                key: native_on_host(parts.weight_import.load(state), self._spec, dtype)
                for key, state in {id(state): state for state in states}.items()
            }
            with np.errstate(over="ignore"):  # a rate beyond float32's range is infinite
                rates = np.array(learning_rates, layout.dtype).reshape(layout.blocks, -1)
            self._blocks: dict[int, Block] = {}  # but for those that are joined
            self._joined: tuple[tuple[int, ...], Block] | None = None
            for block, start in enumerate(range(0, len(states), layout.members)):
                own = [natives[id(state)] for state in states[start : start + layout.members]]
                stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *own)
                device_of = layout.devices[block % len(layout.devices)]
                params, batch_stats = jax.device_put((stacked["params"], stacked["batch_stats"]), device_of)
                opt_state = jax.vmap(parts.optimizer(0.0).init)(params)
                net = TrainState(layout.model, params, batch_stats, opt_state)
                self._blocks[block] = jax.device_put((net, rates[block]), device_of)
            self._inputs, self.labels = self._upload(inputs, labels)

    def _share(self, arrays: Any, *axes: str) -> Any:
        """Put own NumPy arrays on the devices, whole or cut along their leading axis; JAX may use their memory."""
        return jax.device_put(arrays, self.layout.sharding(*axes))

    def _upload(self, inputs: Array, labels: NDArray[np.integer]) -> tuple[jax.Array, jax.Array]:
        return self._share(np.array(inputs, self.layout.dtype)), self._share(np.array(labels, np.int32))

    def run_pass(self, indices: NDArray[np.integer], masks: Masks | None = None) -> PassRecord:
        """Train every member on the minibatches `indices`, shape (updates, batch) or (lanes, updates, batch).

        A weight or statistic that is not finite stays so under SGD. If one became so between two tests, bisect: run the
        same program with fewer updates.
        """
        batches = lane_batches(indices, self._lanes).astype(np.int32)
        kept = lane_masks(masks, self._spec, batches)
        blocks, members = self.layout.blocks, self.layout.members
        batches = batches.reshape(blocks, -1, *batches.shape[1:])
        kept = None if kept is None else kept.reshape(blocks, -1, *kept.shape[1:])
        shape = batches.shape[2], blocks, members
        losses, finite = np.empty(shape, self.layout.dtype), np.empty(shape, np.bool_)
        self._on_host.clear()
        with self.layout.settings():
            for chunk in range(0, len(losses), CHUNK):
                updates = min(CHUNK, len(losses) - chunk)
                for work, count in share_out(blocks, self._mesh.size, updates):
                    places = [(block, chunk + start) for block, start in work]
                    own = _cut(batches, places, count), None if kept is None else _cut(kept, places, count)
                    shown = self._run_blocks([block for block, _ in places], *own)
                    for device, (block, t) in enumerate(places):
                        its = slice(device * members, (device + 1) * members)
                        losses[t : t + count, block], finite[t : t + count, block] = (a[:, its] for a in shown)
        return PassRecord(losses=losses.reshape(len(losses), -1), finite=finite.reshape(len(finite), -1))

    def _run_blocks(
        self, blocks: Sequence[int], batches: NDArray[np.int32], masks: Masks | None
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Train a block on each device; return the losses, and whether all values are finite after each update."""
        count, (start, rates) = batches.shape[1], self._together(blocks)
        padded, kept = self._pad(batches), None if masks is None else self._pad(masks)

        def run(updates: int) -> Run:
            number = self._share(np.int32(updates))
            return self.programs.run(start, self._inputs, self.labels, padded, number, rates, kept, mesh=self._mesh)

        end = run(count)
        self._keep(blocks, (end.nets, rates))
        losses = np.array(end.losses)[:count]
        finite, still = np.ones(losses.shape, np.bool_), np.array(end.finite)
        if not still.all():
            seen, looked = np.array(end.first_seen), np.array(end.looked)
            ends = {count: still}
            for member in np.flatnonzero(~still):
                high = min(int(seen[member]) + 1, count)
                in_vain = np.flatnonzero(looked[: high - 1, member * looked.shape[1] // len(still)])
                low = int(in_vain[-1]) + 1 if len(in_vain) else 0
                first = _first_not_finite(lambda updates: np.array(run(updates).finite), ends, low, high, int(member))
                finite[first - 1 :, member] = False
        return losses, finite

    def _pad(self, array: NDArray[Any]) -> Any:
        """Pad the arguments of each update, (lanes, updates, ...), to a whole chunk."""
        room = [(0, 0)] * array.ndim
        room[1] = (0, CHUNK - array.shape[1])
        return self._share(np.pad(array, room), LANES)

    def _together(self, blocks: Sequence[int]) -> Block:
        """Join a block on each device into one, if they aren't yet: a deep network has hundreds of arrays."""
        if self._joined is not None and self._joined[0] == tuple(blocks):
            return self._joined[1]
        self._split()
        own = [self._blocks[block] for block in blocks]
        if self._mesh.size == 1:
            return own[0]
        own = [jax.device_put(*pair) for pair in zip(own, self._mesh.devices, strict=True)]
        sharding = NamedSharding(self._mesh, PartitionSpec(LANES))

        def join(*leaves: jax.Array) -> jax.Array:
            shape = len(leaves) * len(leaves[0]), *leaves[0].shape[1:]
            return jax.make_array_from_single_device_arrays(shape, sharding, leaves)

        return jax.tree.map(join, *own)

    def _keep(self, blocks: Sequence[int], joined: Block) -> None:
        """Let joined blocks be the state of these; they stay joined until others are asked for."""
        self._joined = tuple(blocks), joined
        for block in blocks:
            self._blocks.pop(block, None)

    def _split(self) -> None:
        """Split what is joined back into one block per device."""
        if self._joined is None:
            return
        (blocks, joined), self._joined = self._joined, None
        leaves, structure = jax.tree.flatten(joined)
        shards = [sorted(leaf.addressable_shards, key=lambda shard: shard.index[0].start or 0) for leaf in leaves]
        for device, block in enumerate(blocks):
            self._blocks[block] = jax.tree.unflatten(structure, [own[device].data for own in shards])

    def evaluate(self, inputs: Array, labels: NDArray[np.integer]) -> Evaluation:
        """Return loss and accuracy of every member in evaluation mode, chunk by chunk."""
        found = np.zeros((2, self.layout.blocks, self.layout.members))
        self._on_host.clear()
        with self.layout.settings():
            size = self.layout.evaluated_at_once
            cuts = [slice(start, start + size) for start in range(0, len(inputs), size)]
            chunks = [self._upload(inputs[cut], labels[cut]) for cut in cuts]
            for first in range(0, self.layout.blocks, self._mesh.size):
                blocks = [min(first + device, self.layout.blocks - 1) for device in range(self._mesh.size)]
                nets, rates = self._together(blocks)
                sums = []
                for chunk in chunks:
                    *shown, batch_stats = self.programs.evaluate(nets, *chunk)
                    nets = replace(nets, batch_stats=batch_stats)
                    sums.append(shown)
                self._keep(blocks, (nets, rates))
                for shown in sums:
                    found[:, blocks] += np.array(shown, np.float64).reshape(2, len(blocks), -1)
        loss, accuracy = found.reshape(2, -1) / len(inputs)
        return Evaluation(loss=loss, accuracy=accuracy)

    def weights(self, member: int) -> Weights:
        """Return the state of one member, by neutral name."""
        block, place = divmod(member, self.layout.members)
        with self.layout.settings():
            self._split()
            if block not in self._on_host:
                self._on_host[block] = jax.device_get(self._blocks[block][0].variables)
            variables = jax.tree.map(lambda leaf: leaf[place], self._on_host[block])
            return self._parts.weight_import.save(from_native(variables, self._spec))


def _cut(array: NDArray[Any], places: Sequence[tuple[int, int]], count: int) -> NDArray[Any]:
    """Cut `count` updates of some blocks, each from its own start; blocks are the first axis."""
    return np.concatenate([array[block, :, start : start + count] for block, start in places])


def _first_not_finite(
    run: Callable[[int], NDArray[np.bool_]],
    ends: dict[int, NDArray[np.bool_]],
    low: int,
    high: int,
    member: int,
) -> int:
    """Return the fewest updates, above `low` and at most `high`, after which a member is not finite, by bisection.

    `ends` keeps the results of earlier runs. Try the last update first: it is the most frequent answer.
    """
    guess = high - 1
    while high - low > 1:
        if guess not in ends:
            ends[guess] = run(guess)
        low, high = (guess, high) if ends[guess][member] else (low, guess)
        guess = (low + high) // 2
    return high
