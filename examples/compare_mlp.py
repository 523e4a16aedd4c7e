"""An MLP of three layers, in PyTorch and in Flax's NNX."""

from itertools import pairwise
from typing import Any

import parity

inputs = {"x": parity.normal(32, 784), "labels": parity.integers(32, below=10)}


def reference() -> Any:
    import torch
    from torch import nn

    import bntorch

    model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    adam = lambda parameters: torch.optim.Adam(parameters, 1e-3)  # noqa: E731
    return bntorch.port(model, loss=nn.functional.cross_entropy, optimizer=adam)


def candidate() -> Any:
    import jax
    import optax
    from flax import nnx

    import bnjax

    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            sizes = (784, 256, 256, 10)
            self.layers = nnx.List(nnx.Linear(*each, rngs=rngs) for each in pairwise(sizes))

        def __call__(self, x: jax.Array) -> jax.Array:
            *hidden, last = self.layers
            for layer in hidden:
                x = nnx.relu(layer(x))
            return last(x)

    loss = lambda z, y: optax.softmax_cross_entropy_with_integer_labels(z, y).mean()  # noqa: E731
    return bnjax.port(Net(nnx.Rngs(0)), loss=loss, optimizer=optax.adam(1e-3))
