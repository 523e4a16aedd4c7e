"""Checkpoints as people have them: each is converted exactly, or refused in one line that names the key."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from flax.core import freeze
from torch import Tensor, nn
from weight_cases import SPEC, refusal

import bnjax
import bntorch
import parity
from bnjax.layer_order import LEAVES
from bntorch.weights import native_names
from parity.errors import InputError
from parity.weights import Weights, draw_weights, load_weights

WEIGHTS = draw_weights(SPEC, seed=3)
TABLE = native_names(SPEC)


def same(found: Weights) -> bool:
    """Whether these are the weights of these tests, to the last bit."""
    return found.keys() == WEIGHTS.keys() and all(np.array_equal(found[name], WEIGHTS[name]) for name in WEIGHTS)


def state_dict() -> dict[str, Tensor]:
    return bntorch.to_native(WEIGHTS, SPEC)


def variables() -> dict[str, Any]:
    return bnjax.to_native(WEIGHTS, SPEC)


def prefixed(prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{key}": value for key, value in state_dict().items()}


def own_module() -> nn.Module:
    module = bntorch.MultiLayerPerceptron.from_spec(SPEC)
    module.load_state_dict(state_dict())
    return module


LIGHTNING = {"pytorch-lightning_version": "2.5", "global_step": 7, "loops": {}, "callbacks": {}, "optimizer_states": []}


@pytest.mark.parametrize(
    "native",
    [
        own_module,
        lambda: {"epoch": 3, "state_dict": state_dict(), "optimizer": {"state": {}}},
        lambda: {"model_state_dict": state_dict(), "optimizer_state_dict": {}, "loss": 0.1},
        lambda: {"model": own_module(), "args": None, "best_acc": 0.9},
        lambda: {"state": {"params": state_dict()}, "step": 1},
        lambda: LIGHTNING | {"state_dict": prefixed("model."), "hyper_parameters": {"lr": 0.1}},
        lambda: prefixed("module."),
        lambda: prefixed("_orig_mod.module.net."),
        lambda: state_dict() | {"norms.0.num_batches_tracked": torch.tensor(5)},
        lambda: {key: value.numpy() for key, value in state_dict().items()},
        lambda: {key: value.requires_grad_() for key, value in state_dict().items()},
        lambda: {key: value.t().contiguous().t() for key, value in state_dict().items()},
        lambda: {key: torch.stack([value, value], dim=-1)[..., 1] for key, value in state_dict().items()},
        lambda: {key: value.to_sparse() for key, value in state_dict().items()},
        lambda: {key: value.to_mkldnn() for key, value in state_dict().items()},
        lambda: {key: nn.Parameter(value) for key, value in state_dict().items()},
    ],
)  # fmt: skip
def test_a_torch_checkpoint_is_read(native: Callable[[], Any]) -> None:
    given = native()
    assert same(parity.convert_weights(given, SPEC, source="torch", target="numpy"))
    converted = parity.convert_weights(given, SPEC, source="torch", target="jax")
    assert same(bnjax.from_native(converted, SPEC))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.net."])
def test_a_prefix_that_the_table_does_not_have_is_left_out(prefix: str) -> None:
    assert same(bntorch.from_native(prefixed(prefix), SPEC, TABLE))
    nested = {name: f"net.{key}" for name, key in TABLE.items()}
    assert same(bntorch.from_native(prefixed(f"{prefix}net."), SPEC, nested))


def test_a_prefix_ends_where_a_component_does() -> None:
    table = {name: f"net.{key}" for name, key in TABLE.items()}
    with pytest.raises(InputError, match=r"missing net\."):
        bntorch.from_native(prefixed("subnet."), SPEC, table)


def test_a_prefix_of_some_keys_is_no_prefix() -> None:
    mixed = prefixed("module.") | {"head.bias": state_dict()["head.bias"]}
    del mixed["module.head.bias"]
    assert "missing head.weight" in refusal(bntorch.from_native, mixed, SPEC, TABLE)


def quantized() -> Tensor:
    return torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (lambda: None, "'head.bias' is a NoneType instead of a tensor"),
        (lambda: "zeros", "'head.bias' is a str instead of a tensor"),
        (lambda: {"scale": 1}, "'head.bias' is a dict instead of a tensor"),
        (lambda: torch.zeros(3, device="meta"), "'head.bias' is on the meta device and has no numbers"),
        (nn.UninitializedParameter, "'head.bias' is not initialized yet; run the module on a batch first"),
        (quantized, "'head.bias' has dtype torch.qint8"),
        (lambda: torch.zeros(3, dtype=torch.int64), "'head.bias' has dtype torch.int64"),
        (lambda: torch.zeros(3, dtype=torch.complex64), "'head.bias' has dtype torch.complex64"),
        (lambda: torch.zeros(3).to(torch.float8_e4m3fn), "'head.bias' has dtype torch.float8_e4m3fn"),
        (lambda: np.zeros(3, object), "'head.bias' is a ndarray instead of a tensor"),
        (lambda: torch.zeros(3, dtype=torch.float64), "the dtypes float32 and float64 are mixed (convert all to one)"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*quant:UserWarning", "ignore:.*quant:DeprecationWarning")
def test_a_value_without_numbers_is_named(value: Callable[[], Any], expected: str) -> None:
    native = {"state_dict": state_dict() | {"head.bias": value()}, "epoch": 1}
    assert expected in refusal(parity.convert_weights, native, SPEC, source="torch", target="jax")


@pytest.mark.parametrize(
    ("native", "expected"),
    [
        (lambda: state_dict() | {"positions": torch.zeros(4)}, "unexpected positions; add what is missing, remove"),
        (lambda: state_dict() | {"norms.0._extra_state": {"a": 1}}, "'norms.0._extra_state' is a dict instead of a"),
        (lambda: state_dict() | {3: torch.zeros(4)}, "the keys of a state_dict are strings, got 3"),
        (lambda: {"state_dict": state_dict(), "state_dict_ema": state_dict()}, "the checkpoint has 'state_dict_ema'"),
        (lambda: {"model": state_dict(), "net": state_dict()}, "the checkpoint has 'net' beside 'model'; give the"),
        (lambda: {"model": own_module, "epoch": 1}, "weights must be a module, its state_dict or a checkpoint, got"),
        (lambda: nn.LazyLinear(3), "'weight' is not initialized yet"),
        (lambda: nn.Linear(6, 3, device="meta"), "'weight' is on the meta device"),
        (dict, "the weights have 0 linear layers and 0 norms"),
    ],
)  # fmt: skip
def test_a_torch_checkpoint_that_holds_something_else_is_refused(native: Callable[[], Any], expected: str) -> None:
    assert expected in refusal(parity.convert_weights, native(), SPEC, source="torch", target="jax")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_numbers_are_widened_exactly(dtype: torch.dtype) -> None:
    narrow = {key: value.to(dtype) for key, value in state_dict().items()}
    converted = parity.convert_weights(narrow, SPEC, source="torch", target="jax")
    jax_dtype = {torch.float16: jnp.float16, torch.bfloat16: jnp.bfloat16}[dtype]
    back = parity.convert_weights(
        jax.tree.map(lambda x: x.astype(jax_dtype), converted), SPEC, source="jax", target="torch"
    )
    for key, value in narrow.items():
        assert back[key].dtype == torch.float32
        assert torch.equal(back[key].to(dtype), value)
        assert torch.equal(back[key], value.float())


# Flax


class Nnx(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.layers = nnx.List([nnx.Linear(6, 4, rngs=rngs), nnx.Linear(4, 4, rngs=rngs)])
        self.norms = nnx.List([nnx.BatchNorm(4, rngs=rngs), nnx.BatchNorm(4, rngs=rngs)])
        self.dropout, self.head = nnx.Dropout(0.1, rngs=rngs), nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = self.dropout(norm(jax.nn.relu(layer(x))))
        return self.head(x)


NORM_LEAVES = LEAVES.norm
NNX_TABLE = {
    **{f"hidden.{i}.{leaf}": ("layers", i, leaf) for i in (0, 1) for leaf in ("kernel", "bias")},
    **{f"hidden.{i}.{ours}": ("norms", i, leaf) for i in (0, 1) for ours, leaf in NORM_LEAVES.items()},
    **{f"head.{leaf}": ("head", leaf) for leaf in ("kernel", "bias")},
}  # fmt: skip


def nnx_module() -> Nnx:
    module = Nnx()
    nnx.update(module, nnx.from_flat_state({own: jnp.array(WEIGHTS[name]) for name, own in NNX_TABLE.items()}))
    return module


def train_state() -> bnjax.TrainState:
    return bnjax.state_from_variables(bnjax.MultiLayerPerceptron.from_spec(SPEC), variables())


def pure_dict() -> dict[str, Any]:
    pure = nnx.to_pure_dict(nnx.state(nnx_module()))
    del pure["dropout"]
    return pure


@pytest.mark.parametrize(
    "native",
    [
        lambda: bnjax.MultiLayerPerceptron.from_spec(SPEC).bind(variables()),
        lambda: freeze(variables()),
        lambda: jax.tree.map(np.array, variables()),
        lambda: variables() | {"step": 3, "opt_state": {"mu": 1}},
        lambda: {"model": variables(), "opt_state": (), "epoch": 1},
        lambda: {"params": variables()},
        train_state,
        nnx_module,
        lambda: nnx.state(nnx_module()),
        lambda: {"model": nnx.state(nnx_module()), "step": 3},
        pure_dict,
    ],
)
def test_a_flax_checkpoint_is_read(native: Callable[[], Any]) -> None:
    given = native()
    assert same(parity.convert_weights(given, SPEC, source="jax", target="numpy"))
    converted = parity.convert_weights(given, SPEC, source="jax", target="torch")
    assert same(bntorch.from_native(converted, SPEC))


def test_weights_go_into_an_nnx_state_by_its_table() -> None:
    names = bnjax.layer_names(Nnx(), SPEC)
    assert names == NNX_TABLE
    native = parity.convert_weights(own_module(), SPEC, source="torch", target="jax", target_names=names)
    assert set(native) == {"layers", "norms", "head"}
    assert same(bnjax.from_native(native, SPEC, names))


@pytest.mark.parametrize(("target", "kind"), [("jax", "a path of Flax variables"), ("torch", "a key of a state_dict")])
def test_a_table_of_the_other_framework_is_refused(target: str, kind: str) -> None:
    names = TABLE if target == "jax" else NNX_TABLE
    message = refusal(parity.convert_weights, WEIGHTS, SPEC, source="numpy", target=target, target_names=names)
    assert message.startswith(kind)


def donated() -> jax.Array:
    array = jnp.zeros(3)
    array.delete()
    return array


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (lambda: None, "is a NoneType instead of an array"),
        (lambda: "zeros", "is a str instead of an array"),
        (donated, "was donated and is deleted; give the state that the step returned"),
        (lambda: jax.ShapeDtypeStruct((3,), jnp.float32), "is a ShapeDtypeStruct instead of an array"),
        (lambda: jnp.zeros(3, jnp.int32), "has dtype int32"),
        (lambda: jnp.zeros(3, jnp.float8_e4m3fn), "has dtype float8_e4m3fn"),
        (lambda: jax.random.key(0), "has dtype key<fry>"),
        (lambda: np.zeros(3), "the dtypes float32 and float64 are mixed"),
    ],
)
def test_a_flax_value_without_numbers_is_named(value: Callable[[], Any], expected: str) -> None:
    native = copy.deepcopy(variables())
    native["params"]["head"]["bias"] = value()
    message = refusal(parity.convert_weights, native, SPEC, source="jax", target="torch")
    assert expected in message
    assert "mixed" in message or "('params', 'head', 'bias')" in message


def test_weights_of_a_traced_function_are_refused() -> None:
    message = refusal(jax.jit(lambda tree: bnjax.from_native(tree, SPEC)), variables())
    assert "cannot be read" in message
    assert message.endswith("convert weights outside of jax.jit")


@pytest.mark.parametrize(
    ("native", "expected"),
    [
        (lambda: fnn.Dense(3), "a linen module holds no weights of its own; give module.bind(variables)"),
        (lambda: variables() | {"cache": {"x": jnp.zeros(1)}}, "unexpected ('cache', 'x'); add what is missing"),
        (lambda: {"model": variables(), "ema": variables()}, "the checkpoint has 'ema' beside 'model'"),
        (lambda: nnx.state(nnx_module(), nnx.Param), "no batch norm with running statistics"),
        (dict, "the weights have 0 linear layers and 0 norms"),
    ],
)  # fmt: skip
def test_a_flax_checkpoint_that_holds_something_else_is_refused(native: Callable[[], Any], expected: str) -> None:
    assert expected in refusal(parity.convert_weights, native(), SPEC, source="jax", target="torch")


# Files


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_of_torch_save_is_refused_with_the_way_to_safetensors(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "model.pt"
    torch.save(state_dict(), path, _use_new_zipfile_serialization=not legacy)
    message = refusal(load_weights, path, SPEC)
    assert message.startswith(f"cannot read {str(path)!r} as safetensors: it is a pickle or a zip archive of pickles")
    assert 'convert_weights(..., target="numpy")' in message
    assert message.endswith("; write it with save_weights")


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_of_any_protocol_is_known(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "w").write_bytes(pickle.dumps(WEIGHTS, protocol))
    assert "it is a pickle" in refusal(load_weights, tmp_path / "w", SPEC)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: np.flip(np.flip(a).copy()),
        lambda a: a.astype(a.dtype.newbyteorder(">")),
        lambda a: a.astype(np.longdouble),
    ],
)
def test_numpys_arrays_of_any_stride_and_byte_order_are_weights(change: Callable[[Any], Any]) -> None:
    assert same(bntorch.from_native({key: change(value.numpy()) for key, value in state_dict().items()}, SPEC))


def test_paths_through_other_tensors_are_refused() -> None:
    names = {name: ("params", *name.split(".")) for name in WEIGHTS}
    for odd in ((), ("params", "head")):
        with pytest.raises(InputError, match="path"):
            bnjax.to_native(WEIGHTS, SPEC, names=names | {"hidden.0.kernel": odd})


def test_keys_that_are_no_strings_are_refused() -> None:
    with pytest.raises(InputError, match="the keys of a state_dict are strings, got 0"):
        parity.registration_order_names({0: np.zeros(3)}, SPEC)  # pyright: ignore[reportArgumentType]
