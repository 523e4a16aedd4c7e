"""Conversion of weights between the frameworks: what it computes, its dtypes and its tables of names."""

import json
from typing import Any

import jax
import numpy as np
import pytest
import torch
from torch import nn
from weight_cases import SPEC, refusal, rounding_limit

import bnjax
import bntorch
import parity
from bnjax.model import MultiLayerPerceptron
from bnjax.weights import native_names
from parity.errors import InputError
from parity.spec import DType, ModelSpec
from parity.weights import draw_weights, registration_order_names


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


@pytest.mark.parametrize("use_batch_norm", [True, False])
def test_a_module_of_its_own_names_computes_the_same_in_flax(use_batch_norm: bool) -> None:
    spec = ModelSpec(input_dim=9, output_dim=3, num_hidden_layers=3, hidden_width=5, use_batch_norm=use_batch_norm)
    net = trained(spec)
    names = bntorch.layer_names(net, spec)
    variables = parity.convert_weights(net, spec, source="torch", target="jax")
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
        "unexpected extra.weight; add what is missing, remove what the network does not have"
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_converting_keeps_the_dtype(dtype: DType) -> None:
    native = parity.load_backend("numpy").to_native(draw_weights(SPEC, seed=0), SPEC, dtype)
    assert parity.convert_weights(native, SPEC, source="numpy", target="numpy")["head.bias"].dtype == np.dtype(dtype)


@pytest.mark.parametrize("source", parity.backend_names())
@pytest.mark.parametrize("native", [None, 3, "model.pt", [1, 2], object()])
def test_what_holds_no_weights_is_refused(source: str, native: Any) -> None:
    message = refusal(parity.convert_weights, native, SPEC, source=source, target="numpy")
    assert f"got {type(native).__name__}" in message


def test_a_dtype_that_no_weights_have_is_refused() -> None:
    weights = draw_weights(SPEC, seed=0)
    message = refusal(parity.convert_weights, weights, SPEC, source="numpy", target="torch", dtype="float16")
    assert message == "dtype must be one of float32, float64, bfloat16, got 'float16'"


# Tables


def test_a_table_from_json_has_lists_for_paths() -> None:
    names = native_names(SPEC)
    read = json.loads(json.dumps(names))
    assert isinstance(read["head.bias"], list)
    weights = draw_weights(SPEC, seed=0)
    variables = parity.convert_weights(weights, SPEC, source="numpy", target="jax", target_names=read)
    assert variables["params"]["head"]["bias"].shape == (3,)
    back = parity.convert_weights(variables, SPEC, source="jax", target="numpy", source_names=read)
    assert all(np.array_equal(back[name], array) for name, array in weights.items())
    assert bnjax.from_native(variables, SPEC, read).keys() == weights.keys()


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({}, "the table of names does not fit the network: missing hidden.0.kernel"),
        (["head.kernel"], "a table of names must be a dictionary by neutral name, got list"),
        ({"head.bias": None}, "must give head.bias a name or a path of names, got None"),
        ({"head.bias": ["a", {}]}, "must give head.bias a name or a path of names, got ('a', {})"),
    ],
)
@pytest.mark.parametrize("source", parity.backend_names())
def test_a_table_that_is_none_is_refused(source: str, table: Any, expected: str) -> None:
    native = parity.load_backend(source).to_native(
        draw_weights(SPEC, seed=0), SPEC, "float64" if source == "numpy" else "float32"
    )
    assert expected in refusal(parity.convert_weights, native, SPEC, source=source, target="numpy", source_names=table)
    assert expected in refusal(parity.convert_weights, native, SPEC, source=source, target=source, target_names=table)
