"""A residual CNN with stride 2 and a shortcut that is a convolution; the two name nothing alike."""

from functools import partial
from typing import Any

import flax.linen as fnn
import jax
import torch
import torch.nn.functional as F
from torch import nn

import bnjax
import bntorch
from parity.pair.inputs import integers, normal

from .losses import cross_entropy

inputs = {"x": normal(4, 3, 8, 8), "labels": integers(4, below=5)}
accept = ["biased_running_variance@*"]
FlaxNorm = partial(fnn.BatchNorm, momentum=0.9)


class TorchBlock(nn.Module):
    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.downsample = (
            nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))
            if stride != 1
            else nn.Identity()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.downsample(x))


class TorchNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.layer1, self.layer2 = TorchBlock(6, 6, 1), TorchBlock(6, 8, 2)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer2(self.layer1(F.relu(self.bn(self.stem(x)))))
        return self.fc(x.mean((2, 3)))


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
        x = fnn.relu(FlaxNorm(use_running_average=not train)(x))
        x = FlaxBlock(6, 1, self.fault if self.fault.startswith("missing") else "")(x, train)
        x = FlaxBlock(8, 2, self.fault if self.fault == "same_padding" else "")(x, train)
        return fnn.Dense(5)(x.max((1, 2)) if self.fault == "pool" else x.mean((1, 2)))


def reference() -> Any:
    return bntorch.port(TorchNet(), loss=F.cross_entropy)


def candidate(fault: str = "") -> Any:
    return bnjax.port(FlaxNet(fault), loss=cross_entropy)
