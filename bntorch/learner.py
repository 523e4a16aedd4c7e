"""One network stepped from outside, in PyTorch: the module is the state, and is updated in place."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bntorch.device import find_device
from bntorch.model import MultiLayerPerceptron
from bntorch.module_state import call_with_state
from bntorch.parts import HONEST, Parts
from bntorch.settings import matmul_precision
from bntorch.train import sgd_step
from bntorch.weights import from_native, gradients_from_native, to_native, to_numpy, weights_dtype
from parity.backend import Learner as LearnerProtocol
from parity.backend import Step
from parity.data import Masks
from parity.spec import DType, ModelSpec, Precision
from parity.weights import Array, Weights


class Learner(LearnerProtocol):
    """A learner of `parity.backend`.

    Args:
        spec: the network.
        weights: where it starts.
        dtype: working dtype.
        parts: the formulas of the network and its training.
        device: as `find_device` takes it.
        precision: of float32 matrix products.
    """

    def __init__(
        self,
        spec: ModelSpec,
        weights: Mapping[str, Array],
        dtype: DType = "float32",
        parts: Parts = HONEST,
        device: str = "",
        precision: Precision = "highest",
    ) -> None:
        self._spec, self._parts = parts.conventions(spec), parts
        self._precision: Precision = precision
        self._dtype, self._device = getattr(torch, weights_dtype(dtype)), find_device(device)
        self._updates = 0
        self.net = MultiLayerPerceptron.from_spec(self._spec, dtype, parts)
        self.net.load_state_dict(to_native(parts.weight_import.load(weights), self._spec, dtype))
        self.net.to(self._device)
        self._initial = copy.deepcopy(self.net)

    @contextmanager
    def settings(self) -> Iterator[None]:
        """Set the precision of the learner, and restore it afterwards."""
        with matmul_precision(self._precision):
            yield

    def train_step(
        self, inputs: Array, labels: NDArray[np.integer], learning_rate: float, masks: Masks | None = None
    ) -> Step:
        """Take one SGD update in train mode."""
        with self.settings():
            x, y = self._copy(inputs, self._dtype), self._copy(labels, torch.int64)
            net = self._parts.carry(self.net, self._initial, self._updates + 1)
            kept = None if masks is None else self._copy(masks, torch.bool)
            self.net, output = sgd_step(net, x, y, float(learning_rate), kept)
            self._updates += 1
            gradients = self._parts.weight_import.save(gradients_from_native(output.gradients, self._spec))
            return Step(
                loss=float(output.loss),
                logits=to_numpy(output.logits),
                gradients=gradients,
                activations=self._to_numpy(output.activations),
            )

    @torch.no_grad()
    def evaluate(self, inputs: Array) -> Array:
        """Return the logits in evaluation mode."""
        with self.settings():
            return to_numpy(self._parts.apply(self.net, self._copy(inputs, self._dtype), False).logits)

    @torch.no_grad()
    def activations(self, inputs: Array) -> Weights:
        """Return the output of each part of each hidden layer in evaluation mode; the state stays as it is."""
        buffers = {name: buffer.clone() for name, buffer in self.net.named_buffers()}
        with self.settings():
            x = self._copy(inputs, self._dtype)
            output = call_with_state(self._parts.apply, self.net, buffers, x, False)
        return self._to_numpy(output.activations)

    def _to_numpy(self, activations: Mapping[str, Tensor]) -> Weights:
        # Views are copied: some kernels give parts of larger tensors.
        return {name: np.array(to_numpy(value.to(self._dtype))) for name, value in activations.items()}

    def weights(self) -> Weights:
        """Return a copy of the state."""
        return self._parts.weight_import.save(from_native(self.net.state_dict(), self._spec))

    def _copy(self, array: Any, dtype: torch.dtype) -> Tensor:
        return torch.tensor(np.asarray(array), dtype=dtype, device=self._device)
