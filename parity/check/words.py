"""Places of the network in the words of the report: a layer, and what stands there."""

import math
from functools import cache

from parity.verdict.trace import Key, Kind, Mode

Layer = int | str | None  # a hidden layer, "input", "head", or none

WORDS = {
    "running_mean": "running mean",
    "running_var": "running variance",
    "linear": "pre-activation",
    "relu": "activation",
    "norm": "norm output",
    "dropout": "dropout output",
    "sum": "block output",
    "train_inputs": "standardized training inputs",
    "train_labels": "training labels",
    "test_inputs": "standardized test inputs",
    "test_labels": "test labels",
    "batches": "index stream",
}


@cache
def layer_of(path: str) -> Layer:
    """Return the layer of a neutral name.

    >>> layer_of("hidden.2.running_var"), layer_of("head.logits"), layer_of("loss")
    (2, 'head', None)
    """
    layer = path.rpartition(".")[0]
    return int(layer.removeprefix("hidden.")) if layer.startswith("hidden.") else layer or None


@cache
def leaf_words(path: str) -> str:
    """Return what a neutral name means within its layer.

    >>> leaf_words("hidden.2.running_var")
    'running variance'
    """
    leaf = path.rpartition(".")[2]
    return WORDS.get(leaf, leaf)


@cache
def tensor_words(key: Key) -> str:
    """Return what a tensor is, in words.

    >>> tensor_words(Key(0, Mode.TRAIN, Kind.GRADIENT, "hidden.1.kernel"))
    'gradient of kernel'
    """
    word, evaluated = leaf_words(key.path), "evaluated " if key.mode is Mode.EVALUATION else ""
    again = f" {key.number + 1}" if key.number else ""
    match key.kind:
        case Kind.PRESENTED:
            return word if layer_of(key.path) == "input" else f"initial {word}"
        case Kind.LOADED | Kind.UPDATED:
            return f"{key.kind} {word}"
        case Kind.GRADIENT | Kind.INCREMENT:
            return f"{key.kind} of {word}"
        case Kind.SIDE_EFFECT:
            return f"{word} after evaluation{again}"
        case Kind.OUTCOME:
            return f"{evaluated}{word} of member {key.number}"
        case Kind.ACTIVE_UNITS:
            return f"{evaluated}{key.kind}"
        case _:
            return f"{evaluated}{word}{again}"


def number_words(value: float, digits: int = 3) -> str:
    """Return a number for people.

    >>> number_words(1234.5), number_words(math.inf), number_words(-math.inf), number_words(math.nan)
    ('1.23e+03', 'infinite', 'minus infinite', 'not a number')
    """
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "infinite" if value > 0 else "minus infinite"
    return f"{value:.{digits}g}"


def times_words(value: float) -> str:
    """Return a multiple of the noise floor for people.

    >>> times_words(1234.5), times_words(math.inf)
    ('1.23e+03 times', 'infinitely many times')
    """
    return f"{value:.3g} times" if math.isfinite(value) else "infinitely many times"


def size_words(distance: float, size: float) -> str:
    """Return how large a difference is, beside the size of what differs; both are RMS.

    >>> size_words(0.012, 0.39), size_words(3.9, 0.39)
    ('off by 3.1% of its size (RMS 0.012 of 0.39)', 'off by 10 times its size (RMS 3.9 of 0.39)')
    >>> size_words(0.012, 0.0), size_words(math.inf, 0.39)
    ('off by RMS 0.012, and should be 0', 'not finite, and should be of RMS 0.39')
    """
    if not math.isfinite(size):
        return "off where the reference is not finite"
    if not math.isfinite(distance):
        return f"not finite, and should be of RMS {size:.2g}"
    if size == 0:
        return f"off by RMS {distance:.2g}, and should be 0"
    relative = distance / size
    share = f"{relative:.2g} times" if relative >= 1 else f"{100 * relative:.2g}% of"
    return f"off by {share} its size (RMS {distance:.2g} of {size:.2g})"
