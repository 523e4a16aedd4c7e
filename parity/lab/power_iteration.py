"""The largest eigenvalue of a symmetric matrix of which one can only ask products with vectors."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from parity.weights import Array

TOLERANCE = 1e-7  # of the value, between two iterations
MOST_ITERATIONS = 2000


@dataclass(frozen=True)
class Eigenvalue:
    """What power iteration came to.

    Args:
        value: the Rayleigh quotient of the last vector; below the largest eigenvalue by a second-order term.
        vector: of unit length.
        products: how many it took.
        converged: whether the last two values were close.
    """

    value: float
    vector: Array
    products: int
    converged: bool


def largest_eigenvalue(
    product: Callable[[Array], Array],
    size: int,
    start: Array | None = None,
    tolerance: float = TOLERANCE,
    most: int = MOST_ITERATIONS,
) -> Eigenvalue:
    """The largest (not the largest in size) eigenvalue of a symmetric matrix `A`.

    `v <- A v / |A v|` turns to the eigenvalue that is largest in size. If that one is negative, -s, the iteration is run
    again on `A + s I`, whose eigenvalues are all at least 0, in the same order.

    Args:
        product: `A v`, of a vector of shape (size,).
        size: of the matrix.
        start: a vector to begin with, such as the last one of a matrix close by; None for a normal one.
        tolerance: of the value, between two iterations.
        most: products.

    >>> round(largest_eigenvalue(lambda v: np.array([1.0, -3.0]) * v, 2).value, 6)
    1.0
    """
    vector = np.random.default_rng(0).standard_normal(size) if start is None else start
    found = _iterate(product, vector, 0.0, tolerance, most)
    if found.value >= 0:
        return found
    shift = -found.value
    again = _iterate(product, np.random.default_rng(1).standard_normal(size), shift, tolerance, most)
    return Eigenvalue(again.value, again.vector, found.products + again.products, again.converged)


def _iterate(product: Callable[[Array], Array], vector: Array, shift: float, tolerance: float, most: int) -> Eigenvalue:
    vector, value = vector / np.linalg.norm(vector), np.inf
    for count in range(1, most + 1):
        image = product(vector)
        before, value = value, float(vector @ image)
        moved = image + shift * vector
        length = np.linalg.norm(moved)
        if abs(value - before) <= tolerance * abs(value + shift) or length == 0:
            return Eigenvalue(value, vector, count, True)
        vector = moved / length
    return Eigenvalue(value, vector, most, False)
