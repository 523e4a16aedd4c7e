"""A data set of images, and loading one by name."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.data.fashion_mnist import read_fashion_mnist
from parity.data.synthetic import make_synthetic
from parity.errors import InputError, choices, one_line

DATASETS = ("fashion-mnist", "synthetic")

_ASSURANCES = {
    "fashion-mnist": "verified: SHA-256 of the uncompressed bytes",
    "synthetic": "made by NumPy from a fixed seed",
}


def read_only(array: NDArray) -> NDArray:
    """Return `array` if it and the array that it is a view of are read-only, else a read-only copy."""
    owner: Any = array
    while isinstance(owner, np.ndarray) and not owner.flags.writeable:
        owner = owner.base
    if owner is None or isinstance(owner, bytes):
        return array
    copy = array.copy()
    copy.setflags(write=False)
    return copy


@dataclass(frozen=True, eq=False)
class Dataset:
    """Raw images and labels. The arrays are read-only; arrays that can be written to are copied.

    Args:
        name: name of the data set.
        train_images: uint8 (n, 784), rows of pixels 0 to 255.
        train_labels: int32 (n,), classes 0 to 9.
        test_images: uint8 (m, 784).
        test_labels: int32 (m,).
        source: where the data came from, for people.
    """

    name: str
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int32]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int32]
    source: str

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                object.__setattr__(self, name, read_only(value))

    @cached_property
    def digest(self) -> str:
        """Hexadecimal SHA-256 over the shapes and contents of the four arrays, the same on every machine."""
        sha256 = hashlib.sha256()
        for array in self._arrays():
            sha256.update(f"{array.dtype.name}{array.shape}".encode())
            sha256.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)
        return sha256.hexdigest()

    def _arrays(self) -> tuple[NDArray, ...]:
        return self.train_images, self.train_labels, self.test_images, self.test_labels


def load_dataset(name: str, data_dir: Path | str | None = None) -> Dataset:
    """Load a data set by its name.

    Args:
        name: "fashion-mnist" or "synthetic".
        data_dir: folder with Fashion-MNIST's files; without it the usual places are searched, and then the files
            are downloaded. The synthetic set needs none.

    Raises:
        InputError: the name is unknown, or Fashion-MNIST cannot be had. Never another data set instead.

    >>> load_dataset("synthetic").train_images.shape
    (10000, 784)
    """
    if name == "fashion-mnist":
        arrays, source = read_fashion_mnist(data_dir)
        return Dataset(name, *arrays, source=source)
    if name == "synthetic":
        return Dataset(name, *make_synthetic(), source="built in")
    raise InputError(f"no dataset is named {name!r}; {choices(name, DATASETS)}")


def describe(dataset: Dataset) -> str:
    """A few lines for people: name, where from, sizes, images of each class, and why to trust it."""
    lines = [f"data set: {dataset.name}", one_line(f"where: {dataset.source}")]
    for part, images, labels in (
        ("train", dataset.train_images, dataset.train_labels),
        ("test", dataset.test_images, dataset.test_labels),
    ):
        counts = ", ".join(str(count) for count in np.bincount(labels))
        lines.append(f"{part}: {len(images)} images of {images.shape[1]} pixels, per class {counts}")
    if dataset.name in _ASSURANCES:
        lines.append(_ASSURANCES[dataset.name])
    return "\n".join([*lines, f"digest: {dataset.digest}"])
