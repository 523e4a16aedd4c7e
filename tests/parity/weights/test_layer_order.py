"""The order of the layers of a network with names of its own: proven by a module or by names and shapes, or refused."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from safetensors.torch import load, save
from torch import nn
from torch.nn import functional
from weight_cases import SPEC, refusal, rounding_limit

import bnjax
import bntorch
import parity
from bntorch.weights import native_names
from parity.spec import ModelSpec
from parity.weights import registration_order_names

DEEP = ModelSpec(input_dim=6, output_dim=3, num_hidden_layers=12, hidden_width=4)
SQUARE = ModelSpec(input_dim=4, output_dim=4, num_hidden_layers=2, hidden_width=4)


def torch_table(linears: Iterable[str], norms: Iterable[str]) -> dict[str, str]:
    """The table of a network whose layers run in the order of these names."""
    linears, names = list(linears), {}
    for layer, linear in zip([f"hidden.{i}" for i in range(len(linears) - 1)] + ["head"], linears, strict=True):
        names |= {f"{layer}.kernel": f"{linear}.weight", f"{layer}.bias": f"{linear}.bias"}
    for i, norm in enumerate(norms):
        names |= {f"hidden.{i}.gamma": f"{norm}.weight", f"hidden.{i}.beta": f"{norm}.bias"}
        names |= {f"hidden.{i}.{leaf}": f"{norm}.{leaf}" for leaf in ("running_mean", "running_var")}
    return names


class Blocks(nn.Module):
    """Deep enough that "10" comes before "2" in sorted names; it runs its norms in a given order."""

    def __init__(self, spec: ModelSpec, reverse_norms: bool = False, head_first: bool = False) -> None:
        super().__init__()
        depth, width = spec.num_hidden_layers, spec.hidden_width
        if head_first:
            self.head = nn.Linear(width, spec.output_dim)
        self.blocks = nn.ModuleList(nn.Linear(width if i else spec.input_dim, width) for i in range(depth))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(depth))
        self.reverse_norms = reverse_norms
        if not head_first:
            self.head = nn.Linear(width, spec.output_dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i, linear in enumerate(self.blocks):
            x = self.norms[-1 - i if self.reverse_norms else i](torch.relu(linear(x)))
        return self.head(x)


BLOCK_TABLE = torch_table([*(f"blocks.{i}" for i in range(12)), "head"], [f"norms.{i}" for i in range(12)])


class Named(nn.Module):
    """Every layer an attribute, registered in another order than it runs in, with norms that no number orders."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(4, 3)
        self.late, self.early = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
        self.second, self.first = nn.Linear(4, 4), nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.late(torch.relu(self.second(self.early(torch.relu(self.first(x)))))))


def sequential() -> nn.Sequential:
    block = (nn.Linear(6, 4), nn.ReLU(), nn.BatchNorm1d(4))
    return nn.Sequential(*block, nn.Linear(4, 4), nn.ReLU(), nn.BatchNorm1d(4), nn.Linear(4, 3))


# A Torch dictionary


@pytest.mark.parametrize(
    "change",
    [
        dict,
        lambda state: dict(sorted(state.items())),
        lambda state: load(save(state)),
        lambda state: dict(reversed(state.items())),
    ],
    ids=["as registered", "sorted", "through safetensors", "reversed"],
)
@pytest.mark.parametrize("head_first", [False, True])
def test_numbers_order_a_deep_network_whatever_the_order_of_its_keys(
    change: Callable[[Any], Mapping[str, torch.Tensor]], head_first: bool
) -> None:
    state_dict = change(Blocks(DEEP, head_first=head_first).state_dict())
    assert registration_order_names(state_dict, DEEP) == BLOCK_TABLE
    assert bntorch.layer_names(state_dict, DEEP) == BLOCK_TABLE


def test_shapes_tell_the_first_layer_and_the_head() -> None:
    module = Named()
    module.norm2, module.norm1 = module.late, module.early
    del module.late, module.early
    state_dict = dict(sorted(module.state_dict().items()))
    expected = torch_table(["first", "second", "out"], ["norm1", "norm2"])
    assert registration_order_names(state_dict, SPEC) == expected


def test_one_sequence_of_layers_is_ordered_by_its_numbers() -> None:
    state_dict = dict(sorted(sequential().state_dict().items()))
    assert registration_order_names(state_dict, SPEC) == torch_table("036", "25")


@pytest.mark.parametrize("order", [dict, lambda state: dict(sorted(state.items()))])
def test_names_without_numbers_prove_no_order(order: Callable[[Any], dict[str, Any]]) -> None:
    message = refusal(registration_order_names, order(Named().state_dict()), SPEC)
    assert message.startswith("the names of the norms ")
    assert "'late'" in message
    assert "give the module itself" in message
    assert "source_names=" in message


def test_a_head_that_no_shape_tells_is_refused() -> None:
    message = refusal(registration_order_names, Blocks(SQUARE).state_dict(), SQUARE)
    assert message.startswith("the names of the linear layers 'blocks.0', 'blocks.1', 'head' do not tell their order")


def test_a_registration_in_another_order_than_the_numbers_is_refused() -> None:
    module = nn.Module()
    module.fc1, module.bn2, module.bn1 = nn.Linear(6, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4)
    module.fc2, module.fc3 = nn.Linear(4, 4), nn.Linear(4, 3)
    message = refusal(registration_order_names, module.state_dict(), SPEC)
    assert message.startswith("the order of the norms is ambiguous: 'bn1', 'bn2' or 'bn2', 'bn1'; give the module")
    # Sorted keys have lost the registration, and nothing contradicts the numbers.
    sorted_keys = dict(sorted(module.state_dict().items()))
    assert registration_order_names(sorted_keys, SPEC)["hidden.0.gamma"] == "bn1.weight"


def test_numbers_that_put_a_norm_before_its_layer_are_refused() -> None:
    layers = (nn.Linear(6, 4), nn.Linear(4, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    message = refusal(registration_order_names, nn.Sequential(*layers).state_dict(), SPEC)
    assert message.startswith(
        "the order of the layers is ambiguous: '0', '2', '1', '3', '4' or '0', '1', '2', '3', '4'"
    )


def test_equal_numbers_prove_no_order() -> None:
    module = nn.Sequential()
    for name, layer in {"1": nn.Linear(6, 4), "7": nn.BatchNorm1d(4), "07": nn.BatchNorm1d(4)}.items():
        module.add_module(name, layer)
    module.add_module("9", nn.Linear(4, 4))
    module.add_module("10", nn.Linear(4, 3))
    assert "do not tell their order" in refusal(registration_order_names, module.state_dict(), SPEC)


@pytest.mark.parametrize(
    ("values", "network"),
    [
        ({"num_hidden_layers": 1}, "2 and 1"),
        ({"num_hidden_layers": 3}, "4 and 3"),
        ({"use_batch_norm": False}, "3 and 0"),
    ],
)
def test_a_network_of_other_layers_is_refused(values: dict[str, Any], network: str) -> None:
    spec, expected = replace(SPEC, **values), f"the weights have 3 linear layers and 2 norms; the network has {network}"
    assert refusal(registration_order_names, sequential().state_dict(), spec) == expected
    assert refusal(bntorch.layer_names, sequential(), spec) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda state: state.update({"positions": torch.zeros(4)}), "positions: no linear layer"),
        (lambda state: state.update({"0.mask": torch.zeros(4)}), "0.mask is no tensor of a linear layer"),
        (lambda state: state.pop("3.bias"), "the linear layer '3' has no 'bias'"),
        (lambda state: state.pop("5.weight"), "the norm '5' has no 'weight'"),
        (lambda state: [state.pop(f"5.running_{x}") for x in ("mean", "var")], "5.weight, 5.bias: no linear layer"),
        (lambda state: state.update({"3.bias": None}), "'3.bias' has no shape: it is a NoneType"),
    ],
)  # fmt: skip
def test_tensors_that_make_no_layer_are_named(change: Callable[[Any], object], expected: str) -> None:
    state_dict = sequential().state_dict()
    change(state_dict)
    assert refusal(registration_order_names, state_dict, SPEC).startswith(expected)


# A Torch module


class Functional(nn.Module):
    """Layers by hand: no submodule is called, and the kernels are stored as Torch does."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({"b": nn.Linear(6, 4), "a": nn.Linear(4, 4), "c": nn.Linear(4, 3)})
        self.stats = nn.ModuleDict({"y": nn.BatchNorm1d(4), "x": nn.BatchNorm1d(4)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        layers: dict[str, Any] = dict(self.layers.items())
        kernels = {name: layer.weight.T for name, layer in layers.items()}  # all read before any is used
        for name, norm in (("b", "x"), ("a", "y")):
            x = functional.relu_(x @ kernels[name] + layers[name].bias)
            n: Any = self.stats[norm]
            x = (x - n.running_mean) * torch.rsqrt(n.running_var + 1e-5) * n.weight
            x += n.bias
        return torch.addmm(layers["c"].bias, x, kernels["c"])


def named_table(prefix: str = "") -> dict[str, str]:
    return torch_table([f"{prefix}{name}" for name in ("first", "second", "out")], [f"{prefix}early", f"{prefix}late"])


REVERSED = torch_table([*(f"blocks.{i}" for i in range(12)), "head"], [f"norms.{11 - i}" for i in range(12)])
SQUARES = torch_table(["blocks.0", "blocks.1", "head"], ["norms.0", "norms.1"])
OWN = native_names(DEEP)
PASSES: dict[str, tuple[Callable[[], Any], ModelSpec, object]] = {
    "blocks": (lambda: Blocks(DEEP), DEEP, BLOCK_TABLE),
    "norms reversed": (lambda: Blocks(DEEP, reverse_norms=True), DEEP, REVERSED),
    "square": (lambda: Blocks(SQUARE, head_first=True), SQUARE, SQUARES),
    "named": (Named, SPEC, named_table()),
    "sequential": (sequential, SPEC, torch_table("036", "25")),
    "data parallel": (lambda: nn.DataParallel(Named()), SPEC, named_table("module.")),
    "compiled": (lambda: torch.compile(Named()), SPEC, named_table("_orig_mod.")),
    "float64": (lambda: Named().double(), SPEC, named_table()),
    "bfloat16": (lambda: Named().bfloat16(), SPEC, named_table()),
    "by hand": (Functional, SPEC, torch_table(["layers.b", "layers.a", "layers.c"], ["stats.x", "stats.y"])),
    "residual": (lambda: bntorch.MultiLayerPerceptron.from_spec(replace(DEEP, residual=True)), DEEP, OWN),
}


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch.compile's own
@pytest.mark.parametrize(("module", "spec", "expected"), PASSES.values(), ids=PASSES)
def test_a_forward_pass_shows_the_order(module: Callable[[], nn.Module], spec: ModelSpec, expected: object) -> None:
    net = module()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    assert bntorch.layer_names(net, spec) == expected
    assert net.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


class Changed(Named):
    def __init__(self, forward: Callable[[Any, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.change = forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.change(self, x)


def fail(_net: Named, _x: torch.Tensor) -> torch.Tensor:
    raise KeyError("two\nlines")


# Forward passes of no network of `SPEC`, and what is said of each.
OTHER_PASSES: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "unused": (
        lambda m, x: m.out(m.early(m.first(x))),
        "the forward pass in evaluation mode does not use all of LATE, 'second'",
    ),
    "norms together": (
        lambda m, x: m.out(m.late(m.early(m.second(m.first(x))))),
        "the forward pass runs 'first', 'second', 'early', 'late', 'out'; the network runs a linear layer and then",
    ),
    "twice": (
        lambda m, x: m.out(m.late(m.second(m.second(m.early(m.first(x)))))),
        "the forward pass applies SECOND more than once",
    ),
    "side by side": (
        lambda m, x: m.out(m.early(h := m.first(x)) + m.late(h) + m.second(h)),
        "do not run one after the other; the network's do",
    ),
    "raises": (fail, "the module's forward pass on inputs of shape (2, 6) fails with KeyError"),
}


@pytest.mark.parametrize(("forward", "expected"), OTHER_PASSES.values(), ids=OTHER_PASSES)
def test_a_forward_pass_of_another_network_is_refused(forward: Callable[..., torch.Tensor], expected: str) -> None:
    net = Changed(forward)
    expected = expected.replace("LATE", "'late'").replace("SECOND", "second.weight")
    assert expected in refusal(bntorch.layer_names, net, SPEC)
    assert net.training


def test_a_module_of_12_layers_converts_with_its_logits_whatever_the_order_of_its_norms() -> None:
    torch.manual_seed(0)
    net = Blocks(DEEP, reverse_norms=True).double().train()
    for norm in net.norms.parameters():
        nn.init.uniform_(norm, 0.5, 2)
    net(torch.randn(32, 6, dtype=torch.float64))
    inputs = np.random.default_rng(0).standard_normal((5, 6))
    weights = parity.convert_weights(net, DEEP, source="torch", target="numpy")
    logits = parity.load_backend("numpy").learner(DEEP, weights, "float64").evaluate(inputs)
    with torch.no_grad():
        expected = net.eval()(torch.tensor(inputs)).numpy()
    assert (np.abs(logits - expected) <= rounding_limit(weights, DEEP, inputs)).all()


def test_finding_the_order_leaves_the_random_stream_where_it_was() -> None:
    class Noisy(Blocks):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + 0 * torch.rand(())

    net = Noisy(DEEP)
    before = torch.get_rng_state()
    bntorch.layer_names(net, DEEP)
    assert torch.equal(torch.get_rng_state(), before)


# Flax


def flax_table(path: Callable[[str, int | None], tuple[Any, ...]], depth: int, linen: bool = True) -> dict[str, Any]:
    """The table of a network whose layers have these paths, the head's with None."""
    params, stats = (("params",), ("batch_stats",)) if linen else ((), ())
    names: dict[str, Any] = {}
    for i in [*range(depth), None]:
        layer = "head" if i is None else f"hidden.{i}"
        names |= {f"{layer}.{leaf}": (*params, *path("linear", i), leaf) for leaf in ("kernel", "bias")}
    for i in range(depth):
        leaves = {"gamma": (params, "scale"), "beta": (params, "bias")}
        leaves |= {"running_mean": (stats, "mean"), "running_var": (stats, "var")}
        names |= {f"hidden.{i}.{name}": (*where, *path("norm", i), leaf) for name, (where, leaf) in leaves.items()}
    return names


class Linen(fnn.Module):
    """Compact, with Flax's own numbers; `late` norms are made first."""

    depth: int
    reverse_norms: bool = False

    @fnn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        norms = [fnn.BatchNorm(use_running_average=not train) for _ in range(self.depth)]
        for i in range(self.depth):
            x = norms[-1 - i if self.reverse_norms else i](fnn.relu(fnn.Dense(4)(x)))
        return fnn.Dense(3)(x)


class Nnx(nnx.Module):
    """Layers in lists, a dropout with its generator, and a forward pass that may be compiled."""

    def __init__(self, depth: int, reverse_norms: bool = False) -> None:
        rngs = nnx.Rngs(0)
        self.layers = nnx.List([nnx.Linear(4 if i else 6, 4, rngs=rngs) for i in range(depth)])
        self.norms = nnx.List([nnx.BatchNorm(4, rngs=rngs) for _ in range(depth)])
        self.dropout = nnx.Dropout(0.1, rngs=rngs)
        self.head = nnx.Linear(4, 3, rngs=rngs)
        self.reverse_norms = reverse_norms

    def __call__(self, x: jax.Array) -> jax.Array:
        for i, layer in enumerate(self.layers):
            x = self.dropout(self.norms[-1 - i if self.reverse_norms else i](jax.nn.relu(layer(x))))
        return self.head(x)


class CompiledNnx(Nnx):
    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.jit(Nnx.__call__)(self, x)


def linen_path(reverse: bool) -> Callable[[str, int | None], tuple[Any, ...]]:
    def path(kind: str, i: int | None) -> tuple[Any, ...]:
        i = 12 if i is None else 11 - i if reverse and kind == "norm" else i
        return (f"{'Dense' if kind == 'linear' else 'BatchNorm'}_{i}",)

    return path


def nnx_path(reverse: bool) -> Callable[[str, int | None], tuple[Any, ...]]:
    def path(kind: str, i: int | None) -> tuple[Any, ...]:
        if i is None:
            return ("head",)
        return ("layers", i) if kind == "linear" else ("norms", 11 - i if reverse else i)

    return path


def bind(module: fnn.Module) -> fnn.Module:
    return module.bind(module.init(jax.random.key(0), jnp.ones((2, 6)), False))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("outer", ["call", "jit", "remat"])
def test_a_linen_pass_shows_the_order(reverse: bool, outer: str) -> None:
    kind = {"call": Linen, "jit": fnn.jit(Linen, static_argnums=2), "remat": fnn.remat(Linen, static_argnums=(2,))}[
        outer
    ]
    bound = bind(kind(12, reverse))
    assert bnjax.layer_names(bound, DEEP) == flax_table(linen_path(reverse), 12)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", [Nnx, CompiledNnx])
def test_an_nnx_pass_shows_the_order(kind: type[Nnx], reverse: bool) -> None:
    module = kind(12, reverse)
    assert bnjax.layer_names(module, DEEP) == flax_table(nnx_path(reverse), 12, linen=False)
    assert not module.dropout.deterministic


def test_numbers_order_flax_variables_and_states() -> None:
    variables = bind(Linen(12)).variables
    expected = flax_table(linen_path(False), 12)
    for change in (dict, lambda tree: jax.tree.map(jnp.copy, tree)):  # JAX sorts the keys
        assert bnjax.layer_names(change(variables), DEEP) == expected
    assert bnjax.layer_names(nnx.state(Nnx(12)), DEEP) == flax_table(nnx_path(False), 12, linen=False)


def test_flax_names_without_numbers_prove_no_order() -> None:
    variables = bind(Linen(2)).variables
    params = dict(variables["params"])
    stats = dict(variables["batch_stats"])
    for collection in (params, stats):
        collection["early"], collection["late"] = collection.pop("BatchNorm_0"), collection.pop("BatchNorm_1")
    message = refusal(bnjax.layer_names, {"params": params, "batch_stats": stats}, SPEC)
    assert message.startswith("the names of the norms 'early', 'late' do not tell their order; give the module")


class Unordered(nnx.Module):
    def __init__(self, forward: Callable[[Any, jax.Array], jax.Array]) -> None:
        rngs = nnx.Rngs(0)
        self.first, self.second, self.out = (nnx.Linear(n, m, rngs=rngs) for n, m in ((6, 4), (4, 4), (4, 3)))
        self.early, self.late = nnx.BatchNorm(4, rngs=rngs), nnx.BatchNorm(4, rngs=rngs)
        self.forward = forward

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.forward(self, x)


@pytest.mark.parametrize(("forward", "expected"), OTHER_PASSES.values(), ids=OTHER_PASSES)
def test_a_flax_pass_of_another_network_is_refused(forward: Callable[..., jax.Array], expected: str) -> None:
    expected = expected.replace("LATE", "'late'").replace("SECOND", "('second', 'kernel')")
    assert expected in refusal(bnjax.layer_names, Unordered(forward), SPEC)
