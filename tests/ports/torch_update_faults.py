"""Stock PyTorch with something wrong in the backward pass, in the optimizer, or between two updates."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from parity import Step
from parity.weights import Array

from .collection import FIRST, LATER, PROBE, factory, fault
from .stock_torch import ShowingStockTorch, SilentStockTorch, array

__getattr__ = factory

UPDATE = ("* updated *", "* increment of *")


class Counting(ShowingStockTorch):
    """Counts its updates from 1."""

    count = 0

    def update(self, learning_rate: float) -> None:
        self.count += 1
        super().update(learning_rate)


# Never played.


@fault("never played", "the optimizer is made at the first step, with its rate", where=UPDATE, when=(LATER,),
       names=("cached_learning_rate",))  # fmt: skip
class CachedLearningRate(ShowingStockTorch):
    rate: float | None = None

    def update(self, learning_rate: float) -> None:
        self.rate = learning_rate if self.rate is None else self.rate
        super().update(self.rate)


@fault("never played", "the learning rate is 0.1, whatever it is asked", where=UPDATE, when=(FIRST, LATER, PROBE),
       names=("hard_coded_learning_rate", "fixed_learning_rate"))  # fmt: skip
class HardCodedLearningRate(ShowingStockTorch):
    def update(self, learning_rate: float) -> None:
        super().update(0.1)


@fault("never played", "update 7 is skipped", where=UPDATE, when=(LATER,), names=("skipped_update",))
class SeventhUpdateSkipped(Counting):
    def update(self, learning_rate: float) -> None:
        super().update(learning_rate if self.count != 6 else 0.0)


@fault("never played", "update 3 is skipped", where=UPDATE, when=(LATER,), names=("skipped_update",),
       float32_only=True)  # fmt: skip
class ThirdUpdateSkipped(Counting):
    def update(self, learning_rate: float) -> None:
        super().update(learning_rate if self.count != 2 else 0.0)


@fault("never played", "running statistics are shared by all learners of a size", needs_norm=True,
       where=("* * after evaluation", "* evaluated *", "* running *", "* increment of running *"),
       when=(FIRST, LATER, PROBE), names=("shared_statistics",))  # fmt: skip
class SharedStatistics(ShowingStockTorch):
    buffers: dict[Any, Tensor] = {}  # noqa: RUF012

    def load(self, weights: Any) -> None:
        for name, buffer in self.network.named_buffers():
            if buffer.is_floating_point():
                module, _, leaf = name.rpartition(".")
                shared = self.buffers.setdefault((name, buffer.shape, buffer.dtype), buffer)
                self.network.get_submodule(module)._buffers[leaf] = shared
        super().load(weights)


@fault("never played", "momentum 0.9", where=UPDATE, when=(LATER,), names=("heavy_ball",), float32_only=True,
       float64=False)  # fmt: skip
class HeavyBall(ShowingStockTorch):
    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.network.parameters(), lr=0.0, momentum=0.9)


@fault("more names", "gradients are not zeroed between updates", where="* gradient of *", when=(LATER,),
       names=("accumulated_gradients", "gradients_not_zeroed"), float32_only=True)  # fmt: skip
class GradientsNotZeroed(ShowingStockTorch):
    def backward(self, loss: Tensor) -> None:
        loss.backward()


# Wrong names, and more names.


@fault("wrong names", "Nesterov momentum", where=UPDATE, names=("nesterov", "nesterov_momentum"), float32_only=True)
class Nesterov(ShowingStockTorch):
    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.network.parameters(), lr=0.0, momentum=0.9, nesterov=True)


@fault("wrong names", "the rate grows linearly over the first 10 updates", where=UPDATE, float32_only=True,
       names=("warmup", "learning_rate_warmup"))  # fmt: skip
class WarmUp(Counting):
    def update(self, learning_rate: float) -> None:
        super().update(learning_rate * min(1.0, (self.count + 1) / 10))


@fault("wrong names", "gradients clipped to a norm of 0.5", where=UPDATE, when=(FIRST, LATER, PROBE),
       names=("clipped_gradients", "gradient_clipping_by_norm"), float32_only=True)  # fmt: skip
class ClippedByNorm(ShowingStockTorch):
    def update(self, learning_rate: float) -> None:
        nn.utils.clip_grad_norm_(self.network.parameters(), 0.5)
        super().update(learning_rate)


@fault("more names", "each gradient clipped to 0.01", where=UPDATE, when=(FIRST, LATER, PROBE),
       names=("clipped_gradient_values", "gradient_clipping_by_value"))  # fmt: skip
class ClippedByValue(ShowingStockTorch):
    def update(self, learning_rate: float) -> None:
        nn.utils.clip_grad_value_(self.network.parameters(), 0.01)
        super().update(learning_rate)


@fault("wrong names", "weight decay on kernels only", where="* updated kernel", float32_only=True,
       names=("weight_decay", "weight_decay_on_kernels"))  # fmt: skip
class WeightDecayOnKernels(ShowingStockTorch):
    def make_optimizer(self) -> torch.optim.Optimizer:
        parameters = list(self.network.parameters())
        return torch.optim.SGD(
            [
                {"params": [p for p in parameters if p.ndim == 2], "weight_decay": 1e-3},
                {"params": [p for p in parameters if p.ndim == 1]},
            ],
            lr=0.0,
        )


@fault("wrong names", "gradients with fresh noise of a part in a thousand", where="* gradient of *",
       names=("not_repeatable",), float32_only=True)  # fmt: skip
class RandomNoise(ShowingStockTorch):
    def backward(self, loss: Tensor) -> None:
        super().backward(loss)
        for p in self.network.parameters():
            assert p.grad is not None
            p.grad *= 1 + 1e-3 * torch.tensor(np.random.default_rng().standard_normal(p.shape), dtype=p.dtype)


@fault("more names", "Adam instead of SGD", where=UPDATE, names=("adam",))
class Adam(ShowingStockTorch):
    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.network.parameters(), lr=0.0)


@fault("more names", "gradients are those at the updated weights",
       where="* gradient of *", names=("gradients_after_update", "gradients_after_the_update"))  # fmt: skip
class GradientsAfterUpdate(ShowingStockTorch):
    def train_step(self, inputs: Array, labels: Array, learning_rate: float) -> Step:
        step = super().train_step(inputs, labels, learning_rate)
        return replace(step, gradients=copy.deepcopy(self).gradients_at(inputs, labels))

    def gradients_at(self, inputs: Array, labels: Array) -> Any:
        """Of the loss at the present weights."""
        self.backward(self.loss(self.forward(self.tensor(inputs)), torch.tensor(labels, dtype=torch.long)))
        return self.gradients()


@fault("more names", "the first kernel gets no gradient", where=("0 gradient of kernel", "0 updated kernel"),
       names=("untrained_parameter", "missing_gradient"))  # fmt: skip
class ParameterWithoutGradient(ShowingStockTorch):
    def make_optimizer(self) -> torch.optim.Optimizer:
        self.network.get_parameter("hidden.0.linear.weight").requires_grad_(False)
        return super().make_optimizer()


@fault("more names", "weight decay and momentum together", where=UPDATE, float32_only=True,
       names=("weight_decay", "heavy_ball", "momentum_and_decay"))  # fmt: skip
class WeightDecayAndMomentum(ShowingStockTorch):
    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.network.parameters(), lr=0.0, momentum=0.9, weight_decay=5e-4)


@fault("more names", "decay 0.99 left in the norms, and a schedule in the optimizer: one known beside one unknown",
       where="0 running mean", names=("default_momentum",), must_name=True, needs_norm=True)  # fmt: skip
class KnownBesideUnknown(Counting):
    def stock_norm(self, eps: float) -> nn.Module:
        return nn.BatchNorm1d(self.spec.hidden_width, eps=eps, momentum=0.01)

    def update(self, learning_rate: float) -> None:
        super().update(learning_rate * 0.95**self.count)


# In no list.


@fault("new", "a schedule: the rate falls by 5 % at each update", where=UPDATE, when=(LATER,),
       names=("learning_rate_schedule",))  # fmt: skip
class DecayingRate(Counting):
    def update(self, learning_rate: float) -> None:
        super().update(learning_rate * 0.95**self.count)


@fault("new", "the rate is scaled by the batch's size over 32", where=UPDATE, when=(LATER, PROBE))
class RateScaledByBatch(ShowingStockTorch):
    def train_step(self, inputs: Array, labels: Array, learning_rate: float) -> Step:
        return super().train_step(inputs, labels, learning_rate * len(inputs) / 32)


@fault("new", "the rate passes through float32 on its way", where=UPDATE,
       names=("scaled_learning_rate", "float32_learning_rate"))  # fmt: skip
class Float32Rate(ShowingStockTorch):
    def update(self, learning_rate: float) -> None:
        super().update(float(np.float32(learning_rate)))


@fault("new", "momentum with dampening", where=UPDATE, when=(LATER,), names=("heavy_ball", "sgd_dampening"))
class Dampening(ShowingStockTorch):
    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.network.parameters(), lr=0.0, momentum=0.5, dampening=0.5)


@fault("new", "each update takes the gradients of the one before it", where=UPDATE, when=(FIRST, LATER))
class DelayedGradients(ShowingStockTorch):
    before: list[Tensor] | None = None

    def update(self, learning_rate: float) -> None:
        now = [p.grad.clone() for p in self.network.parameters() if p.grad is not None]
        for p, gradient in zip(self.network.parameters(), self.before or now, strict=True):
            p.grad = gradient
        self.before = now
        super().update(learning_rate)


@fault("new", "gradients of two half batches are summed, not averaged", where=("0 *", "* loss", "* gradient of *"))
class AccumulationNotAveraged(SilentStockTorch):
    def train_step(self, inputs: Array, labels: Array, learning_rate: float) -> Step:
        self.network.train()
        x, y, self.losses, self.parts = self.tensor(inputs), torch.tensor(labels, dtype=torch.long), [], []
        self.optimizer.zero_grad()
        for rows in torch.arange(len(x)).chunk(2 if len(x) > 3 else 1):
            logits = self.forward(x[rows])
            loss = self.loss(logits, y[rows])
            loss.backward()
            self.losses.append(loss.item())
            self.parts.append(logits.detach())
        step = Step(loss=float(np.mean(self.losses)), logits=array(torch.cat(self.parts)), gradients=self.gradients())
        self.update(learning_rate)
        return step


@fault("new", "gradients are scaled by the rate in place before they are shown", where="* gradient of *")
class GradientsScaledInPlace(ShowingStockTorch):
    def train_step(self, inputs: Array, labels: Array, learning_rate: float) -> Step:
        self.rate = learning_rate
        return super().train_step(inputs, labels, learning_rate)

    def backward(self, loss: Tensor) -> None:
        super().backward(loss)
        for p in self.network.parameters():
            assert p.grad is not None
            p.grad *= self.rate

    def update(self, learning_rate: float) -> None:
        super().update(1.0)
