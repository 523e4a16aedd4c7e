"""Power iteration, against a dense solver."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.lab.power_iteration import largest_eigenvalue


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 12), st.integers(0, 1000), st.booleans())
def test_it_is_the_largest_not_the_largest_in_size(size: int, seed: int, below: bool) -> None:
    rng = np.random.default_rng(seed)
    values = np.sort(rng.normal(size=size))
    values[0] = -2 * np.abs(values).max() if below else values[0]
    vectors, _ = np.linalg.qr(rng.normal(size=(size, size)))
    matrix = vectors @ np.diag(values) @ vectors.T
    found = largest_eigenvalue(lambda v: matrix @ v, size, tolerance=1e-13, most=200_000)
    # It stops where a product changes the value by 1e-13: with a gap g between the two largest (shifted to be positive)
    # what is still to come is at most 1 / g times that.
    shifted = values - min(values[0], 0)
    gap = 1 - np.sort(np.abs(values if not below else shifted))[-2] / np.abs(values if not below else shifted).max()
    assert found.value <= values[-1] + 1e-9 or found.value == pytest.approx(values[-1])
    if gap > 1e-3:
        assert found.value == pytest.approx(values[-1], abs=1e-13 / gap * shifted.max() + 1e-9)
        assert found.converged


def test_it_says_that_it_gave_up() -> None:
    matrix = np.diag([1.0, 0.999])
    found = largest_eigenvalue(lambda v: matrix @ v, 2, tolerance=0.0, most=5)
    assert (found.converged, found.products) == (False, 5)


def test_a_vector_close_by_saves_products() -> None:
    matrix = np.diag(np.linspace(1, 0.1, 40))
    first = largest_eigenvalue(lambda v: matrix @ v, 40)
    again = largest_eigenvalue(lambda v: matrix @ v, 40, start=first.vector)
    assert again.products < first.products / 5
    assert again.value == pytest.approx(1, abs=1e-5)


def test_a_matrix_of_zeros_has_the_eigenvalue_0() -> None:
    found = largest_eigenvalue(lambda v: 0 * v, 3)
    assert (found.value, found.converged) == (0.0, True)
