"""The initial weights: their distribution, and that a seed decides them."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from weight_cases import NORM, SPEC

from parity.spec import Initialization, ModelSpec
from parity.weights import draw_weights, weight_shapes


def wide(scheme: Initialization) -> ModelSpec:
    """A network with kernels of 784 x 256 and 256 x 256, for statistics over many numbers."""
    return ModelSpec(num_hidden_layers=2, hidden_width=256, initialization=scheme)


@pytest.mark.parametrize("scheme", Initialization)
@pytest.mark.parametrize("depth", [1, 3, 50])
def test_a_draw_fits_its_spec_in_float32(scheme: Initialization, depth: int) -> None:
    spec = ModelSpec(input_dim=6, num_hidden_layers=depth, hidden_width=4, initialization=scheme)
    weights = draw_weights(spec, seed=0)
    assert {name: array.shape for name, array in weights.items()} == weight_shapes(spec)
    assert {array.dtype for array in weights.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("scheme", Initialization)
def test_norms_start_as_the_identity(scheme: Initialization) -> None:
    weights = draw_weights(wide(scheme), seed=0)
    for leaf, value in {"gamma": 1, "beta": 0, "running_mean": 0, "running_var": 1}.items():
        assert (weights[f"hidden.1.{leaf}"] == value).all()


@pytest.mark.parametrize("scheme", [scheme for scheme in Initialization if scheme != "uniform_fan_in"])
def test_biases_start_at_0_but_under_the_uniform_scheme(scheme: Initialization) -> None:
    weights = draw_weights(wide(scheme), seed=0)
    assert not any(array.any() for name, array in weights.items() if name.endswith("bias"))


def test_uniform_draws_fill_their_interval() -> None:
    weights = draw_weights(wide(Initialization.UNIFORM_FAN_IN), seed=0)
    for name, fan_in in {"hidden.0": 784, "hidden.1": 256, "head": 256}.items():
        bound = 1 / np.sqrt(fan_in)
        for array in (weights[f"{name}.kernel"], weights[f"{name}.bias"]):
            # Rounding to float32 is monotone, so no value passes the rounded bound; of n values, all stay a share t
            # away from one end with probability (1 - t / 2)^n, below e^-15 at t = 30 / n.
            assert np.abs(array).max() <= np.float32(bound)
            if array.size > 200:
                assert array.max() > bound * (1 - 30 / array.size)
                assert array.min() < -bound * (1 - 30 / array.size)


@pytest.mark.parametrize(
    ("scheme", "numerator", "kurtosis"),
    [
        (Initialization.UNIFORM_FAN_IN, 1 / 3, 9 / 5),
        (Initialization.HE_NORMAL, 2, 3),
        (Initialization.LECUN_NORMAL, 1, 3),
    ],
)
def test_kernels_have_the_variance_of_their_scheme(scheme: Initialization, numerator: float, kurtosis: float) -> None:
    weights = draw_weights(wide(scheme), seed=0)
    for name, fan_in in {"hidden.0.kernel": 784, "hidden.1.kernel": 256, "head.kernel": 256}.items():
        array, variance = weights[name].astype(np.float64), numerator / fan_in
        # The mean of n squares, of known mean 0, has variance (E[x^4] - E[x^2]^2) / n = (kurtosis - 1) variance^2 / n,
        # and the mean of n fourth powers of a normal or uniform number at most 96 variance^4 / n: 5 standard errors.
        assert abs(np.mean(array**2) - variance) < 5 * variance * np.sqrt((kurtosis - 1) / array.size)
        assert abs(np.mean(array**4) / variance**2 - kurtosis) < 5 * np.sqrt(96 / array.size)
        assert abs(np.mean(array)) < 5 * np.sqrt(variance / array.size)


@pytest.mark.parametrize(("fan_in", "width"), [(784, 64), (64, 64), (16, 64)])
def test_orthogonal_kernels_are_orthogonal(fan_in: int, width: int) -> None:
    spec = ModelSpec(input_dim=fan_in, hidden_width=width, initialization=Initialization.ORTHOGONAL)
    kernel = draw_weights(spec, seed=0)["hidden.0.kernel"].astype(np.float64)
    gram = kernel.T @ kernel if fan_in >= width else kernel @ kernel.T
    # Each factor is rounded once to float32, off by at most eps / 2 of itself; by Cauchy and Schwarz an entry of the
    # product of unit vectors is then off by at most eps, and the factorization's float64 error is far below another.
    assert (np.abs(gram - np.eye(len(gram))) <= 2 * np.finfo(np.float32).eps).all()


def test_orthogonal_draws_favour_no_sign() -> None:
    # A bare Householder factorization gives the first entry the same sign in every draw.
    spec = ModelSpec(input_dim=5, hidden_width=5, initialization=Initialization.ORTHOGONAL)
    assert {np.sign(draw_weights(spec, seed)["hidden.0.kernel"][0, 0]) for seed in range(40)} == {-1, 1}


@pytest.mark.parametrize("scheme", Initialization)
def test_a_seed_decides_the_draw(scheme: Initialization) -> None:
    spec = replace(SPEC, initialization=scheme)
    first, again, other = (draw_weights(spec, seed) for seed in (3, 3, 4))
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
        if name.endswith("kernel"):
            assert not np.array_equal(array, other[name])


@pytest.mark.parametrize("scheme", Initialization)
def test_batch_norm_does_not_change_the_other_weights(scheme: Initialization) -> None:
    on, off = (draw_weights(ModelSpec(use_batch_norm=use, initialization=scheme), seed=0) for use in (True, False))
    assert {name for name in on if not name.endswith(NORM)} == off.keys()
    for name, array in off.items():
        np.testing.assert_array_equal(array, on[name])


@pytest.mark.parametrize(
    ("scheme", "digest"),
    # Orthogonal kernels pass through a linear-algebra library, whose last bit is its own.
    [("uniform_fan_in", "ba865ec5cc205b12"), ("he_normal", "19b448ad20db4be3"), ("lecun_normal", "1214a15bb8ae0954")],
)
def test_a_draw_is_the_same_on_every_machine(scheme: Initialization, digest: str) -> None:
    sha = hashlib.sha256()
    for name, array in draw_weights(ModelSpec(num_hidden_layers=2, initialization=scheme), seed=0).items():
        sha.update(name.encode() + array.astype("<f4").tobytes())
    assert sha.hexdigest().startswith(digest)
