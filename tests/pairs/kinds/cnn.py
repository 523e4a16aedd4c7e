"""A small CNN: convolutions, batch norm, max-pool, flatten, a linear head; PyTorch, and linen with channels last."""

from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp
import optax
import torch
import torch.nn.functional as F
from torch import nn

import bnjax
import bntorch
from parity.pair.inputs import integers, normal

inputs = {"x": normal(4, 3, 8, 8), "labels": integers(4, below=5)}
accept = ["biased_running_variance@*"]


class TorchNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.head = nn.Linear(8 * 2 * 2, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).flatten(1))


class FlaxNet(fnn.Module):
    fault: str = ""

    @fnn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        for width in (6, 8):
            x = fnn.Conv(width, (3, 3), use_bias=not (self.fault == "missing_bias" and width == 8))(x)
            eps = 1e-3 if self.fault == "norm_epsilon" and width == 8 else 1e-5
            x = fnn.BatchNorm(
                use_running_average=not train and self.fault != "statistics_always_used",
                momentum=0.99 if self.fault == "default_momentum" and width == 6 else 0.9,
                epsilon=eps,
            )(x)
            if not (self.fault == "missing_relu" and width == 6):
                x = fnn.relu(x)
            x = (fnn.avg_pool if self.fault == "pool" and width == 6 else fnn.max_pool)(x, (2, 2), (2, 2))
        if self.fault != "flatten_order":
            x = jnp.moveaxis(x, -1, 1)
        return fnn.Dense(5)(x.reshape(len(x), -1))


# By fault: the reference's optimizer, and the candidate's.
OPTIMIZERS = {
    "": (lambda p: torch.optim.SGD(p, 0.1, momentum=0.9), optax.sgd(0.1, momentum=0.9)),
    "nesterov": (lambda p: torch.optim.SGD(p, 0.1, momentum=0.9), optax.sgd(0.1, momentum=0.9, nesterov=True)),
    "adamw_decay": (lambda p: torch.optim.AdamW(p, 0.01), optax.adamw(0.01)),
    "rmsprop_epsilon": (lambda p: torch.optim.RMSprop(p, 0.01), optax.rmsprop(0.01, decay=0.99)),
    "clip": (lambda p: torch.optim.SGD(p, 0.1), optax.chain(optax.clip_by_global_norm(50.0), optax.sgd(0.1))),
}


def reference(fault: str = "") -> Any:
    return bntorch.port(TorchNet(), loss=F.cross_entropy, optimizer=OPTIMIZERS[fault][0])


def candidate(fault: str = "") -> Any:
    return bnjax.port(
        FlaxNet(fault),
        loss=lambda z, y: optax.softmax_cross_entropy_with_integer_labels(z, y).mean(),
        optimizer=OPTIMIZERS.get(fault, OPTIMIZERS[""])[1],
    )
