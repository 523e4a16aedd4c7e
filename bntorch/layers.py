"""Layers alone, in PyTorch: convolution, and batch norm over the channels of images. Images are NCHW, kernels OIHW."""

import numpy as np
import torch
from torch import Tensor, nn

from bntorch.norm import BatchNorm
from bntorch.parts import mode
from bntorch.weights import to_numpy, weights_dtype
from parity.backend import Convolved
from parity.spec import DType, RunningVariance
from parity.weights import Array


class ChannelNorm(nn.Module):
    """`BatchNorm` over the channels of images: the batch is every pixel of every image.

    Args:
        num_features: channels.
        eps: inside the square root.
        decay: share of the old statistic that is kept.
        running_variance: which variance enters the running one; unbiased means over `n * height * width - 1`.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        decay: float = 0.9,
        running_variance: RunningVariance = RunningVariance.UNBIASED,
    ) -> None:
        super().__init__()
        self.norm = BatchNorm(num_features, eps, decay, running_variance)

    def forward(self, images: Tensor) -> Tensor:
        """Normalize `images`, shape (n, channels, height, width)."""
        rows = images.movedim(1, -1)
        return self.norm(rows.reshape(-1, rows.shape[-1])).reshape(rows.shape).movedim(-1, 1)


def convolve(
    images: Tensor, kernel: Tensor, bias: Tensor, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Tensor:
    """`torch.nn.Conv2d` with given weights.

    Args:
        images: shape (n, in_channels, height, width).
        kernel: shape (out_channels, in_channels, height, width).
        bias: shape (out_channels,).
        stride: pixels between two outputs.
        padding: zeros on each side.
        dilation: pixels between two of the kernel's weights.

    Returns:
        Shape (n, out_channels, out_height, out_width).
    """
    out_channels, in_channels, *size = kernel.shape
    layer = nn.utils.skip_init(nn.Conv2d, in_channels, out_channels, tuple(size), stride, padding, dilation)
    layer.weight, layer.bias = nn.Parameter(kernel, False), nn.Parameter(bias, False)
    return layer(images)


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
        self._dtype, self._images = getattr(torch, weights_dtype(dtype)), images
        layer = ChannelNorm if images else BatchNorm
        self._layer = layer(num_features, eps, decay).to(self._dtype)

    @torch.no_grad()
    def _run(self, x: Array, train: bool) -> Array:
        own = torch.tensor(np.asarray(x), dtype=self._dtype)
        with mode(self._layer, train):
            y = self._layer(own.movedim(-1, 1)).movedim(1, -1) if self._images else self._layer(own)
        return np.array(to_numpy(y))

    def train(self, x: Array) -> Array:
        """Normalize by the batch's statistics, and update the running ones."""
        return self._run(x, True)

    def evaluate(self, x: Array) -> Array:
        """Normalize by the running statistics."""
        return self._run(x, False)

    def statistics(self) -> tuple[Array, Array]:
        """Running mean and running variance."""
        mean, var = self._layer.buffers()
        return np.array(to_numpy(mean)), np.array(to_numpy(var))


@torch.no_grad()
def convolve_arrays(
    images: Array, kernel: Array, bias: Array, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Convolved:
    """`convolve` of NumPy arrays, as `parity.backend.Tools` has it; in float64 where `images` are."""
    own = torch.tensor(images).movedim(-1, 1), torch.tensor(kernel).permute(3, 2, 0, 1), torch.tensor(bias)
    output = convolve(*own, stride=stride, padding=padding, dilation=dilation)
    shown = np.array(to_numpy(output.movedim(1, -1)))
    return Convolved(shown, tuple(output.shape), tuple(own[1].shape))
