"""The built-in set: the same everywhere, learnable, and awkward in the ways that real data is."""

import numpy as np
import pytest

from parity.data import Dataset, load_dataset, standardize
from parity.data.synthetic import BRIGHT_PIXEL, RARE_PIXELS, TEST_ONLY_PIXEL


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset("synthetic")


def test_sizes_and_types(dataset: Dataset) -> None:
    assert dataset.train_images.shape == (10000, 784)
    assert dataset.test_images.shape == (2000, 784)
    assert dataset.train_images.dtype == dataset.test_images.dtype == np.uint8
    assert dataset.train_labels.dtype == dataset.test_labels.dtype == np.int32
    assert np.bincount(dataset.train_labels).min() > 900
    assert np.bincount(dataset.test_labels, minlength=10).shape == (10,)


def test_bytes_are_the_same_on_every_machine(dataset: Dataset) -> None:
    assert dataset.digest == "21979c7ca47c8ac3a9b997f71230a01cca911120816d4f9be24cc7190e63b36d"
    assert load_dataset("synthetic").digest == dataset.digest


def test_learnable_but_not_trivial(dataset: Dataset) -> None:
    data = standardize(dataset)
    inputs = data.train_inputs.astype(np.float64)
    targets = np.eye(10)[data.train_labels]
    weights = np.linalg.solve(inputs.T @ inputs + 100 * np.eye(784), inputs.T @ targets)
    accuracy = np.mean(np.argmax(data.test_inputs @ weights, axis=1) == data.test_labels)
    assert 0.5 < accuracy < 0.9


def test_constant_and_nearly_constant_pixels(dataset: Dataset) -> None:
    train, test = dataset.train_images, dataset.test_images
    assert not train[:, 0].any()
    assert not test[:, 0].any()
    assert (train[:, BRIGHT_PIXEL] == 255).all()
    assert np.ptp(train[:, TEST_ONLY_PIXEL]) == 0
    assert np.ptp(test[:, TEST_ONLY_PIXEL]) > 0
    active = np.count_nonzero(train[:, RARE_PIXELS], axis=0)
    assert 0 < active.min() <= active.max() < 50
