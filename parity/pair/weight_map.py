"""Which of the candidate's tensors is which of the reference's: three proposals, none of which is always right.

Modules that hold tensors are matched, and within them the tensors. What is proposed is judged elsewhere, by what the
candidate then computes.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import cached_property
from math import prod

import numpy as np

from parity.backend.port import Anatomy, Tensor
from parity.pair.transform import Transform, transforms

# What the libraries call the tensors of their layers.
ROLES = {
    **dict.fromkeys(("weight", "kernel", "scale", "gamma", "embedding", "w"), "weight"),
    **dict.fromkeys(("bias", "beta", "offset", "b"), "bias"),
    **dict.fromkeys(("running_mean", "mean", "ema_state_index.0"), "mean"),
    **dict.fromkeys(("running_var", "var", "variance", "ema_state_index.1"), "variance"),
}
# Statistics that count, and of which no output of the model is made.
COUNTERS = frozenset(("num_batches_tracked", "ema_first_time_index", "batch_counter"))
LAYERS = {  # words of names that mean the same
    "conv": "convolution", "fc": "dense", "linear": "dense", "lin": "dense", "proj": "projection", "bn": "norm",
    "batchnorm": "norm", "layernorm": "norm", "groupnorm": "norm", "ln": "norm", "emb": "embed", "embedding": "embed",
    "embeddings": "embed", "q": "query", "k": "key", "v": "value", "o": "out", "attn": "attention", "self": "attention",
    "enc": "encoder", "dec": "decoder", "downsample": "shortcut",
}  # fmt: skip


@dataclass(frozen=True)
class Owner:
    """A module, and the tensors that it holds itself.

    Args:
        module: its path.
        parameters: by the last part of their paths.
        statistics: the same.
        order: of its first call among the calls; after all others if it is not called.
    """

    module: str
    order: int
    parameters: dict[str, tuple[str, Tensor]] = field(default_factory=dict)
    statistics: dict[str, tuple[str, Tensor]] = field(default_factory=dict)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """How many numbers each of its parameters has: owners that differ in these are not the same."""
        return tuple(sorted(prod(form.shape) for _, form in self.parameters.values()))


@dataclass(frozen=True)
class TensorPair:
    """A tensor of the candidate, and the one of the reference that it is made of.

    Args:
        reference: its path.
        candidate: its path.
        ways: in which it may be made, the likeliest first.
    """

    reference: str
    candidate: str
    ways: tuple[Transform, ...]


@dataclass(frozen=True)
class Proposal:
    """A way to match two models' tensors.

    Args:
        name: what it goes by.
        modules: the candidate's module for each of the reference's.
        tensors: the pairs.
        unmapped: tensors of the reference, and of the candidate, that are in no pair.
    """

    name: str
    modules: Mapping[str, str]
    tensors: tuple[TensorPair, ...]
    unmapped: tuple[tuple[str, ...], tuple[str, ...]]


def proposals(reference: Anatomy, candidate: Anatomy) -> tuple[Proposal, ...]:
    """Return the different ways to match two models' tensors: by names, by the order of calls, by shapes alone."""
    ours, theirs = owners(reference), owners(candidate)
    found = [
        _propose(name, match(ours, theirs), ours, theirs)
        for name, match in {"names": by_names, "order of calls": by_calls, "shapes": by_shapes}.items()
    ]
    return tuple({tuple(sorted(each.modules.items())): each for each in reversed(found)}.values())[::-1]


def owners(anatomy: Anatomy) -> list[Owner]:
    """Return the modules that hold tensors, in the order in which they hold them."""
    first: dict[str, int] = {}
    for number, each in enumerate(anatomy.calls):
        first.setdefault(each.call.module, number)
    found: dict[str, Owner] = {}
    for tensors, kind in ((anatomy.parameters, "parameters"), (anatomy.statistics, "statistics")):
        for path, form in tensors.items():
            module, leaf = _split(path, anatomy.modules)
            owner = found.setdefault(module, Owner(module, first.get(module, len(anatomy.calls))))
            getattr(owner, kind)[leaf] = path, form
    return list(found.values())


def _split(path: str, modules: Mapping[str, str]) -> tuple[str, str]:
    """The module that holds a tensor, and the rest of the tensor's path."""
    path = path.rpartition(":")[2]
    parts = path.split(".")
    for end in range(len(parts) - 1, 0, -1):
        if (module := ".".join(parts[:end])) in modules:
            return module, ".".join(parts[end:])
    return ".".join(parts[:-1]), parts[-1]


def by_names(ours: Sequence[Owner], theirs: Sequence[Owner]) -> dict[str, str]:
    """Match so that the names are as alike as they can be, all in all."""
    from scipy.optimize import linear_sum_assignment

    never = 1e6
    cost = np.full((len(ours), len(theirs)), never)
    for i, own in enumerate(ours):
        for j, other in enumerate(theirs):
            if own.sizes == other.sizes:
                apart = abs(own.order - other.order) / (1 + max(own.order, other.order))
                cost[i, j] = 1 - _likeness(own.module, other.module) + 1e-3 * apart
    rows, columns = linear_sum_assignment(cost)
    return {ours[i].module: theirs[j].module for i, j in zip(rows, columns, strict=True) if cost[i, j] < never}


def by_calls(ours: Sequence[Owner], theirs: Sequence[Owner]) -> dict[str, str]:
    """Match those of the same sizes one after the other, as they are called."""
    return by_shapes(*(sorted(each, key=lambda owner: owner.order) for each in (ours, theirs)))


def by_shapes(ours: Sequence[Owner], theirs: Sequence[Owner]) -> dict[str, str]:
    """Match those of the same sizes one after the other, as they stand."""
    waiting: dict[tuple[int, ...], list[Owner]] = defaultdict(list)
    for other in theirs:
        waiting[other.sizes].append(other)
    return {own.module: waiting[own.sizes].pop(0).module for own in ours if waiting[own.sizes]}


def _likeness(one: str, other: str) -> float:
    return SequenceMatcher(None, _words(one), _words(other), autojunk=False).ratio()


def _words(path: str) -> list[str]:
    """The words and numbers of a name, in one language."""
    found = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", path)
    return [LAYERS.get(word, word) for word in map(str.lower, found)]


def _propose(name: str, modules: dict[str, str], ours: Sequence[Owner], theirs: Sequence[Owner]) -> Proposal:
    other = {owner.module: owner for owner in theirs}
    pairs = [pair for own in ours if own.module in modules for pair in _pairs(own, other[modules[own.module]])]
    used = {pair.reference for pair in pairs}, {pair.candidate for pair in pairs}
    unmapped = tuple(
        tuple(path for path in _paths(each) if path not in seen)
        for each, seen in zip((ours, theirs), used, strict=True)
    )
    return Proposal(name, modules, tuple(pairs), (unmapped[0], unmapped[1]))


def _paths(owned: Iterable[Owner]) -> Iterable[str]:
    for owner in owned:
        for leaf, (path, _) in (owner.parameters | owner.statistics).items():
            if leaf not in COUNTERS:
                yield path


def _pairs(own: Owner, other: Owner) -> Iterable[TensorPair]:
    for tensors in ("parameters", "statistics"):
        left = {name: each for name, each in getattr(other, tensors).items() if name not in COUNTERS}
        for leaf, (path, form) in getattr(own, tensors).items():
            if leaf in COUNTERS or (found := _partner(leaf, form, left)) is None:
                continue
            theirs, shape = left.pop(found)
            if ways := transforms(form.shape, shape.shape, is_same_layout=found == leaf):
                yield TensorPair(path, theirs, ways)


def _partner(leaf: str, form: Tensor, left: Mapping[str, tuple[str, Tensor]]) -> str | None:
    """The tensor of the same name, else of the same role, else of the same size."""
    tests: tuple[Callable[[str], bool], ...] = (
        lambda name: name == leaf,
        lambda name: ROLES.get(name, name) == ROLES.get(leaf, leaf),
        lambda name: prod(left[name][1].shape) == prod(form.shape),
    )
    return next((name for fits in tests for name in left if fits(name)), None)
