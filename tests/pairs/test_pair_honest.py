"""Honest ports of forms at which a comparison may stumble: none is flagged, and what cannot be judged is said."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import flax.linen as fnn
import jax
import jax.numpy as jnp
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import bnjax
import bntorch
import parity
from bnjax.specimens.losses import cross_entropy
from parity.verdict.compare import SAFETY
from parity.verdict.verdict import Verdict

INPUTS = {"x": parity.normal(4, 6), "labels": parity.integers(4, below=4)}


class TorchStream(nn.Module):
    """A residual stream, of which something is then taken along its positions."""

    def __init__(self, take: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.take, self.first, self.second, self.head = take, nn.Linear(1, 6), nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x[..., None])
        return self.head(self.take(x + torch.tanh(self.second(x))))


class FlaxStream(fnn.Module):
    take: Callable[[jax.Array], jax.Array]

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = fnn.Dense(6, name="first")(x[..., None])
        return fnn.Dense(4, name="head")(self.take(x + jnp.tanh(fnn.Dense(6, name="second")(x))))


class TorchLayers(nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 6)) for _ in range(count))
        self.head = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = x + F.silu(layer(x))
        return self.head(x)


class Layer(fnn.Module):
    @fnn.compact
    def __call__(self, x: jax.Array, _: None) -> tuple[jax.Array, None]:
        return x + fnn.silu(fnn.Dense(6, name="linear")(fnn.LayerNorm(epsilon=1e-5, name="norm")(x))), None


class Scanned(fnn.Module):
    count: int

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        options: Any = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}, "length": self.count}
        x, _ = fnn.scan(Layer, **options)(name="layers")(x, None)
        return fnn.Dense(4, name="head")(x)


class TorchTable(nn.Module):
    """A square matrix that the model itself holds, and its own name for it."""

    def __init__(self) -> None:
        super().__init__()
        self.mixing, self.head = nn.Parameter(torch.eye(6)), nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(x @ self.mixing))


class FlaxTable(fnn.Module):
    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        w = self.param("w", fnn.initializers.normal(), (6, 6))
        return fnn.Dense(4, name="head")(jnp.tanh(x @ w))


class TorchPointwise(nn.Module):
    """A convolution of 1 over positions, which is a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.point, self.head = nn.Conv1d(1, 8, 1), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.point(x[:, None])).mean(-1))


class FlaxPointwise(fnn.Module):
    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return fnn.Dense(4, name="head")(jnp.tanh(fnn.Dense(8, name="point")(x[..., None])).mean(1))


class TorchWeightNorm(nn.Module):
    """Kernels made of a direction and a size, of which there are as many as biases."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = weight_norm(nn.Conv1d(1, 5, 3, padding=1)), weight_norm(nn.Linear(5, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(F.relu(self.conv(x[:, None])).amax(-1))


class FlaxWeightNorm(fnn.Module):
    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = fnn.relu(fnn.WeightNorm(fnn.Conv(5, (3,), padding=1), epsilon=0.0)(x[..., None]))
        return fnn.WeightNorm(fnn.Dense(4), epsilon=0.0)(x.max(1))


class TorchHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.heads = nn.Linear(6, 6), nn.ModuleList(nn.Linear(6, 4) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.first(x))
        return torch.stack([head(x) for head in self.heads]).mean(0)


class FlaxHeads(fnn.Module):
    """The heads are one module, mapped over its tensors."""

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        options: Any = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}, "in_axes": None, "axis_size": 3}
        x = jnp.tanh(fnn.Dense(6, name="first")(x))
        return fnn.vmap(fnn.Dense, **options)(4, name="heads")(x).mean(0)


FORMS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "a maximum": (lambda: TorchStream(lambda x: x.amax(1)), lambda: FlaxStream(lambda x: x.max(1))),
    "a norm of infinite order": (
        lambda: TorchStream(lambda x: torch.linalg.vector_norm(x, float("inf"), dim=1)),
        lambda: FlaxStream(lambda x: jnp.abs(x).max(1)),
    ),
    "two scanned layers": (lambda: TorchLayers(2), lambda: Scanned(2)),
    "three scanned layers": (lambda: TorchLayers(3), lambda: Scanned(3)),
    "a matrix of the model itself": (TorchTable, FlaxTable),
    "a convolution of 1": (TorchPointwise, FlaxPointwise),
    "weight norm": (TorchWeightNorm, FlaxWeightNorm),
    "mapped heads": (TorchHeads, FlaxHeads),
}


def compare(name: str, is_reversed: bool = False) -> parity.CompareReport:
    reference, candidate = FORMS[name]
    ports: list[Any] = [
        bntorch.port(reference(), loss=F.cross_entropy),
        bnjax.port(candidate(), loss=cross_entropy),
    ]
    if is_reversed:
        ports.reverse()
    return parity.compare(*ports, inputs=INPUTS, questions=("forced", "free"))


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize("name", FORMS)
def test_it_agrees(name: str, is_reversed: bool) -> None:
    report = compare(name, is_reversed)
    assert report.verdict is Verdict.AGREE, (report.findings, report.not_compared)
    assert report.coverage["parameters"].rest == ()


def mean_squared_error(z: Any, target: Any) -> Any:
    return ((z - target) ** 2).mean()


class TorchDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.conv(x))


class FlaxDecoder(fnn.Module):
    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return fnn.sigmoid(fnn.Conv(1, (3, 3), padding=1, name="conv")(x))


class TorchPatches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch, self.head = nn.Conv2d(3, 5, 2, 2), nn.Linear(5, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.patch(x)).mean((2, 3)))


class FlaxPatches(fnn.Module):
    """Takes (batch, height, width, channels), and any other order without a word."""

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.reshape(-1, 2, 2, 2, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 4, 12)
        return fnn.Dense(4, name="head")(jnp.tanh(fnn.Dense(5, name="patch")(x)).mean(1))


def test_the_order_of_an_input_s_axes_is_found_though_the_model_runs_in_any() -> None:
    ports = bntorch.port(TorchPatches(), loss=F.cross_entropy), bnjax.port(FlaxPatches(), loss=cross_entropy)
    inputs = {"x": parity.normal(2, 3, 4, 4), "labels": parity.integers(2, below=4)}
    report = parity.compare(*ports, inputs=inputs, questions=("forced", "free"))
    assert report.verdict is Verdict.AGREE, report.findings


def test_the_order_of_a_target_s_axes_is_found_though_the_loss_takes_any() -> None:
    """Of one channel the two shapes broadcast: a loss of every pair of positions, and no error."""
    ports = (
        bntorch.port(TorchDecoder(), loss=mean_squared_error),
        bnjax.port(FlaxDecoder(), loss=mean_squared_error),
    )
    inputs = {"x": parity.normal(2, 1, 4, 4), "target": parity.uniform(2, 1, 4, 4)}
    report = parity.compare(*ports, inputs=inputs, questions=("forced", "free"))
    assert report.verdict is Verdict.AGREE, report.findings


class TorchSlopes(nn.Module):
    """Slopes that are stored in float32, which the other side computes."""

    slopes: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("slopes", 1 / torch.arange(1.0, 7.0))
        self.head = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x * self.slopes)


class FlaxSlopes(fnn.Module):
    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return fnn.Dense(4, name="head")(x / jnp.arange(1.0, 7.0))


def test_numbers_that_one_side_stores_in_float32_are_no_difference_and_no_agreement() -> None:
    ports = bntorch.port(TorchSlopes(), loss=F.cross_entropy), bnjax.port(FlaxSlopes(), loss=cross_entropy)
    report = parity.compare(*ports, inputs=INPUTS, questions=("forced",))
    assert report.verdict is Verdict.INCOMPLETE, report.findings
    assert any("it agrees as far as float32 does" in line for line in report.not_compared)
    assert "slopes of the reference, which the candidate does not hold" in report.not_compared


class TorchComplex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w, self.head = nn.Parameter(torch.randn(6, dtype=torch.complex128)), nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head((x * self.w).real + (x * self.w).imag)


class FlaxComplex(fnn.Module):
    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        w = x * self.param("w", lambda key: jax.random.normal(key, (6,), jnp.complex128))
        return fnn.Dense(4, name="head")(w.real + w.imag)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_gradients_of_complex_parameters_are_told_as_not_compared() -> None:
    ports = bntorch.port(TorchComplex(), loss=F.cross_entropy), bnjax.port(FlaxComplex(), loss=cross_entropy)
    report = parity.compare(*ports, inputs=INPUTS, questions=("forced",))
    assert report.verdict is Verdict.INCOMPLETE, report.findings
    assert "the gradients of w, which are complex" in report.not_compared


def test_a_norm_that_is_the_whole_model_keeps_its_averages() -> None:
    norm, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(5, axis_name="batch", momentum=0.9, mode="batch")
    report = parity.compare(
        bntorch.port(nn.BatchNorm1d(5)),
        bnjax.port(norm, state),
        inputs={"input": parity.normal(8, 5)},
        accept=["biased_running_variance"],
    )
    assert report.verdict is Verdict.AGREE, report.findings
    assert [dict(each)["seen"] for each in report.accepted] == [[""]]
    assert not any("does not hold" in line for line in report.not_compared)


class TorchBiased(nn.Module):
    """A convolution with a bias before batch norm: the bias has no gradient but what rounding leaves of a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(F.softplus(self.norm(self.conv(x))).mean((2, 3)))


class FlaxBiased(fnn.Module):
    @fnn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = fnn.Conv(4, (3, 3), padding=1, name="conv")(x)
        x = fnn.BatchNorm(use_running_average=not train, momentum=0.9, name="norm")(x)
        return fnn.Dense(3, name="head")(jax.nn.softplus(x).mean((1, 2)))


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_gradient_that_cancels_is_known_as_far_as_its_terms_are(seed: int, is_reversed: bool) -> None:
    torch.manual_seed(seed)
    ports: list[Any] = [
        bntorch.port(TorchBiased(), loss=F.cross_entropy),
        bnjax.port(FlaxBiased(), loss=cross_entropy),
    ]
    form = (8, 8, 8, 3) if is_reversed else (8, 3, 8, 8)
    report = parity.compare(
        *(ports[::-1] if is_reversed else ports),
        inputs={"x": parity.normal(*form), "labels": parity.integers(8, below=3)},
        accept=["biased_running_variance"],
        questions=("forced",),
        seed=seed,
    )
    assert report.verdict is Verdict.AGREE, report.findings
    assert report.worst < 0.5 * SAFETY
