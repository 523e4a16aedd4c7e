"""Members of a population, in PyTorch: the experiment in few large operations, for the lab's own parts.

For other parts (a fault, a port's own normalizer) `mapped` has the general form.
"""

from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from bntorch.cuda_graph import Capture, CapturedUpdates, cuda_graph
from bntorch.mapped import all_finite
from bntorch.parts import HONEST, Parts
from bntorch.weights import LEAVES, weights_dtype
from parity.spec import BlockOrder, DType, ModelSpec, RunningVariance

# The parts that `StackedMembers` computes by itself.
STACKED_PARTS = ("check_batch", "linear", "batch_moments", "normalize", "update_statistics", "dropout", "apply")
STACKED_PARTS += ("objective", "optimizer")
REPLAYED = 64  # the most updates that are repeated to find where a weight ceased to be finite
ALARMING_LOSS = 1e4  # nats; far above the loss of any network that still trains


class StackedMembers:
    """Members of one lane or more, as one network that is many times as wide.

    Samples are the last axis: a layer's output, (members, hidden_width, batch), is then `kernel @ input` in PyTorch's
    own layout of kernels, and without a copy the input of PyTorch's batch norm over members times features. The first
    layer of a lane's members, who share a minibatch, is one matrix product.

    Args:
        spec: the network.
        state: its parameters and buffers by name, each with a leading axis of members; they are updated in place.
        learning_rates: shape (members,).
        lanes: how many equal runs of members have minibatches of their own.
    """

    def __init__(self, spec: ModelSpec, state: dict[str, Tensor], learning_rates: Tensor, lanes: int = 1) -> None:
        self.state, self.learning_rates, self.lanes = state, learning_rates, lanes
        self._spec = spec
        on_gpu = learning_rates.is_cuda
        self._capture: Capture | None = cuda_graph if on_gpu else None
        self._batch_norm: Callable[..., Tensor] = batch_norm_by_rows if on_gpu else functional.batch_norm
        self._captured: dict[Any, CapturedUpdates] = {}
        self._trained: list[Tensor] = []
        members = len(learning_rates)
        layers = [
            [
                self._leaf(key.format(i=i), members if i else lanes)
                for key in LEAVES.values()
                if key.format(i=i) in state
            ]
            for i in range(spec.num_hidden_layers)
        ]
        self._hidden = [_Layer(*leaves) for leaves in layers]
        self._head = _Layer(self._leaf("head.weight", members), self._leaf("head.bias", members))

    def _leaf(self, key: str, stacked: int) -> Tensor:
        """A tensor of the state as `_Layer` has it."""
        tensor = self.state[key]
        in_norm = key.startswith("norms.")
        leaf = tensor.view(-1) if in_norm else tensor.view(stacked, -1, tensor.shape[2] if tensor.dim() == 3 else 1)
        if "running" not in key:
            self._trained.append(leaf.requires_grad_())
        return leaf

    def run(
        self, inputs: Tensor, labels: Tensor, batches: Tensor, masks: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Make updates, as `MappedMembers.run` does.

        A weight or statistic that is not finite stays so under SGD, and whether all are costs as much as reading them.
        So it is looked for only where a loss is alarming, as it mostly is some updates before a weight overflows, and
        at the end of a few updates. On a GPU even the losses are looked at only where that end shows a reason to.
        """
        few = zip(batches.split(REPLAYED, dim=1), _split(masks, REPLAYED), strict=False)
        records = [self._run(inputs, labels, *own) for own in few]
        losses, finite = zip(*records, strict=True)
        return torch.cat(losses), torch.cat(finite)

    def _run(self, inputs: Tensor, labels: Tensor, batches: Tensor, masks: Tensor | None) -> tuple[Tensor, Tensor]:
        before = {key: tensor.detach().clone() for key, tensor in self.state.items()}
        known = all_finite(before.values())
        if self._capture is not None:
            losses = self._updates(inputs, labels, batches, masks)
            if torch.equal(known, all_finite(self.state.values())):
                return losses, known.expand(losses.shape)
            self._go_back(before)
        record = self._look(inputs, labels, batches, masks, known, ALARMING_LOSS)
        if record is None:
            self._go_back(before)
            record = self._look(inputs, labels, batches, masks, known, -torch.inf)
        assert record is not None
        return record

    def _look(
        self,
        inputs: Tensor,
        labels: Tensor,
        batches: Tensor,
        masks: Tensor | None,
        finite: Tensor,
        alarming: float,
    ) -> tuple[Tensor, Tensor] | None:
        """Make updates, and look whether all is still finite after each that had such a loss.

        None if a weight ceased to be finite after an update that was not looked at.
        """
        losses, seen, looked = [], [], True
        for batch, kept in zip(batches.split(1, dim=1), _split(masks, 1), strict=False):
            losses.append(self._updates(inputs, labels, batch, kept)[0])
            before, looked_before, looked = finite, looked, bool((finite & ~(losses[-1] < alarming)).any())
            if looked:
                finite = all_finite(self.state.values())
                if not looked_before and not torch.equal(finite, before):
                    return None
            seen.append(finite)
        if not looked and not torch.equal(finite, all_finite(self.state.values())):
            return None
        return torch.stack(losses), torch.stack(seen)

    def _go_back(self, before: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for key, tensor in self.state.items():
                tensor.copy_(before[key])

    def _updates(self, inputs: Tensor, labels: Tensor, batches: Tensor, masks: Tensor | None) -> Tensor:
        """The losses before each update. On a GPU an update without dropout is captured once, and replayed."""
        if self._capture is None or masks is not None:
            few = zip(batches.unbind(1), repeat(None) if masks is None else masks.unbind(1), strict=False)
            return torch.stack([self.update(inputs[batch], labels[batch], kept) for batch, kept in few])
        of = inputs.data_ptr(), labels.data_ptr(), batches.shape[2]
        if of not in self._captured:
            room = batches.new_zeros(self.lanes, REPLAYED, batches.shape[2])
            self._captured[of] = CapturedUpdates(
                self.update, [*self.state.values()], inputs, labels, room, self._capture
            )
        return self._captured[of](batches)

    def update(self, inputs: Tensor, labels: Tensor, masks: Tensor | None = None) -> Tensor:
        """One SGD update of every member, as `MappedMembers.update` makes it."""
        with torch.enable_grad():
            losses = self.losses(inputs, labels, masks)
            # Members share no weight, so the gradient of the sum holds each member's own. And a gradient is linear in
            # the loss: that of the loss times the rate is the update.
            updates = torch.autograd.grad(losses @ self.learning_rates, self._trained)
        with torch.no_grad():
            torch._foreach_sub_(self._trained, updates)  # pyright: ignore[reportPrivateImportUsage]
        return losses.detach()

    def losses(self, inputs: Tensor, labels: Tensor, masks: Tensor | None = None) -> Tensor:
        """The training loss of every member, shape (members,)."""
        logits = self.logits(inputs, True, masks).transpose(1, 2)
        each = labels.repeat_interleave(len(logits) // self.lanes, dim=0)
        return functional.cross_entropy(logits, each, reduction="none").mean(dim=1)

    def logits(self, inputs: Tensor, train: bool, masks: Tensor | None = None) -> Tensor:
        """Logits, shape (members, batch, output_dim), of `inputs` of shape (lanes, batch, input_dim)."""
        batch, spec = inputs.shape[1], self._spec
        if train and spec.use_batch_norm:
            HONEST.check_batch(batch)
        x = inputs.transpose(1, 2)
        for i, layer in enumerate(self._hidden):
            entering = x
            x = torch.baddbmm(layer.bias, layer.kernel, x)
            if spec.block_order == BlockOrder.ACTIVATION_FIRST:
                x = torch.relu_(x)
            if spec.use_batch_norm:
                norm = self._batch_norm if train else functional.batch_norm
                x = norm(
                    x.view(1, -1, batch), layer.running_mean, layer.running_var, layer.gamma, layer.beta, train,
                    1 - spec.decay, spec.eps,
                )  # fmt: skip
            if spec.block_order == BlockOrder.NORM_FIRST:
                x = torch.relu_(x)
            x = x.view(len(self.learning_rates), -1, batch)
            if train and masks is not None:
                own = masks[:, i].transpose(1, 2).repeat_interleave(len(x) // self.lanes, dim=0)
                x = HONEST.dropout(x, own, spec.dropout_rate)
            if spec.residual and i > 0:
                x = entering + x
        return torch.baddbmm(self._head.bias, self._head.kernel, x).transpose(1, 2)


def batch_norm_by_rows(
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor,
    bias: Tensor,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """PyTorch's batch norm in training, of `x` of shape (1, features, batch).

    The batch norm of a GPU gives each feature a block of threads, most of which a minibatch leaves idle; its layer norm
    gives a row a warp, and a feature's minibatch is a row here.
    """
    assert training
    rows = x[0]
    with torch.no_grad():
        var, mean = torch.var_mean(rows, dim=1)
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(var, momentum)
    normalized = functional.layer_norm(rows, rows.shape[1:], eps=eps)
    return torch.addcmul(bias[:, None], normalized, weight[:, None])[None]


class _Layer(NamedTuple):
    """A layer's tensors, which share memory with the state, in the shapes that they are computed with."""

    kernel: Tensor  # (members, fan_out, fan_in), or of the first layer (lanes, members of a lane * fan_out, fan_in)
    bias: Tensor  # as the kernel, with a last axis of 1
    gamma: Tensor | None = None  # this and the next: (members * fan_out,); None without batch norm
    beta: Tensor | None = None
    running_mean: Tensor | None = None
    running_var: Tensor | None = None


def can_stack(spec: ModelSpec, dtype: DType, parts: Parts) -> bool:
    """Whether `StackedMembers` computes what these conventions and parts do."""
    return (
        spec.running_variance == RunningVariance.UNBIASED  # PyTorch's batch norm has no other
        and dtype == weights_dtype(dtype)
        and all(getattr(parts, name) is getattr(HONEST, name) for name in STACKED_PARTS)
    )


def _split(masks: Tensor | None, updates: int) -> Iterable[Tensor | None]:
    """The masks of some updates at a time; without dropout there are none, however often one asks."""
    return repeat(None) if masks is None else masks.split(updates, dim=1)
