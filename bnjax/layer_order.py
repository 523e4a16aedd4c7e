"""The order in which a Flax module runs its layers, seen in the program of a forward pass."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx
from flax.traverse_util import unflatten_dict
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from bnjax.checkpoint import find_module, read_arrays
from parity.errors import InputError
from parity.spec import ModelSpec
from parity.weights.order import Leaves, find_layers, make_table, order_by_name, order_by_pass

LEAVES = Leaves(
    linear={"kernel": "kernel", "bias": "bias"},
    norm={"gamma": "scale", "beta": "bias", "running_mean": "mean", "running_var": "var"},
)
# Arguments by which modules are put in evaluation mode.
EVALUATION = {
    "train": False, "training": False, "is_training": False, "deterministic": True, "use_running_average": True
}  # fmt: skip


def layer_names(native: Any, spec: ModelSpec) -> dict[str, Any]:
    """Return the table from neutral names to the paths of a module's variables.

    A module shows the order of its layers in a forward pass; variables alone must prove it by numbers and shapes (see
    `parity.weights.order.order_by_name`).

    Args:
        native: a linen module with its variables, `module.bind(variables)`, or an `nnx.Module`, that takes inputs of
            shape (batch, input_dim); variables, an `nnx.State` or a checkpoint.
        spec: the network.

    Raises:
        InputError: the layers are not those of the spec, or their order is not proven.

    >>> module, x = nn.Sequential([nn.Dense(64), nn.relu, nn.Dense(10)]), jnp.ones((1, 784))
    >>> bound = module.bind(module.init(jax.random.key(0), x))
    >>> layer_names(bound, ModelSpec(num_hidden_layers=1, use_batch_norm=False))["head.kernel"]
    ('params', 'layers_2', 'kernel')
    """
    arrays = read_arrays(native)
    layers = find_layers({path: array.shape for path, array in arrays.items()}, _split, LEAVES, spec)
    module = find_module(native)
    if module is None:
        return make_table(order_by_name(layers, spec))
    return make_table(order_by_pass(layers, reading_depths(module, spec)))


def _split(path: tuple[Any, ...]) -> tuple[str, str]:
    layer = path[1:-1] if path[0] in ("params", "batch_stats") else path[:-1]
    return "/".join(map(str, layer)), path[-1]


def reading_depths(module: nn.Module | nnx.Module, spec: ModelSpec) -> dict[tuple[Any, ...], int]:
    """Return how many other tensors the data has met before it meets each tensor of a module.

    One forward pass in evaluation mode is traced, and not run.

    Raises:
        InputError: the forward pass fails, or applies a kernel to what it has made with that kernel.
    """
    arrays = read_arrays(module)
    shapes = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in arrays.values()]
    inputs = jax.ShapeDtypeStruct((2, spec.input_dim), jnp.float32)
    run = _run_linen if isinstance(module, nn.Module) else _run_nnx
    try:
        with jax.enable_x64(True):  # float64 stays as it is
            program = jax.make_jaxpr(lambda values, x: run(module, dict(zip(arrays, values, strict=True)), x))(
                shapes, inputs
            )
    except Exception as error:  # whatever a module raises
        raise InputError(
            f"the module's forward pass on inputs of shape {inputs.shape} fails with {type(error).__name__}: "
            f"{error}; give its variables and a table source_names="
        ) from error
    met: dict[Any, list[frozenset[Any]]] = {}
    flows = [_Flow(frozenset([path])) for path in arrays] + [_Flow(data=True)]
    _follow(program.jaxpr, flows, met)
    for path, befores in met.items():
        if arrays[path].ndim == 2 and any(path in before for before in befores):
            raise InputError(f"the forward pass applies {path} more than once; the network applies each kernel once")
    return {path: len(befores[0]) for path, befores in met.items()}


def _run_linen(module: Any, arrays: dict[tuple[Any, ...], jax.Array], inputs: jax.Array) -> jax.Array:
    unbound, _ = module.unbind()
    positional, named = _flags(module)
    return unbound.apply(unflatten_dict(arrays), inputs, *positional, **named)


def _run_nnx(module: Any, arrays: dict[tuple[Any, ...], jax.Array], inputs: jax.Array) -> jax.Array:
    copy = nnx.clone(module)
    nnx.update(copy, nnx.from_flat_state(arrays))
    copy.eval()
    positional, named = _flags(module)
    return copy(inputs, *positional, **named)


def _flags(module: Any) -> tuple[list[bool], dict[str, bool]]:
    """Return the arguments that ask for evaluation mode: those next to the inputs by position, the others by name."""
    parameters = list(inspect.signature(type(module).__call__).parameters.values())[2:]
    adjacent = list(takewhile(lambda p: p.name in EVALUATION and p.kind is p.POSITIONAL_OR_KEYWORD, parameters))
    others = [p.name for p in parameters[len(adjacent) :] if p.name in EVALUATION]
    return [EVALUATION[p.name] for p in adjacent], {name: EVALUATION[name] for name in others}


@dataclass(frozen=True)
class _Flow:
    """What a value of a program is computed from.

    Args:
        keys: the tensors that data has met on its way here; of a value without data, the tensors that it comes from (a
            transposed kernel, say).
        data: whether it is computed from data.
    """

    keys: frozenset[Any] = frozenset()
    data: bool = False


def _follow(program: Jaxpr, arguments: Sequence[_Flow], met: dict[Any, list[frozenset[Any]]]) -> list[_Flow]:
    """Return the flows that a program gives for those that it takes, and note in `met` where data meets tensors."""
    flows: dict[Any, _Flow] = dict(zip(program.invars, arguments, strict=True))

    def flow(operand: Any) -> _Flow:
        return _Flow() if isinstance(operand, Literal) else flows.get(operand, _Flow())

    for equation in program.eqns:
        operands = [flow(operand) for operand in equation.invars]
        called = _called(equation)
        results = _follow(called, operands, met) if called else [_meet(operands, met)] * len(equation.outvars)
        flows |= dict(zip(equation.outvars, results, strict=True))
    return [flow(result) for result in program.outvars]


def _called(equation: Any) -> Jaxpr | None:
    """Return the program that an equation calls with its own operands; None if it is another operation."""
    if equation.primitive.name in ("while", "cond", "scan"):
        return None
    inner = [value for value in equation.params.values() if isinstance(value, Jaxpr | ClosedJaxpr)]
    if len(inner) != 1:
        return None
    program = inner[0].jaxpr if isinstance(inner[0], ClosedJaxpr) else inner[0]
    return program if len(program.invars) == len(equation.invars) else None


def _meet(operands: Sequence[_Flow], met: dict[Any, list[frozenset[Any]]]) -> _Flow:
    sources = frozenset[Any]().union(*(operand.keys for operand in operands if not operand.data))
    if not any(operand.data for operand in operands):
        return _Flow(sources)
    before = frozenset[Any]().union(*(operand.keys for operand in operands if operand.data))
    for key in sources:
        met.setdefault(key, []).append(before)
    return _Flow(before | sources, data=True)
