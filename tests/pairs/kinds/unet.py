"""A U-Net: transposed convolutions, and concatenation along the channels."""

from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp
import torch
import torch.nn.functional as F
from torch import nn

import bnjax
import bntorch
from parity.pair.inputs import normal

from .losses import square

inputs = {"x": normal(2, 3, 8, 8), "target": normal(2, 8, 8, 1)}


class TorchNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.middle = nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.out = nn.Conv2d(8, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = F.gelu(self.down1(x))
        deep = F.gelu(self.middle(F.gelu(self.down2(first))))
        return self.out(torch.cat([first, F.gelu(self.up(deep))], 1))


class TrueConvolution(fnn.Module):
    """What mathematics calls a convolution: the kernel is flipped."""

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", fnn.initializers.lecun_normal(), (3, 3, 8, 8))
        dimensions = jax.lax.conv_dimension_numbers(x.shape, kernel.shape, ("NHWC", "HWIO", "NHWC"))
        y = jax.lax.conv_general_dilated(x, kernel[::-1, ::-1], (1, 1), "SAME", dimension_numbers=dimensions)
        return y + self.param("bias", fnn.initializers.zeros, (8,))


class FlaxNet(fnn.Module):
    fault: str = ""

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def gelu(x: jax.Array, at: str) -> jax.Array:
            return fnn.gelu(x, approximate=self.fault == f"gelu_form {at}")

        first = gelu(fnn.Conv(4, (3, 3), padding=1, name="down1")(x), "first")
        x = gelu(fnn.Conv(8, (3, 3), strides=2, padding=1, name="down2")(first), "second")
        is_flipped = self.fault == "flipped_kernel"
        middle = TrueConvolution(name="middle") if is_flipped else fnn.Conv(8, (3, 3), padding=1, name="middle")
        x = gelu(middle(x), "middle")
        up = fnn.ConvTranspose(4, (2, 2), strides=(2, 2), padding="VALID", name="up")
        x = gelu(up(x), "up")
        both = [x, first] if self.fault == "concatenation" else [first, x]
        return fnn.Conv(1, (1, 1), name="out")(jnp.concatenate(both, -1))


def reference() -> Any:
    def loss(outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(outputs, target.movedim(-1, 1))

    return bntorch.port(TorchNet(), loss=loss)


def candidate(fault: str = "") -> Any:
    return bnjax.port(FlaxNet(fault), loss=square)
