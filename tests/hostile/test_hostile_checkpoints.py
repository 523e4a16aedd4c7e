"""Weights of networks with names of their own: converted there and back to the last bit, or refused in one line."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import torch
from hostile_cases import hostile, refusal, texts
from hypothesis import strategies as st
from torch import Tensor, nn

import bntorch
import parity
from parity.spec import ModelSpec
from parity.weights import registration_order_names

MEMORY = 1 << 35  # of addresses: what the frameworks map when they are first used


@st.composite
def specs(draw: st.DrawFn) -> ModelSpec:
    sizes: Any = {name: draw(st.integers(2, 5)) for name in ("input_dim", "output_dim", "hidden_width")}
    return ModelSpec(num_hidden_layers=draw(st.integers(1, 12)), use_batch_norm=draw(st.booleans()), **sizes)


class Network(nn.Module):
    """Layers under names and in an order of registration of their own, that run in the spec's order."""

    def __init__(self, spec: ModelSpec, order: list[int], numbered: bool) -> None:
        super().__init__()
        depth, width = spec.num_hidden_layers, spec.hidden_width
        self.depth, self.use_batch_norm = depth, spec.use_batch_norm
        self.name = (lambda i: f"{i}") if numbered else (lambda i: "abcdefghijklmnop"[order.index(i)])
        self.linears, self.norms = nn.ModuleDict(), nn.ModuleDict()
        for i in order:
            fan_in, fan_out = width if i else spec.input_dim, width if i < depth else spec.output_dim
            self.linears[self.name(i)] = nn.Linear(fan_in, fan_out)
            if spec.use_batch_norm and i < depth:
                self.norms[self.name(i)] = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        for i in range(self.depth):
            x = torch.relu(self.linears[self.name(i)](x))
            x = self.norms[self.name(i)](x) if self.use_batch_norm else x
        return self.linears[self.name(self.depth)](x)

    def table(self) -> dict[str, str]:
        names = {}
        for i in range(self.depth + 1):
            layer = "head" if i == self.depth else f"hidden.{i}"
            linear, norm = f"linears.{self.name(i)}", f"norms.{self.name(i)}"
            names |= {f"{layer}.kernel": f"{linear}.weight", f"{layer}.bias": f"{linear}.bias"}
            if self.use_batch_norm and i < self.depth:
                names |= {f"{layer}.gamma": f"{norm}.weight", f"{layer}.beta": f"{norm}.bias"}
                names |= {f"{layer}.{leaf}": f"{norm}.{leaf}" for leaf in ("running_mean", "running_var")}
        return names


@st.composite
def networks(draw: st.DrawFn) -> tuple[ModelSpec, Network]:
    spec = draw(specs())
    order = draw(st.permutations(range(spec.num_hidden_layers + 1)))
    torch.manual_seed(draw(st.integers(0, 99)))
    return spec, Network(spec, list(order), draw(st.booleans()))


@hostile(sample=20, many=1000, memory=MEMORY, drawn=networks(), dtype=st.sampled_from((torch.float32, torch.float64)))
def test_a_module_goes_there_and_back(drawn: tuple[ModelSpec, Network], dtype: torch.dtype) -> None:
    spec, module = drawn
    module.to(dtype)
    names = bntorch.layer_names(module, spec)
    assert names == module.table()
    variables = parity.convert_weights(module, spec, source="torch", target="jax")
    back = parity.convert_weights(variables, spec, source="jax", target="torch", target_names=names)
    for key in names.values():
        assert back[key].dtype == dtype
        assert torch.equal(back[key], module.state_dict()[key])


@hostile(sample=150, many=9000, memory=MEMORY, drawn=networks(), data=st.data())
def test_a_dictionary_in_any_order_gives_the_right_table_or_none(drawn: tuple[ModelSpec, Network], data: Any) -> None:
    spec, module = drawn
    state_dict = module.state_dict()
    keys = data.draw(st.sampled_from((list(state_dict), sorted(state_dict))) | st.permutations(list(state_dict)))
    found: list[Any] = []
    message = refusal(lambda: found.append(registration_order_names({key: state_dict[key] for key in keys}, spec)))
    if found:
        assert found[0] == module.table()
    else:
        assert "source_names=" in message
    if keys == sorted(state_dict) and module.name(0) == "0":
        assert found, message


NUMBERS: tuple[Any, ...] = (
    lambda x: x, lambda x: x.double(), lambda x: x.half(), lambda x: x.bfloat16(), lambda x: x.t().contiguous().t(),
    lambda x: torch.stack([x, x], -1)[..., 0], lambda x: x.to_sparse(), nn.Parameter, lambda x: x.numpy(),
    lambda x: x.flip(0).flip(0), lambda x: x.expand(1, *x.shape)[0], lambda x: torch.complex(x, -x).conj().real,
)  # fmt: skip
NO_NUMBERS: tuple[Any, ...] = (
    lambda x: None, lambda x: "x", lambda x: x.tolist(), lambda x: x.to("meta"), lambda x: x.int(), lambda x: x.bool(),
    lambda x: x.to(torch.complex64), lambda x: x.to(torch.float8_e4m3fn), lambda x: jnp.zeros(x.shape), lambda x: {},
    lambda x: x[..., None], lambda x: nn.UninitializedParameter(), lambda x: nn.Linear(1, 1),
    lambda x: np.zeros(x.shape, object), lambda x: np.zeros(x.shape, "datetime64[s]"), lambda x: print,
)  # fmt: skip


@hostile(
    sample=120, many=9000, memory=MEMORY, drawn=networks(), data=st.data(),
    prefix=st.sampled_from(("", "module.", "a.b.")), wrapped=st.booleans(),
)  # fmt: skip
def test_odd_values_and_keys(drawn: tuple[ModelSpec, Network], data: Any, prefix: str, wrapped: bool) -> None:
    spec, module = drawn
    names, state_dict = module.table(), module.state_dict()
    plain = {key: state_dict[key].clone() for key in names.values()}
    change = data.draw(st.sampled_from(NUMBERS))
    given: dict[Any, Any] = {prefix + key: change(value) for key, value in plain.items()}
    spoiled = data.draw(st.booleans())
    if spoiled:
        key = data.draw(st.sampled_from(list(given)))
        match data.draw(st.sampled_from(("value", "lost", "more", "renamed"))):
            case "value":
                given[key] = data.draw(st.sampled_from(NO_NUMBERS))(plain[key.removeprefix(prefix)])
            case "lost":
                del given[key]
            case "more":
                given[data.draw(texts | st.integers() | st.none()) or 0] = torch.zeros(2)
            case _:
                given[key + "x"] = given.pop(key)
    native = {"epoch": 1, "state_dict": given, "optimizer": {}} if wrapped else given
    found: list[Any] = []
    message = refusal(lambda: found.append(bntorch.from_native(native, spec, names)))
    assert bool(message) == spoiled
    if found:
        back = bntorch.to_native(found[0], spec, "float64", names)
        for key, value in plain.items():
            exact = change(value)
            exact = torch.tensor(exact) if isinstance(exact, np.ndarray) else exact
            assert torch.equal(back[key], exact.to_dense().double() if exact.is_sparse else exact.double())
