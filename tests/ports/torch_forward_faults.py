"""Stock PyTorch with something wrong in the network, in the loss, or in the weights that it starts from."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parity import ModelSpec
from parity.weights import Array

from .collection import FIRST, LATER, PROBE, factory, fault
from .stock_torch import ShowingStockTorch, SilentStockTorch

__getattr__ = factory


class ReluOfDerivativeOne(torch.autograd.Function):
    """max(x, 0), with derivative 1 at 0."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x,) = ctx.saved_tensors
        return dy * (x >= 0)


class ClampModule(nn.Module):
    """`nn.ReLU` by `ReluOfDerivativeOne`."""

    def forward(self, x: Tensor) -> Any:
        return ReluOfDerivativeOne.apply(x)


@fault("never played", "ReLU has derivative 1 at 0", where="* gradient of *", when=(PROBE,),
       names=("relu_at_zero",))  # fmt: skip
class ReluDerivativeOne(ShowingStockTorch):
    def make_relu(self, layer: int) -> nn.Module:
        return ClampModule()


@fault("never played", "ReLU6 instead of ReLU", where=("* activation", "* active units"), when=(FIRST, PROBE),
       names=("relu6", "clipped_activation"))  # fmt: skip
class Relu6(ShowingStockTorch):
    def make_relu(self, layer: int) -> nn.Module:
        return nn.ReLU6()


@fault("never played", "probabilities clamped at 1e-7 before the logarithm", where=("* loss", "head gradient of *"),
       when=(FIRST, PROBE), names=("clipped_log",))  # fmt: skip
class ClampedLog(ShowingStockTorch):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.nll_loss(torch.log(torch.softmax(logits, dim=-1).clamp(min=1e-7)), labels)


@fault("wrong names", "another epsilon in the last norm only", where="* norm output", names=("wrong_epsilon",),
       float32_only=True, needs_norm=True)  # fmt: skip
class EpsInOneLayer(ShowingStockTorch):
    def make_norm(self, layer: int) -> nn.Module:
        return self.stock_norm(1e-3 if layer == self.spec.num_hidden_layers - 1 else self.spec.eps)


@fault("more names", "leaky ReLU of slope 0.01", where="0 activation", names=("leaky_relu", "leaky_slope"),
       float32_only=True)  # fmt: skip
class LeakyRelu(ShowingStockTorch):
    def make_relu(self, layer: int) -> nn.Module:
        return nn.LeakyReLU(0.01)


@fault("more names", "the kernels of the second and third hidden layer are one parameter", where="1 *", min_depth=3,
       names=("tied_kernels", "tied_hidden_kernels"))  # fmt: skip
class TiedHiddenKernels(ShowingStockTorch):
    def __init__(self, spec: ModelSpec, weights: Mapping[str, Array], dtype: str) -> None:
        super().__init__(spec, weights, dtype)
        if spec.num_hidden_layers >= 3:
            self.part(1, "linear").weight = self.part(2, "linear").weight
            self.optimizer = self.make_optimizer()

    def part(self, layer: int, name: str) -> Any:
        return self.hidden[layer].get_submodule(name)


@fault("more names", "computes in float32 throughout, whatever it is asked",
       where=("0 loaded *", "0 pre-activation", "0 running *", "0 updated *"),
       names=("float32_throughout", "float32_computation"))  # fmt: skip
class Float32Throughout(ShowingStockTorch):
    def __init__(self, spec: ModelSpec, weights: Mapping[str, Array], dtype: str) -> None:
        super().__init__(spec, weights, "float32")


@fault("new", "labels counted from 1", where="* loss")
class LabelsOffByOne(ShowingStockTorch):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super().loss(logits, (labels + 1) % logits.shape[1])


@fault("new", "the loss is computed from float32 logits", where="* loss", float32_only=False)
class Float32Loss(ShowingStockTorch):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super().loss(logits.float(), labels)


@fault("new", "an L2 penalty in the loss that it shows", where="* loss", names=("l2_penalty",))
class PenaltyInLoss(ShowingStockTorch):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        penalty = sum((p**2).sum() for p in self.network.parameters())
        return super().loss(logits, labels) + 0.5e-4 * penalty


@fault("new", "the last block has no ReLU", where="* activation")
class NoLastRelu(ShowingStockTorch):
    def make_relu(self, layer: int) -> nn.Module:
        return nn.Identity() if layer == self.spec.num_hidden_layers - 1 else nn.ReLU()


@fault("new", "GELU instead of ReLU", where=("0 activation", "0 running *", "head logits"), float32_only=True)
class Gelu(SilentStockTorch):
    def make_relu(self, layer: int) -> nn.Module:
        return nn.GELU()


@fault("new", "`F.dropout` called without `training=`, so it is on in evaluation as well", where="*",
       when=(FIRST, LATER, PROBE), names=("not_repeatable",))  # fmt: skip
class DropoutLeftOn(SilentStockTorch):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.dropout(x, 0.1))


@fault("new", "gamma and beta exchanged on load, and back on export", where="0 norm output", needs_norm=True)
class GammaForBeta(ShowingStockTorch):
    def tensors(self) -> dict[str, Tensor]:
        swapped = {".gamma": ".beta", ".beta": ".gamma"}
        named = super().tensors()
        return {name: named[name.replace(end := name[name.rindex(".") :], swapped.get(end, end))] for name in named}


@fault("new", "hidden layers in the string order of their keys: 10 before 2", where="*", min_depth=12)
class LayersInStringOrder(ShowingStockTorch):
    def tensors(self) -> dict[str, Tensor]:
        named = super().tensors()
        square = range(1, self.spec.num_hidden_layers)
        order = {f"hidden.{own}.": f"hidden.{key}." for own, key in zip(square, sorted(square, key=str), strict=True)}
        return {name: named[self.renamed(name, order)] for name in named}

    def renamed(self, name: str, order: dict[str, str]) -> str:
        prefix = name[: name.rindex(".") + 1]
        return name.replace(prefix, order.get(prefix, prefix))


@fault("new", "`torch.from_numpy` in place of a copy: training writes into the caller's weights", where=())
class AliasedWeights(ShowingStockTorch):
    def load(self, weights: Mapping[str, Array]) -> None:
        super().load(weights)
        self.network.get_parameter("head.bias").data = torch.from_numpy(weights["head.bias"]).to(self.parameter_dtype)
