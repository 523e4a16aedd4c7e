"""A transformer encoder of two layers, in PyTorch and in Flax."""

from typing import Any

import parity

WORDS, LENGTH, WIDTH, HEADS, LAYERS = 1000, 32, 64, 4, 2
inputs = {"ids": parity.integers(8, LENGTH, below=WORDS), "labels": parity.integers(8, below=2)}


def reference() -> Any:
    import torch
    from torch import nn

    import bntorch

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(LENGTH, WIDTH)
            layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu", batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
            self.head = nn.Linear(WIDTH, 2)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            x = self.words(ids) + self.places.weight
            return self.head(self.encoder(x)[:, 0])

    adam = lambda parameters: torch.optim.Adam(parameters, 1e-3)  # noqa: E731
    return bntorch.port(Encoder(), loss=nn.functional.cross_entropy, optimizer=adam)


def candidate() -> Any:
    import optax
    from flax import linen as nn

    import bnjax

    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x):
            attention = nn.MultiHeadDotProductAttention(HEADS, name="self_attn")
            x = nn.LayerNorm(epsilon=1e-5, name="norm1")(x + attention(x))
            y = nn.Dense(WIDTH, name="linear2")(nn.gelu(nn.Dense(4 * WIDTH, name="linear1")(x), approximate=False))
            return nn.LayerNorm(epsilon=1e-5, name="norm2")(x + y)

    class Encoder(nn.Module):
        @nn.compact
        def __call__(self, ids):
            places = self.param("places", nn.initializers.normal(), (LENGTH, WIDTH))
            x = nn.Embed(WORDS, WIDTH, name="words")(ids) + places
            for number in range(LAYERS):
                x = Layer(name=f"layers_{number}")(x)
            return nn.Dense(2, name="head")(x[:, 0])

    loss = lambda z, y: optax.softmax_cross_entropy_with_integer_labels(z, y).mean()  # noqa: E731
    return bnjax.port(Encoder(), loss=loss, optimizer=optax.adam(1e-3))
