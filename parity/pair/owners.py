"""The modules of a model that hold tensors, taken apart where one side packs or stacks what the other keeps apart."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import NamedTuple

from parity.backend.port import Anatomy, Call, Tensor
from parity.weights import Array

# Statistics that count, and of which no output of the model is made.
COUNTERS = frozenset(("num_batches_tracked", "ema_first_time_index", "batch_counter"))
# What is packed along one axis, by how many there are, in the order in which libraries pack them.
PACKED = {3: ("query", "key", "value"), 2: ("key", "value"), 4: ("i", "f", "g", "o")}
_OF_LSTM = re.compile(r"(weight|bias)_(ih|hh)_(l\d+(?:_reverse)?)")


class Piece(NamedTuple):
    """A tensor, or a part of it along one axis.

    Args:
        path: of the tensor.
        axis: None for the whole tensor.
        start: of the part.
        size: of the part; 0 for a single index, whose axis is then gone.
    """

    path: str
    axis: int | None = None
    start: int = 0
    size: int = 0

    @property
    def indices(self) -> tuple[slice | int, ...]:
        """What picks the part out of the tensor."""
        if self.axis is None:
            return ()
        part = slice(self.start, self.start + self.size) if self.size else self.start
        return (*[slice(None)] * self.axis, part)

    def of(self, state: Mapping[str, Array]) -> Array:
        """Return the part."""
        return state[self.path][self.indices]

    def __str__(self) -> str:
        if self.axis is None:
            return self.path
        part = f"{self.start}:{self.start + self.size}" if self.size else f"{self.start}"
        return f"{self.path}[{':, ' * self.axis}{part}]"


class Member(NamedTuple):
    """A module, or one step of a module that is scanned over its layers.

    Args:
        module: its path.
        step: of the scan.
        steps: how many there are.
    """

    module: str
    step: int = 0
    steps: int = 1

    def call(self, number: int) -> Call:
        """Return one of its calls."""
        return Call(self.module, self.steps * number + self.step)

    def __str__(self) -> str:
        return self.module if self.steps == 1 else f"{self.module}[{self.step}]"


@dataclass(frozen=True)
class Held:
    """A tensor that a module holds: its pieces, which are added up where there are several, and its form."""

    pieces: tuple[Piece, ...]
    form: Tensor


@dataclass(frozen=True)
class Owner:
    """A module, and the tensors that it holds itself.

    Args:
        name: its path, or what one part of it would be called.
        member: which module.
        order: of its first call among the calls; after all others if it is not called.
        parameters: by the last part of their paths.
        statistics: the same.
        is_transposed: whether it is a transposed convolution, of which several conventions are usual.
    """

    name: str
    member: Member
    order: float
    parameters: dict[str, Held] = field(default_factory=dict)
    statistics: dict[str, Held] = field(default_factory=dict)
    is_transposed: bool = False

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """How many numbers each of its parameters has: owners that differ in these are not the same."""
        return tuple(sorted(prod(held.form.shape) for held in self.parameters.values()))


def owners(anatomy: Anatomy) -> list[Owner]:
    """Return the modules that hold tensors, in the order in which they hold them."""
    first: dict[str, int] = {}
    for number, each in enumerate(anatomy.calls):
        first.setdefault(each.call.module, number)
    found: dict[str, Owner] = {}
    for tensors, kind in ((anatomy.parameters, "parameters"), (anatomy.statistics, "statistics")):
        for path, form in tensors.items():
            module, leaf = split(path, anatomy.modules)
            if leaf in COUNTERS:
                continue
            if module not in found:
                order = first.get(module, len(anatomy.calls))
                is_transposed = "Transpose" in anatomy.modules.get(module, "")
                found[module] = Owner(module, Member(module), order, is_transposed=is_transposed)
            owner = found[module]
            getattr(owner, kind)[leaf] = Held((Piece(path),), form)
    return list(found.values())


def module_of(path: str, modules: Mapping[str, str]) -> str:
    """Return the module that holds a tensor."""
    return split(path, modules)[0]


def split(path: str, modules: Mapping[str, str]) -> tuple[str, str]:
    """Return the module that holds a tensor, and the rest of the tensor's path."""
    path = path.rpartition(":")[2]
    parts = path.split(".")
    for end in range(len(parts) - 1, 0, -1):
        if (module := ".".join(parts[:end])) in modules:
            return module, ".".join(parts[end:])
    return ".".join(parts[:-1]), parts[-1]


def taken_apart(ours: list[Owner], theirs: list[Owner], calls: Sequence[Call]) -> list[Owner]:
    """Return owners, of which those that have no partner are taken apart where the parts have one.

    Args:
        ours: of one side.
        theirs: of the other.
        calls: of our side.
    """
    wanted = {owner.sizes for owner in theirs}
    found = []
    for own in ours:
        ways = () if own.sizes in wanted else _ways_apart(own, calls)
        found += next((way for way in ways if all(part.sizes in wanted for part in way)), [own])
    return found


def _ways_apart(own: Owner, calls: Sequence[Call]) -> Iterator[list[Owner]]:
    count = sum(call.module == own.member.module for call in calls)
    held = (own.parameters | own.statistics).values()
    lengths = {each.form.shape[:1] for each in held}
    if len(lengths) == 1 and (length := next(iter(lengths))) and length[0] > 1 and count % length[0] == 0 and count:
        yield _unstacked(own, length[0])
    if _OF_LSTM.match(next(iter(own.parameters), "")):
        yield from (_gates(own, is_summed) for is_summed in (True, False))
    for parts, words in PACKED.items():
        if (packed := _unpacked(own, parts, words)) is not None:
            yield packed


def _unstacked(own: Owner, length: int) -> list[Owner]:
    """The layers of a module that is scanned over them: each tensor has them along its first axis."""

    def layer(held: Mapping[str, Held], step: int) -> dict[str, Held]:
        return {
            leaf: Held((Piece(each.pieces[0].path, 0, step),), replace(each.form, shape=each.form.shape[1:]))
            for leaf, each in held.items()
        }

    return [
        Owner(
            f"{own.name}.{step}",
            Member(own.member.module, step, length),
            own.order + step / length,
            layer(own.parameters, step),
            layer(own.statistics, step),
        )
        for step in range(length)
    ]


def _unpacked(own: Owner, parts: int, words: Sequence[str]) -> list[Owner] | None:
    """The projections that one tensor packs along its axis of outputs."""
    if own.statistics:
        return None
    shapes = [held.form.shape for held in own.parameters.values()]
    outputs = min((prod(shape) for shape in shapes if len(shape) == 1), default=0)
    found: list[dict[str, Held]] = [{} for _ in words]
    for leaf, held in own.parameters.items():
        shape = held.form.shape
        axes = [axis for axis, size in enumerate(shape) if size == (outputs or size) and size % parts == 0]
        if not axes or len(held.pieces) != 1:
            return None
        axis, size = axes[0], shape[axes[0]] // parts
        part = Tensor((*shape[:axis], size, *shape[axis + 1 :]), held.form.dtype)
        for number, each in enumerate(found):
            each[_plain(leaf)] = Held((Piece(held.pieces[0].path, axis, number * size, size),), part)
    return [
        Owner(f"{own.name}.{word}", own.member, own.order + number / parts, each)
        for number, (word, each) in enumerate(zip(words, found, strict=True))
    ]


def _plain(leaf: str) -> str:
    """The last word of a packed tensor's name: `in_proj_weight` is a weight."""
    return leaf.rpartition("_")[2] if leaf.rpartition("_")[2] in ("weight", "bias", "kernel") else leaf


def _gates(own: Owner, is_summed: bool) -> list[Owner]:
    """The gates of PyTorch's LSTM: of the inputs, and of the state. Its two biases are added up where one is wanted."""
    found: dict[str, dict[str, Held]] = defaultdict(dict)
    for leaf, held in own.parameters.items():
        match = _OF_LSTM.fullmatch(leaf)
        if match is None or held.form.shape[0] % 4:
            return [own]
        role, source, layer = match.groups()
        size = held.form.shape[0] // 4
        form = Tensor((size, *held.form.shape[1:]), held.form.dtype)
        for number, gate in enumerate(PACKED[4]):
            piece = Piece(held.pieces[0].path, 0, number * size, size)
            target = found[f"{layer}.{'h' if source == 'hh' or (role == 'bias' and is_summed) else 'i'}{gate}"]
            earlier = target[role].pieces if role in target else ()
            target[role] = Held((*earlier, piece), form)
    return [Owner(f"{own.name}.{name}", own.member, own.order, tensors) for name, tensors in found.items()]


def paths(owned: Iterable[Owner]) -> Iterator[Piece]:
    """Return the pieces that owners hold."""
    for owner in owned:
        for held in (owner.parameters | owner.statistics).values():
            yield from held.pieces
