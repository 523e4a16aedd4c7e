"""The lab's code as a student types it, in Flax: a `parity.backend.Lesson`.

The gallery shows the source of these functions, and runs them.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from bnjax.checkpoint import read_arrays
from bnjax.layer_order import layer_names
from bnjax.weights import to_native
from parity.spec import DType, ModelSpec
from parity.weights import Weights

CONVOLUTION_ARGUMENTS: Mapping[str, str] = {
    "channels in": "",
    "channels out": "features",
    "size of the kernel": "kernel_size",
    "pixels from one output to the next": "strides",
    "zeros on each side": "padding",
}


def convolution(images, side, stride, padding):
    """Return the shapes of a convolution's parameters and output."""
    layer = nn.Conv(
        features=16,
        kernel_size=(5, 5),
        strides=stride,
        padding=padding,
    )
    x = jnp.zeros((images, side, side, 3))
    variables = layer.init(jax.random.key(0), x)
    shapes = jax.tree.map(jnp.shape, variables["params"])
    y = np.array(layer.apply(variables, x))
    return {"module": isinstance(layer, nn.Module), **shapes, "output": y.shape}


def both_modes(x):
    """Normalize a batch, shape (n, features), in both modes."""
    layer = nn.BatchNorm(momentum=0.9)  # share of the old
    start = layer.init(jax.random.key(0), x, use_running_average=True)
    # Training: by the batch. The new averages come out beside y.
    y, changed = layer.apply(
        start,
        x,
        use_running_average=False,
        mutable=["batch_stats"],
    )
    trained = {**start, **changed}
    # Evaluation: by the running averages, which stay as they are.
    z = layer.apply(trained, x, use_running_average=True)
    found = {"training": np.array(y), "evaluation": np.array(z)}
    for name, output in found.items():
        mean, std = output[:, 0].mean(), output[:, 0].std()
        print(f"{name}: feature 0 has mean {mean:.4f}, std {std:.4f}")
    return found


class PlainNet(nn.Module):
    """Blocks of Linear, ReLU and BatchNorm, then a linear head."""

    depth: int = 2
    width: int = 64

    @nn.compact
    def __call__(self, x, train=False):
        for _ in range(self.depth):
            x = nn.Dense(self.width)(x)
            x = nn.relu(x)
            x = nn.BatchNorm(
                use_running_average=not train,
                momentum=0.9,
                use_fast_variance=False,  # two passes
            )(x)
        return nn.Dense(10)(x)


def summary():
    """Print the layers of a network and their parameters."""
    net, x = PlainNet(depth=2), jnp.zeros((32, 784))
    console = {"width": 104, "force_terminal": False}  # plain text
    print(net.tabulate(jax.random.key(0), x, console_kwargs=console))


def train(net, inputs, labels, passes=2, learning_rate=0.1):
    """Train by minibatch SGD, from the variables `net`."""
    model, variables, losses = PlainNet(depth=2), net, []

    def loss_of(params, stats, x, y):
        variables = {"params": params, "batch_stats": stats}
        logits, changed = model.apply(
            variables,
            x,
            train=True,
            mutable=["batch_stats"],
        )
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels
        return cross_entropy(logits, y).mean(), changed

    @jax.jit
    def step(variables, x, y):
        params, stats = variables["params"], variables["batch_stats"]
        gradient = jax.value_and_grad(loss_of, has_aux=True)
        (loss, changed), slopes = gradient(params, stats, x, y)
        steps = jax.tree.map(lambda g: learning_rate * g, slopes)
        params = jax.tree.map(jnp.subtract, params, steps)
        return {"params": params, **changed}, loss

    rng, average = np.random.default_rng(0), None
    for number in range(1, passes + 1):
        for update in range(1, round(len(inputs) / 32) + 1):
            rows = rng.integers(len(inputs), size=32)
            x, y = inputs[rows], labels[rows]
            variables, loss = step(variables, x, y)
            losses.append(float(loss))
            before = losses[0] if average is None else average
            average = 0.99 * before + 0.01 * losses[-1]
            if update % 50 == 0:
                where = f"pass {number}, update {update}"
                print(f"{where}: loss {average:.4f}")
    return losses


def plain_net(spec: ModelSpec, weights: Weights, dtype: DType = "float32") -> Any:
    """Return the variables of a `PlainNet` at weights of the neutral dictionary."""
    return to_native(weights, spec, dtype, layer_names(_bound(spec), spec))


def plain_tensors(spec: ModelSpec) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the framework's own name and shape of each tensor of a `PlainNet`, by neutral name."""
    bound = _bound(spec)
    arrays = read_arrays(bound)
    return {name: ("/".join(path), arrays[path].shape) for name, path in layer_names(bound, spec).items()}


def _bound(spec: ModelSpec) -> PlainNet:
    net = PlainNet(spec.num_hidden_layers, spec.hidden_width)
    return net.bind(net.init(jax.random.key(0), jnp.zeros((2, spec.input_dim))))


def plain_logits(net: Any, x: np.ndarray, train: bool = False) -> np.ndarray:
    """Return the logits of `plain_net`, shape (n, 10), for `x` of shape (n, 784); the averages stay as they are."""
    depth, width = len(net["batch_stats"]), net["params"]["Dense_0"]["bias"].size
    return np.array(PlainNet(depth, width).apply(net, x, train, mutable=["batch_stats"])[0])
