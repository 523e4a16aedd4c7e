"""Any model as it is compared: what it shows at its modules' boundaries, what replaces that, what rounding moves."""

import copy
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from model_kinds import INPUTS, PORTS, WITH_MODULES, LinenNet, NnxNet, TorchNet, jax_loss

import bnjax
import bntorch
from bnjax.interpret import Visitor, evaluate
from bnjax.perturbed import perturbed
from bnjax.perturbed import ulps_of_sum as jax_ulps_of_sum
from bntorch.dispatch import Perturb, ulps_of_sum
from parity.backend.batch import arguments
from parity.backend.port import Boundary, Call, End, Forced, Mode, Played, Rounding
from parity.errors import InputError
from parity.verdict.compare import SAFETY
from parity.verdict.noise import rms

MODES = list(Mode)


def at(module: str, end: End, leaf: str | None = None, number: int = 0) -> Callable[[Boundary], bool]:
    return lambda b: b.call == Call(module, number) and b.end is end and leaf in (None, b.leaf)


def value(played: Played, module: str, end: End, of: str = "values") -> Any:
    (found,) = (array for boundary, array in getattr(played, of).items() if at(module, end)(boundary))
    return found


def flat(played: Played) -> dict[Any, Any]:
    """Everything that it shows."""
    shown = {("value", at): array for at, array in played.values.items()}
    shown |= {("cotangent", at): array for at, array in played.cotangents.items()}
    shown |= {("gradient", name): array for name, array in played.gradients.items()}
    shown |= {("statistic", name): array for name, array in played.statistics.items()}
    return shown | {("loss", ""): np.array(played.loss)}


def within_rounding(port: Any, mode: Mode, actual: dict[str, Any], expected: dict[str, Any]) -> None:
    """Hold the gradients and statistics of a port against others, in noise floors of its own."""
    draws = [port.play(INPUTS, mode, rounding=Rounding(bits=52, seed=seed)) for seed in range(8)]
    for name, array in actual.items():
        moved = [(draw.gradients | draw.statistics)[name] for draw in draws]
        floor = max(float(rms(np.asarray(each, float) - array)) for each in moved) + np.spacing(float(rms(array)))
        assert float(rms(np.asarray(expected[name], float) - array)) <= SAFETY * floor, name


# what it computes


def torch_expected(port: Any, mode: Mode) -> dict[str, Any]:
    model = TorchNet().double()
    model.load_state_dict({name: torch.tensor(array) for name, array in port.state().items()})
    model.train(mode is Mode.TRAIN).drop.eval()
    loss = torch.nn.functional.cross_entropy(model(torch.tensor(INPUTS["x"])), torch.tensor(INPUTS["labels"]))
    loss.backward()
    gradients = {name: p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None}
    return gradients | {name: b.numpy() for name, b in model.named_buffers()}


def linen_expected(port: Any, mode: Mode) -> dict[str, Any]:
    state, nested = port.state(), {"params": {}, "batch_stats": {}}
    for name, array in state.items():
        collection, _, path = name.rpartition(":")
        layer, leaf = path.split(".")
        nested[collection or "params"].setdefault(layer, {})[leaf] = array

    class Sure(LinenNet):  # without dropout
        @linen.compact
        def __call__(self, x, train):
            norm = linen.BatchNorm(use_running_average=not train, momentum=0.9, name="norm")
            return linen.Dense(3, name="last")(linen.tanh(norm(linen.Dense(4, name="first")(x))))

    def loss(params: Any) -> Any:
        variables = {"params": params, "batch_stats": nested["batch_stats"]}
        out, after = Sure().apply(variables, INPUTS["x"], mode is Mode.TRAIN, mutable=["batch_stats"])
        return jax_loss(out, INPUTS["labels"]), after["batch_stats"]

    with jax.enable_x64(True):
        gradients, after = jax.grad(loss, has_aux=True)(nested["params"])
    found = {f"{layer}.{leaf}": array for layer, tree in gradients.items() for leaf, array in tree.items()}
    return found | {f"batch_stats:norm.{leaf}": array for leaf, array in after["norm"].items()}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("kind", "expected"), [("torch", torch_expected), ("linen", linen_expected)])
def test_a_port_computes_what_its_model_does_without_dropout(kind: str, expected: Any, mode: Mode) -> None:
    port = PORTS[kind]()
    played = port.play(INPUTS, mode)
    assert {array.dtype for array in played.gradients.values()} == {np.dtype(np.float64)}
    within_rounding(port, mode, {**played.gradients, **played.statistics}, expected(port, mode))


@pytest.mark.parametrize("kind", PORTS)
def test_playing_changes_nothing_and_loading_what_is_loaded(kind: str) -> None:
    port = PORTS[kind]()
    first = flat(port.play(INPUTS, Mode.TRAIN))
    before = port.state()
    again = flat(port.play(INPUTS, Mode.TRAIN))
    assert all(np.array_equal(array, again[key], equal_nan=True) for key, array in first.items())
    doubled = {name: 2 * array for name, array in before.items() if name in port.play(INPUTS, Mode.TRAIN).gradients}
    port.load(doubled)
    for name, array in port.state().items():
        np.testing.assert_array_equal(array, doubled.get(name, before[name]))


# boundaries


@pytest.mark.parametrize("kind", WITH_MODULES)
def test_calls_and_boundaries_come_in_the_order_of_computation(kind: str) -> None:
    anatomy = PORTS[kind]().anatomy(INPUTS, Mode.TRAIN)
    modules = ["", "first", "norm", "last"]
    calls = [each for each in anatomy.calls if each.call.module != "drop"]
    assert [(each.call.module, each.call.number) for each in calls] == [(name, 0) for name in modules]
    assert [each.parent for each in calls] == [None, *[Call("", 0)] * 3]
    assert all("model_kinds.py:" in each.source for each in calls[1:])
    ends = [(b.call.module, b.end) for b in anatomy.boundaries if b.call.module != "drop"]
    inner = [(name, end) for name in modules[1:] for end in (End.INPUT, End.OUTPUT)]
    assert ends == [("", End.INPUT), *inner, ("", End.OUTPUT)]
    played = PORTS[kind]().play(INPUTS, Mode.TRAIN)
    assert list(played.values) == list(anatomy.boundaries)
    for boundary, form in anatomy.boundaries.items():
        assert played.values[boundary].shape == form.shape


def test_a_function_has_one_boundary_each_way_and_the_values_of_its_operations() -> None:
    anatomy = PORTS["plain"]().anatomy(INPUTS, Mode.TRAIN)
    ends = [(b.call.module, b.end) for b in anatomy.boundaries if b.end is not End.VALUE]
    assert ends == [("", End.INPUT), ("", End.OUTPUT)]
    values = [b.leaf for b in anatomy.boundaries if b.end is End.VALUE]
    assert sum("dot_general at " in leaf and "model_kinds.py:" in leaf for leaf in values) == 2
    assert anatomy.parameters.keys() == {"first.kernel", "first.bias", "last.kernel", "last.bias"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", WITH_MODULES)
def test_forced_each_module_is_alone(kind: str, mode: Mode) -> None:
    """A linear layer that is given x, and the cotangent y, has the gradient x'y, whatever is around it."""
    port, rng = PORTS[kind](), np.random.default_rng(2)
    own = port.play(INPUTS, mode)
    floats = {b: array for b, array in own.values.items() if array.dtype == np.float64}
    forced = Forced(
        values={b: rng.normal(size=array.shape) for b, array in floats.items()},
        cotangents={b: rng.normal(size=array.shape) for b, array in own.cotangents.items()},
    )
    played = port.play(INPUTS, mode, forced)
    for layer in ("first", "last"):
        x, y = (
            next(array for b, array in given.items() if at(layer, end)(b))
            for given, end in ((forced.values, End.INPUT), (forced.cotangents, End.OUTPUT))
        )
        state = port.state()
        kernel = next(name for name in state if name in (f"{layer}.weight", f"{layer}.kernel"))
        is_transposed = kernel.endswith("weight")
        weight = state[kernel].T if is_transposed else state[kernel]
        expected = x.T @ y
        scale = SAFETY * len(x) * np.spacing(np.abs(x).max() * np.abs(y).max())
        np.testing.assert_allclose(played.gradients[kernel], expected.T if is_transposed else expected, atol=scale)
        np.testing.assert_allclose(value(played, layer, End.OUTPUT), x @ weight + state[f"{layer}.bias"], atol=scale)
        np.testing.assert_allclose(value(played, layer, End.INPUT, "cotangents"), y @ weight.T, atol=scale)
    # The outermost value is replaced before the loss.
    end = next(array for b, array in forced.values.items() if at("", End.OUTPUT)(b))
    with jax.enable_x64(True):
        assert played.loss == pytest.approx(float(jax_loss(jnp.array(end), jnp.array(INPUTS["labels"]))), rel=1e-13)


@pytest.mark.parametrize("kind", PORTS)
def test_forced_to_its_own_values_it_computes_the_same(kind: str) -> None:
    port = PORTS[kind]()
    own = port.play(INPUTS, Mode.TRAIN)
    again = flat(port.play(INPUTS, Mode.TRAIN, Forced(values=own.values, cotangents=own.cotangents)))
    for key, array in flat(own).items():
        # XLA may compute a number twice, fused with other operations: then it is an ulp off.
        ulps = 0 if kind == "torch" else 2
        most = ulps * np.spacing(np.abs(np.nan_to_num(np.asarray(array, float))).max(initial=0.0))
        np.testing.assert_allclose(again[key], array, rtol=0, atol=most)


@pytest.mark.parametrize("kind", PORTS)
def test_what_is_not_wanted_backward_changes_nothing_forward(kind: str) -> None:
    port = PORTS[kind]()
    both, forward = port.play(INPUTS, Mode.TRAIN), port.play(INPUTS, Mode.TRAIN, is_backward=False)
    assert forward.loss == both.loss
    assert forward.values.keys() == both.values.keys()
    for name, array in both.statistics.items():
        np.testing.assert_array_equal(forward.statistics[name], array)


@pytest.mark.parametrize("kind", WITH_MODULES)
def test_what_is_not_replaced_stays_the_models_own(kind: str) -> None:
    port, rng = PORTS[kind](), np.random.default_rng(2)
    own = port.play(INPUTS, Mode.EVALUATION)
    at_first = {
        b: rng.normal(size=a.shape)
        for b, a in own.values.items()
        if at("norm", End.INPUT, "")(b) or (at("norm", End.INPUT)(b) and a.dtype == np.float64 and a.ndim > 1)
    }
    forced = port.play(INPUTS, Mode.EVALUATION, Forced(values=at_first))
    assert len(at_first) == 1
    changed = [b.call.module for b, a in own.values.items() if not np.array_equal(a, forced.values[b])]
    assert {module for module in changed if module != "drop"} == {"norm", "last", ""}
    assert changed[0] == "norm"
    cotangents = {b: 2 * a for b, a in own.cotangents.items() if at("last", End.OUTPUT)(b)}
    forced = port.play(INPUTS, Mode.EVALUATION, Forced(cotangents=cotangents))
    for name, gradient in own.gradients.items():
        np.testing.assert_array_equal(forced.gradients[name], 2 * gradient)


@pytest.mark.parametrize("kind", WITH_MODULES)
def test_it_is_known_which_values_a_value_is_computed_from(kind: str) -> None:
    anatomy = PORTS[kind]().anatomy(INPUTS, Mode.EVALUATION)
    short = {b: f"{b.call.module} {b.end}" for b in anatomy.boundaries if b.call.module != "drop"}
    found: dict[str, set[str]] = {}
    for b, name in short.items():
        waiting, sources = list(anatomy.sources.get(b, ())), set()
        while waiting:  # what enters or leaves the dropout is not asked for here
            source = waiting.pop()
            if source in short:
                sources.add(short[source])
            else:
                waiting += anatomy.sources[source]
        if anatomy.boundaries[b].dtype == "float64" and len(anatomy.boundaries[b].shape) == 2:
            found[name] = sources
    assert found == {
        " input": set(),
        "first input": {" input"},
        "first output": {"first input"},
        "norm input": {"first output"},
        "norm output": {"norm input"},
        "last input": {"norm output"},
        "last output": {"last input"},
        " output": {"last output"},
    }


class Scanned(linen.Module):
    """A layer applied three times with weights of its own each, another twice, and all that wraps functions."""

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        layers = linen.scan(Step, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)(name="steps")
        x, _ = layers(x, None)
        twice = linen.Dense(5, name="twice")
        x = twice(jax.nn.relu(twice(x)))
        x = linen.remat(linen.Dense)(5, name="again")(x)
        mapped = linen.vmap(linen.Dense, variable_axes={"params": None}, split_rngs={"params": False})
        x = mapped(5, name="mapped")(x)
        return jax.lax.cond(x.sum() > 0, lambda v: v, lambda v: v, linen.jit(linen.Dense)(3, name="last")(x))


class Step(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array, _: None) -> tuple[jax.Array, None]:
        return x + linen.Dense(5, name="inner")(x), None


def test_modules_within_jaxs_transformations_are_seen_step_by_step() -> None:
    port = bnjax.port(Scanned(), loss=jax_loss)
    played = port.play(INPUTS, Mode.TRAIN)
    calls = [each.call for each in port.anatomy(INPUTS, Mode.TRAIN).calls]
    assert [c for c in calls if c.module == "steps.inner"] == [Call("steps.inner", number) for number in range(3)]
    assert [c for c in calls if c.module == "twice"] == [Call("twice", 0), Call("twice", 1)]
    assert {c.module for c in calls} >= {"again", "mapped", "last"}
    sources = port.anatomy(INPUTS, Mode.TRAIN).sources
    for number in range(1, 3):  # a step's input comes from the step before
        (x,) = (b for b in sources if at("steps", End.INPUT, number=number)(b))
        assert {(b.call, b.end) for b in sources[x]} == {(Call("steps", number - 1), End.OUTPUT)}
    state = port.state()
    for number in range(3):
        x = next(a for b, a in played.values.items() if at("steps.inner", End.INPUT, number=number)(b))
        y = next(a for b, a in played.values.items() if at("steps.inner", End.OUTPUT, number=number)(b))
        limit = SAFETY * np.spacing(np.abs(y).max())
        np.testing.assert_allclose(
            y, x @ state["steps.inner.kernel"][number] + state["steps.inner.bias"][number], atol=limit
        )
    own = Forced(values=played.values, cotangents=played.cotangents)
    wrong = {b: np.zeros_like(a) if at("steps.inner", End.OUTPUT, number=1)(b) else a for b, a in own.values.items()}
    forced = port.play(INPUTS, Mode.TRAIN, Forced(values=wrong, cotangents=own.cotangents))
    moved = {b.call for b in played.values if not np.array_equal(forced.values[b], played.values[b])}
    assert moved == {Call("steps", 1)}  # the rest of that step alone; what follows is given what it was


# rounding


@pytest.mark.parametrize("kind", PORTS)
def test_simulated_rounding_moves_everything_by_some_ulps(kind: str) -> None:
    port = PORTS[kind]()
    exact = flat(port.play(INPUTS, Mode.TRAIN))
    draws = [flat(port.play(INPUTS, Mode.TRAIN, rounding=Rounding(bits=52, seed=seed))) for seed in (0, 1, 0)]
    for key, array in exact.items():
        if np.isnan(array).any():  # what an index outside an array would be given
            continue
        if np.asarray(array).dtype != np.float64:
            assert np.array_equal(draws[0][key], array)
            continue
        assert np.array_equal(draws[0][key], draws[2][key])
        if float(rms(array)) < 1e-12:  # the gradient of a bias before batch norm is 0, and rounding is all there is
            continue
        ulps = float(rms(draws[0][key] - array)) / np.spacing(float(rms(array)))
        # An operation may give a number that is exact, as a sum of products has it.
        assert 0 < ulps < 100 or key[0] == "loss" or key[1].end is End.VALUE, key
    assert any(not np.array_equal(draws[0][key], draws[1][key]) for key in exact)


@pytest.mark.parametrize("bits", [52, 23, 7])
def test_an_ulp_is_that_of_the_dtype_that_is_simulated(bits: int) -> None:
    for kind in ("torch", "linen"):
        port = PORTS[kind]()
        exact = port.play(INPUTS, Mode.TRAIN)
        moved = port.play(INPUTS, Mode.TRAIN, rounding=Rounding(bits=bits, seed=0))
        x, y = (value(played, "", End.INPUT) for played in (exact, moved))
        power = 2.0 ** np.floor(np.log2(np.abs(x)))
        largest = {"torch": np.abs(x), "linen": power}[kind] * 2.0**-bits  # one to two ulps, or one
        assert np.all(np.abs(y - x) >= power * 2.0**-bits)
        assert np.all(np.abs(y - x) <= largest + np.spacing(np.abs(x)))


def test_what_rounds_nothing_is_left_alone() -> None:
    x = np.array([1.5, -2.25, 0.0, np.inf, 3e300])

    def selecting(values: Any, where: Any, stack: Any) -> Any:
        return where(values > 0, values, 0.0), stack([values, values]).reshape(-1)

    with jax.enable_x64(True):
        exact = perturbed(lambda v: selecting(v, jnp.where, jnp.stack), 52)(jnp.uint64(1), jnp.array(x))
        for one, other in zip(exact, (np.maximum(x, 0), np.tile(x, 2)), strict=True):
            np.testing.assert_array_equal(one, other)
        (moved,) = perturbed(lambda v: (v * 1.0,), 52)(jnp.uint64(1), jnp.array(x))
        only_numbers_of_use_move(np.array(moved), x)
    with Perturb(52, seed=0):
        exact = selecting(torch.tensor(x), torch.where, torch.stack)
        moved = torch.tensor(x) * 1.0
    for one, other in zip(exact, (np.maximum(x, 0), np.tile(x, 2)), strict=True):
        np.testing.assert_array_equal(one, other)
    only_numbers_of_use_move(moved.numpy(), x)


def only_numbers_of_use_move(moved: Any, x: Any) -> None:
    assert np.isin(np.abs(moved[:2] - x[:2]) / np.spacing(np.abs(x[:2])), (1.0, 2.0)).all()
    np.testing.assert_array_equal(moved[2:], x[2:])


def test_what_pytorch_writes_in_place_is_moved_too() -> None:
    x = torch.ones(1000, dtype=torch.float64)
    with Perturb(52, seed=0):
        x.mul_(3.0)
    assert set(np.sign(x.numpy() - 3)) == {-1.0, 1.0}
    assert set(np.abs(x.numpy() - 3) / np.spacing(3.0)) <= {1.0, 2.0}


def test_a_traced_function_is_evaluated_as_it_is() -> None:
    @jax.custom_vjp
    def cube(x: Any) -> Any:
        return x**3

    cube.defvjp(lambda x: (x**3, x), lambda x, y: (y * 3 * x**2,))

    def function(x: Any) -> Any:
        x, ys = jax.lax.scan(lambda c, a: (jnp.sin(c) * a, c), x, jnp.arange(1.0, 4.0), reverse=True)
        x = jax.lax.while_loop(lambda v: v < 2, lambda v: v + 1, x)
        x = jax.lax.switch(jnp.int32(x), [lambda v: v, lambda v: 2 * v, jax.checkpoint(lambda v: 3 * v)], x)
        return cube(jax.nn.relu(jax.jit(jnp.cos)(x))) + ys.sum(), ys

    jaxpr, shape = jax.make_jaxpr(function, return_shape=True)(0.3)
    results, taken = evaluate(jaxpr, [0.3], Visitor(), None)
    assert taken == {}
    assert jax.tree.structure(shape).num_leaves == len(results)
    for one, other in zip(results, jax.tree.leaves(function(0.3)), strict=True):
        np.testing.assert_allclose(one, other, rtol=float(SAFETY * np.finfo(np.float32).eps))


# the user's model


def test_a_torch_module_stays_as_it_was() -> None:
    model = TorchNet().eval()
    model.norm.train()
    seen: list[str] = []
    model.first.register_forward_hook(lambda *_: seen.append("called"))
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    port = bntorch.port(model, loss=torch.nn.functional.cross_entropy)
    stream = torch.get_rng_state()
    for rounding in (None, Rounding(bits=52, seed=0)):
        port.play(INPUTS, Mode.TRAIN, rounding=rounding)
    with pytest.raises(RuntimeError):
        port.play({"x": np.ones((2, 7)), "labels": np.zeros(2, int)}, Mode.TRAIN)
    assert seen
    assert torch.equal(torch.get_rng_state(), stream)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    assert hooks == [0, 1, 0, 0, 0]
    assert torch.get_default_dtype() is torch.float32


def test_the_callers_default_device_decides_nothing() -> None:
    port = PORTS["torch"](optimizer=torch.optim.Adam)
    gradients = [port.play(INPUTS, Mode.TRAIN).gradients]

    def shown() -> list[Any]:
        moved = port.play(INPUTS, Mode.TRAIN, rounding=Rounding(bits=52, seed=0))
        steps = port.optimize(gradients, Rounding(bits=52, seed=0))
        return [flat(port.play(INPUTS, Mode.TRAIN)), flat(moved), *steps, port.state()]

    expected = shown()
    with torch.device("meta"):  # what is made there holds no numbers
        port.load(port.state())
        found = shown()
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for key, array in one.items():
            np.testing.assert_array_equal(array, other[key])


def test_an_nnx_module_and_its_classes_stay_as_they_were() -> None:
    model = NnxNet()
    before = jax.tree.map(np.array, nnx.state(model, nnx.Not(nnx.RngState)))
    calls = {cls: cls.__call__ for cls in (NnxNet, nnx.Linear, nnx.BatchNorm, nnx.Dropout)}
    port = bnjax.port(model, loss=jax_loss)
    port.play(INPUTS, Mode.TRAIN)
    with pytest.raises((TypeError, ValueError)):
        port.play({"x": np.ones((2, 7)), "labels": np.zeros(2, int)}, Mode.TRAIN)
    assert {cls: cls.__call__ for cls in calls} == calls
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.array, nnx.state(model, nnx.Not(nnx.RngState))))
    assert not model.drop.deterministic
    assert not hasattr(model, "_bnparity_path")
    assert not jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]


# how a batch reaches a model


@pytest.mark.parametrize(
    ("function", "given", "left"),
    [
        (lambda x: 0, {"x": 1}, [2]),
        (lambda inputs: 0, {"inputs": 1}, [2]),
        (lambda labels, x: 0, {"x": 1, "labels": 2}, []),
        (lambda first, second: 0, {"first": 1, "second": 2}, []),
        (lambda x, train: 0, {"x": 1, "train": True}, [2]),
        (lambda x, deterministic=None: 0, {"x": 1, "deterministic": False}, [2]),
        (lambda x, mask=None, **more: 0, {"x": 1}, [2]),
    ],
)
def test_a_batch_is_matched_by_name_and_then_in_order(function: Any, given: dict[str, Any], left: list[int]) -> None:
    assert arguments(function, {"x": 1, "labels": 2}, Mode.TRAIN) == (given, left)


def test_a_parameter_without_an_input_is_one_line() -> None:
    with pytest.raises(
        InputError, match=r"no input is left for 'c' of \(a, b, c\); the inputs are x, labels: name one"
    ):
        arguments(lambda a, b, c: 0, {"x": 1, "labels": 2}, Mode.TRAIN)


@pytest.mark.parametrize("kind", PORTS)
def test_a_user_can_say_how_the_model_is_called(kind: str) -> None:
    def call(model: Any, batch: Any, train: bool) -> Any:
        if kind == "equinox":
            model, state = model
            mapped = jax.vmap(model, in_axes=(0, None), out_axes=(0, None), axis_name="batch")
            return mapped(batch["pixels"], state)
        return model(batch["pixels"], train) if kind in ("linen", "plain") else model(batch["pixels"])

    port = PORTS[kind](call=call)
    played = port.play({"labels": INPUTS["labels"], "pixels": INPUTS["x"]}, Mode.TRAIN)
    plain = PORTS[kind]()
    plain.play(INPUTS, Mode.TRAIN)
    port.load(plain.state())
    played = port.play({"labels": INPUTS["labels"], "pixels": INPUTS["x"]}, Mode.TRAIN)
    assert played.loss == plain.play(INPUTS, Mode.TRAIN).loss


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: bnjax.port(3).play(INPUTS, Mode.TRAIN), "int is no model; give a linen, NNX or Equinox module"),
        (lambda: bnjax.port(lambda p, x: x).play(INPUTS, Mode.TRAIN), "a function needs its parameters"),
        (lambda: bnjax.port(LinenNet()).state(), "has not seen a batch yet"),
        (lambda: bntorch.port(3), "int is no model; give a torch.nn.Module"),  # pyright: ignore[reportArgumentType]
        (lambda: bntorch.port(TorchNet(), {"nowhere": np.ones(3)}), "the model has no 'nowhere'"),
        (lambda: bntorch.port(TorchNet(), {"first.bias": np.ones(3)}), r"'first.bias' has shape \(3,\), .* \(4,\)"),
    ],
)
def test_what_is_no_model_or_no_state_of_it_is_one_line(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()


@pytest.mark.parametrize("count", [4, 1200])
def test_a_sum_is_moved_as_sums_are(count: int) -> None:
    """By `sqrt(count / 12)` ulps, and at least one: see `parity.verdict.noise.Unit.ulps_of_sum`."""
    expected = max(1.0, (count / 12) ** 0.5)
    x = torch.ones(count, dtype=torch.float64)
    assert ulps_of_sum("sum", (x,), x.sum()) == expected
    assert ulps_of_sum("_softmax", (x, 0), x) == expected
    assert ulps_of_sum("add", (x, x), x) == 1
    (equation,) = jax.make_jaxpr(jnp.sum)(jnp.ones(count)).jaxpr.eqns
    assert jax_ulps_of_sum(equation) == expected


def test_a_model_may_ask_for_the_gradient_of_what_has_one() -> None:
    """As Wav2Vec2 does, whose input has none elsewhere."""

    class Asking(TorchNet):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = 1 * x
            x.requires_grad = True
            return super().forward(x)

    asking, plain = (bntorch.port(each(), loss=torch.nn.functional.cross_entropy) for each in (Asking, TorchNet))
    asking.load(plain.state())
    assert asking.play(INPUTS, Mode.TRAIN).loss == plain.play(INPUTS, Mode.TRAIN).loss


def test_running_statistics_are_moved_in_training_alone() -> None:
    x = torch.ones(8, 2, dtype=torch.float64).cumsum(0)
    for training in (True, False):
        mean, var = torch.ones(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
        exact = mean.clone(), var.clone()
        torch.nn.functional.batch_norm(x, *exact, training=training)
        with Perturb(30, seed=0):
            torch.nn.functional.batch_norm(x, mean, var, training=training)
        assert torch.equal(mean, exact[0]) is not training


def test_a_sum_that_cancels_is_rounded_as_its_terms_are() -> None:
    """Of 400 terms of size 1 by `sqrt(400) sqrt(400 / 12)` ulps of 1, though 0 is left of them."""
    terms = np.tile([1.5, -1.5, 0.5, -0.5], 100) / 1.118033988749895
    expected = 400 / 12**0.5 * 2.0**-53
    ours = torch.from_numpy(terms)
    with Perturb(53, seed=0):
        moved = float(ours.sum())
    assert 0.9 * expected < abs(moved) < 1.1 * expected
    theirs = jnp_in_float64(lambda x: perturbed(jnp.sum, 53)(jnp.uint64(1), x), terms)
    assert 0.5 * expected < abs(theirs) < 2 * expected  # of an element that is larger, the power of two below it


def jnp_in_float64(function: Any, array: np.ndarray) -> float:
    with jax.enable_x64(True):
        return float(function(jnp.asarray(array)))
