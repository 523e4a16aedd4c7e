"""PyTorch behind `parity.backend`: NumPy goes in, NumPy comes out, and nothing is shared."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bntorch import lesson, modes
from bntorch.curvature import network_objective, regression_objective
from bntorch.device import accelerator, count_lanes, find_device, free_bytes, own_process, pad_lanes
from bntorch.faults import FAULTS
from bntorch.layers import NormLayer, convolve_arrays
from bntorch.learner import Learner
from bntorch.parts import HONEST, Parts
from bntorch.population import Population
from bntorch.settings import check_precision
from bntorch.variants import VARIANTS
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
        parts: the formulas of networks and their training.
        learner_type: makes learners; its parameters are those of `Learner`.
        population_type: makes populations; its parameters are those of `Population`.

    Raises:
        InputError: there is no such device or precision.
    """

    device: str = ""
    precision: Precision = "highest"
    parts: Parts = HONEST
    learner_type: type[Learner] = Learner
    population_type: Any = Population

    name = "torch"
    title = "PyTorch"
    dtypes = ("float32", "float64", "bfloat16")

    def __post_init__(self) -> None:
        check_precision(self.precision)
        if self.device:
            find_device(self.device)

    @property
    def lanes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How many lanes of a population train side by side in about the time of one."""
        return count_lanes(self.device)

    @property
    def accelerator(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The name of the GPU or TPU, where lanes influence each other's last digits; "" on a CPU."""
        return accelerator(self.device)

    def pad_lanes(self, lanes: int, most: int) -> int:
        """Round `lanes` up to a number that is already compiled; see `bntorch.device.pad_lanes`."""
        return pad_lanes(find_device(self.device), lanes, most)

    def free_bytes(self) -> int | None:
        """Return the free memory of the device; None for the host's memory."""
        return free_bytes(self.device)

    def own_process(self, cache: str = "") -> None:
        """Set up a process that belongs to the program, before the framework starts in it."""
        own_process(cache)

    def versions(self) -> dict[str, str]:
        """Return the versions of the packages that decide the numbers."""
        return {package: version(package) for package in ("torch",)}

    def inputs(self, dataset: Dataset, spec: ModelSpec, training: TrainSpec) -> Inputs:
        """Return what the backend trains on."""
        return self.parts.inputs(self, dataset, spec, training)

    def with_fault(self, name: str, **values: float) -> Self:
        """Return this backend with one part replaced by the faulty one of that name.

        Args:
            name: of the fault.
            values: its parameters, where they differ from its own.

        Raises:
            InputError: no fault has that name.
        """
        return replace(self, parts=replace_part(self.parts, FAULTS, name, **values))

    def variants(self) -> Mapping[str, Callable[[Any], Backend]]:
        """Return, by name, functions that make honest variants of this backend."""
        return VARIANTS

    def modes(self) -> Modes:
        """Return the modes of training to time, and what a benchmark needs beside them."""
        product, copy = partial(modes.product, self.device, self.precision), partial(modes.copy, self.device)
        # TorchDynamo compiles a function for a limited number of networks, and runs it eagerly for later ones.
        forget = torch.compiler.reset
        named, environment = modes.offered(self.device), modes.environment(self.device)
        return Modes(named, modes.PRODUCTS, product, copy, modes.profile, environment, forget)

    def tools(self) -> Tools:
        """Return layers alone, derivatives of a loss, and code to read."""
        return Tools(NormLayer, convolve_arrays, network_objective, regression_objective, lesson)

    def learner(self, spec: ModelSpec, weights: Mapping[str, Array], dtype: DType) -> Learner:
        """Return a network at the given weights."""
        return self.learner_type(spec, weights, dtype, self.parts, self.device, self.precision)

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
        """Return a population with a member for each learning rate, in lanes with minibatches of their own."""
        settings = lanes, self.parts, self.device, self.precision
        return self.population_type(spec, weights, learning_rates, inputs, labels, dtype, *settings)

    def specimen(self, kind: str, fault: str = "", seed: int = 0) -> Any:
        """See `Backend.specimen`."""
        from bntorch.specimens import specimen

        return specimen(kind, fault, seed)

    def to_native(
        self, weights: Mapping[str, Array], spec: ModelSpec, dtype: DType, names: Mapping[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """Return a `state_dict`."""
        native = to_native(weights, spec, dtype, names)
        return {key: tensor.to(find_device(self.device)) for key, tensor in native.items()}

    def from_native(self, native: Any, spec: ModelSpec, names: Mapping[str, Any] | None = None) -> Weights:
        """Return the neutral dictionary of a `state_dict`."""
        return from_native(native, spec, names)
