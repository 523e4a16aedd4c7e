"""The faults that need no framework: wrong conventions, inputs and weight imports.

A backend is assembled from named parts, and a fault replaces exactly one of them. The parts here work on specs and
NumPy arrays, and every backend has them; the others are each framework's own (`faults.py` beside its `parts.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from parity.backend import Backend, Inputs
from parity.data import Dataset, IndexStream, MaskStream, mask_arguments, standardize
from parity.data.standardize import STD_OFFSET
from parity.errors import InputError
from parity.inputs import prepare_inputs
from parity.spec import BlockOrder, ModelSpec, RunningVariance, TrainSpec
from parity.weights import Weights

Fault = tuple[str, Any]  # the part that it replaces, and what stands there instead


@dataclass(frozen=True)
class WeightImport:
    """How weights enter a network and leave it; gradients leave as weights do.

    Args:
        load: from what is given to what the network holds.
        save: and back.
    """

    load: Callable[[Mapping[str, Any]], Weights] = dict
    save: Callable[[Mapping[str, Any]], Weights] = dict


AS_GIVEN = WeightImport()


def read_conventions(spec: ModelSpec) -> ModelSpec:
    """The conventions that a network is built by: those of the spec."""
    return spec


def read_otherwise(spec: ModelSpec, **fields: Any) -> ModelSpec:
    """The spec, with some conventions that are not its own."""
    return replace(spec, **fields)


def swap_momentum(spec: ModelSpec) -> ModelSpec:
    """The decay taken for its complement."""
    return replace(spec, decay=1 - spec.decay)


def swap_block_order(spec: ModelSpec) -> ModelSpec:
    """The paper's order for the lab's, or the reverse."""
    first, other = BlockOrder
    return replace(spec, block_order=other if spec.block_order is first else first)


def cumulative_decay(decay: float, update: int) -> float:
    """The decay by which the running statistics are the plain average of updates 1 to `update`: `1 - 1 / update`."""
    del decay
    return 1 - 1 / update


def debiased_decay(decay: float, update: int) -> float:
    """The decay of a zero-debiased moving average at an update, counted from 1.

    With raw averages that start at 0, `raw = decay * raw + (1 - decay) * batch`, the statistic is `raw / (1 -
    decay**update)`: the same as a moving average of decay `decay * (1 - decay**(update-1)) / (1 - decay**update)`.
    """
    return decay * (1 - decay ** (update - 1)) / (1 - decay**update)


def swap_mean_and_variance(weights: Mapping[str, Any]) -> Weights:
    """Each running mean and running variance in the other's place."""
    other = {"running_mean": "running_var", "running_var": "running_mean"}

    def source(name: str) -> str:
        layer, _, leaf = name.rpartition(".")
        return f"{layer}.{other.get(leaf, leaf)}"

    return {name: weights[source(name)] for name in weights}


def transpose_square_kernels(weights: Mapping[str, Any]) -> Weights:
    """Every hidden kernel that is square, transposed: no shape gives it away."""

    def is_square(name: str, array: Any) -> bool:
        return name.startswith("hidden.") and name.endswith(".kernel") and array.shape[-1] == array.shape[-2]

    return {
        name: np.ascontiguousarray(np.swapaxes(array, -1, -2)) if is_square(name, array) else array
        for name, array in weights.items()
    }


def _biased_pixel_std(backend: Backend, dataset: Dataset, spec: ModelSpec, training: TrainSpec) -> Inputs:
    """Standardized by a std with ddof 0."""
    inputs, data = prepare_inputs(backend, dataset, spec, training), standardize(dataset)
    n = len(data.train_inputs)
    biased = data.std * np.sqrt((n - 1) / n)
    factor = (data.std + STD_OFFSET) / (biased + STD_OFFSET)
    scaled = {name: (getattr(inputs, name) * factor).astype(np.float32) for name in ("train_inputs", "test_inputs")}
    return replace(inputs, **scaled)


def _test_statistics_leak(backend: Backend, dataset: Dataset, spec: ModelSpec, training: TrainSpec) -> Inputs:
    """The test set standardized by its own mean and std."""
    inputs = prepare_inputs(backend, dataset, spec, training)
    images = dataset.test_images.astype(np.float64)
    std = images.std(axis=0, ddof=1)
    own = np.where(std == 0, 0, (images - images.mean(axis=0)) / (std + STD_OFFSET))
    return replace(inputs, test_inputs=own.astype(np.float32))


def _shifted_batches(backend: Backend, dataset: Dataset, spec: ModelSpec, training: TrainSpec) -> Inputs:
    """The index stream is one minibatch ahead."""
    inputs = prepare_inputs(backend, dataset, spec, training)
    stream = IndexStream(len(inputs.train_labels), training.batch_size, training.seed)
    both = np.concatenate([stream.next_pass(), stream.next_pass()])
    return replace(inputs, batches=both[1 : 1 + len(inputs.batches)])


def _misaligned_labels(backend: Backend, dataset: Dataset, spec: ModelSpec, training: TrainSpec) -> Inputs:
    """The labels of the first images, whichever images were drawn."""
    inputs = prepare_inputs(backend, dataset, spec, training)
    return replace(inputs, train_labels=dataset.train_labels[: len(inputs.train_labels)].copy())


def _zero_initial_scale(backend: Backend, dataset: Dataset, spec: ModelSpec, training: TrainSpec) -> Inputs:
    """Every gamma starts at 0."""
    inputs = prepare_inputs(backend, dataset, spec, training)
    zeroed = {name: 0 * array if name.endswith(".gamma") else array for name, array in inputs.weights.items()}
    return replace(inputs, weights=zeroed)


def _polluted_initial_statistics(backend: Backend, dataset: Dataset, spec: ModelSpec, training: TrainSpec) -> Inputs:
    """A batch that was only to make the shapes known has updated the running statistics."""
    inputs = prepare_inputs(backend, dataset, spec, training)
    learner = backend.learner(spec, inputs.weights, "float64" if "float64" in backend.dtypes else backend.dtypes[0])
    batch = inputs.batches[0]
    masks = MaskStream(spec, training.batch_size, training.seed).next_updates(1)[0] if spec.dropout_rate else None
    learner.train_step(inputs.train_inputs[batch], inputs.train_labels[batch], 0.0, **mask_arguments(masks))
    return replace(inputs, weights={name: array.astype(np.float32) for name, array in learner.weights().items()})


NEUTRAL_FAULTS: dict[str, Fault] = {
    "biased_running_variance": ("conventions", partial(read_otherwise, running_variance=RunningVariance.BIASED)),
    "unbiased_running_variance": ("conventions", partial(read_otherwise, running_variance=RunningVariance.UNBIASED)),
    "swapped_momentum": ("conventions", swap_momentum),
    "default_momentum": ("conventions", partial(read_otherwise, decay=0.99)),
    "last_batch_statistics": ("conventions", partial(read_otherwise, decay=0.0)),
    "wrong_decay": ("conventions", partial(read_otherwise, decay=0.95)),
    "wrong_epsilon": ("conventions", partial(read_otherwise, eps=1e-3)),
    "norm_before_activation": ("conventions", swap_block_order),
    "swapped_mean_variance": ("weight_import", WeightImport(load=swap_mean_and_variance)),
    "transposed_kernel": ("weight_import", WeightImport(transpose_square_kernels, transpose_square_kernels)),
    "biased_pixel_std": ("inputs", _biased_pixel_std),
    "test_statistics_leak": ("inputs", _test_statistics_leak),
    "shifted_batches": ("inputs", _shifted_batches),
    "misaligned_labels": ("inputs", _misaligned_labels),
    "zero_initial_scale": ("inputs", _zero_initial_scale),
    "polluted_initial_statistics": ("inputs", _polluted_initial_statistics),
}


def replace_part(parts: Any, faults: Mapping[str, Fault], name: str, **values: float) -> Any:
    """`parts` with the one that a fault replaces.

    Args:
        parts: a frozen dataclass of parts.
        faults: the framework's own, by name; the neutral ones are added.
        name: of the fault.
        values: its parameters (a decay, an epsilon), where they are to differ from its own.

    Raises:
        InputError: no fault has that name.
    """
    known = NEUTRAL_FAULTS | dict(faults)
    if name not in known:
        raise InputError(f"no fault is named {name!r}; choose one of {', '.join(sorted(known))}")
    part, faulty = known[name]
    if part == "parts":  # more than one
        return faulty(parts, **values)
    faulty = partial(faulty, **values) if values else faulty
    if part == "conventions" and parts.conventions is not read_conventions:
        faulty = partial(_read_twice, parts.conventions, faulty)
    return replace(parts, **{part: faulty})


def _read_twice(
    first: Callable[[ModelSpec], ModelSpec], second: Callable[[ModelSpec], ModelSpec], spec: ModelSpec
) -> ModelSpec:
    return second(first(spec))
