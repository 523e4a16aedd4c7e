"""A residual CNN with stride 2 and a shortcut that is a convolution; the two name nothing alike."""

from functools import partial
from typing import Any

import flax.linen as fnn
import jax

import bnjax

from .losses import cross_entropy

FlaxNorm = partial(fnn.BatchNorm, momentum=0.9)


class FlaxBlock(fnn.Module):
    width: int
    stride: int = 1
    fault: str = ""

    @fnn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        conv, norm = partial(fnn.Conv, use_bias=False), partial(FlaxNorm, use_running_average=not train)
        padding = "SAME" if self.fault == "same_padding" else 1
        y = conv(self.width, (3, 3), strides=self.stride, padding=padding)(x)
        y = conv(self.width, (3, 3), padding=1)(fnn.relu(norm()(y)))
        y = norm()(y)
        if self.stride != 1:
            x = norm()(conv(self.width, (1, 1), strides=self.stride)(x))
        if self.fault == "missing_shortcut":
            return fnn.relu(y)
        return y + x if self.fault == "missing_relu" else fnn.relu(y + x)


class FlaxNet(fnn.Module):
    fault: str = ""

    @fnn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = fnn.Conv(6, (3, 3), padding=1, use_bias=False)(x)
        momentum = 0.99 if self.fault == "default_momentum" else 0.9
        x = fnn.relu(FlaxNorm(use_running_average=not train, momentum=momentum)(x))
        x = FlaxBlock(6, 1, self.fault if self.fault.startswith("missing") else "")(x, train)
        x = FlaxBlock(8, 2, self.fault if self.fault == "same_padding" else "")(x, train)
        return fnn.Dense(5)(x.max((1, 2)) if self.fault == "pool" else x.mean((1, 2)))


def port(fault: str = "") -> Any:
    return bnjax.port(FlaxNet(fault), loss=cross_entropy)
