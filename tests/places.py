"""Keys of traces, written shortly."""

from parity.check.words import WORDS
from parity.verdict.trace import Key, Kind, Mode


def at(path: str, kind: Kind = Kind.ACTIVATION, step: int = 0, mode: Mode = Mode.TRAIN, number: int = 0) -> Key:
    """Return the key of an activation in training, or of what else is asked for."""
    return Key(step, mode, kind, path, number)


def loss(step: int = 0) -> Key:
    """Return the key of an update's loss."""
    return at("loss", Kind.LOSS, step)


def in_words(layer: int | str | None, tensor: str) -> Key:
    """Return the key that the report calls by this layer and these words."""
    mode = Mode.EVALUATION if "evaluat" in tensor else Mode.TRAIN
    name = tensor.removeprefix("evaluated ").removesuffix(" after evaluation")
    kind = Kind.ACTIVATION
    for prefix, found in (("gradient of ", Kind.GRADIENT), ("updated ", Kind.UPDATED), ("loaded ", Kind.LOADED)):
        if name.startswith(prefix):
            kind, name = found, name.removeprefix(prefix)
    if name.startswith("running "):
        kind = Kind.SIDE_EFFECT if tensor.endswith(" after evaluation") else Kind.STATISTIC
    leaf = {words: leaf for leaf, words in WORDS.items()}.get(name, name)
    path = f"hidden.{layer}.{leaf}" if isinstance(layer, int) else f"{layer}.{leaf}" if layer else leaf
    return at(path, Kind.LOSS if leaf == "loss" else kind, mode=mode)
