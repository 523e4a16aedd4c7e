"""The index stream is one stream: reproducible, in range, and owed to its seed alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.data import IndexStream, updates_per_pass
from parity.errors import InputError
from parity.spec import child_seeds


@pytest.mark.parametrize(
    ("num_samples", "batch_size", "updates"),
    [(6000, 32, 188), (2000, 32, 62), (6000, 6000, 1), (3, 2, 2), (7, 7, 1), (10, 12, 1), (60000, 32, 1875)],
)
def test_updates_are_rounded_half_to_even(num_samples: int, batch_size: int, updates: int) -> None:
    assert updates_per_pass(num_samples, batch_size) == updates


@pytest.mark.parametrize(("num_samples", "batch_size"), [(5, 10), (5, 11), (1, 1000)])
def test_pass_without_an_update_is_refused(num_samples: int, batch_size: int) -> None:
    with pytest.raises(InputError, match=rf"batch size {batch_size} .* below {2 * num_samples}"):
        updates_per_pass(num_samples, batch_size)


@pytest.mark.parametrize(
    ("num_samples", "batch_size", "seed", "culprit"),
    [(0, 32, 0, "num_samples"), (10, 0, 0, "batch_size"), (10, 2.5, 0, "batch_size"), (10, 2, -1, "seed")],
)
def test_bad_arguments_are_named(num_samples: int, batch_size: int, seed: int, culprit: str) -> None:
    with pytest.raises(InputError, match=culprit):
        IndexStream(num_samples, batch_size, seed)


@given(st.integers(1, 3000), st.integers(1, 64), st.integers(0, 2**40))
def test_indices_are_in_range(num_samples: int, batch_size: int, seed: int) -> None:
    if 2 * num_samples <= batch_size:
        return
    indices = IndexStream(num_samples, batch_size, seed).next_pass()
    assert indices.shape == (updates_per_pass(num_samples, batch_size), batch_size)
    assert indices.dtype == np.int32
    assert 0 <= indices.min() <= indices.max() < num_samples


def test_every_sample_is_drawn_with_replacement() -> None:
    stream = IndexStream(100, 10, 0)
    counts = np.bincount(np.concatenate([stream.next_pass().ravel() for _ in range(100)]), minlength=100)
    assert counts.min() > 50
    assert counts.max() < 160
    assert counts.std() > 5, "a permutation would give every sample the same count"


def test_stream_is_owed_to_its_seed_alone() -> None:
    one, twin, other = IndexStream(500, 8, 3), IndexStream(500, 8, 3), IndexStream(500, 8, 4)
    first, second = one.next_pass(), one.next_pass()
    other.next_pass()  # streams do not share a generator
    np.testing.assert_array_equal(twin.next_pass(), first)
    np.testing.assert_array_equal(twin.next_pass(), second)
    assert not np.array_equal(first, second)
    assert not np.array_equal(IndexStream(500, 8, 4).next_pass(), first)


def test_stream_is_drawn_from_the_second_child_of_the_seed() -> None:
    """The convention that a third framework would have to follow."""
    generator = np.random.default_rng(child_seeds(11)[1])
    stream = IndexStream(6000, 32, 11)
    for _ in range(2):
        np.testing.assert_array_equal(stream.next_pass(), generator.integers(6000, size=(188, 32), dtype=np.int32))
