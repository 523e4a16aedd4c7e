"""Many learning rates trained at once, in PyTorch: stacked weights, and one program for each update of all."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import vmap

from bntorch.device import find_device, matmul_precision
from bntorch.model import MultiLayerPerceptron
from bntorch.parts import HONEST, Parts, call_with_state
from bntorch.weights import from_native, to_native, to_numpy, weights_dtype
from parity.backend import Evaluation, PassRecord
from parity.spec import DType, ModelSpec, Precision
from parity.weights import Array, Weights

EVALUATION_CHUNK = 2000  # samples; bounds the memory of members times samples activations


class Population:
    """A `parity.backend.Population`: members are stacked along a leading axis of every tensor of the state.

    Args:
        spec: the network.
        weights: where every member starts.
        learning_rates: one for each member.
        inputs: the training set, shape (n, input_dim), uploaded once.
        labels: shape (n,).
        dtype: working dtype.
        parts: what the members are made of.
        device: as `find_device` takes it.
        precision: of float32 matrix products.
    """

    def __init__(
        self,
        spec: ModelSpec,
        weights: Mapping[str, Array],
        learning_rates: Sequence[float],
        inputs: Array,
        labels: NDArray[np.integer],
        dtype: DType = "float32",
        parts: Parts = HONEST,
        device: str = "",
        precision: Precision = "highest",
    ) -> None:
        self._spec, self._parts = parts.conventions(spec), parts
        self._precision: Precision = precision
        self._dtype, self._device = getattr(torch, weights_dtype(dtype)), find_device(device)
        self._net = MultiLayerPerceptron.from_spec(self._spec, dtype, parts).to(self._device)
        native = to_native(parts.weight_import.load(weights), self._spec, dtype)
        members = len(learning_rates)
        native = {key: tensor.to(self._device) for key, tensor in native.items()}
        stacked = {key: tensor.expand(members, *tensor.shape).clone() for key, tensor in native.items()}
        names = dict(self._net.named_parameters())
        self._parameters = {key: tensor.requires_grad_() for key, tensor in stacked.items() if key in names}
        self._buffers = {key: tensor for key, tensor in stacked.items() if key not in names}
        self._opt_state: dict[str, Tensor] = {}
        self._learning_rates = torch.tensor(learning_rates, dtype=self._dtype, device=self._device)
        self._inputs, self._labels = self._upload(inputs, labels)

    def _upload(self, inputs: Array, labels: NDArray[np.integer]) -> tuple[Tensor, Tensor]:
        x = torch.tensor(inputs, dtype=self._dtype, device=self._device)
        return x, torch.tensor(labels, dtype=torch.int64, device=self._device)

    def run_pass(self, indices: NDArray[np.integer]) -> PassRecord:
        """Train every member on the minibatches `indices`, shape (updates, batch)."""
        batches = torch.tensor(indices, dtype=torch.int64, device=self._device)
        shape = (len(batches), len(self._learning_rates))
        losses = torch.empty(shape, dtype=self._dtype, device=self._device)
        finite = torch.empty(shape, dtype=torch.bool, device=self._device)
        with matmul_precision(self._precision):
            for t, batch in enumerate(batches):
                losses[t] = self._update(self._inputs[batch], self._labels[batch])
                finite[t] = self._all_finite()
        return PassRecord(losses=to_numpy(losses), finite=to_numpy(finite))

    def _update(self, inputs: Tensor, labels: Tensor) -> Tensor:
        with torch.enable_grad():
            logits = self._forward(inputs, True)
            losses = vmap(self._parts.objective, in_dims=(0, None))(logits, labels)
            # Members share no weight, so the gradient of the sum holds each member's own.
            values = torch.autograd.grad(losses.sum(), list(self._parameters.values()), materialize_grads=True)
        with torch.no_grad():
            gradients = dict(zip(self._parameters, values, strict=True))
            self._parts.optimizer(self._learning_rates)(self._parameters, gradients, self._opt_state)
        return losses.detach()

    def _forward(self, inputs: Tensor, train: bool) -> Tensor:
        """Logits, shape (members, batch, output_dim)."""

        def forward(state: dict[str, Tensor]) -> Tensor:
            return call_with_state(self._parts.apply, self._net, state, inputs, train)

        return vmap(forward)(self._parameters | self._buffers)

    @torch.no_grad()
    def _all_finite(self) -> Tensor:
        # The largest magnitude is nan or inf where any element is, in one pass over the memory.
        tensors = (*self._parameters.values(), *self._buffers.values())
        largest = torch.stack([torch.linalg.vector_norm(t.flatten(1), torch.inf, dim=1) for t in tensors])
        return largest.isfinite().all(dim=0)

    @torch.no_grad()
    def evaluate(self, inputs: Array, labels: NDArray[np.integer]) -> Evaluation:
        """Loss and accuracy of every member in evaluation mode, chunk by chunk."""
        loss, correct = np.zeros(()), np.zeros(())
        with matmul_precision(self._precision):
            for start in range(0, len(inputs), EVALUATION_CHUNK):
                chunk = slice(start, start + EVALUATION_CHUNK)
                x, y = self._upload(inputs[chunk], labels[chunk])
                log_probabilities = self._forward(x, False).log_softmax(dim=-1)
                picked = log_probabilities.gather(-1, y.expand(len(log_probabilities), -1).unsqueeze(-1))
                loss = loss - to_numpy(picked.sum(dim=(1, 2), dtype=torch.float64))
                correct = correct + to_numpy((log_probabilities.argmax(dim=-1) == y).sum(dim=1))
        return Evaluation(loss=loss / len(inputs), accuracy=correct / len(inputs))

    def weights(self, member: int) -> Weights:
        """The state of one member, by neutral name."""
        state = self._parameters | self._buffers
        native = {key: tensor[member] for key, tensor in state.items()}
        return self._parts.weight_import.save(from_native(native, self._spec))
