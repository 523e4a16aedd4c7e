"""Standardization in linear regression: constants and descent by each framework's own derivatives."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from lab_config import small_config

from parity.lab import Text, standardization
from parity.lab.power_iteration import TOLERANCE
from parity.lab.standardization import problems

STANDARD = ("pixels, standardized", "the same, standardized")


@pytest.fixture(scope="module", params=["jax", "torch"])
def measured(request: pytest.FixtureRequest) -> standardization.Measured:
    from parity.backend import load_backend

    return standardization.measure(load_backend(request.param), small_config(request.param))


def test_an_intercept_is_the_same_as_centering(measured: standardization.Measured) -> None:
    rng = np.random.default_rng(1)  # the part's own data
    inputs = rng.standard_normal((200, 6)) + rng.uniform(0, 3, 6)
    design = np.column_stack([inputs, np.ones(200)])
    # Solving the normal equations loses as many digits as their condition number has.
    limit = 200 * np.finfo(np.float64).eps * np.linalg.cond(design.T @ design) * 10
    assert measured.intercept_gap <= limit < 1e-8


def test_the_smoothness_constant_is_the_dense_hessians_largest_eigenvalue(measured: standardization.Measured) -> None:
    for problem in problems(small_config()):
        values = np.linalg.eigvalsh(problem.inputs.T @ problem.inputs / len(problem.inputs))
        found = measured.smoothness[problem.name]
        assert found.converged
        assert found.value <= values[-1] * (1 + 1e-12)
        gap = 1 - values[-2] / values[-1]
        assert found.value >= values[-1] * (1 - TOLERANCE / gap**2)


def test_the_bound_is_the_number_of_columns(measured: standardization.Measured) -> None:
    for problem in problems(small_config()):
        mean_squares = np.square(problem.inputs).mean(axis=0)
        if problem.name == "the same, standardized":  # the biased standard deviation: exactly d
            assert mean_squares.sum() == pytest.approx(problem.inputs.shape[1], rel=1e-12)
        if problem.name in STANDARD:
            assert measured.smoothness[problem.name].value <= problem.inputs.shape[1]
        elif problem.name in ("pixels from 0 to 255", "badly scaled columns"):
            assert measured.smoothness[problem.name].value > problem.inputs.shape[1]


def test_descent_converges_at_one_over_l_and_diverges_beyond_two_over_l(measured: standardization.Measured) -> None:
    falling, wavering, growing = (measured.losses[words] for words in ("1/L", "1.9/L", "2.02/L"))
    assert (np.diff(falling) < 0).all()
    assert wavering[-1] < wavering[0]
    # In the end the steepest direction is all that moves, by 1.02 a step, so its part of the loss by 1.02**2.
    excess = growing - falling[-1]
    assert excess[-1] > excess[-20] > 0
    assert growing[-1] / growing[-2] <= 1.02**2
    assert growing[-1] > growing[len(growing) // 2]


def test_the_text_is_made_of_what_was_measured(measured: standardization.Measured) -> None:
    def text(found: standardization.Measured) -> list[str]:
        section = standardization.section({"one": found}, small_config(), "a command")
        return [block.markdown for block in section.blocks if isinstance(block, Text)]

    words = {name: replace(value, value=3 * value.value) for name, value in measured.smoothness.items()}
    words[STANDARD[0]] = measured.smoothness[STANDARD[0]]
    other: Any = standardization.Measured(words, {n: 2 ** np.arange(61.0) for n in measured.losses}, 0.25)
    same = [a for a, b in zip(text(measured), text(other), strict=True) if a == b]
    assert [words[:26] for words in same] == ["But L over the median eige"]  # NumPy's, in one framework alone
