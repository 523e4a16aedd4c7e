"""Many learning rates trained at once, in PyTorch: stacked weights, and one program for each update of all."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn import functional

from bntorch.model import MultiLayerPerceptron
from bntorch.weights import from_native, to_native, to_numpy
from parity.backend import Evaluation, PassRecord
from parity.spec import DType, ModelSpec
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
    """

    def __init__(
        self,
        spec: ModelSpec,
        weights: Mapping[str, Array],
        learning_rates: Sequence[float],
        inputs: Array,
        labels: NDArray[np.integer],
        dtype: DType = "float32",
    ) -> None:
        self._spec, self._dtype = spec, getattr(torch, dtype)
        self._net = MultiLayerPerceptron.from_spec(spec, dtype)
        native = to_native(weights, spec, dtype)
        members = len(learning_rates)
        stacked = {key: tensor.expand(members, *tensor.shape).clone() for key, tensor in native.items()}
        names = dict(self._net.named_parameters())
        self._parameters = {key: tensor.requires_grad_() for key, tensor in stacked.items() if key in names}
        self._buffers = {key: tensor for key, tensor in stacked.items() if key not in names}
        self._learning_rates = torch.tensor(learning_rates, dtype=self._dtype)
        self._inputs, self._labels = self._upload(inputs, labels)

    def _upload(self, inputs: Array, labels: NDArray[np.integer]) -> tuple[Tensor, Tensor]:
        return torch.tensor(inputs, dtype=self._dtype), torch.tensor(labels, dtype=torch.int64)

    def run_pass(self, indices: NDArray[np.integer]) -> PassRecord:
        """Train every member on the minibatches `indices`, shape (updates, batch)."""
        batches = torch.tensor(indices, dtype=torch.int64)
        shape = (len(batches), len(self._learning_rates))
        losses, finite = torch.empty(shape, dtype=self._dtype), torch.empty(shape, dtype=torch.bool)
        self._net.train()
        for t, batch in enumerate(batches):
            losses[t] = self._update(self._inputs[batch], self._labels[batch])
            finite[t] = self._all_finite()
        return PassRecord(losses=to_numpy(losses), finite=to_numpy(finite))

    def _update(self, inputs: Tensor, labels: Tensor) -> Tensor:
        with torch.enable_grad():
            logits = self._forward(inputs)
            losses = vmap(functional.cross_entropy, in_dims=(0, None))(logits, labels)
            # Members share no weight, so the gradient of the sum holds each member's own.
            gradients = torch.autograd.grad(losses.sum(), list(self._parameters.values()))
        with torch.no_grad():
            for parameter, gradient in zip(self._parameters.values(), gradients, strict=True):
                rates = self._learning_rates.reshape(-1, *[1] * (parameter.dim() - 1))
                parameter.addcmul_(gradient, rates, value=-1)
        return losses.detach()

    def _forward(self, inputs: Tensor) -> Tensor:
        """Logits, shape (members, batch, output_dim), in the mode that the module is in."""

        def forward(state: dict[str, Tensor]) -> Tensor:
            return functional_call(self._net, state, (inputs,))

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
        self._net.eval()
        for start in range(0, len(inputs), EVALUATION_CHUNK):
            chunk = slice(start, start + EVALUATION_CHUNK)
            x, y = self._upload(inputs[chunk], labels[chunk])
            log_probabilities = self._forward(x).log_softmax(dim=-1)
            picked = log_probabilities.gather(-1, y.expand(len(log_probabilities), -1).unsqueeze(-1))
            loss = loss - to_numpy(picked.sum(dim=(1, 2), dtype=torch.float64))
            correct = correct + to_numpy((log_probabilities.argmax(dim=-1) == y).sum(dim=1))
        return Evaluation(loss=loss / len(inputs), accuracy=correct / len(inputs))

    def weights(self, member: int) -> Weights:
        """The state of one member, by neutral name."""
        state = self._parameters | self._buffers
        return from_native({key: tensor[member] for key, tensor in state.items()}, self._spec)
