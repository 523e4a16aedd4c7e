"""The order of the layers of a network with names of its own.

A wrong order is silent: hidden layers all have the same shape. So an order is proven or refused. A module
proves it by a forward pass, a dictionary by shapes and by the numbers in its names.
"""

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import Any

from parity.errors import InputError
from parity.spec import ModelSpec
from parity.weights.checkpoint import unwrap

NUMBER = re.compile(r"\d+")
WAYS_OUT = "give the module itself, whose forward pass shows the order, or a table source_names="
COUNTER = "num_batches_tracked"  # what a stock norm counts beside its statistics; no formula of the network reads it


@dataclass(frozen=True)
class Leaves:
    """What a framework calls the tensors of a layer, by neutral name."""

    linear: Mapping[str, str]
    norm: Mapping[str, str]


STATE_DICT = Leaves(
    linear={"kernel": "weight", "bias": "bias"},
    norm={"gamma": "weight", "beta": "bias", "running_mean": "running_mean", "running_var": "running_var"},
)


@dataclass(frozen=True)
class Layer:
    """A linear layer or a norm.

    Args:
        name: as its framework writes it.
        tensors: the own name of each tensor, by neutral leaf.
        shape: of its kernel or scale; a kernel's is (fan_in, fan_out).
        registered: whether the weight stands before the bias, as in a module. Sorted names have lost that order.
    """

    name: str
    tensors: Mapping[str, Any]
    shape: tuple[int, ...]
    registered: bool

    @property
    def is_norm(self) -> bool:
        """Whether it is a norm."""
        return "gamma" in self.tensors

    @property
    def main(self) -> Any:
        """The own name of its kernel or scale."""
        return self.tensors["gamma" if self.is_norm else "kernel"]

    @property
    def numbers(self) -> list[int]:
        """The numbers in its name."""
        return [int(number) for number in NUMBER.findall(self.name)]


def find_layers(
    shapes: Mapping[Any, tuple[int, ...]],
    split: Callable[[Any], tuple[str, str]],
    leaves: Leaves,
    spec: ModelSpec,
) -> list[Layer]:
    """Return the layers that tensors belong to, as many as the network has.

    Args:
        shapes: by own name; a kernel's is (fan_in, fan_out).
        split: gives the layer and the leaf of an own name.
        leaves: what the leaves are called.
        spec: the network.

    Raises:
        InputError: a tensor is of no linear layer or norm, a layer lacks one, or there are more or fewer layers.
    """
    groups: dict[str, dict[str, Any]] = {}
    for own in shapes:
        layer, leaf = split(own)
        groups.setdefault(layer, {})[leaf] = own
    layers = [_make_layer(name, found, shapes, leaves) for name, found in groups.items()]
    depth = spec.num_hidden_layers
    norms = sum(layer.is_norm for layer in layers)
    counts, expected = (len(layers) - norms, norms), (depth + 1, depth * spec.use_batch_norm)
    if counts != expected:
        raise InputError(
            f"the weights have {counts[0]} linear layers and {counts[1]} norms; "
            f"the network has {expected[0]} and {expected[1]}"
        )
    return layers


def _make_layer(name: str, found: Mapping[str, Any], shapes: Mapping[Any, tuple[int, ...]], leaves: Leaves) -> Layer:
    is_norm = leaves.norm["running_mean"] in found
    expected = leaves.norm if is_norm else leaves.linear
    kind = "norm" if is_norm else "linear layer"
    main, bias = list(expected.values())[:2]
    if not is_norm and len(shapes.get(found.get(main), ())) != 2:
        raise InputError(
            f"{', '.join(map(str, found.values()))}: no linear layer (a matrix {main!r}, a vector {bias!r}) and no "
            "batch norm with running statistics; remove what the network does not have"
        )
    if unknown := [own for leaf, own in found.items() if leaf not in expected.values()]:
        raise InputError(f"{unknown[0]} is no tensor of a {kind} of the network; remove it")
    if missing := [leaf for leaf in expected.values() if leaf not in found]:
        raise InputError(
            f"the {kind} {name!r} has no {missing[0]!r}, and every one of the network has; "
            "add it (a missing bias is zeros, a missing scale ones)"
        )
    order = list(found)
    tensors = {neutral: found[leaf] for neutral, leaf in expected.items()}
    return Layer(name, tensors, shapes[found[main]], order.index(main) < order.index(bias))


def order_by_name(layers: Sequence[Layer], spec: ModelSpec) -> list[Layer]:
    """Return layers in the order that their shapes and the numbers in their names prove.

    The first layer and the head are known by `input_dim` and `output_dim`, where these are not the hidden width. Others
    are ordered by numbers, if their names differ in nothing else. Where the dictionary still has the order of
    registration, that must be the same.

    Raises:
        InputError: they prove none.
    """
    width = spec.hidden_width
    linears = [layer for layer in layers if not layer.is_norm]
    first = [layer for layer in linears if layer.shape[0] == spec.input_dim != width]
    last = [layer for layer in linears if layer.shape[1] == spec.output_dim != width and layer not in first]
    if len(first) > 1 or len(last) > 1:  # a misfit, which the check of shapes explains
        first, last = [], []
    middle = [layer for layer in linears if layer not in first + last]
    norms = _by_number([layer for layer in layers if layer.is_norm], "norms")
    ordered = interleave([*first, *_by_number(middle, "linear layers"), *last], norms)
    if len({NUMBER.sub("#", layer.name) for layer in ordered}) == 1:  # one sequence of both kinds
        _check_same([layer.name for layer in ordered], sorted(layers, key=lambda layer: layer.numbers), "layers")
    return ordered


def _by_number(layers: Sequence[Layer], kind: str) -> list[Layer]:
    ordered = sorted(layers, key=lambda layer: layer.numbers)
    patterns, numbers = {NUMBER.sub("#", layer.name) for layer in layers}, {tuple(layer.numbers) for layer in layers}
    if len(patterns) > 1 or len(numbers) < len(layers):
        raise InputError(f"the names of the {kind} {_names(layers)} do not tell their order; {WAYS_OUT}")
    if all(layer.registered for layer in layers):
        _check_same([layer.name for layer in ordered], layers, kind)
    return ordered


def _check_same(names: Sequence[str], layers: Sequence[Layer], kind: str) -> None:
    if list(names) != [layer.name for layer in layers]:
        expected = ", ".join(map(repr, names))
        raise InputError(f"the order of the {kind} is ambiguous: {expected} or {_names(layers)}; {WAYS_OUT}")


def order_by_pass(layers: Sequence[Layer], depths: Mapping[Any, int]) -> list[Layer]:
    """Return layers in the order in which a forward pass runs them.

    Args:
        layers: of the network.
        depths: how many tensors the data has met before each tensor, by own name; a tensor that it does not meet is
            missing.

    Raises:
        InputError: the pass leaves a layer out, or does not run one linear layer and then one norm after the other.
    """
    if unused := [layer for layer in layers if any(own not in depths for own in layer.tensors.values())]:
        raise InputError(
            f"the forward pass in evaluation mode does not use all of {_names(unused)}; remove the layer, or give a "
            "dictionary and a table source_names="
        )
    ordered = sorted(layers, key=lambda layer: depths[layer.main])
    together = [pair for pair in pairwise(ordered) if depths[pair[0].main] == depths[pair[1].main]]
    if together:
        raise InputError(f"the layers {_names(together[0])} do not run one after the other; the network's do")
    kinds = [[layer for layer in ordered if layer.is_norm is norm] for norm in (False, True)]
    if interleave(*kinds) != ordered:
        raise InputError(
            f"the forward pass runs {_names(ordered)}; the network runs a linear layer and then its norm in each "
            "hidden layer, and a linear layer at the end"
        )
    return ordered


def interleave(linears: Sequence[Layer], norms: Sequence[Layer]) -> list[Layer]:
    """Return linear layers, each with its norm after it."""
    return [layer for pair in zip_longest(linears, norms) for layer in pair if layer is not None]


def make_table(ordered: Sequence[Layer]) -> dict[str, Hashable]:
    """Return the table from neutral names to own names; the last linear layer is the head."""
    linears = [layer for layer in ordered if not layer.is_norm]
    norms = [layer for layer in ordered if layer.is_norm]
    places = [f"hidden.{i}" for i in range(len(linears) - 1)] + ["head"]
    pairs = [*zip(places, linears, strict=True), *zip(places, norms, strict=False)]
    return {f"{place}.{leaf}": own for place, layer in pairs for leaf, own in layer.tensors.items()}


def _names(layers: Sequence[Layer]) -> str:
    return ", ".join(repr(layer.name) for layer in layers)


def split_key(key: str) -> tuple[str, str]:
    """Return the module and the leaf of a key of a `state_dict`."""
    module, _, leaf = key.rpartition(".")
    return module, leaf


def registration_order_names(state_dict: Mapping[str, Any], spec: ModelSpec) -> dict[str, Any]:
    """Return the table from neutral names to the keys of a Torch `state_dict`, whatever its module calls them.

    Numbers in the names and shapes must prove the order of the layers (see `order_by_name`): the order of the keys does
    not, since files and sorted dictionaries change it, and modules can register layers in another order than they run
    in. A norm is known by its `running_mean`. With the module at hand, `convert_weights` takes the module itself.

    Raises:
        InputError: the layers are not those of the spec, or their order is not proven.
    """
    state_dict = unwrap(state_dict)
    if not isinstance(state_dict, Mapping):
        raise InputError(f"a state_dict is a dictionary of tensors, got {type(state_dict).__name__}")
    if odd := [key for key in state_dict if not isinstance(key, str)]:
        raise InputError(f"the keys of a state_dict are strings, got {odd[0]!r}; rename it")
    shapes = {key: _shape(key, value) for key, value in state_dict.items() if split_key(key)[1] != COUNTER}
    return make_table(order_by_name(find_layers(shapes, split_key, STATE_DICT, spec), spec))


def _shape(key: str, value: Any) -> tuple[int, ...]:
    try:
        return tuple(value.shape)[::-1]  # a kernel there is (fan_out, fan_in)
    except (AttributeError, RuntimeError, TypeError):
        raise InputError(f"{key!r} has no shape: it is a {type(value).__name__}; remove it or give a tensor") from None
