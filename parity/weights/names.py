"""Names, shapes and kinds of the tensors of a network."""

import numpy as np
from numpy.typing import NDArray

from parity.spec import BlockOrder, ModelSpec

Array = NDArray[np.floating]
Weights = dict[str, Array]

LINEAR = ("kernel", "bias")
AFFINE = ("gamma", "beta")
STATISTICS = ("running_mean", "running_var")


def weight_shapes(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a network, in the order of the forward pass.

    >>> list(weight_shapes(ModelSpec(num_hidden_layers=1, use_batch_norm=False)).values())
    [(784, 64), (64,), (64, 10), (10,)]
    """
    shapes: dict[str, tuple[int, ...]] = {}
    fan_in, width = spec.input_dim, spec.hidden_width
    for i in range(spec.num_hidden_layers):
        shapes[f"hidden.{i}.kernel"] = (fan_in, width)
        shapes[f"hidden.{i}.bias"] = (width,)
        if spec.use_batch_norm:
            shapes |= {f"hidden.{i}.{leaf}": (width,) for leaf in AFFINE + STATISTICS}
        fan_in = width
    return shapes | {"head.kernel": (width, spec.output_dim), "head.bias": (spec.output_dim,)}


def activation_names(spec: ModelSpec) -> list[str]:
    """What a hidden layer shows, in the order of the forward pass: `hidden.i.linear`, `.relu`, `.norm`, `.dropout`, and
    of a residual block their sum with its input, `.sum`.

    >>> activation_names(ModelSpec(num_hidden_layers=1))
    ['hidden.0.linear', 'hidden.0.relu', 'hidden.0.norm']
    """
    parts = ["relu", "norm"] if spec.block_order is BlockOrder.ACTIVATION_FIRST else ["norm", "relu"]
    if not spec.use_batch_norm:
        parts = ["relu"]
    parts += ["dropout"] if spec.dropout_rate else []
    blocks = [["linear", *parts, *(["sum"] if spec.residual and i else [])] for i in range(spec.num_hidden_layers)]
    return [f"hidden.{i}.{part}" for i, parts in enumerate(blocks) for part in parts]


def is_statistic(name: str) -> bool:
    """Whether a tensor is a running statistic, which no gradient updates."""
    return name.endswith(STATISTICS)
