"""The lab's network, in PyTorch."""

from dataclasses import asdict
from typing import Self

import torch
from torch import Tensor, nn

from bntorch.norm import BatchNorm
from parity.spec import BlockOrder, ModelSpec, RunningVariance


class MultiLayerPerceptron(nn.Module):
    """A multilayer perceptron: hidden blocks of Linear, ReLU and batch norm, then a linear head.

    The formulas are those of `parity.spec.ModelSpec`. The state is the module's own: parameters, and running
    statistics as buffers, which change when the module runs in train mode.

    Args:
        input_dim: number of input features.
        output_dim: number of classes.
        num_hidden_layers: depth, 1 or more.
        hidden_width: units in each hidden layer.
        use_batch_norm: whether the blocks have batch norm.
        eps, decay, running_variance, block_order: the conventions of `ModelSpec`.

    >>> model = MultiLayerPerceptron(784, 10, 3, 64, True)
    >>> tuple(model.eval()(torch.zeros(5, 784)).shape)
    (5, 10)
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        num_hidden_layers: int,
        hidden_width: int,
        use_batch_norm: bool,
        eps: float = 1e-5,
        decay: float = 0.9,
        running_variance: RunningVariance = RunningVariance.UNBIASED,
        block_order: BlockOrder = BlockOrder.ACTIVATION_FIRST,
    ) -> None:
        super().__init__()
        self.spec = ModelSpec(
            input_dim=input_dim,
            output_dim=output_dim,
            num_hidden_layers=num_hidden_layers,
            hidden_width=hidden_width,
            use_batch_norm=use_batch_norm,
            eps=eps,
            decay=decay,
            running_variance=running_variance,
            block_order=block_order,
        )
        fan_ins = [input_dim] + [hidden_width] * (num_hidden_layers - 1)
        self.linears = nn.ModuleList(nn.Linear(fan_in, hidden_width) for fan_in in fan_ins)
        self.norms = nn.ModuleList(
            BatchNorm(hidden_width, eps, decay, self.spec.running_variance) for _ in fan_ins if use_batch_norm
        )
        self.head = nn.Linear(hidden_width, output_dim)

    @classmethod
    def from_spec(cls, spec: ModelSpec, dtype: str = "float32") -> Self:
        """The network of a spec."""
        fields = asdict(spec)
        fields.pop("initialization")  # of the weights, which come from the neutral dictionary
        with torch.random.fork_rng(devices=[]):  # the caller's random stream is not ours to advance
            return cls(**fields).to(getattr(torch, dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (batch, output_dim), for `x` of shape (batch, input_dim)."""
        for i, linear in enumerate(self.linears):
            x = linear(x)
            if self.spec.block_order == BlockOrder.ACTIVATION_FIRST:
                x = torch.relu(x)
            if self.spec.use_batch_norm:
                x = self.norms[i](x)
            if self.spec.block_order == BlockOrder.NORM_FIRST:
                x = torch.relu(x)
        return self.head(x)
