"""What the lab asks of a framework beside the network itself: layers alone, and derivatives of a loss."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from parity.backend.lesson import Lesson
from parity.weights import Array


class NormLayer(Protocol):
    """Batch norm alone: of vectors (batch, features) or of images (n, height, width, channels).

    Over images every channel is normalized by the mean and variance of all its pixels in the batch.
    """

    def train(self, x: Array) -> Array:
        """Normalize by the batch's statistics, and update the running ones."""
        ...

    def evaluate(self, x: Array) -> Array:
        """Normalize by the running statistics, which stay as they are."""
        ...

    def statistics(self) -> tuple[Array, Array]:
        """Running mean and running variance, shape (features,)."""
        ...


@dataclass(frozen=True)
class Convolved:
    """What a convolution gave.

    Args:
        output: shape (n, height, width, channels), whatever the framework's own order is.
        own_output_shape: in the framework's order.
        own_kernel_shape: the same.
    """

    output: Array
    own_output_shape: tuple[int, ...]
    own_kernel_shape: tuple[int, ...]


class Objective(Protocol):
    """A loss as a function of a vector: all parameters in one, float64."""

    def value(self, point: Array) -> float:
        """The loss."""
        ...

    def gradient(self, point: Array) -> Array:
        """Its gradient, shape (parameters,)."""
        ...

    def hessian_vector_product(self, point: Array, vector: Array) -> Array:
        """Its Hessian at a point times a vector, shape (parameters,)."""
        ...


@dataclass(frozen=True)
class Tools:
    """The tools of a framework: NumPy goes in and NumPy comes out.

    Args:
        norm_layer: `(num_features, eps, decay, images, dtype)` makes a `NormLayer`.
        convolve: `(images, kernel, bias, stride, padding, dilation)`, of shapes (n, height, width, in), (height, width,
            in, out) and (out,), by the framework's own layer.
        network_objective: `(spec, weights, inputs, labels)` is the mean cross entropy of a network in training mode, of
            its trained tensors in the order of `weight_shapes`, every one in C order.
        regression_objective: `(inputs, targets)` is the mean over the n samples of half the squared error, `sum((inputs
            @ w - targets)**2) / (2 n)`, as a function of `w`.
        lesson: the lab's code as a student types it.
    """

    norm_layer: Callable[..., NormLayer]
    convolve: Callable[..., Convolved]
    network_objective: Callable[..., Objective]
    regression_objective: Callable[..., Objective]
    lesson: Lesson
