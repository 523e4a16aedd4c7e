"""Conversion of modules with names of their own."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
import torch
from torch import nn
from weight_cases import NORM, SPEC, refusal

import parity
from bnjax.model import MultiLayerPerceptron
from parity.errors import InputError
from parity.spec import ModelSpec
from parity.weights import Weights, draw_weights, registration_order_names


class Lists(nn.Module):
    """Layers and norms in two lists."""

    def __init__(self) -> None:
        super().__init__()
        self.fully_connected = nn.ModuleList([nn.Linear(6, 4), nn.Linear(4, 4), nn.Linear(4, 3)])
        self.bn = nn.ModuleList([nn.BatchNorm1d(4), nn.BatchNorm1d(4)])


class Named(nn.Module):
    """Every layer an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Linear(6, 4), nn.BatchNorm1d(4)
        self.second, self.second_norm = nn.Linear(4, 4), nn.BatchNorm1d(4)
        self.out = nn.Linear(4, 3)


def sequential() -> nn.Module:
    block = (nn.Linear(6, 4), nn.ReLU(), nn.BatchNorm1d(4))
    return nn.Sequential(*block, nn.Linear(4, 4), nn.ReLU(), nn.BatchNorm1d(4), nn.Linear(4, 3))


@pytest.mark.parametrize(
    ("module", "linears", "norms"),
    [
        (sequential, ["0", "3", "6"], ["2", "5"]),
        (Lists, [f"fully_connected.{i}" for i in range(3)], ["bn.0", "bn.1"]),
        (Named, ["first", "second", "out"], ["first_norm", "second_norm"]),
    ],
)
def test_names_come_from_the_order_of_registration(
    module: Callable[[], nn.Module], linears: list[str], norms: list[str]
) -> None:
    expected = {}
    for layer, linear in zip(("hidden.0", "hidden.1", "head"), linears, strict=True):
        expected |= {f"{layer}.kernel": f"{linear}.weight", f"{layer}.bias": f"{linear}.bias"}
    for i, norm in enumerate(norms):
        expected |= {f"hidden.{i}.gamma": f"{norm}.weight", f"hidden.{i}.beta": f"{norm}.bias"}
        expected |= {f"hidden.{i}.{leaf}": f"{norm}.{leaf}" for leaf in ("running_mean", "running_var")}
    state_dict = module().state_dict()
    assert "num_batches_tracked" in " ".join(state_dict)
    assert registration_order_names(state_dict, SPEC) == expected


@pytest.mark.parametrize(
    ("values", "network"),
    [
        ({"num_hidden_layers": 1}, "2 and 1"),
        ({"num_hidden_layers": 3}, "4 and 3"),
        ({"use_batch_norm": False}, "3 and 0"),
    ],
)
def test_a_module_of_other_layers_is_refused(values: dict[str, Any], network: str) -> None:
    message = refusal(registration_order_names, sequential().state_dict(), replace(SPEC, **values))
    assert message == f"the state_dict has 3 linear layers and 2 norms; the network has {network}"


class LabNetwork(nn.Module):
    """The lab's network as a student writes it."""

    def __init__(
        self, input_dim: int, output_dim: int, num_hidden_layers: int, hidden_width: int, use_batch_norm: bool
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(num_hidden_layers):
            layers += [nn.Linear(hidden_width if i else input_dim, hidden_width), nn.ReLU()]
            if use_batch_norm:
                layers.append(nn.BatchNorm1d(hidden_width))
        self.body = nn.Sequential(*layers)
        self.classifier = nn.Linear(hidden_width, output_dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.body(x))


def trained(spec: ModelSpec) -> LabNetwork:
    """A network in float64 whose norms have seen batches, and have a scale and a shift of their own."""
    torch.manual_seed(0)
    shape = (spec.input_dim, spec.output_dim, spec.num_hidden_layers, spec.hidden_width)
    net = LabNetwork(*shape, spec.use_batch_norm).double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    with torch.no_grad():
        for _ in range(5):
            net(3 * torch.randn(16, spec.input_dim, dtype=torch.float64) + 1)
    return net.eval()


def rounding_limit(weights: Weights, spec: ModelSpec, inputs: np.ndarray) -> np.ndarray:
    """How far two float64 evaluations of the same logits can lie apart, by first-order error analysis.

    A sum of n products is off by at most n u (|x| @ |kernel|) in whatever order it is added (Higham, 2002, section
    3.1), with u the unit roundoff. A normalization takes no more than 8 operations on terms of size
    |scale| (|x| + |mean|) and |beta|. Earlier errors pass on through |kernel| and |scale|; ReLU does not raise them.
    Both sides err, so the distance is at most twice that.
    """
    u = np.finfo(np.float64).eps / 2
    x, error = inputs, np.zeros_like(inputs)
    for layer in [f"hidden.{i}" for i in range(spec.num_hidden_layers)] + ["head"]:
        kernel, bias = weights[f"{layer}.kernel"], weights[f"{layer}.bias"]
        terms = np.abs(x) @ np.abs(kernel) + np.abs(bias)
        x, error = x @ kernel + bias, error @ np.abs(kernel) + (len(kernel) + 1) * u * terms
        if layer == "head":
            break
        x = np.maximum(x, 0)
        if spec.use_batch_norm:
            gamma, beta, mean, var = (weights[f"{layer}.{leaf}"] for leaf in NORM)
            scale = np.abs(gamma) / np.sqrt(var + spec.eps)
            error = scale * error + 8 * u * (scale * (np.abs(x) + np.abs(mean)) + np.abs(beta))
            x = gamma * (x - mean) / np.sqrt(var + spec.eps) + beta
    return 2 * error


@pytest.mark.parametrize("use_batch_norm", [True, False])
def test_a_module_of_its_own_names_computes_the_same_in_flax(use_batch_norm: bool) -> None:
    spec = ModelSpec(input_dim=9, output_dim=3, num_hidden_layers=3, hidden_width=5, use_batch_norm=use_batch_norm)
    net = trained(spec)
    names = registration_order_names(net.state_dict(), spec)
    variables = parity.convert_weights(
        net.state_dict(), spec, source="torch", target="jax", source_names=names, dtype="float64"
    )
    inputs = np.random.default_rng(0).standard_normal((7, spec.input_dim))
    with jax.enable_x64(True):
        logits = np.array(MultiLayerPerceptron.from_spec(spec, "float64").apply(variables, inputs))
    with torch.no_grad():
        expected = net(torch.tensor(inputs)).numpy()
    weights = parity.load_backend("torch").from_native(net.state_dict(), spec, names)
    assert logits.dtype == np.float64
    assert (np.abs(logits - expected) <= rounding_limit(weights, spec, inputs)).all()

    back = parity.convert_weights(variables, spec, source="jax", target="torch", target_names=names, dtype="float64")
    for own in names.values():
        assert torch.equal(back[own], net.state_dict()[own])


def test_keys_that_a_table_does_not_fit_are_listed() -> None:
    net = trained(SPEC)
    names = registration_order_names(net.state_dict(), SPEC)
    state_dict = net.state_dict()
    del state_dict["body.0.bias"], state_dict["body.2.running_var"]
    state_dict["extra.weight"] = torch.zeros(3)
    with pytest.raises(InputError) as caught:
        parity.convert_weights(state_dict, SPEC, source="torch", target="jax", source_names=names)
    assert str(caught.value) == (
        "weights do not fit the table of names: missing body.0.bias; missing body.2.running_var; "
        "unexpected extra.weight"
    )


def test_converting_keeps_the_dtype_and_refuses_what_is_no_mapping() -> None:
    for dtype in ("float32", "float64"):
        native = parity.load_backend("numpy").to_native(draw_weights(SPEC, seed=0), SPEC, dtype)
        assert parity.convert_weights(native, SPEC, source="numpy", target="numpy")["head.bias"].dtype == np.dtype(
            dtype
        )
    with pytest.raises(InputError, match="got NoneType"):
        parity.convert_weights(None, SPEC, source="numpy", target="numpy")
