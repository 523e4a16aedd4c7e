"""Recurrent layers: each library packs the gates, and sums the biases, in its own way."""

from typing import Any

import equinox as eqx
import flax.linen as fnn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from flax import nnx
from torch import nn

import bnjax
import bntorch
import parity
from bnjax.specimens.losses import cross_entropy, square
from parity.pair.findings import FindingKind
from parity.verdict.verdict import Verdict

WIDTH, STATE = 5, 6
INPUTS = {"x": parity.normal(3, 7, WIDTH), "labels": parity.integers(3, below=4)}


class TorchLayer(nn.Module):
    """PyTorch's layers, of a whole sequence."""

    def __init__(self, cls: Any, **options: Any) -> None:
        super().__init__()
        self.layer = cls(WIDTH, STATE, batch_first=True, **options)
        self.head = nn.Linear(STATE * (2 if options.get("bidirectional") else 1), 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(x)[0][:, -1])


class TorchCell(nn.Module):
    """A cell, in a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(WIDTH, STATE), nn.Linear(STATE, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = None
        for step in range(x.shape[1]):
            state = self.cell(x[:, step], state)
        return self.head(state)


class Linen(fnn.Module):
    cell: type
    layers: int = 1
    bidirectional: bool = False

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for _ in range(self.layers):
            one, other = fnn.RNN(self.cell(STATE)), fnn.RNN(self.cell(STATE))
            layer: Any = fnn.Bidirectional(one, other) if self.bidirectional else one
            x = layer(x)
        return fnn.Dense(4)(x[:, -1])


class Nnx(nnx.Module):
    def __init__(self, cell: Any) -> None:
        rngs = nnx.Rngs(0)
        self.rnn = nnx.RNN(cell(WIDTH, STATE, rngs=rngs))
        self.head = nnx.Linear(STATE, 4, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        outputs: Any = self.rnn(x)
        return self.head(outputs[:, -1])


class Equinox(eqx.Module):
    """Of one sequence."""

    cell: Any
    head: eqx.nn.Linear

    def __init__(self, cell: Any) -> None:
        one, other = jax.random.split(jax.random.key(0))
        self.cell, self.head = cell(WIDTH, STATE, key=one), eqx.nn.Linear(STATE, 4, key=other)

    def __call__(self, x: jax.Array) -> jax.Array:
        is_lstm = isinstance(self.cell, eqx.nn.LSTMCell)
        start = (jnp.zeros(STATE), jnp.zeros(STATE)) if is_lstm else jnp.zeros(STATE)
        state, _ = jax.lax.scan(lambda state, step: (self.cell(step, state), None), start, x)
        return self.head(state[0] if is_lstm else state)


PAIRS = {
    "gru, linen": (lambda: TorchLayer(nn.GRU), lambda: Linen(fnn.GRUCell)),
    "gru, Equinox": (lambda: TorchLayer(nn.GRU), lambda: Equinox(eqx.nn.GRUCell)),
    "a loop of GRU cells, linen": (TorchCell, lambda: Linen(fnn.GRUCell)),
    "lstm, NNX": (lambda: TorchLayer(nn.LSTM), lambda: Nnx(nnx.OptimizedLSTMCell)),
    "lstm of separate gates, NNX": (lambda: TorchLayer(nn.LSTM), lambda: Nnx(nnx.LSTMCell)),
    "lstm, Equinox": (lambda: TorchLayer(nn.LSTM), lambda: Equinox(eqx.nn.LSTMCell)),
    "two layers of GRU, both ways, linen": (
        lambda: TorchLayer(nn.GRU, num_layers=2, bidirectional=True),
        lambda: Linen(fnn.GRUCell, 2, bidirectional=True),
    ),
    "plain, linen": (lambda: TorchLayer(nn.RNN), lambda: Linen(fnn.SimpleCell)),
}


BACK = ("gru, Equinox", "a loop of GRU cells, linen", "lstm, NNX")  # also with JAX as the reference


def compare(name: Any, is_reversed: bool) -> parity.CompareReport:
    reference, candidate = PAIRS[name] if isinstance(name, str) else name
    ports: list[Any] = [
        bntorch.port(reference(), loss=F.cross_entropy),
        bnjax.port(candidate(), loss=cross_entropy),
    ]
    if is_reversed:
        ports.reverse()
    return parity.compare(*ports, inputs=INPUTS, questions=("forced", "free"))


@pytest.mark.parametrize(
    ("name", "is_reversed"), [*((name, False) for name in PAIRS), *((name, True) for name in BACK)]
)
def test_the_gates_of_every_library_are_told_apart(name: str, is_reversed: bool) -> None:
    report = compare(name, is_reversed)
    assert report.verdict is Verdict.AGREE, (report.findings, report.not_compared)
    assert report.coverage["parameters"].rest == ()


@pytest.mark.parametrize("is_reversed", [False, True])
def test_the_bias_that_a_cell_of_nnx_lacks_is_the_one_finding(is_reversed: bool) -> None:
    report = compare((lambda: TorchLayer(nn.GRU), lambda: Nnx(nnx.GRUCell)), is_reversed)
    assert [(each.kind, each.cause.name) for each in report.findings] == [(FindingKind.WEIGHTS, "missing_bias")]
    assert "layer.bias_hh_l0" in report.findings[0].value


@pytest.mark.parametrize("names", [("kernel_in", "kernel", "bias_in", "bias"), ("b", "a", "d", "c")])
def test_what_is_made_of_input_and_of_state_is_told_apart_under_any_names(names: tuple[str, ...]) -> None:
    wi, wh, bi, bh = names
    shapes = {wi: (WIDTH, 3 * WIDTH), wh: (WIDTH, 3 * WIDTH), bi: (3 * WIDTH,), bh: (3 * WIDTH,)}
    rng = np.random.default_rng(0)

    def network(p: Any, x: jax.Array) -> jax.Array:
        def step(h: jax.Array, x: jax.Array) -> Any:
            of_input, of_state = jnp.split(x @ p[wi] + p[bi], 3, -1), jnp.split(h @ p[wh] + p[bh], 3, -1)
            r, z = (jax.nn.sigmoid(a + b) for a, b in zip(of_input[:2], of_state[:2], strict=True))
            h = (1 - z) * jnp.tanh(of_input[2] + r * of_state[2]) + z * h
            return h, h

        return jax.lax.scan(step, jnp.zeros((len(x), WIDTH)), x.swapaxes(0, 1))[1].swapaxes(0, 1)

    class TorchNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(WIDTH, WIDTH, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.gru(x)[0]

    parameters = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    report = parity.compare(
        bntorch.port(TorchNet(), loss=F.mse_loss),
        bnjax.port(network, parameters, loss=square),
        inputs={"x": parity.normal(3, 7, WIDTH), "target": parity.normal(3, 7, WIDTH)},
        questions=("forced",),
    )
    assert report.verdict is Verdict.AGREE, report.findings


@pytest.mark.parametrize("is_reversed", [False, True])
def test_gates_are_told_apart_beside_a_projection_of_the_state(is_reversed: bool) -> None:
    class Projected(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.LSTM(WIDTH, STATE, proj_size=3, batch_first=True), nn.Linear(3, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.lstm(x)[0][:, -1])

    def network(p: Any, x: jax.Array) -> jax.Array:
        own = p["lstm"]

        def step(carry: Any, x: jax.Array) -> Any:
            h, c = carry
            gates = x @ own["weight_ih_l0"].T + h @ own["weight_hh_l0"].T + own["bias_ih_l0"] + own["bias_hh_l0"]
            f, i, g, o = jnp.split(gates, 4, -1)  # PyTorch has i first
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            return ((jax.nn.sigmoid(o) * jnp.tanh(c)) @ own["weight_hr_l0"].T, c), None

        start = jnp.zeros((len(x), 3)), jnp.zeros((len(x), STATE))
        (h, _), _ = jax.lax.scan(step, start, x.swapaxes(0, 1))
        return h @ p["head"]["weight"].T + p["head"]["bias"]

    model = Projected()
    held = {name: {} for name in ("lstm", "head")}
    for name, tensor in model.named_parameters():
        module, _, leaf = name.partition(".")
        held[module][leaf] = tensor.detach().numpy()
    ports: list[Any] = [bntorch.port(model, loss=F.cross_entropy), bnjax.port(network, held, loss=cross_entropy)]
    report = parity.compare(*ports[:: -1 if is_reversed else 1], inputs=INPUTS, questions=("forced",))
    assert [each.cause.name for each in report.findings] == ["gate_order"]
