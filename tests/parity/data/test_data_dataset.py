"""Loading by name, the digest, and what `bnparity data` prints."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from parity.data import DATASETS, Dataset, StandardizedData, describe, load_dataset
from parity.errors import InputError


def tiny() -> Dataset:
    return Dataset(
        name="tiny",
        train_images=np.arange(12, dtype=np.uint8).reshape(3, 4),
        train_labels=np.array([0, 1, 1], np.int32),
        test_images=np.arange(8, dtype=np.uint8).reshape(2, 4),
        test_labels=np.array([1, 0], np.int32),
        source="a test",
    )


def test_names() -> None:
    assert DATASETS == ("fashion-mnist", "synthetic")
    assert load_dataset("synthetic").name == "synthetic"


def test_unknown_name_is_refused_with_the_choices() -> None:
    with pytest.raises(
        InputError,
        match="no dataset is named 'mnist'; choose one of fashion-mnist, synthetic",
    ):
        load_dataset("mnist")


def test_arrays_cannot_be_changed() -> None:
    for dataset in (tiny(), load_dataset("synthetic")):
        for name in ("train_images", "train_labels", "test_images", "test_labels"):
            with pytest.raises(ValueError, match="read-only"):
                getattr(dataset, name)[0] = 0


def test_digest_sees_contents_and_shapes_only() -> None:
    dataset = tiny()
    changed = dataset.test_labels.copy()
    changed[0] = 7
    assert len(bytes.fromhex(dataset.digest)) == 32
    assert tiny().digest == dataset.digest
    assert dataclasses.replace(dataset, source="elsewhere").digest == dataset.digest
    assert dataclasses.replace(dataset, test_labels=changed).digest != dataset.digest
    assert dataclasses.replace(dataset, train_images=dataset.train_images.reshape(4, 3)).digest != dataset.digest


def test_digest_ignores_byte_order_and_memory_layout() -> None:
    dataset = tiny()
    big_endian = dataset.train_labels.astype(">i4")
    columns_first = np.asfortranarray(dataset.train_images)
    twin = dataclasses.replace(dataset, train_labels=big_endian, train_images=columns_first)
    assert twin.digest == dataset.digest


def test_description() -> None:
    lines = describe(tiny()).splitlines()
    assert lines == [
        "data set: tiny",
        "where: a test",
        "train: 3 images of 4 pixels, per class 1, 2",
        "test: 2 images of 4 pixels, per class 1, 1",
        f"digest: {tiny().digest}",
    ]


def test_a_place_with_a_line_break_is_described_in_one_line() -> None:
    odd = dataclasses.replace(tiny(), source="a\nfolder\a")
    assert describe(odd).splitlines()[1] == "where: a folder\\x07"


def test_description_says_why_to_trust_the_data() -> None:
    assert "made by NumPy from a fixed seed" in describe(load_dataset("synthetic"))
    real = dataclasses.replace(tiny(), name="fashion-mnist")
    assert "verified: SHA-256 of the uncompressed bytes" in describe(real)


def make_arrays() -> list[Any]:
    images, labels = np.zeros((8, 4), np.uint8), np.zeros(8, np.int32)
    return [images[:6], labels[:6], images[6:], labels[6:]]


@pytest.mark.parametrize("kind", [Dataset, StandardizedData])
def test_a_callers_arrays_stay_writable_and_apart(kind: Any) -> None:
    arrays = make_arrays()
    rest = {"source": "here"} if kind is Dataset else {"mean": np.zeros(4), "std": np.ones(4)}
    data = kind("made", *arrays, **rest)
    for array in (*arrays, *rest.values()):
        if isinstance(array, np.ndarray):
            array[...] = 7
    held = [value for value in vars(data).values() if isinstance(value, np.ndarray)]
    assert not any(value.flags.writeable or (value == 7).any() for value in held)


def test_a_read_only_view_of_a_writable_array_is_copied_and_read_only_arrays_are_not() -> None:
    images, labels = np.zeros((8, 4), np.uint8), np.zeros(8, np.int32)
    view = images[:6]
    view.setflags(write=False)
    data = Dataset("made", view, labels[:6], images[6:], labels[6:], source="here")
    images[...] = 7
    assert not data.train_images.any()
    again = Dataset("made", data.train_images, data.train_labels, data.test_images, data.test_labels, source="here")
    assert again.train_images is data.train_images
