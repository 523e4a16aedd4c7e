"""PyTorch behind `parity.backend`: NumPy goes in, NumPy comes out, and nothing is shared."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bntorch.curvature import network_objective, regression_objective
from bntorch.device import accelerator, check_precision, count_lanes, find_device, free_bytes, own_process, pad_lanes
from bntorch.faults import FAULTS
from bntorch.layers import NormLayer, convolve_arrays
from bntorch.learner import Learner
from bntorch.parts import HONEST, Parts
from bntorch.population import Population
from bntorch.weights import from_native, to_native
from parity.backend import Backend, Inputs, Modes, Tools
from parity.data import Dataset
from parity.faults import replace_part
from parity.spec import DType, ModelSpec, Precision, TrainSpec
from parity.weights import Array, Weights


@dataclass(frozen=True)
class TorchBackend(Backend):
    """A `parity.backend.Backend`.

    Args:
        device: "cpu" or "gpu"; "" for PyTorch's default.
        precision: of float32 matrix products, where the device offers it.
        parts: what networks and their training are made of.

    Raises:
        InputError: there is no such device or precision.
    """

    device: str = ""
    precision: Precision = "highest"
    parts: Parts = HONEST

    name = "torch"
    dtypes = ("float32", "float64", "bfloat16")
    _learner: ClassVar[type[Learner]] = Learner
    _population: ClassVar[type[Population]] = Population

    def __post_init__(self) -> None:
        check_precision(self.precision)
        if self.device:
            find_device(self.device)

    @property
    def lanes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How many lanes of a population it trains side by side in about the time of one."""
        return count_lanes(self.device)

    @property
    def accelerator(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The GPU or TPU on which it computes, where lanes decide each other's last digits; "" for a CPU."""
        return accelerator(self.device)

    def pad_lanes(self, lanes: int, most: int) -> int:
        """How many lanes a population of `lanes` had better have; see `bntorch.device.pad_lanes`."""
        return pad_lanes(find_device(self.device), lanes, most)

    def free_bytes(self) -> int | None:
        """Memory that is free where it computes; None for the host's."""
        return free_bytes(self.device)

    def own_process(self) -> None:
        """Set up this process, which is the program's own, before the framework starts in it."""
        own_process()

    def versions(self) -> dict[str, str]:
        """Versions of the packages that decide the numbers."""
        return {package: version(package) for package in ("torch",)}

    def inputs(self, dataset: Dataset, spec: ModelSpec, training: TrainSpec) -> Inputs:
        """What it trains on."""
        return self.parts.inputs(self, dataset, spec, training)

    def with_fault(self, name: str, **values: float) -> Self:
        """This backend with one part replaced by a faulty one.

        Args:
            name: of the fault.
            values: its parameters, where they are to differ from its own.

        Raises:
            InputError: no fault has that name.
        """
        return replace(self, parts=replace_part(self.parts, FAULTS, name, **values))

    def variants(self) -> Mapping[str, Callable[[Any], Backend]]:
        """What makes honest variants of it, by name."""
        from bntorch.variants import VARIANTS  # they are made of this class

        return VARIANTS

    def modes(self) -> Modes:
        """The ways to train that are worth timing, and what a benchmark needs beside them."""
        from bntorch import modes  # they are made of this class

        product, copy = partial(modes.product, self), partial(modes.copy, self)
        # TorchDynamo compiles a function for so many networks only, and runs it eagerly for all that come after them.
        forget = torch.compiler.reset
        return Modes(modes.MODES, modes.PRODUCTS, product, copy, modes.profile, modes.environment(self), forget)

    def tools(self) -> Tools:
        """Layers alone, and derivatives of a loss."""
        return Tools(NormLayer, convolve_arrays, network_objective, regression_objective)

    def learner(self, spec: ModelSpec, weights: Mapping[str, Array], dtype: DType) -> Learner:
        """A network at the given weights."""
        return self._learner(spec, weights, dtype, self.parts, self.device, self.precision)

    def population(
        self,
        spec: ModelSpec,
        weights: Mapping[str, Array] | Sequence[Mapping[str, Array]],
        learning_rates: Sequence[float],
        inputs: Array,
        labels: NDArray[np.integer],
        dtype: DType,
        lanes: int = 1,
    ) -> Population:
        """A member for each learning rate, in lanes that each have minibatches of their own."""
        settings = lanes, self.parts, self.device, self.precision
        return self._population(spec, weights, learning_rates, inputs, labels, dtype, *settings)

    def to_native(
        self, weights: Mapping[str, Array], spec: ModelSpec, dtype: DType, names: Mapping[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """A `state_dict`."""
        native = to_native(weights, spec, dtype, names)
        return {key: tensor.to(find_device(self.device)) for key, tensor in native.items()}

    def from_native(self, native: Any, spec: ModelSpec, names: Mapping[str, Any] | None = None) -> Weights:
        """The neutral dictionary of a `state_dict`."""
        return from_native(native, spec, names)
