"""Derivatives of a loss up to Hessian-vector products, in PyTorch."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bntorch.model import MultiLayerPerceptron
from bntorch.module_state import call_with_state
from bntorch.parts import HONEST
from bntorch.weights import native_names, to_numpy
from parity.spec import ModelSpec
from parity.weights import Array, is_statistic, weight_shapes


def hessian_vector_product(loss: Callable[[Tensor], Tensor], point: Tensor, vector: Tensor) -> Tensor:
    """`H v`, for the Hessian `H` of `loss` at `point`: the derivative of the gradient along `v`.

    Reverse mode over reverse mode, the gradient of `gradient @ v`, so it costs a few gradients, and `H` is never made
    (Pearlmutter, "Fast Exact Multiplication by the Hessian", 1994).
    """
    point = point.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(loss(point), point, create_graph=True)
    return torch.autograd.grad(gradient, point, vector)[0]


class Objective:
    """A `parity.backend.Objective`, in float64.

    Args:
        loss: of a vector of parameters, shape (parameters,), and the data, to a scalar.
        data: tensors.
    """

    def __init__(self, loss: Callable[..., Tensor], *data: Any) -> None:
        self._loss = lambda point: loss(point, *data)

    def value(self, point: Array) -> float:
        """The loss."""
        with torch.no_grad():
            return float(self._loss(_float64(point)))

    def gradient(self, point: Array) -> Array:
        """Its gradient."""
        own = _float64(point).requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(self._loss(own), own)
        return np.array(to_numpy(gradient))

    def hessian_vector_product(self, point: Array, vector: Array) -> Array:
        """Its Hessian at a point times a vector."""
        return np.array(to_numpy(hessian_vector_product(self._loss, _float64(point), _float64(vector))))


def _float64(array: Array) -> Tensor:
    return torch.tensor(np.asarray(array), dtype=torch.float64)


def network_objective(
    spec: ModelSpec, weights: Mapping[str, Array], inputs: Array, labels: NDArray[np.integer]
) -> Objective:
    """The mean cross entropy of a network in training mode, as a function of all its trained tensors.

    Args:
        spec: the network.
        weights: its running statistics are kept; the trained tensors are the objective's argument, in the order of
            `weight_shapes`.
        inputs: shape (batch, input_dim).
        labels: shape (batch,).
    """
    names, shapes = native_names(spec), weight_shapes(spec)
    trained = [name for name in shapes if not is_statistic(name)]
    sizes = [int(np.prod(shapes[name])) for name in trained]
    statistics = {names[name]: _float64(weights[name]) for name in shapes if is_statistic(name)}
    net = MultiLayerPerceptron.from_spec(spec, "float64")

    def loss(point: Tensor, x: Tensor, y: Tensor) -> Tensor:
        state = {key: tensor.clone() for key, tensor in statistics.items()}  # which training mode updates
        for name, piece in zip(trained, point.split(sizes), strict=True):
            tensor = piece.reshape(shapes[name])
            state[names[name]] = tensor.T if name.endswith("kernel") else tensor
        return HONEST.objective(call_with_state(HONEST.apply, net, state, x, True).logits, y)

    return Objective(loss, _float64(inputs), torch.tensor(np.asarray(labels), dtype=torch.int64))


def regression_objective(inputs: Array, targets: Array) -> Objective:
    """`sum((inputs @ w - targets)**2) / (2 n)`, as a function of `w`.

    Args:
        inputs: shape (n, d).
        targets: shape (n,).
    """
    x, y = _float64(inputs), _float64(targets)
    return Objective(lambda w, x, y: torch.square(x @ w - y).sum() / (2 * len(y)), x, y)
