"""Dropout masks: one stream for all frameworks, owed to its seed alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.data import MaskStream, check_masks, draw_masks
from parity.errors import InputError
from parity.spec import ModelSpec

SPEC = ModelSpec(num_hidden_layers=2, hidden_width=5, dropout_rate=0.25)


@given(st.floats(0, 0.99), st.integers(1, 9))
def test_masks_keep_the_share_that_the_rate_says(rate: float, depth: int) -> None:
    spec = ModelSpec(num_hidden_layers=depth, hidden_width=64, dropout_rate=rate)
    masks = draw_masks(spec, 32, np.random.default_rng(0))
    assert masks.shape == (depth, 32, 64)
    assert masks.dtype == np.bool_
    # The share of n units has standard error sqrt(rate (1 - rate) / n).
    assert abs(masks.mean() - (1 - rate)) <= 6 * np.sqrt(rate * (1 - rate) / masks.size)


def test_the_stream_is_owed_to_its_seed_alone_however_it_is_cut() -> None:
    whole, cut = MaskStream(SPEC, 8, seed=3), MaskStream(SPEC, 8, seed=3)
    parts = [cut.next_updates(count) for count in (1, 4, 2)]
    np.testing.assert_array_equal(whole.next_updates(7), np.concatenate(parts))
    assert not np.array_equal(parts[1][0], parts[1][1])
    assert not np.array_equal(MaskStream(SPEC, 8, seed=4).next_updates(1), parts[0])


def test_masks_are_asked_for_only_where_there_is_dropout() -> None:
    check_masks(ModelSpec(), None, (32,))
    check_masks(SPEC, np.ones((2, 32, 5), bool), (32,))
    with pytest.raises(InputError) as missing:
        check_masks(SPEC, None, (32,))
    assert str(missing.value) == (
        "training with dropout needs masks of shape (2, 32, 5), got none; draw them with draw_masks"
    )
    with pytest.raises(InputError, match=r"shape \(3, 2, 32, 5\), got \(2, 32, 5\)"):
        check_masks(SPEC, np.ones((2, 32, 5), bool), (3, 32))
