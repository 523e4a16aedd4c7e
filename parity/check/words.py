"""Places of the network in the words of the report: a layer, and what stands there."""

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
