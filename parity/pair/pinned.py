"""The weight map as the user gives it: some tensors by name, or a converter of all of them, which is then checked."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parity.backend.port import Anatomy, Tensor
from parity.errors import InputError
from parity.pair.owners import Member, Piece, module_of
from parity.pair.weight_map import ModulePair, TensorPair, WeightMap, weight_maps
from parity.weights import Array

Function = Callable[[Array], Array]
Pins = Mapping[str, str | tuple[str, Function]]
Converter = Callable[[Mapping[str, Array]], Mapping[str, Any]]


@dataclass(frozen=True)
class Given:
    """A way to make a tensor that the user has given.

    Args:
        function: makes it.
        moves_only: whether that only moves numbers, so that a gradient is made alike.
    """

    function: Function
    moves_only: bool

    @property
    def name(self) -> str:
        """For people: the function's."""
        return str(getattr(self.function, "__name__", self.function))

    def __call__(self, array: Array) -> Array:
        """Return what the function makes of a tensor."""
        return np.asarray(self.function(array))


def rearranges(function: Function, shape: tuple[int, ...]) -> bool:
    """Return whether a function only moves the numbers of an array."""
    array = np.random.default_rng(0).normal(size=shape)
    return bool(np.array_equal(np.sort(np.ravel(function(array))), np.sort(array.ravel())))


def pinned_maps(pins: Pins, ours: Anatomy, theirs: Anatomy) -> tuple[WeightMap, ...]:
    """Return the ways to match two models' tensors, with the pairs that the user has given.

    Args:
        pins: by the reference's tensor, the candidate's, and what makes it of the reference's; alone, as it is.
        ours: the reference's anatomy.
        theirs: the candidate's.

    Raises:
        InputError: a name is no tensor's, or the shapes do not fit.
    """
    forms = {**ours.parameters, **ours.statistics}, {**theirs.parameters, **theirs.statistics}
    given: dict[str, tuple[str, Function]] = {}
    for path, pin in pins.items():
        name, function = pin if isinstance(pin, tuple) else (pin, np.asarray)
        given[path] = name if name in forms[1] else name.replace("/", "."), function
    for path, (name, function) in given.items():
        for side, own, each in (("reference", forms[0], path), ("candidate", forms[1], name)):
            if each not in own:
                raise InputError(f"weights name {each!r}, which the {side} has not; it has {', '.join(own)}")
        made = np.shape(function(np.zeros(forms[0][path].shape)))
        if made != forms[1][name].shape:
            raise InputError(f"weights make {made} of {path!r} for {name!r}, whose shape is {forms[1][name].shape}")
    added = [
        ModulePair(
            Member(module_of(path, ours.modules)),
            Member(module_of(name, theirs.modules)),
            (
                TensorPair(
                    (Piece(path),),
                    (Piece(name),),
                    (Given(function, rearranges(function, forms[0][path].shape)),),
                    forms[1][name].shape,
                ),
            ),
        )
        for path, (name, function) in given.items()
    ]
    others = weight_maps(_without(ours, given), _without(theirs, {name for name, _ in given.values()}))
    return tuple(replace(each, modules=(*each.modules, *added)) for each in others)


def _without(anatomy: Anatomy, paths: Collection[str]) -> Anatomy:
    """An anatomy without some tensors."""

    def kept(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {path: form for path, form in tensors.items() if path not in paths}

    return replace(anatomy, parameters=kept(anatomy.parameters), statistics=kept(anatomy.statistics))


def as_loaded(proposal: WeightMap, state: Mapping[str, Array], loaded: Mapping[str, Array]) -> WeightMap:
    """Return a map whose tensors are made as a converter has made them; one that is made otherwise is in none.

    Args:
        proposal: the map.
        state: of the reference.
        loaded: what the converter has made of it.
    """

    def known(pair: TensorPair) -> TensorPair | None:
        value = np.sum([piece.of(state) for piece in pair.reference], axis=0)
        target = pair.candidate[0].of(loaded)
        ways = [way for way in pair.ways if np.array_equal(way(value), target)]
        return replace(pair, ways=(ways[0],)) if ways else None

    modules = tuple(replace(each, tensors=tuple(filter(None, map(known, each.tensors)))) for each in proposal.modules)
    return replace(proposal, modules=modules)


def flat_state(converted: Any, theirs: Anatomy) -> dict[str, Array]:
    """Return what a converter gave, by the candidate's paths; nested dictionaries may stand for dots.

    Raises:
        InputError: it lacks a parameter, or has what the candidate has not.
    """
    forms = {**theirs.parameters, **theirs.statistics}
    flat: dict[str, Array] = {}

    def add(tree: Any, path: tuple[str, ...]) -> None:
        if isinstance(tree, Mapping):
            for name, each in tree.items():
                add(each, (*path, str(name)))
        else:
            flat[_known(path, forms)] = np.asarray(tree)

    add(converted, ())
    missing = [path for path in theirs.parameters if path not in flat]
    if missing:
        raise InputError(f"the converter gives no {', '.join(missing)}")
    return flat


def _known(path: tuple[str, ...], forms: Mapping[str, Any]) -> str:
    joined = ".".join(path).replace("/", ".")
    for name in (joined, joined.removeprefix("params."), f"{path[0]}:{'.'.join(path[1:])}"):
        if name in forms:
            return name
    raise InputError(f"the converter gives {joined!r}, which the candidate has not; it has {', '.join(forms)}")
