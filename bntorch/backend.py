"""PyTorch behind `parity.backend`: NumPy goes in, NumPy comes out, and nothing is shared."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bntorch.model import MultiLayerPerceptron
from bntorch.population import Population
from bntorch.train import evaluate, sgd_step
from bntorch.weights import from_native, gradients_from_native, to_native, to_numpy
from parity.backend import Step
from parity.spec import DType, ModelSpec
from parity.weights import Array, Weights


class Learner:
    """A `parity.backend.Learner`: one network, stepped from outside."""

    def __init__(self, spec: ModelSpec, weights: Mapping[str, Array], dtype: DType = "float32") -> None:
        self._spec, self._dtype = spec, getattr(torch, dtype)
        self._net = MultiLayerPerceptron.from_spec(spec, dtype)
        self._net.load_state_dict(to_native(weights, spec, dtype))

    def train_step(self, inputs: Array, labels: NDArray[np.integer], learning_rate: float) -> Step:
        """One SGD update in train mode."""
        x, y = _copy(inputs, self._dtype), _copy(labels, torch.int64)
        self._net, output = sgd_step(self._net, x, y, float(learning_rate))
        gradients = gradients_from_native(output.gradients, self._spec)
        return Step(loss=float(output.loss), logits=to_numpy(output.logits), gradients=gradients)

    @torch.no_grad()
    def evaluate(self, inputs: Array) -> Array:
        """Logits in evaluation mode."""
        return to_numpy(evaluate(self._net, _copy(inputs, self._dtype)))

    def weights(self) -> Weights:
        """A copy of the state."""
        return from_native(self._net.state_dict(), self._spec)


def _copy(array: Any, dtype: torch.dtype) -> Tensor:
    return torch.tensor(np.asarray(array), dtype=dtype)


class TorchBackend:
    """A `parity.backend.Backend`."""

    name = "torch"
    dtypes: Sequence[DType] = ("float32", "float64")

    def versions(self) -> dict[str, str]:
        """Versions of the packages that decide the numbers."""
        return {package: version(package) for package in ("torch",)}

    def learner(self, spec: ModelSpec, weights: Mapping[str, Array], dtype: DType) -> Learner:
        """A network at the given weights."""
        return Learner(spec, weights, dtype)

    def population(
        self,
        spec: ModelSpec,
        weights: Mapping[str, Array],
        learning_rates: Sequence[float],
        inputs: Array,
        labels: NDArray[np.integer],
        dtype: DType,
    ) -> Population:
        """A member for each learning rate."""
        return Population(spec, weights, learning_rates, inputs, labels, dtype)

    def to_native(
        self, weights: Mapping[str, Array], spec: ModelSpec, dtype: DType, names: Mapping[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """A `state_dict`."""
        return to_native(weights, spec, dtype, names)

    def from_native(self, native: Any, spec: ModelSpec, names: Mapping[str, Any] | None = None) -> Weights:
        """The neutral dictionary of a `state_dict`."""
        return from_native(native, spec, names)
