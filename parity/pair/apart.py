"""Modules taken apart where one side packs or stacks what the other keeps apart."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod

from parity.backend.port import Call, Tensor
from parity.pair.gates import gates, is_recurrent
from parity.pair.owners import Held, Member, Owner, Piece

# What is packed along one axis, by how many there are, in the order in which libraries pack them.
PACKED = {3: ("query", "key", "value"), 2: ("key", "value"), 4: ("i", "f", "g", "o")}


def both_apart(
    reference: list[Owner], candidate: list[Owner], calls: Sequence[Call], other_calls: Sequence[Call]
) -> tuple[list[Owner], list[Owner]]:
    """Return the owners of two models, taken apart so that they have partners.

    Args:
        reference: its owners.
        candidate: its owners.
        calls: of the reference.
        other_calls: of the candidate.
    """
    # A recurrent layer can be taken apart in many ways, so the other model decides, before it is taken apart itself.
    candidate = _recurrent_apart(candidate, reference, other_calls)
    reference = _recurrent_apart(reference, candidate, calls)
    for may_lack in (False, True):  # what fits as it is comes first
        reference = _taken_apart(reference, candidate, calls, may_lack)
        candidate = _taken_apart(candidate, reference, other_calls, may_lack)
    return reference, candidate


def _recurrent_apart(ours: list[Owner], theirs: list[Owner], calls: Sequence[Call]) -> list[Owner]:
    recurrent = [each for each in ours if is_recurrent(each.parameters)]
    others = [each for each in ours if each not in recurrent]
    return [*others, *_taken_apart(recurrent, theirs, calls, may_lack=True)]


def _taken_apart(ours: list[Owner], theirs: list[Owner], calls: Sequence[Call], may_lack: bool) -> list[Owner]:
    """Return owners, of which those that have no partner are taken apart where the parts have one.

    Args:
        ours: of one side.
        theirs: of the other, whose recurrent layers may yet be taken apart.
        calls: of our side.
        may_lack: whether a part may lack a bias, or have one that its partner lacks.
    """
    recurrent = [each for each in theirs if is_recurrent(each.parameters)]
    wanted = {each.sizes for each in theirs}
    wanted |= {part.sizes for each in recurrent for way in gates(each) for part in way}
    largest = {sizes[-1:] for sizes in wanted}
    found = []
    for own in ours:
        ways = [] if own.sizes in wanted else list(_ways_apart(own, calls))
        fitting = [way for way in ways if all(part.sizes in wanted for part in way)]
        if not fitting and may_lack and (own.sizes[-1:] not in largest or is_recurrent(own.parameters)):
            fitting = [way for way in ways if all(part.sizes[-1:] in largest for part in way)]
            fitting.sort(key=lambda way: sum(part.sizes not in wanted for part in way) / len(way))
        found += next(iter(fitting), [own])
    return found


def singly(own: Owner) -> list[Owner]:
    """Return an owner for each parameter, and one for the statistics."""
    if len(own.parameters) == 1 and not own.statistics:
        return [own]
    found = [
        replace(own, name=f"{own.name}.{leaf}", parameters={leaf: held}, statistics={})
        for leaf, held in own.parameters.items()
    ]
    return found + [replace(own, parameters={})] * bool(own.statistics)


def _ways_apart(own: Owner, calls: Sequence[Call]) -> Iterator[list[Owner]]:
    count = sum(call.module == own.member.module for call in calls)
    held = (own.parameters | own.statistics).values()
    lengths = {each.form.shape[:1] for each in held}
    if len(lengths) == 1 and (length := next(iter(lengths))) and length[0] > 1 and count:
        is_scanned = count % length[0] == 0
        if is_scanned or _may_be_mapped(own):
            yield _unstacked(own, length[0], is_scanned)
    if is_recurrent(own.parameters):
        yield from gates(own)
    for parts, words in PACKED.items():
        if (packed := _unpacked(own, parts, words)) is not None:
            yield packed


def _may_be_mapped(own: Owner) -> bool:
    """Whether the tensors may be those of several layers, called once: a kernel alone would give rows of itself."""
    axes = [len(held.form.shape) - 1 for held in (own.parameters | own.statistics).values()]
    return min(axes) > 0 and (max(axes) > 1 or len(axes) > 1)


def _unstacked(own: Owner, length: int, is_scanned: bool) -> list[Owner]:
    """The layers of a module that is scanned over them, or mapped: each tensor has them along its first axis."""

    def layer(held: Mapping[str, Held], step: int) -> dict[str, Held]:
        return {
            leaf: Held((Piece(each.pieces[0].path, 0, step),), replace(each.form, shape=each.form.shape[1:]))
            for leaf, each in held.items()
        }

    return [
        Owner(
            f"{own.name}.{step}",
            Member(own.member.module, step, length) if is_scanned else own.member,
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
        axis = axes[-1 if leaf == "kernel" else 0]  # where Flax has its outputs, and PyTorch
        size = shape[axis] // parts
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
