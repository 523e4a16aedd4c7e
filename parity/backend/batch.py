"""How a batch of named inputs reaches a model, and what of it reaches the loss."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from parity.errors import InputError
from parity.verdict.trace import Mode

# What models call the argument that says how they are run, and its value in training.
MODE_ARGUMENTS = {
    "train": True,
    "training": True,
    "is_training": True,
    "deterministic": False,
    "use_running_average": False,
    "inference": False,
}


def arguments(function: Callable[..., Any], inputs: Mapping[str, Any], mode: Mode) -> tuple[dict[str, Any], list[Any]]:
    """Match a batch to a function's parameters.

    A parameter of an input's name gets that input; the others without a default get the first inputs that are left, in
    order. What says how a model is run is set as the mode asks.

    Args:
        function: to be called.
        inputs: the batch, by name.
        mode: how it is to be run.

    Returns:
        The keyword arguments, and the inputs that the function does not take.

    Raises:
        InputError: a parameter without a default is left without a value.
    """
    parameters = inspect.signature(function).parameters.values()
    given = {p.name: MODE_ARGUMENTS[p.name] == (mode is Mode.TRAIN) for p in parameters if p.name in MODE_ARGUMENTS}
    left = dict(inputs)
    positional: list[str] = []
    for p in parameters:
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) or p.name in given:
            continue
        if p.name in left:
            given[p.name] = left.pop(p.name)
        elif p.default is p.empty:
            positional.append(p.name)
    for name in positional:
        if not left:
            raise InputError(
                f"no input is left for {name!r} of {inspect.signature(function)}; the inputs are {', '.join(inputs)}: "
                f"name one of them {name!r}, or give the port call=lambda model, batch, train: ..."
            )
        first = next(iter(left))
        given[name] = left.pop(first)
    return given, list(left.values())


def called(
    model: Callable[..., Any], signature: Callable[..., Any], inputs: Mapping[str, Any], mode: Mode
) -> tuple[Any, list[Any]]:
    """Return what a model gives for a batch, and the inputs that it does not take; see `arguments`.

    A model that takes whatever it is given, as a sequence of layers does, is given the first input.
    """
    given, named, left = bound(signature, inputs, mode)
    return model(*given, **named), left


def bound(
    signature: Callable[..., Any], inputs: Mapping[str, Any], mode: Mode
) -> tuple[list[Any], dict[str, Any], list[Any]]:
    """Return what a model is called with, by place and by name, and the inputs that it does not take; see `called`."""
    named, left = arguments(signature, inputs, mode)
    takes_any = any(p.kind is p.VAR_POSITIONAL for p in inspect.signature(signature).parameters.values())
    if takes_any and left and named.keys() <= MODE_ARGUMENTS.keys():
        return left[:1], named, left[1:]
    return [], named, left


def loss_of(loss: Callable[..., Any], outputs: Any, left: list[Any]) -> Any:
    """Return the loss of a model's output and of the inputs that the model does not take.

    Raises:
        InputError: it takes others, or gives something else than one number.
    """
    try:
        signature = inspect.signature(loss)
    except (TypeError, ValueError):  # not every callable has one
        signature = None
    if signature is not None:
        try:
            signature.bind(outputs, *left)
        except TypeError as error:
            raise InputError(
                f"the loss {signature} is given the model's output and the inputs that the model does not take, "
                f"{len(left)} here: {error}"
            ) from None
    value = loss(outputs, *left)
    if getattr(value, "shape", None) != ():
        shape = f"an array of shape {tuple(value.shape)}" if hasattr(value, "shape") else repr(value)
        raise InputError(f"the loss must give one number, an array of shape (), and gives {shape}: take its mean, say")
    return value


def unused(inputs: Mapping[str, Any], left: list[Any]) -> tuple[str, ...]:
    """Return the names of inputs that are left."""
    return tuple(name for name, value in inputs.items() if any(value is each for each in left))


def map_arrays(function: Callable[[Any], Any], tree: Any) -> Any:
    """Return dictionaries, lists and tuples as they are, with a function applied to what they hold."""
    if isinstance(tree, Mapping):
        return {name: map_arrays(function, each) for name, each in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(map_arrays(function, each) for each in tree)
    return None if tree is None else function(tree)


class Batch(dict[str, Any]):
    """A batch that knows which of its inputs were taken."""

    def __init__(self, inputs: Mapping[str, Any]) -> None:
        super().__init__(inputs)
        self._taken: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self._taken.add(name)
        return super().__getitem__(name)

    def left(self) -> list[Any]:
        """Return the inputs that were not taken, in order."""
        return [value for name, value in self.items() if name not in self._taken]
