"""The subsample and its pixelwise standardization."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parity.data.dataset import Dataset, read_only
from parity.errors import InputError
from parity.spec import check_fraction

DATA_SEED = 20170825  # draws the subsample; the trials' seeds have no part in it
STD_OFFSET = 1e-6  # the lab's, in raw pixel values (0 to 255)
_BLOCK = 112  # pixels in float64 at a time: a seventh of an image, 54 MB for 60000 images


@dataclass(frozen=True, eq=False)
class StandardizedData:
    """The standardized data. The arrays are read-only; arrays that can be written to are copied.

    Args:
        name: name of the data set.
        train_inputs: float32 (n, 784).
        train_labels: int32 (n,).
        test_inputs: float32 (m, 784).
        test_labels: int32 (m,).
        mean: float64 (784,), raw pixel values, of the training subsample.
        std: float64 (784,), raw pixel values, of the training subsample, ddof 1; 0 marks a constant pixel.
    """

    name: str
    train_inputs: NDArray[np.float32]
    train_labels: NDArray[np.int32]
    test_inputs: NDArray[np.float32]
    test_labels: NDArray[np.int32]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                object.__setattr__(self, name, read_only(value))

    @property
    def label_entropy(self) -> float:
        """See `label_entropy`; of the training labels."""
        return label_entropy(self.train_labels)


def label_entropy(labels: NDArray[np.integer]) -> float:
    """Return `-sum(p * ln(p))` over the shares of the labels, in nats: the loss of knowing only these."""
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    return float(-np.sum(shares * np.log(shares)))


def standardize(dataset: Dataset, fraction: float = 0.1) -> StandardizedData:
    """Draw the training subsample and standardize both sets by its statistics, pixel by pixel::

        mean = sum(x) / n;  std = sqrt(sum((x - mean)**2) / (n - 1))        over the subsample
        input = (x - mean) / (std + 1e-6)                                   in float64, stored in float32

    A pixel that is constant in the subsample (std 0) is 0 in both sets: it cannot be learned from, and where
    it varies in the test set the formula would give values of order 1e6.

    Args:
        dataset: raw images.
        fraction: share of the training images, drawn without replacement by `DATA_SEED`; 1 is all of them, in
            their own order.

    Raises:
        InputError: `fraction` is not in (0, 1], or leaves fewer than 2 images.
    """
    rows = _draw_rows(len(dataset.train_images), fraction)
    train, test = dataset.train_images[rows], dataset.test_images
    train_inputs, test_inputs = np.empty(train.shape, np.float32), np.empty(test.shape, np.float32)
    mean, std = np.empty(train.shape[1]), np.empty(train.shape[1])
    for start in range(0, train.shape[1], _BLOCK):
        pixels = slice(start, start + _BLOCK)
        centered = train[:, pixels].astype(np.float64)
        mean[pixels] = centered.mean(axis=0)
        centered -= mean[pixels]
        std[pixels] = np.sqrt(np.square(centered).sum(axis=0) / (len(train) - 1))
        scale = std[pixels] + STD_OFFSET
        train_inputs[:, pixels] = centered / scale
        test_inputs[:, pixels] = (test[:, pixels] - mean[pixels]) / scale
    # Exact: a sum of whole numbers is, so the mean of a constant pixel is its value and its std is 0.
    train_inputs[:, std == 0] = 0
    test_inputs[:, std == 0] = 0
    for array in (train_inputs, test_inputs, mean, std):
        array.setflags(write=False)
    return StandardizedData(
        name=dataset.name,
        train_inputs=train_inputs,
        train_labels=dataset.train_labels[rows],
        test_inputs=test_inputs,
        test_labels=dataset.test_labels,
        mean=mean,
        std=std,
    )


def _draw_rows(num_images: int, fraction: float) -> NDArray[np.intp]:
    check_fraction(fraction)
    size = round(fraction * num_images)
    if size < 2:
        raise InputError(
            f"fraction {fraction!r} of {num_images} images is {size}, and a standard deviation needs at least 2; "
            "use a larger fraction"
        )
    if size == num_images:
        return np.arange(num_images)
    return np.random.default_rng(DATA_SEED).choice(num_images, size, replace=False)
