"""Layers alone, in Flax: convolution, and batch norm over the channels of images. Images are NHWC, kernels HWIO."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bnjax.norm import BatchNorm
from bnjax.weights import weights_dtype
from parity.backend import Convolved
from parity.spec import DType, RunningVariance
from parity.weights import Array


class ChannelNorm(nn.Module):
    """`BatchNorm` over the channels of images: the batch is every pixel of every image.

    Args:
        eps: inside the square root.
        decay: share of the old statistic that is kept.
        running_variance: which variance enters the running one; unbiased means over `n * height * width - 1`.
        param_dtype: of parameters and statistics.
    """

    eps: float = 1e-5
    decay: float = 0.9
    running_variance: RunningVariance = RunningVariance.UNBIASED
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Normalize `images`, shape (n, height, width, channels)."""
        norm = BatchNorm(self.eps, self.decay, self.running_variance, self.param_dtype, name="norm")
        return norm(images.reshape(-1, images.shape[-1]), train).reshape(images.shape)


def convolve(
    images: jax.Array, kernel: jax.Array, bias: jax.Array, stride: int = 1, padding: int = 0, dilation: int = 1
) -> jax.Array:
    """`flax.linen.Conv` with given weights.

    Args:
        images: shape (n, height, width, in_channels).
        kernel: shape (height, width, in_channels, out_channels).
        bias: shape (out_channels,).
        stride: pixels between two outputs.
        padding: zeros on each side.
        dilation: pixels between two of the kernel's weights.

    Returns:
        Shape (n, out_height, out_width, out_channels).
    """
    layer = nn.Conv(kernel.shape[-1], kernel.shape[:2], stride, padding, kernel_dilation=dilation)
    return layer.apply({"params": {"kernel": kernel, "bias": bias}}, images)  # pyright: ignore[reportReturnType]


class NormLayer:
    """A `parity.backend.NormLayer`.

    Args:
        num_features: or channels.
        eps: inside the square root.
        decay: share of the old statistic that is kept.
        images: whether it normalizes images.
        dtype: of all that it computes.
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, decay: float = 0.9, images: bool = False, dtype: DType = "float64"
    ) -> None:
        self._dtype = weights_dtype(dtype)
        layer = ChannelNorm if images else BatchNorm
        with self._settings():
            self._layer = layer(eps, decay, param_dtype=jnp.dtype(self._dtype))
            shape = (1, 1, 1, num_features) if images else (1, num_features)
            self._variables: Any = self._layer.init(jax.random.key(0), jnp.zeros(shape, self._dtype))
            self._train = jax.jit(lambda v, x: self._layer.apply(v, x, train=True, mutable=["batch_stats"]))
            self._evaluate = jax.jit(self._layer.apply)

    def _settings(self) -> Any:
        return jax.enable_x64(self._dtype == "float64")

    def train(self, x: Array) -> Array:
        """Normalize by the batch's statistics, and update the running ones."""
        with self._settings():
            y, changed = self._train(self._variables, np.array(x, self._dtype))
            self._variables = {**self._variables, **changed}
            return np.array(y)

    def evaluate(self, x: Array) -> Array:
        """Normalize by the running statistics."""
        with self._settings():
            return np.array(self._evaluate(self._variables, np.array(x, self._dtype)))

    def statistics(self) -> tuple[Array, Array]:
        """Running mean and running variance."""
        stats = self._variables["batch_stats"]
        stats = stats.get("norm", stats)
        return np.array(stats["mean"]), np.array(stats["var"])


def convolve_arrays(
    images: Array, kernel: Array, bias: Array, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Convolved:
    """`convolve` of NumPy arrays, as `parity.backend.Tools` has it; in float64 where `images` are."""
    with jax.enable_x64(images.dtype == np.float64):
        own = [jnp.asarray(np.array(array)) for array in (images, kernel, bias)]
        output = np.array(convolve(*own, stride=stride, padding=padding, dilation=dilation))
    return Convolved(output, output.shape, kernel.shape)
