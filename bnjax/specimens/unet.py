"""A U-Net: transposed convolutions, and concatenation along the channels."""

from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp

import bnjax

from .losses import square


class OtherKernel(fnn.Module):
    """A convolution whose kernel is flipped, as mathematics has it, or has its width before its height."""

    is_flipped: bool

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", fnn.initializers.lecun_normal(), (3, 3, 8, 8))
        dimensions = jax.lax.conv_dimension_numbers(x.shape, kernel.shape, ("NHWC", "HWIO", "NHWC"))
        used = kernel[::-1, ::-1] if self.is_flipped else kernel.swapaxes(0, 1)
        y = jax.lax.conv_general_dilated(x, used, (1, 1), "SAME", dimension_numbers=dimensions)
        return y + self.param("bias", fnn.initializers.zeros, (8,))


class FlaxNet(fnn.Module):
    fault: str = ""

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def gelu(x: jax.Array, at: str) -> jax.Array:
            return fnn.gelu(x, approximate=self.fault == f"gelu_form {at}")

        first = gelu(fnn.Conv(4, (3, 3), padding=1, name="down1")(x), "first")
        x = gelu(fnn.Conv(8, (3, 3), strides=2, padding=1, name="down2")(first), "second")
        if self.fault in ("flipped_kernel", "kernel_axes"):
            middle: fnn.Module = OtherKernel(self.fault == "flipped_kernel", name="middle")
        else:
            middle = fnn.Conv(8, (3, 3), padding=1, name="middle")
        x = gelu(middle(x), "middle")
        padding = "SAME" if self.fault == "transpose_padding" else ((1, 2), (1, 2))
        up = fnn.ConvTranspose(4, (3, 3), strides=(2, 2), padding=padding, name="up")
        x = gelu(up(x), "up")
        both = [x, first] if self.fault == "concatenation" else [first, x]
        return fnn.Conv(1, (1, 1), name="out")(jnp.concatenate(both, -1))


def port(fault: str = "") -> Any:
    return bnjax.port(FlaxNet(fault), loss=square)
