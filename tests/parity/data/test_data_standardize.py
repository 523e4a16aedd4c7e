"""Standardization against the formula, and its one departure: constant pixels."""

import dataclasses
import math

import numpy as np
import pytest

from parity.data import Dataset, StandardizedData, load_dataset, standardize
from parity.data.synthetic import TEST_ONLY_PIXEL
from parity.errors import InputError


def random_dataset(num_train: int = 50, num_pixels: int = 300) -> Dataset:
    generator = np.random.default_rng(0)
    return Dataset(
        name="random",
        train_images=generator.integers(256, size=(num_train, num_pixels), dtype=np.uint8),
        train_labels=np.arange(num_train, dtype=np.int32),  # tells which rows were drawn
        test_images=generator.integers(256, size=(20, num_pixels), dtype=np.uint8),
        test_labels=np.zeros(20, np.int32),
        source="a test",
    )


@pytest.fixture(scope="module")
def synthetic() -> Dataset:
    return load_dataset("synthetic")


@pytest.mark.parametrize("fraction", [0.3, 1])
def test_values_follow_the_formula(fraction: float) -> None:
    dataset = random_dataset()
    data = standardize(dataset, fraction)
    subsample = dataset.train_images[data.train_labels].astype(np.float64)
    mean, std = np.mean(subsample, axis=0), np.std(subsample, axis=0, ddof=1)
    np.testing.assert_allclose(data.mean, mean, rtol=1e-14)
    np.testing.assert_allclose(data.std, std, rtol=1e-14)
    for inputs, images in ((data.train_inputs, subsample), (data.test_inputs, dataset.test_images)):
        assert inputs.dtype == np.float32
        np.testing.assert_allclose(inputs, (images - mean) / (std + 1e-6), rtol=1e-7, atol=1e-13)
    assert data.test_labels.dtype == data.train_labels.dtype == np.int32


def test_offset_is_added_to_the_std() -> None:
    train_images = np.zeros((10000, 1), np.uint8)
    train_images[0] = 1  # one count in 10000: std 0.01, small enough for the offset to show
    data = standardize(
        Dataset(
            name="nearly constant",
            train_images=train_images,
            train_labels=np.zeros(10000, np.int32),
            test_images=np.ones((1, 1), np.uint8),
            test_labels=np.zeros(1, np.int32),
            source="a test",
        ),
        fraction=1,
    )
    assert float(data.test_inputs[0, 0]) == pytest.approx((1 - 1e-4) / (0.01 + 1e-6), rel=1e-6)


def test_pixel_constant_in_the_subsample_is_zero_in_both_sets(synthetic: Dataset) -> None:
    data = standardize(synthetic)
    constant = np.ptp(synthetic.train_images, axis=0) == 0
    assert constant[TEST_ONLY_PIXEL]
    assert not data.test_inputs[:, constant].any()
    assert not data.train_inputs[:, constant].any()
    assert (data.std[constant] == 0).all()
    assert data.test_inputs[:, data.std > 0].any(axis=0).mean() > 0.99


def test_subsample_has_a_seed_of_its_own() -> None:
    dataset = random_dataset()
    drawn = []
    for seed in (0, 1):
        np.random.seed(seed)
        drawn.append(standardize(dataset, 0.5).train_labels.tolist())
    assert drawn[0] == drawn[1]


def test_subsample_is_drawn_without_replacement_from_everywhere() -> None:
    rows = standardize(random_dataset(), 0.5).train_labels
    assert len(rows) == len(set(rows.tolist())) == 25
    assert rows.max() >= 25, "not simply the first images"


def test_labels_go_with_their_images() -> None:
    dataset = random_dataset()
    data = standardize(dataset, 0.5)
    restored = data.train_inputs * (data.std + 1e-6) + data.mean
    np.testing.assert_allclose(restored, dataset.train_images[data.train_labels], atol=1e-3)


def test_whole_set_keeps_its_order() -> None:
    assert standardize(random_dataset(), 1.0).train_labels.tolist() == list(range(50))


@pytest.mark.parametrize(("fraction", "size"), [(0.05, 2), (0.07, 4), (0.09, 4), (0.1, 5), (0.999, 50)])
def test_size_is_rounded_half_to_even(fraction: float, size: int) -> None:
    assert len(standardize(random_dataset(), fraction).train_labels) == size


@pytest.mark.parametrize("fraction", [0, -0.1, 1.1, math.nan, math.inf, True, "half", np.float32(0)])
def test_fraction_outside_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(InputError, match=r"above 0 and at most 1, got"):
        standardize(random_dataset(), fraction)


def test_numpys_own_fraction_is_one() -> None:
    assert len(standardize(random_dataset(), np.float32(0.5)).train_labels) == 25  # pyright: ignore[reportArgumentType]


def test_too_small_a_subsample_is_refused() -> None:
    with pytest.raises(InputError, match=r"fraction 0.02 of 50 images is 1, .* at least 2"):
        standardize(random_dataset(), 0.02)


def test_label_entropy() -> None:
    dataset = random_dataset(4)

    def entropy(labels: list[int]) -> float:
        labelled = dataclasses.replace(dataset, train_labels=np.array(labels, np.int32))
        return standardize(labelled, 1).label_entropy

    assert entropy([0, 1, 2, 3]) == pytest.approx(math.log(4))
    assert entropy([9, 9, 9, 0]) == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    assert entropy([5, 5, 5, 5]) == 0


def test_arrays_cannot_be_changed(synthetic: Dataset) -> None:
    data = standardize(synthetic)
    assert isinstance(data, StandardizedData)
    with pytest.raises(ValueError, match="read-only"):
        data.train_inputs[0, 0] = 1


@pytest.mark.fashion_mnist
def test_large_values_of_real_data_survive() -> None:
    data = standardize(load_dataset("fashion-mnist"))
    assert data.train_inputs.shape == (6000, 784)
    assert data.label_entropy == pytest.approx(math.log(10), abs=1e-3)
    assert 280 < float(data.test_inputs.max()) < 2000, "neither clipped nor divided by 1e-6"


@pytest.mark.fashion_mnist
def test_real_statistics_of_the_whole_set() -> None:
    dataset = load_dataset("fashion-mnist")
    data = standardize(dataset, 1)
    assert float(data.test_inputs.max()) == pytest.approx(283.86, abs=0.01)
    np.testing.assert_allclose(data.mean, dataset.train_images.mean(axis=0), rtol=1e-13)
    middle = dataset.train_images[:, 400].astype(np.float64)
    assert float(data.std[400]) == pytest.approx(middle.std(ddof=1), rel=1e-12)
    assert float(data.train_inputs[:, 400].mean()) == pytest.approx(0, abs=1e-5)
    assert float(data.train_inputs[:, 400].std()) == pytest.approx(1, abs=1e-4)
