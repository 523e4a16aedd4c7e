"""Stock Flax with a setting that people forget, or get wrong."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from parity import Step
from parity.weights import Array

from .collection import FIRST, LATER, PROBE, factory, fault
from .stock_flax import Network, StockFlax

__getattr__ = factory

UPDATE = ("* updated *", "* increment of *")


class LastEpsilon(Network):
    def norm_settings(self, layer: int) -> dict[str, Any]:
        eps = 1e-6 if layer == self.spec.num_hidden_layers - 1 else self.spec.eps
        return super().norm_settings(layer) | {"epsilon": eps}


@fault("wrong names", "epsilon 1e-6 in the last norm only", where="* norm output", names=("wrong_epsilon",),
       needs_norm=True, float32_only=True)  # fmt: skip
class FlaxEpsInOneLayer(StockFlax):
    network_class = LastEpsilon


class LastMomentum(Network):
    def norm_settings(self, layer: int) -> dict[str, Any]:
        decay = 0.99 if layer == self.spec.num_hidden_layers - 1 else self.spec.decay
        return super().norm_settings(layer) | {"momentum": decay}


@fault("more names", "Flax's default momentum 0.99 in the last norm only", where="* running mean", needs_norm=True,
       names=("default_momentum",))  # fmt: skip
class FlaxMomentumInOneLayer(StockFlax):
    network_class = LastMomentum


class Leaky(Network):
    def relu(self, x: jax.Array) -> jax.Array:
        return nn.leaky_relu(x)


@fault("more names", "`nn.leaky_relu` with its slope of 0.01", where="0 activation",
       names=("leaky_relu", "leaky_slope"))  # fmt: skip
class FlaxLeakyRelu(StockFlax):
    network_class = Leaky


class Silu(Network):
    def relu(self, x: jax.Array) -> jax.Array:
        return nn.silu(x)


@fault("new", "SiLU instead of ReLU", where="0 activation", float32_only=True)
class FlaxSilu(StockFlax):
    network_class = Silu


class Narrow(Network):
    def dense(self, features: int) -> Any:
        narrow = nn.Dense(features, param_dtype=self.dtype, dtype=jnp.bfloat16)
        return lambda x: narrow(x).astype(self.dtype)


@fault("new", "`nn.Dense(dtype=bfloat16)`, as a tutorial for accelerators has it", where="0 pre-activation",
       names=("bfloat16_matmul",), float32_only=True)  # fmt: skip
class FlaxDenseInBfloat16(StockFlax):
    network_class = Narrow


class AddsItsInput(Network):
    def norm(self, layer: int, train: bool) -> Any:
        bare = nn.BatchNorm(name=f"BatchNorm_{layer}", use_running_average=not train, **self.norm_settings(layer))
        return lambda x: jnp.asarray(bare(x)) * 0.5 + 0.5 * x


@fault("new", "half of each norm's input is added to its output", where="0 norm output", needs_norm=True)
class FlaxResidualNorm(StockFlax):
    network_class = AddsItsInput


@fault("wrong names", "Nesterov momentum", where=UPDATE, names=("nesterov", "nesterov_momentum"), float32_only=True)
class FlaxNesterov(StockFlax):
    @staticmethod
    def optimizer(rate: jax.Array | float) -> optax.GradientTransformation:
        return optax.sgd(rate, momentum=0.9, nesterov=True)


@fault("wrong names", "weight decay on kernels only", where="* updated kernel", float32_only=True,
       names=("weight_decay", "weight_decay_on_kernels"))  # fmt: skip
class FlaxDecayOnKernels(StockFlax):
    @staticmethod
    def optimizer(rate: jax.Array | float) -> optax.GradientTransformation:
        kernels = partial(jax.tree.map, lambda leaf: leaf.ndim == 2)
        return optax.chain(optax.add_decayed_weights(1e-3, mask=kernels), optax.sgd(rate))


@fault("more names", "each gradient clipped to 0.01", where=UPDATE, when=(FIRST, LATER, PROBE),
       names=("clipped_gradient_values", "gradient_clipping_by_value"))  # fmt: skip
class FlaxClippedByValue(StockFlax):
    @staticmethod
    def optimizer(rate: jax.Array | float) -> optax.GradientTransformation:
        return optax.chain(optax.clip(0.01), optax.sgd(rate))


@fault("wrong names", "the learning rate is off by noise of a percent", where=UPDATE, float32_only=True,
       names=("not_repeatable",))  # fmt: skip
class FlaxNoisyRate(StockFlax):
    def train_step(self, inputs: Array, labels: Array, learning_rate: float) -> Step:
        return super().train_step(inputs, labels, learning_rate * np.random.default_rng().normal(1, 0.01))


@fault("new", "new statistics are kept of every other update only", where=("0 running *", "0 increment of running *"),
       when=(LATER,), needs_norm=True, names=("stale_statistics",))  # fmt: skip
class FlaxEveryOtherStatistics(StockFlax):
    count = 0

    def train_step(self, inputs: Array, labels: Array, learning_rate: float) -> Step:
        before = self.variables["batch_stats"]
        step = super().train_step(inputs, labels, learning_rate)
        self.count += 1
        if self.count % 2 == 0:
            self.variables["batch_stats"] = before
        return step


@fault("new", "a minibatch is sorted by label before it is shown", where=("0 pre-activation", "head logits"))
class FlaxSortedBatch(StockFlax):
    def train_step(self, inputs: Array, labels: Array, learning_rate: float) -> Step:
        order = np.argsort(labels, kind="stable")
        return super().train_step(inputs[order], labels[order], learning_rate)
