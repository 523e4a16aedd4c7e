"""The lab's network, in PyTorch."""

from dataclasses import asdict

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from bntorch.linear import Linear
from bntorch.norm import BatchNorm
from bntorch.parts import HONEST, Parts
from bntorch.weights import weights_dtype
from parity.spec import BlockOrder, DType, ModelSpec, RunningVariance


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
        dropout_rate: the chance that training drops a unit at the end of a block.
        residual: whether a block adds its input to its output.
        dtype: of activations and matrix products; None for the parameters'.
        parts: the formulas of the layers and of training.

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
        dropout_rate: float = 0.0,
        residual: bool = False,
        dtype: torch.dtype | None = None,
        parts: Parts = HONEST,
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
            dropout_rate=dropout_rate,
            residual=residual,
        )
        fan_ins = [input_dim] + [hidden_width] * (num_hidden_layers - 1)
        self.linears = nn.ModuleList(Linear(fan_in, hidden_width, dtype, parts) for fan_in in fan_ins)
        self.norms = nn.ModuleList(
            BatchNorm(hidden_width, eps, decay, self.spec.running_variance, parts) for _ in fan_ins if use_batch_norm
        )
        self.head = Linear(hidden_width, output_dim, dtype, parts)
        self.parts = parts
        self.opt_state: dict[str, Tensor] = {}  # the optimizer's memory; empty for plain SGD

    @classmethod
    def from_spec(cls, spec: ModelSpec, dtype: DType = "float32", parts: Parts = HONEST) -> "MultiLayerPerceptron":
        """Return the network of a spec that computes in a working dtype."""
        fields = asdict(spec)
        fields.pop("initialization")  # the weights come from the neutral dictionary
        narrow = torch.bfloat16 if dtype == "bfloat16" else None
        with torch.random.fork_rng(devices=[]):  # keep the caller's random stream
            return cls(**fields, dtype=narrow, parts=parts).to(getattr(torch, weights_dtype(dtype)))

    def forward(
        self,
        x: Float[Tensor, "batch input_dim"],
        masks: Shaped[Tensor, "num_hidden_layers batch hidden_width"] | None = None,
    ) -> Float[Tensor, "batch output_dim"]:
        """Return the logits.

        In training, `masks` say which units dropout keeps; None keeps all. Evaluation keeps all.
        """
        return self.with_activations(x, masks)[0]

    def with_activations(
        self,
        x: Float[Tensor, "batch input_dim"],
        masks: Shaped[Tensor, "num_hidden_layers batch hidden_width"] | None = None,
    ) -> tuple[Float[Tensor, "batch output_dim"], dict[str, Float[Tensor, "batch hidden_width"]]]:
        """Return the logits and the output of each part of each hidden layer.

        The names are those of `parity.weights.activation_names`.
        """
        shown: dict[str, Tensor] = {}
        for i, linear in enumerate(self.linears):
            entering = x
            x = shown[f"hidden.{i}.linear"] = linear(x)
            if self.spec.block_order == BlockOrder.ACTIVATION_FIRST:
                x = shown[f"hidden.{i}.relu"] = torch.relu(x)
            if self.spec.use_batch_norm:
                x = shown[f"hidden.{i}.norm"] = self.norms[i](x)
            if self.spec.block_order == BlockOrder.NORM_FIRST:
                x = shown[f"hidden.{i}.relu"] = torch.relu(x)
            if self.spec.dropout_rate:
                dropout, rate = self.parts.dropout, self.spec.dropout_rate
                kept = x if masks is None or not self.training else dropout(x, masks[i], rate)
                x = shown[f"hidden.{i}.dropout"] = kept
            if self.spec.residual and i > 0:
                x = shown[f"hidden.{i}.sum"] = entering + x
        logits = self.head(x)
        return logits.to(torch.promote_types(logits.dtype, torch.float32)), shown
