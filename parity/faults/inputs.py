"""Wrong data, batches and initial weights."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from parity.backend import Backend, Inputs
from parity.data import Dataset, IndexStream, MaskStream, mask_arguments, standardize
from parity.data.standardize import STD_OFFSET
from parity.spec import ModelSpec, TrainSpec

Honest = Callable[[Backend, Dataset, ModelSpec, TrainSpec], Inputs]


def biased_pixel_std(
    honest: Honest, backend: Backend, dataset: Dataset, spec: ModelSpec, training: TrainSpec
) -> Inputs:
    """Standardize by a std with ddof 0."""
    inputs, data = honest(backend, dataset, spec, training), standardize(dataset)
    n = len(data.train_inputs)
    biased = data.std * np.sqrt((n - 1) / n)
    factor = (data.std + STD_OFFSET) / (biased + STD_OFFSET)
    scaled = {name: (getattr(inputs, name) * factor).astype(np.float32) for name in ("train_inputs", "test_inputs")}
    return replace(inputs, **scaled)


def test_statistics_leak(
    honest: Honest, backend: Backend, dataset: Dataset, spec: ModelSpec, training: TrainSpec
) -> Inputs:
    """Standardize the test set by its own mean and std."""
    inputs = honest(backend, dataset, spec, training)
    images = dataset.test_images.astype(np.float64)
    std = images.std(axis=0, ddof=1)
    own = np.where(std == 0, 0, (images - images.mean(axis=0)) / (std + STD_OFFSET))
    return replace(inputs, test_inputs=own.astype(np.float32))


def shifted_batches(honest: Honest, backend: Backend, dataset: Dataset, spec: ModelSpec, training: TrainSpec) -> Inputs:
    """Start the index stream one minibatch late."""
    inputs = honest(backend, dataset, spec, training)
    stream = IndexStream(len(inputs.train_labels), training.batch_size, training.seed)
    both = np.concatenate([stream.next_pass(), stream.next_pass()])
    return replace(inputs, batches=both[1 : 1 + len(inputs.batches)])


def misaligned_labels(
    honest: Honest, backend: Backend, dataset: Dataset, spec: ModelSpec, training: TrainSpec
) -> Inputs:
    """Take the labels of the first images, whichever images were drawn."""
    inputs = honest(backend, dataset, spec, training)
    return replace(inputs, train_labels=dataset.train_labels[: len(inputs.train_labels)].copy())


def zero_initial_scale(
    honest: Honest, backend: Backend, dataset: Dataset, spec: ModelSpec, training: TrainSpec
) -> Inputs:
    """Start every gamma at 0."""
    inputs = honest(backend, dataset, spec, training)
    zeroed = {name: 0 * array if name.endswith(".gamma") else array for name, array in inputs.weights.items()}
    return replace(inputs, weights=zeroed)


def polluted_initial_statistics(
    honest: Honest, backend: Backend, dataset: Dataset, spec: ModelSpec, training: TrainSpec
) -> Inputs:
    """Let a batch that only initializes the shapes update the running statistics."""
    inputs = honest(backend, dataset, spec, training)
    learner = backend.learner(spec, inputs.weights, "float64" if "float64" in backend.dtypes else backend.dtypes[0])
    batch = inputs.batches[0]
    masks = MaskStream(spec, training.batch_size, training.seed).next_updates(1)[0] if spec.dropout_rate else None
    learner.train_step(inputs.train_inputs[batch], inputs.train_labels[batch], 0.0, **mask_arguments(masks))
    return replace(inputs, weights={name: array.astype(np.float32) for name, array in learner.weights().items()})
