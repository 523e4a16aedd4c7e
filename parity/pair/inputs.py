"""The inputs of a pair: arrays, or what is drawn from a seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np

from parity.backend.batch import map_arrays
from parity.errors import InputError
from parity.weights import Array

Inputs = Mapping[str, Any]


@dataclass(frozen=True)
class Drawn:
    """An input that is drawn anew for every seed.

    Args:
        shape: of the array.
        distribution: "normal" (of mean `low` and standard deviation `high`), "uniform" or "integers" (from `low` to
            below `high`).
    """

    shape: tuple[int, ...]
    distribution: str
    low: float
    high: float

    def __call__(self, rng: np.random.Generator) -> Any:
        """Draw it."""
        match self.distribution:
            case "normal":
                return rng.normal(self.low, self.high, self.shape)
            case "uniform":
                return rng.uniform(self.low, self.high, self.shape)
        return rng.integers(int(self.low), int(self.high), self.shape)


def normal(*shape: int, mean: float = 0.0, std: float = 1.0) -> Drawn:
    """An input of normally distributed numbers.

    >>> normal(8, 3, 32, 32).shape
    (8, 3, 32, 32)
    """
    return Drawn(_checked(shape), "normal", mean, std)


def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Drawn:
    """An input of uniformly distributed numbers, from `low` to below `high`."""
    return Drawn(_checked(shape), "uniform", low, high)


def integers(*shape: int, below: int, low: int = 0) -> Drawn:
    """An input of whole numbers, from `low` to `below` - 1."""
    if below <= low:
        raise InputError(f"below={below} leaves no number from {low} on; it must be greater")
    return Drawn(_checked(shape), "integers", low, below)


def _checked(shape: tuple[Any, ...]) -> tuple[int, ...]:
    for size in shape:
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
            raise InputError(f"a shape of {shape} has {size!r} in it; sizes are whole numbers from 1 on")
    return tuple(map(int, shape))


def batches(inputs: Inputs | Sequence[Inputs], seed: int) -> tuple[dict[str, Any], ...]:
    """Return the batches that are played, as arrays: one for each set of inputs.

    Args:
        inputs: by name; arrays, `Drawn`, or dictionaries, lists and tuples of these. Several sets are several batches,
            of other shapes say.
        seed: of what is drawn.

    Raises:
        InputError: they are no such thing.
    """
    sets = [inputs] if isinstance(inputs, Mapping) else inputs
    if not isinstance(sets, Sequence) or isinstance(sets, str) or not sets:
        raise InputError(f"inputs must be a dictionary of inputs by name, or a list of such; got {_short(inputs)}")
    found = tuple(_batch(each, seed, number) for number, each in enumerate(sets))
    for each in found:
        if each.keys() != found[0].keys():
            raise InputError(
                f"every set of inputs must have the same names: {', '.join(found[0])} and {', '.join(each)}"
            )
    return found


def _batch(inputs: Any, seed: int, number: int) -> dict[str, Any]:
    if not isinstance(inputs, Mapping) or not inputs or not all(isinstance(name, str) for name in inputs):
        raise InputError(f"inputs must be a dictionary of inputs by name, or a list of such; got {_short(inputs)}")

    def draw(name: str) -> Any:
        rng = np.random.default_rng([seed, number, crc32(name.encode())])
        return map_arrays(lambda leaf: _array(leaf, rng, name), inputs[name])

    return {name: draw(name) for name in inputs}


def _array(leaf: Any, rng: np.random.Generator, name: str) -> Array:
    if isinstance(leaf, Drawn):
        try:
            return leaf(rng)
        except (ValueError, TypeError, OverflowError, MemoryError) as error:
            raise InputError(f"input {name!r} cannot be drawn: {error}") from error
    try:
        array = np.asarray(leaf)
    except Exception as error:  # what a foreign object does when it is asked for its numbers
        raise InputError(f"input {name!r} cannot be made an array: {type(error).__name__}: {error}") from error
    if array.dtype.kind not in "fiub":
        raise InputError(
            f"input {name!r} holds {array.dtype} and not numbers; give arrays, or parity.normal and the like"
        )
    if np.isnan(array).any():
        raise InputError(f"input {name!r} holds NaN, with which nothing can be compared; give numbers")
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
