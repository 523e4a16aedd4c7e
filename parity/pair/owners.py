"""The modules of a model that hold tensors."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import NamedTuple

from parity.backend.port import Anatomy, Call, Tensor
from parity.weights import Array

# Statistics that count, and of which no output of the model is made.
COUNTERS = frozenset(("num_batches_tracked", "ema_first_time_index", "batch_counter"))


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
    """Return the module that holds a tensor, and the rest of the tensor's path.

    What a kernel is made of, as PyTorch's parametrizations hold it, is of the layer whose kernel it is; so is what
    linen's `WeightNorm` and `SpectralNorm` hold for a layer beside them.
    """
    path = path.rpartition(":")[2]
    parts = path.split(".")
    for end in range(len(parts) - 1, 0, -1):
        if (module := ".".join(parts[:end])) in modules:
            leaf = ".".join(parts[end:])
            break
    else:
        # A norm that is the whole model holds its averages under one name.
        size = 2 if len(parts) > 1 and parts[-2].endswith("_state_index") else 1
        return ".".join(parts[:-size]), ".".join(parts[-size:])
    layer, is_made, kernel = module.partition(".parametrizations.")
    if is_made:
        return layer, f"{kernel}.{leaf}"
    layer, _, rest = leaf.partition("/")
    beside = f"{module.rpartition('.')[0]}.{layer}".removeprefix(".")
    return (beside, rest) if rest and beside in modules else (module, leaf)


def paths(owned: Iterable[Owner]) -> Iterator[Piece]:
    """Return the pieces that owners hold."""
    for owner in owned:
        for held in (owner.parameters | owner.statistics).values():
            yield from held.pieces
