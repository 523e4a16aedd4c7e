"""Members of a population, in PyTorch: the network itself, mapped over its weights. Slow, and right for any parts."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.func import vmap

from bntorch.model import MultiLayerPerceptron
from bntorch.module_state import call_with_state
from bntorch.parts import Parts
from parity.spec import DType, ModelSpec


class MappedMembers:
    """Members of one lane: the module, mapped over stacked tensors of its state.

    Args:
        spec: the network.
        state: its parameters and buffers by name, each with a leading axis of members; they are updated in place.
        learning_rates: shape (members,).
        dtype: working dtype.
        parts: what the members are made of.
    """

    def __init__(
        self, spec: ModelSpec, state: dict[str, Tensor], learning_rates: Tensor, dtype: DType, parts: Parts
    ) -> None:
        self.state, self.learning_rates, self.lanes = state, learning_rates, 1
        self._parts, self._opt_state = parts, {}
        self._net = MultiLayerPerceptron.from_spec(spec, dtype, parts).to(learning_rates.device)
        names = dict(self._net.named_parameters())
        self._parameters = {key: tensor.requires_grad_() for key, tensor in state.items() if key in names}

    def run(
        self, inputs: Tensor, labels: Tensor, batches: Tensor, masks: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Make updates.

        Args:
            inputs: the training set, shape (n, input_dim).
            labels: shape (n,).
            batches: indices, shape (lanes, updates, batch).
            masks: of dropout, shape (lanes, updates, num_hidden_layers, batch, hidden_width), if the networks have it.

        Returns:
            The losses before each update, and whether every weight and statistic is finite after it, of shape (updates,
            members).
        """
        losses, finite = [], []
        for t, batch in enumerate(batches.unbind(1)):
            losses.append(self.update(inputs[batch], labels[batch], None if masks is None else masks[:, t]))
            finite.append(all_finite(self.state.values()))
        return torch.stack(losses), torch.stack(finite)

    def update(self, inputs: Tensor, labels: Tensor, masks: Tensor | None = None) -> Tensor:
        """One SGD update of every member.

        Args:
            inputs: shape (lanes, batch, input_dim).
            labels: shape (lanes, batch).
            masks: shape (lanes, num_hidden_layers, batch, hidden_width).

        Returns:
            The losses before it, shape (members,).
        """
        with torch.enable_grad():
            logits = self.logits(inputs, True, masks)
            losses = vmap(self._parts.objective, in_dims=(0, None))(logits, labels[0])
            # Members share no weight, so the gradient of the sum holds each member's own.
            values = torch.autograd.grad(losses.sum(), list(self._parameters.values()), materialize_grads=True)
        with torch.no_grad():
            gradients = dict(zip(self._parameters, values, strict=True))
            self._parts.optimizer(self.learning_rates)(self._parameters, gradients, self._opt_state)
        return losses.detach()

    def logits(self, inputs: Tensor, train: bool, masks: Tensor | None = None) -> Tensor:
        """Logits, shape (members, batch, output_dim), of `inputs` of shape (lanes, batch, input_dim)."""

        def forward(state: dict[str, Tensor]) -> Tensor:
            kept = None if masks is None else masks[0]
            return call_with_state(self._parts.apply, self._net, state, inputs[0], train, kept).logits

        return vmap(forward)(self.state)


def all_finite(tensors: Iterable[Tensor]) -> Tensor:
    """Return whether every element is finite, for each index of the leading axis."""
    # Two vectorized passes, which propagate nan, are many times faster than `isfinite` over all elements.
    flat = [tensor.detach().flatten(1) for tensor in tensors]
    extremes = torch.stack([bound for tensor in flat for bound in (tensor.amax(dim=1), tensor.amin(dim=1))])
    return extremes.isfinite().all(dim=0)
