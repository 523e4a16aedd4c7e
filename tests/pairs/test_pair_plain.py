"""A function without modules: its operations' values are paired by their numbers, and by their gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bnjax
import bntorch
import parity
from bnjax.specimens.losses import cross_entropy
from parity.verdict.verdict import Verdict

INPUTS = {"x": parity.normal(3, 6), "labels": parity.integers(3, below=6)}


class Block(nn.Module):
    """The first makes a bias of a table and hands it on, as T5's relative positions are."""

    def __init__(self, is_first: bool) -> None:
        super().__init__()
        self.dense = nn.Linear(6, 6)
        if is_first:
            self.table = nn.Embedding(4, 1)

    def forward(self, x: torch.Tensor, bias: torch.Tensor | None = None) -> Any:
        if bias is None:
            bias = self.table(torch.arange(6) % 4).T
        return x + torch.tanh(self.dense(x) + bias), bias


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(True), Block(False), Block(False)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bias = None
        for block in self.blocks:
            x, bias = block(x, bias)
        return x


def network(parameters: Any, x: jax.Array, stopped: int | None = None) -> jax.Array:
    bias = parameters["table"][:, jnp.arange(6) % 4]
    for number, (kernel, offset) in enumerate(parameters["layers"]):
        here = jax.lax.stop_gradient(bias) if number == stopped else bias
        x = x + jnp.tanh(x @ kernel.T + offset + here)
    return x


def ports(stopped: int | None = None) -> tuple[Any, Any]:
    parameters = {"table": np.ones((1, 4)), "layers": [(np.ones((6, 6)), np.ones(6))] * 3}

    def call(function: Any, batch: Any, train: bool) -> jax.Array:
        return function(batch["x"], stopped)

    reference = bntorch.port(Net(), loss=F.cross_entropy)
    return reference, bnjax.port(network, parameters, loss=cross_entropy, call=call)


@pytest.mark.parametrize("is_reversed", [False, True])
def test_a_value_that_is_handed_on_has_the_gradient_of_each_of_its_uses(is_reversed: bool) -> None:
    pair = ports()[::-1] if is_reversed else ports()
    report = parity.compare(*pair, inputs=INPUTS, questions=("forced", "free"))
    assert report.verdict is Verdict.AGREE, (report.findings, report.not_compared)


@pytest.mark.parametrize("stopped", [0, 1, 2])
def test_a_use_whose_gradient_is_stopped_is_found_though_the_numbers_are_the_same(stopped: int) -> None:
    report = parity.compare(*ports(stopped), inputs=INPUTS, questions=("forced", "free"))
    assert report.verdict is Verdict.DISAGREE
    assert {str(each.kind) for each in report.findings} <= {"backward", "gradient"}, report.findings
