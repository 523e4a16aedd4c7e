"""A small CNN, in PyTorch and in Flax."""

from typing import Any

import parity

inputs = {"x": parity.normal(8, 3, 16, 16), "labels": parity.integers(8, below=10)}
# Flax averages the biased variance of a batch, PyTorch the unbiased one.
accept = ["biased_running_variance@*"]


def reference() -> Any:
    import torch
    from torch import nn

    import bntorch

    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 10)
    )
    sgd = lambda parameters: torch.optim.SGD(parameters, 0.1, momentum=0.9)  # noqa: E731
    return bntorch.port(model, loss=nn.functional.cross_entropy, optimizer=sgd)


def candidate() -> Any:
    import jax.numpy as jnp
    import optax
    from flax import linen as nn

    import bnjax

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(nn.Conv(8, (3, 3))(x))
            x = nn.max_pool(nn.relu(x), (2, 2), (2, 2))
            return nn.Dense(10)(jnp.moveaxis(x, -1, 1).reshape(len(x), -1))

    loss = lambda z, y: optax.softmax_cross_entropy_with_integer_labels(z, y).mean()  # noqa: E731
    return bnjax.port(Net(), loss=loss, optimizer=optax.sgd(0.1, momentum=0.9))
