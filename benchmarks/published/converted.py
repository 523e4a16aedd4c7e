"""Modules of PyTorch that torch2jax and torchax run in JAX."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import parity
from published.entry import Entry

IMAGES = {"x": parity.normal(4, 3, 8, 8)}


def multilayer_perceptron() -> Any:
    """Linear, GELU, LayerNorm, Linear."""
    from torch import nn

    return nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 5))


def tanh_perceptron() -> Any:
    """The same with the tanh form of GELU."""
    from torch import nn

    return nn.Sequential(nn.Linear(6, 8), nn.GELU(approximate="tanh"), nn.Linear(8, 5))


def convolutions() -> Any:
    """Convolutions, batch norm, ReLU, max-pool."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2, 2),
        nn.Conv2d(6, 4, 3, stride=2, padding=1),
    )


def grouped() -> Any:
    """Convolutions in groups, group norm, an average, a leaky ReLU."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(3, 6, 3, groups=3, padding=1), nn.GroupNorm(2, 6), nn.LeakyReLU(), nn.AvgPool2d(3, 2, padding=1)
    )


def transposed() -> Any:
    """A transposed convolution with a stride."""
    from torch import nn

    return nn.Sequential(nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1), nn.ReLU())


def encoder_layer() -> Any:
    """A layer of a transformer."""
    from torch import nn

    return nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)  # which has ReLU by default


def sides(package: str, make: Callable[[], Any], is_evaluated: bool) -> tuple[Any, Any]:
    """Return a port of a module, and one of what a package makes of it."""
    import torch

    import bnjax
    import bntorch
    from published import held

    torch.manual_seed(0)
    module = make()
    candidate = getattr(held, f"by_{package}")(module)

    def evaluated(model: Any, batch: Mapping[str, Any], train: bool) -> Any:
        return model(batch["x"], False)

    return (
        bntorch.port(module, loss=squared),
        bnjax.port(candidate, loss=squared, call=evaluated if is_evaluated else None),
    )


def squared(y: Any) -> Any:
    """Return a loss that weighs each number of an output by itself."""
    return ((y - 0.5) ** 3).mean()


def entry(
    package: str, make: Callable[[], Any], configuration: str, inputs: Any, is_evaluated: bool = False, **more: Any
) -> Entry:
    """Return a row of a module and of what a package makes of it.

    Args:
        package: its name.
        make: the module.
        configuration: see `Entry`.
        inputs: see `Entry`.
        is_evaluated: whether what the package makes is always run as in evaluation, where that is the same.
        more: options of `parity.compare`, and `known` of `Entry`.
    """
    known = more.pop("known", ())
    return Entry(
        architecture=package,
        package=package,
        configuration=configuration,
        sides=partial(sides, package, make, is_evaluated),
        inputs=inputs,
        options={"lift_float32": True, **more},
        known=tuple(known),
    )


ROWS = {
    "GELU and layer norm": (multilayer_perceptron, {"x": parity.normal(4, 6)}),
    "tanh form of GELU": (tanh_perceptron, {"x": parity.normal(4, 6)}),
    "convolutions, batch norm, max-pool": (convolutions, IMAGES),
    "groups of channels, average": (grouped, IMAGES),
    "transposed convolution": (transposed, IMAGES),
    "encoder layer": (encoder_layer, {"x": parity.normal(2, 5, 8)}),
}
KNOWN = {
    ("torch2jax", multilayer_perceptron): "torch2jax_gelu",
    ("torch2jax", convolutions): "torch2jax_batch_norm",
    ("torch2jax", grouped): "torch2jax_convolutions",
    ("torch2jax", transposed): "torch2jax_convolutions",
    ("torchax", convolutions): "torchax_statistics",
}
ENTRIES = [
    entry(package, make, words, inputs, make is encoder_layer, known=[*filter(None, [KNOWN.get((package, make))])])
    for package in ("torch2jax", "torchax")
    for words, (make, inputs) in ROWS.items()
]
