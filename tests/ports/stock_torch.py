"""A port with PyTorch's stock modules: `nn.Linear`, `nn.ReLU`, `nn.BatchNorm1d`, `F.cross_entropy`, `optim.SGD`."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parity import ModelSpec, Step
from parity.weights import Array, Weights

from .collection import BOTH, FLOAT32, Candidate, refuse_extras

# The neutral name's last part, and the module's tensor of a block.
BLOCK = {"kernel": "linear.weight", "bias": "linear.bias"}
NORM = {
    "gamma": "norm.weight",
    "beta": "norm.bias",
    "running_mean": "norm.running_mean",
    "running_var": "norm.running_var",
}


class BiasedBatchNorm1d(nn.BatchNorm1d):
    """Stock batch norm, whose running variance takes in the biased variance of the batch."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalize `input`, then correct the running variance."""
        assert self.running_var is not None
        assert self.momentum is not None
        old = self.running_var.clone()
        y = super().forward(input)
        if self.training:  # not in place: the backward pass has kept the buffer
            batch = input.detach().var(dim=0, correction=0)
            self.running_var = (1 - self.momentum) * old + self.momentum * batch
        return y


class StockTorch:
    """A network of stock modules, trained by the stock optimizer; forward hooks show the activations."""

    port: ClassVar[str] = "stock torch"
    shows_activations: ClassVar[bool] = True
    optimizer: torch.optim.Optimizer

    def __init__(self, spec: ModelSpec, weights: Mapping[str, Array], dtype: str) -> None:
        refuse_extras(spec)
        self.spec, self.dtype = spec, getattr(torch, dtype)
        self.parameter_dtype = torch.float32 if dtype == "bfloat16" else self.dtype
        self.hidden = nn.Sequential(*(self.make_block(i) for i in range(spec.num_hidden_layers)))
        self.network = nn.Sequential(OrderedDict(hidden=self.hidden, head=self.make_linear(spec.num_hidden_layers)))
        self.network.to(self.parameter_dtype)
        self.seen: dict[str, Tensor] = {}
        for i, block in enumerate(self.hidden):
            for name, module in block.named_children():
                module.register_forward_hook(self.keep(f"hidden.{i}.{name}"))
        self.load(weights)
        self.optimizer = self.make_optimizer()

    # The network.

    def make_block(self, layer: int) -> nn.Sequential:
        """One hidden block, in the order of the spec."""
        linear, relu = ("linear", self.make_linear(layer)), ("relu", self.make_relu(layer))
        if not self.spec.use_batch_norm:
            return nn.Sequential(OrderedDict([linear, relu]))
        norm = ("norm", self.make_norm(layer))
        parts = [linear, relu, norm] if self.spec.block_order == "activation_first" else [linear, norm, relu]
        return nn.Sequential(OrderedDict(parts))

    def make_linear(self, layer: int) -> nn.Module:
        """The linear part of a hidden layer, or the head."""
        fan_in = self.spec.input_dim if layer == 0 else self.spec.hidden_width
        is_head = layer == self.spec.num_hidden_layers
        return nn.Linear(fan_in, self.spec.output_dim if is_head else self.spec.hidden_width)

    def make_relu(self, layer: int) -> nn.Module:
        """The activation of a hidden layer."""
        del layer
        return nn.ReLU()

    def make_norm(self, layer: int) -> nn.Module:
        """The norm of a hidden layer."""
        return self.stock_norm(self.spec.eps)

    def stock_norm(self, eps: float) -> nn.Module:
        """Stock batch norm after the spec's conventions, but for `eps`."""
        kind = nn.BatchNorm1d if self.spec.running_variance == "unbiased" else BiasedBatchNorm1d
        return kind(self.spec.hidden_width, eps=eps, momentum=1 - self.spec.decay)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (batch, output_dim)."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            return self.network(x).to(self.parameter_dtype)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross entropy."""
        return F.cross_entropy(logits, labels)

    # Training and evaluation.

    def make_optimizer(self) -> torch.optim.Optimizer:
        """Plain SGD; every update sets the rate."""
        return torch.optim.SGD(self.network.parameters(), lr=0.0)

    def update(self, learning_rate: float) -> None:
        """Take the optimizer's step."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()

    def backward(self, loss: Tensor) -> None:
        """Fill every parameter's gradient."""
        self.optimizer.zero_grad()
        loss.backward()

    def train_step(self, inputs: Array, labels: Array, learning_rate: float) -> Step:
        """See `parity.backend.Learner`."""
        self.network.train()
        logits = self.forward(self.tensor(inputs))
        loss = self.loss(logits, torch.tensor(labels, dtype=torch.long))
        self.backward(loss)
        shown = Step(
            loss=loss.item(), logits=array(logits), gradients=self.gradients(), activations=self.activations_seen()
        )
        self.update(learning_rate)
        return shown

    def evaluate(self, inputs: Array) -> Array:
        """See `parity.backend.Learner`."""
        self.network.eval()
        with torch.no_grad():
            return array(self.forward(self.tensor(inputs)))

    # Names and arrays.

    def tensor(self, inputs: Array) -> Tensor:
        """A copy of an array, as the network takes it."""
        return torch.tensor(inputs, dtype=self.parameter_dtype)

    def keep(self, name: str):
        """A forward hook that keeps a module's output."""

        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            del module, inputs
            self.seen[name] = output.detach()

        return hook

    def activations_seen(self) -> Weights | None:
        """What the hooks kept of the last forward pass."""
        return {name: array(value) for name, value in self.seen.items()} if self.shows_activations else None

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state by its neutral name; kernels are still (out, in)."""
        leaves = BLOCK | NORM if self.spec.use_batch_norm else BLOCK
        state = self.network.state_dict(keep_vars=True)
        named = {
            f"hidden.{i}.{leaf}": state[f"hidden.{i}.{own}"]
            for i in range(self.spec.num_hidden_layers)
            for leaf, own in leaves.items()
        }
        return named | {"head.kernel": state["head.weight"], "head.bias": state["head.bias"]}

    @torch.no_grad()
    def load(self, weights: Mapping[str, Array]) -> None:
        """Copy the neutral weights in."""
        for name, tensor in self.tensors().items():
            value = torch.tensor(weights[name], dtype=tensor.dtype)
            tensor.copy_(value.T if name.endswith("kernel") else value)

    def weights(self) -> Weights:
        """See `parity.backend.Learner`."""
        return {name: neutral(name, tensor) for name, tensor in self.tensors().items()}

    def gradients(self) -> Weights:
        """A copy of every parameter's gradient; 0 where there is none."""
        return {
            name: neutral(name, torch.zeros_like(tensor) if tensor.grad is None else tensor.grad)
            for name, tensor in self.tensors().items()
            if isinstance(tensor, nn.Parameter)
        }


class ShowingStockTorch(StockTorch):
    """Shows what its layers give in evaluation, too."""

    def activations(self, inputs: Array) -> Weights:
        """What each part of each hidden layer gives in evaluation mode."""
        self.evaluate(inputs)
        return self.activations_seen() or {}


class SilentStockTorch(StockTorch):
    """Shows no activations."""

    shows_activations = False


def array(tensor: Tensor) -> Array:
    """A copy as a NumPy array; bfloat16 becomes float32."""
    wide = tensor.detach().float() if tensor.dtype == torch.bfloat16 else tensor.detach()
    return wide.numpy().copy()


def neutral(name: str, tensor: Tensor) -> Array:
    """A copy by the neutral convention: kernels are (in, out)."""
    return array(tensor.T if name.endswith("kernel") else tensor)


def make_backend() -> Candidate:
    """Stock modules, with the activations of training and of evaluation."""
    return Candidate("stock torch", ShowingStockTorch, ("float32", "float64", "bfloat16"))


def make_silent() -> Candidate:
    """The same, showing no activations."""
    return Candidate("stock torch, silent", SilentStockTorch, BOTH)


def make_float32() -> Candidate:
    """The same, offering float32 only."""
    return Candidate("stock torch, float32 only", ShowingStockTorch, FLOAT32)
