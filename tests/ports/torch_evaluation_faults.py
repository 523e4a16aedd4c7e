"""Stock PyTorch with something wrong in evaluation, or in the mode that it leaves the network in."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parity import ModelSpec, Step
from parity.weights import Array

from .collection import FIRST, LATER, PROBE, factory, fault
from .stock_torch import ShowingStockTorch, SilentStockTorch, array

__getattr__ = factory

ANY = (FIRST, LATER, PROBE)
EVALUATED = "* evaluated *"
STATE = "* * after evaluation"


def set_last_norm(hidden: nn.Sequential, train: bool) -> None:
    """Set the mode of the last norm, if there is one."""
    for module in hidden[-1].children():
        if isinstance(module, nn.BatchNorm1d):
            module.train(train)


@fault("never played", "an evaluation is kept by the content of its inputs", where=EVALUATED, when=(LATER, PROBE),
       names=("cached_evaluation",), float32_only=True)  # fmt: skip
class EvaluationCachedByContent(SilentStockTorch):
    def __init__(self, spec: ModelSpec, weights: Mapping[str, Array], dtype: str) -> None:
        super().__init__(spec, weights, dtype)
        self.cache: dict[bytes, Array] = {}

    def evaluate(self, inputs: Array) -> Array:
        key = inputs.tobytes()
        if key not in self.cache:
            self.cache[key] = super().evaluate(inputs)
        return self.cache[key].copy()


@fault("never played", "what is evaluated is a copy of the network from the first evaluation", where=EVALUATED,
       when=(LATER, PROBE), names=("cached_evaluation", "evaluated_snapshot"))  # fmt: skip
class EvaluationOfASnapshot(SilentStockTorch):
    snapshot: nn.Module | None = None

    def evaluate(self, inputs: Array) -> Array:
        if self.snapshot is None:
            self.snapshot = copy.deepcopy(self.network).eval()
        with torch.no_grad():
            return array(self.snapshot(self.tensor(inputs)))


@fault(
    "never played", "evaluating one sample gives probabilities", where="head evaluated *", when=(FIRST, LATER, PROBE)
)
class OneSampleWrong(ShowingStockTorch):
    def evaluate(self, inputs: Array) -> Array:
        logits = super().evaluate(inputs)
        return array(torch.softmax(torch.tensor(logits), dim=-1)) if len(inputs) == 1 else logits


@fault("never played", "evaluation rounds the weights to float16, and leaves them so", where=(EVALUATED, STATE))
class StateChangedByEvaluation(ShowingStockTorch):
    def evaluate(self, inputs: Array) -> Array:
        self.network.half().to(self.parameter_dtype)
        return super().evaluate(inputs)


@fault("more names", "a forgotten `eval()`", where=(EVALUATED, STATE), needs_norm=True, float32_only=True,
       names=("forgotten_eval", "eval_uses_batch_statistics", "eval_updates_statistics"))  # fmt: skip
class ForgottenEval(ShowingStockTorch):
    def evaluate(self, inputs: Array) -> Array:
        self.network.train()
        with torch.no_grad():
            return array(self.forward(self.tensor(inputs)))


@fault("new", "the last norm stays in train mode in evaluation", where=(EVALUATED, STATE), needs_norm=True,
       names=("forgotten_eval", "eval_uses_batch_statistics", "eval_updates_statistics"))  # fmt: skip
class LastNormTrainsInEvaluation(ShowingStockTorch):
    def evaluate(self, inputs: Array) -> Array:
        self.network.eval()
        set_last_norm(self.hidden, train=True)
        with torch.no_grad():
            return array(self.forward(self.tensor(inputs)))


@fault("new", "the last norm stays in evaluation mode in training", where="* norm output", needs_norm=True,
       names=("train_uses_running_statistics", "frozen_running_statistics"))  # fmt: skip
class LastNormFrozen(ShowingStockTorch):
    """Two causes are right: it uses its running statistics, and never writes them."""

    def forward(self, x: Tensor) -> Tensor:
        set_last_norm(self.hidden, train=False)
        return super().forward(x)


@fault("new", "evaluates an exponential moving average of the weights", where=EVALUATED, float32_only=True)
class EmaInEvaluation(SilentStockTorch):
    def __init__(self, spec: ModelSpec, weights: Mapping[str, Array], dtype: str) -> None:
        super().__init__(spec, weights, dtype)
        self.average = copy.deepcopy(self.network).eval()

    @torch.no_grad()
    def update(self, learning_rate: float) -> None:
        super().update(learning_rate)
        for mean, p in zip(self.average.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(p, 0.1)
        for mean, buffer in zip(self.average.buffers(), self.network.buffers(), strict=True):
            mean.copy_(buffer)

    def evaluate(self, inputs: Array) -> Array:
        with torch.no_grad():
            return array(self.average(self.tensor(inputs)))


@fault("new", "evaluates in bfloat16 for speed", where=EVALUATED)
class EvaluationInBfloat16(ShowingStockTorch):
    def evaluate(self, inputs: Array) -> Array:
        self.network.eval()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            return array(self.network.float()(self.tensor(inputs).float()).float())

    def train_step(self, inputs: Array, labels: Array, learning_rate: float) -> Step:
        self.network.to(self.parameter_dtype)
        return super().train_step(inputs, labels, learning_rate)


@fault("new", "evaluation leaves the network in evaluation mode, and training never leaves it", when=(LATER,),
       where=("0 norm output", "0 increment of running *", "0 running *", "head logits", "* gradient of *"),
       needs_norm=True, names=("train_uses_running_statistics",))  # fmt: skip
class StaysInEvaluation(ShowingStockTorch):
    evaluated_once = False

    def evaluate(self, inputs: Array) -> Array:
        self.evaluated_once = True
        return super().evaluate(inputs)

    def forward(self, x: Tensor) -> Tensor:
        self.network.train(self.network.training and not self.evaluated_once)
        return super().forward(x)


@fault("new", "evaluation returns log-probabilities", where="head evaluated *", float32_only=True)
class LogProbabilities(ShowingStockTorch):
    def evaluate(self, inputs: Array) -> Array:
        return array(F.log_softmax(torch.tensor(super().evaluate(inputs)), dim=-1))


@fault("new", "test-time augmentation: the mean of the logits of an image and of its mirror", where=EVALUATED)
class MirroredEvaluation(SilentStockTorch):
    def evaluate(self, inputs: Array) -> Array:
        width = round(self.spec.input_dim**0.5)
        mirrored: Any = inputs.reshape(len(inputs), width, -1)[:, :, ::-1].reshape(inputs.shape)
        return (super().evaluate(inputs) + super().evaluate(mirrored)) / 2
