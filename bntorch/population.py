"""Many learning rates trained at once, in PyTorch: stacked weights, and one program for each update of all."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bntorch.device import find_device
from bntorch.mapped import MappedMembers
from bntorch.parts import HONEST, Parts
from bntorch.settings import matmul_precision
from bntorch.stacked import StackedMembers, can_stack
from bntorch.threads import one_thread_each
from bntorch.weights import from_native, to_native, to_numpy, weights_dtype
from parity.backend import Evaluation, PassRecord, lane_batches, lane_masks, member_states
from parity.data import Masks
from parity.spec import DType, ModelSpec, Precision
from parity.weights import Array, Weights

Members = MappedMembers | StackedMembers

EVALUATION_CHUNK = 2000  # samples; bounds the memory of activations
EVALUATION_SLOTS = 64 * EVALUATION_CHUNK  # members times samples; bounds the memory of many members on one device
THREADS_OF_A_CORE = 4  # the most; further lanes wait for their turn


class Population:
    """A `parity.backend.Population`: members are stacked along a leading axis of every tensor of the state.

    Args:
        spec: the network.
        weights: where every member starts, or one state for each.
        learning_rates: one for each member.
        inputs: the training set, shape (n, input_dim), uploaded once.
        labels: shape (n,).
        dtype: working dtype.
        lanes: how many equal runs of members have minibatches of their own; on a CPU each has a thread.
        parts: the formulas of the members.
        device: as `find_device` takes it.
        precision: of float32 matrix products.
    """

    stacked_type: type[StackedMembers] = StackedMembers

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
        self._spec, self._parts, self._lanes = parts.conventions(spec), parts, lanes
        self._precision: Precision = precision
        self._dtype, self._device = getattr(torch, weights_dtype(dtype)), find_device(device)
        natives = {
            key: to_native(parts.weight_import.load(state), self._spec, dtype)
            for key, state in {id(state): state for state in states}.items()
        }
        rates = torch.tensor(learning_rates, dtype=self._dtype, device=self._device)
        stacks = can_stack(self._spec, dtype, parts)
        # On a CPU a lane is the work of one thread; a GPU takes all lanes in one operation, where they are stacked.
        together = lanes if stacks and self._device.type != "cpu" else 1
        size = len(states) * together // lanes
        self._members: list[Members] = []
        for start in range(0, len(states), size):
            part = slice(start, start + size)
            state = {
                key: torch.stack([natives[id(state)][key] for state in states[part]]).to(self._device)
                for key in natives[id(states[0])]
            }
            self._members.append(
                self.stacked_type(self._spec, state, rates[part], together)
                if stacks
                else MappedMembers(self._spec, state, rates[part], dtype, parts)
            )
        self._inputs, self._labels = self._upload(inputs, labels)

    def _upload(self, inputs: Array, labels: NDArray[np.integer]) -> tuple[Tensor, Tensor]:
        x = torch.tensor(inputs, dtype=self._dtype, device=self._device)
        return x, torch.tensor(labels, dtype=torch.int64, device=self._device)

    def _side_by_side(self, threads: int, work: Callable[..., Any], *arguments: Iterable[Any]) -> list[Any]:
        """Do `work` on all members, in threads; the results do not depend on the number of threads."""
        own_dtype = torch.autocast(self._device.type, enabled=False)  # whatever the caller's is
        with own_dtype, matmul_precision(self._precision), one_thread_each(self._device):
            if len(self._members) == 1:
                return [work(self._members[0], *(next(iter(values)) for values in arguments))]
            with ThreadPoolExecutor(min(threads, len(self._members))) as pool:
                return list(pool.map(work, self._members, *arguments))

    def run_pass(self, indices: NDArray[np.integer], masks: Masks | None = None) -> PassRecord:
        """Train every member on the minibatches `indices`, shape (updates, batch) or (lanes, updates, batch)."""
        batches = lane_batches(indices, self._lanes)
        kept = lane_masks(masks, self._spec, batches)
        batches = torch.tensor(np.array(batches), dtype=torch.int64, device=self._device)
        kept = None if kept is None else torch.tensor(np.array(kept), device=self._device)
        lanes, threads = self._members[0].lanes, THREADS_OF_A_CORE * torch.get_num_threads()

        def run(members: Members, batches: Tensor, kept: Tensor | None) -> tuple[Tensor, Tensor]:
            return members.run(self._inputs, self._labels, batches, kept)

        # One thread per lane keeps all cores busy to the end, for any number of lanes.
        own = batches.split(lanes), [None] * len(self._members) if kept is None else kept.split(lanes)
        records = self._side_by_side(threads, run, *own)
        losses, finite = (to_numpy(torch.cat(shown, dim=1)) for shown in zip(*records, strict=True))
        return PassRecord(losses=losses, finite=finite)

    def evaluate(self, inputs: Array, labels: NDArray[np.integer]) -> Evaluation:
        """Return loss and accuracy of every member in evaluation mode, chunk by chunk."""
        x, y = self._upload(inputs, labels)
        cores = torch.get_num_threads()  # more at once would take more memory, and no less time

        @torch.no_grad()
        def sums(members: Members) -> tuple[Tensor, Tensor]:
            loss = torch.zeros(len(members.learning_rates), dtype=torch.float64, device=self._device)
            correct = torch.zeros_like(loss)
            size = max(1, min(EVALUATION_CHUNK, EVALUATION_SLOTS // len(members.learning_rates)))
            for chunk, own in zip(x.split(size), y.split(size), strict=True):
                logits = members.logits(chunk.expand(members.lanes, *chunk.shape), False)
                log_probabilities = logits.log_softmax(dim=-1)
                picked = log_probabilities.gather(-1, own.expand(len(logits), -1).unsqueeze(-1))
                loss -= picked.sum(dim=(1, 2), dtype=torch.float64)
                correct += (log_probabilities.argmax(dim=-1) == own).sum(dim=1)
            return loss, correct

        loss, correct = (to_numpy(torch.cat(shown)) for shown in zip(*self._side_by_side(cores, sums), strict=True))
        return Evaluation(loss=loss / len(inputs), accuracy=correct / len(inputs))

    def weights(self, member: int) -> Weights:
        """Return the state of one member, by neutral name."""
        members = self._members[member // len(self._members[0].learning_rates)]
        native = {key: tensor[member % len(members.learning_rates)] for key, tensor in members.state.items()}
        return self._parts.weight_import.save(from_native(native, self._spec))
