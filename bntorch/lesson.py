"""The lab's code as a student types it, in PyTorch: a `parity.backend.Lesson`.

The gallery shows the source of these functions, and runs them.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import nn

from bntorch.layer_order import layer_names
from bntorch.weights import to_native, to_numpy
from parity.spec import DType, ModelSpec
from parity.weights import Weights

CONVOLUTION_ARGUMENTS: Mapping[str, str] = {
    "channels in": "in_channels",
    "channels out": "out_channels",
    "size of the kernel": "kernel_size",
    "pixels from one output to the next": "stride",
    "zeros on each side": "padding",
}


def convolution(images, side, stride, padding):
    """Return the shapes of a convolution's parameters and output."""
    layer = nn.Conv2d(
        in_channels=3,
        out_channels=16,
        kernel_size=5,
        stride=stride,
        padding=padding,
    )
    x = torch.zeros(images, 3, side, side)
    shapes = {name: tuple(w.shape) for name, w in layer.named_parameters()}
    y = tuple(layer(x).shape)
    return {"module": isinstance(layer, nn.Module), **shapes, "output": y}


def both_modes(x):
    """Normalize a batch, shape (n, features), in both modes."""
    batch = torch.tensor(x)
    layer = nn.BatchNorm1d(x.shape[1], momentum=0.1)  # share of the new
    # Training: by the batch. The averages change inside the layer.
    layer.train()
    y = layer(batch)
    # Evaluation: by the running averages, which stay as they are.
    layer.eval()
    z = layer(batch)
    found = {
        "training": y.detach().numpy(),
        "evaluation": z.detach().numpy(),
    }
    for name, output in found.items():
        mean, std = output[:, 0].mean(), output[:, 0].std()
        print(f"{name}: feature 0 has mean {mean:.4f}, std {std:.4f}")
    return found


class PlainNet(nn.Module):
    """Blocks of Linear, ReLU and BatchNorm, then a linear head."""

    def __init__(self, depth=2, width=64):
        super().__init__()
        layers, fan_in = [], 784
        for _ in range(depth):
            layers += [nn.Linear(fan_in, width), nn.ReLU()]
            layers += [nn.BatchNorm1d(width)]
            fan_in = width
        self.layers = nn.Sequential(*layers, nn.Linear(width, 10))

    def forward(self, x):
        return self.layers(x)


def summary():
    """Print the layers of a network."""
    print(PlainNet(depth=2))


def train(net, inputs, labels, passes=2, learning_rate=0.1):
    """Train the module `net` by minibatch SGD."""
    losses = []
    optimizer = torch.optim.SGD(net.parameters(), lr=learning_rate)
    net.train()

    def step(x, y):
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    rng, average = np.random.default_rng(0), None
    for number in range(1, passes + 1):
        for update in range(1, round(len(inputs) / 32) + 1):
            rows = rng.integers(len(inputs), size=32)
            x, y = torch.tensor(inputs[rows]), torch.tensor(labels[rows])
            losses.append(step(x, y.long()).item())
            before = losses[0] if average is None else average
            average = 0.99 * before + 0.01 * losses[-1]
            if update % 50 == 0:
                where = f"pass {number}, update {update}"
                print(f"{where}: loss {average:.4f}")
    return losses


def plain_net(spec: ModelSpec, weights: Weights, dtype: DType = "float32") -> Any:
    """Return a `PlainNet` at weights of the neutral dictionary."""
    net = PlainNet(spec.num_hidden_layers, spec.hidden_width)
    net.load_state_dict(to_native(weights, spec, dtype, layer_names(net, spec)), strict=False, assign=True)
    return net


def plain_tensors(spec: ModelSpec) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the framework's own name and shape of each tensor of a `PlainNet`, by neutral name."""
    net = PlainNet(spec.num_hidden_layers, spec.hidden_width)
    tensors = net.state_dict()
    return {name: (key, tuple(tensors[key].shape)) for name, key in layer_names(net, spec).items()}


@torch.no_grad()
def plain_logits(net: Any, x: np.ndarray, train: bool = False) -> np.ndarray:
    """Return the logits of `plain_net`, shape (n, 10), for `x` of shape (n, 784); the averages stay as they are."""
    return np.array(to_numpy(deepcopy(net).train(train)(torch.tensor(x))))
