"""Which of the candidate's tensors is which of the reference's: three proposals, none of which is always right.

Modules that hold tensors are matched, and within them the tensors. What is proposed is judged elsewhere, by what the
candidate then computes.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import permutations
from math import prod
from typing import Any, Protocol

import numpy as np

from parity.backend.port import Anatomy
from parity.errors import InputError
from parity.pair.apart import both_apart, singly
from parity.pair.owners import Held, Member, Owner, Piece, module_of, owners, paths
from parity.pair.transform import transforms
from parity.weights import Array

# What the libraries call the tensors of their layers.
ROLES = {
    **dict.fromkeys(("weight", "kernel", "scale", "gamma", "embedding", "w"), "weight"),
    **dict.fromkeys(("bias", "beta", "offset", "b"), "bias"),
    **dict.fromkeys(("running_mean", "mean", "ema_state_index.0", "batch_state_index.0"), "mean"),
    **dict.fromkeys(("running_var", "var", "variance", "ema_state_index.1", "batch_state_index.1"), "variance"),
}

ALIKE = 0.6  # names that are as alike as this may be of one tensor, though their modules are not a pair

# Names of which the libraries' conventions tell how one tensor is made of the other.
USUAL = ({"weight", "kernel"}, {"weight", "embedding"}, {"weight", "scale"})
LAYERS = {  # words of names that mean the same
    "conv": "convolution", "fc": "dense", "linear": "dense", "lin": "dense", "proj": "projection", "bn": "norm",
    "batchnorm": "norm", "layernorm": "norm", "groupnorm": "norm", "ln": "norm", "emb": "embed", "embedding": "embed",
    "embeddings": "embed", "q": "query", "k": "key", "v": "value", "o": "out", "attn": "attention", "self": "attention",
    "enc": "encoder", "dec": "decoder", "downsample": "shortcut",
}  # fmt: skip
LAYERS |= {f"{tensor}{short}": LAYERS[short] for tensor in "wb" for short in "qkvo"}  # wq, bq: tensors of a function
LAYERS |= {f"{tensor}{side}": side for tensor in "wb" for side in "ih"}  # what a recurrent layer makes of input, state


def role_of(path: str) -> tuple[str, str]:
    """Return the module that holds a tensor, and the tensor's role there; "" if its name tells none.

    >>> role_of("batch_stats:encoder.norm.var")
    ('encoder.norm', 'variance')
    """
    own = f".{path.rpartition(':')[2]}"
    leaf = next((name for name in ROLES if own.endswith(f".{name}")), own.rpartition(".")[2])
    return own.removesuffix(f".{leaf}").removeprefix("."), ROLES.get(leaf, "")


class Way(Protocol):
    """How a tensor of the candidate is made of the reference's."""

    @property
    def name(self) -> str: ...

    @property
    def moves_only(self) -> bool: ...

    def __call__(self, array: Array) -> Array: ...


@dataclass(frozen=True)
class TensorPair:
    """A tensor of the candidate, and the one of the reference that it is made of.

    Args:
        reference: its pieces; several are added up.
        candidate: its pieces; where there are several the first takes the numbers, and the others are 0.
        ways: in which it may be made, the likeliest first; the first is taken.
        shape: of the candidate's.
        is_usual: whether the libraries' conventions tell the way, so that another one is a difference of its own.
    """

    reference: tuple[Piece, ...]
    candidate: tuple[Piece, ...]
    ways: tuple[Way, ...]
    shape: tuple[int, ...]
    is_usual: bool = False

    def value(self, state: Mapping[str, Array]) -> Array:
        """Return what the candidate's is to be, given the reference's state."""
        return self.ways[0](np.sum([piece.of(state) for piece in self.reference], axis=0))


@dataclass(frozen=True)
class ModulePair:
    """A module of the reference and one of the candidate that hold the same tensors."""

    reference: Member
    candidate: Member
    tensors: tuple[TensorPair, ...]


@dataclass(frozen=True)
class WeightMap:
    """A way to match two models' tensors.

    Args:
        name: what it goes by.
        modules: the pairs.
        unmapped: tensors of the reference, and of the candidate, that are in no pair.
        converter: makes the candidate's state of the reference's, if the user has given one.
    """

    name: str
    modules: tuple[ModulePair, ...]
    unmapped: tuple[tuple[Piece, ...], tuple[Piece, ...]]
    converter: Callable[[Mapping[str, Array]], dict[str, Array]] | None = None

    @property
    def tensors(self) -> Iterator[TensorPair]:
        """Every pair of tensors."""
        return (pair for each in self.modules for pair in each.tensors)

    def load(self, state: Mapping[str, Array], own: Mapping[str, Array]) -> dict[str, Array]:
        """Return the candidate's mapped tensors, with the reference's numbers in them.

        Args:
            state: of the reference.
            own: of the candidate; what is not mapped of a tensor stays.
        """
        if self.converter is not None:
            return self.converter(state)
        mapped = {piece.path for pair in self.tensors for piece in pair.candidate}
        loaded = {path: np.array(array) for path, array in own.items() if path in mapped}
        for pair in self.tensors:
            for number, piece in enumerate(pair.candidate):
                value = pair.value(state)
                target = loaded[piece.path]
                target[piece.indices] = (value if number == 0 else np.zeros_like(value)).reshape(piece.of(loaded).shape)
        return loaded

    def changed(self, pair: TensorPair, way: Way) -> "WeightMap":
        """Return the map with another way to make one tensor."""
        new = replace(pair, ways=(way, *(each for each in pair.ways if each != way)))
        modules = tuple(
            replace(each, tensors=tuple(new if other is pair else other for other in each.tensors))
            for each in self.modules
        )
        return replace(self, modules=modules)

    def exchanged(self, ones: Sequence[ModulePair], others: Sequence[ModulePair]) -> "WeightMap | None":
        """Return the map with the candidate's modules of some pairs exchanged; None if their tensors differ in form."""
        forms = [
            [[(pair.ways, pair.shape, len(pair.candidate)) for pair in each.tensors] for each in pairs]
            for pairs in (ones, others)
        ]
        if forms[0] != forms[1]:
            return None
        given = {
            id(own): other for one, two in zip(ones, others, strict=True) for own, other in ((one, two), (two, one))
        }

        def now(own: ModulePair) -> ModulePair:
            partner = given.get(id(own), own)
            tensors = zip(own.tensors, partner.tensors, strict=True)
            made = tuple(replace(tensor, candidate=other.candidate) for tensor, other in tensors)
            return replace(own, candidate=partner.candidate, tensors=made)

        return replace(self, modules=tuple(map(now, self.modules)))

    def turned(self, module: ModulePair) -> "WeightMap | None":
        """Return the map with what a recurrent layer makes of its input and of its state exchanged; None if it cannot.

        Their tensors have the same forms where both are of one size, and a function may call them anything.
        """
        held = [piece.path for pair in module.tensors for piece in (*pair.reference, *pair.candidate)]
        if not any("_hh" in path for path in held):
            return None
        forms: dict[Any, list[TensorPair]] = defaultdict(list)
        for pair in module.tensors:
            forms[pair.shape, len(pair.candidate)].append(pair)
        partners = {id(one): other for pairs in forms.values() if len(pairs) == 2 for one, other in permutations(pairs)}
        if not partners:
            return None
        now = tuple(replace(pair, candidate=partners.get(id(pair), pair).candidate) for pair in module.tensors)
        turned = replace(module, tensors=now)
        return replace(self, modules=tuple(turned if each is module else each for each in self.modules))


def weight_maps(reference: Anatomy, candidate: Anatomy) -> tuple[WeightMap, ...]:
    """Return the different ways to match two models' tensors: by names, by the order of calls, by shapes alone."""
    ours, theirs = owners(reference), owners(candidate)
    our_calls, their_calls = ([each.call for each in anatomy.calls] for anatomy in (reference, candidate))
    ours, theirs = both_apart(ours, theirs, our_calls, their_calls)
    found = [
        _map(name, match, ours, theirs)
        for name, match in {"names": by_names, "order of calls": by_calls, "shapes": by_shapes}.items()
    ]
    unique: dict[Any, WeightMap] = {}
    for one in found:
        unique.setdefault(tuple((each.reference, each.candidate) for each in one.tensors), one)
    return tuple(unique.values())


def check_mapped(maps: Sequence[WeightMap], reference: Anatomy, candidate: Anatomy) -> None:
    """Check that the tensors of two models that hold as many numbers could be matched.

    Where they hold other numbers of them the models differ, and which tensors are left over tells where; so does a
    tensor of a module that has a partner, a bias say.

    Raises:
        InputError: on both sides modules without a partner are left.
    """
    best = min(maps, key=lambda each: sum(map(len, each.unmapped)))
    left = []
    for side, anatomy, pieces in zip(("reference", "candidate"), (reference, candidate), best.unmapped, strict=True):
        known, form = {getattr(pair, side).module for pair in best.modules}, anatomy.parameters
        paths_left = [p.path for p in pieces if p.path in form and module_of(p.path, anatomy.modules) not in known]
        left.append({path: form[path].shape for path in paths_left})
    counts = [sum(map(prod, shapes.values())) for shapes in left]
    if all(left) and counts[0] == counts[1]:
        tried = ", ".join(f"{each.name} ({len(list(each.tensors))} tensors found)" for each in maps)
        ours, theirs = (_listed(shapes) for shapes in left)
        raise InputError(
            f"the weights cannot be mapped; tried by {tried}; of the reference are left {ours}, and of the candidate "
            f'{theirs}: say which is which with weights={{"NAME": ("NAME", transform)}}'
        )


def _listed(shapes: Mapping[str, tuple[int, ...]], most: int = 8) -> str:
    words = [f"{path} {shape}" for path, shape in shapes.items()]
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


Match = Callable[[Sequence[Owner], Sequence[Owner]], "Matched"]
Matched = dict[str, str]  # the name of the candidate's owner for each of the reference's


def by_names(ours: Sequence[Owner], theirs: Sequence[Owner]) -> Matched:
    """Match so that the names are as alike as they can be, all in all."""
    from scipy.optimize import linear_sum_assignment

    never = 1e6
    cost = np.full((len(ours), len(theirs)), never)
    for i, own in enumerate(ours):
        for j, other in enumerate(theirs):
            if own.sizes == other.sizes:
                apart = abs(own.order - other.order) / (1 + max(own.order, other.order))
                cost[i, j] = 1 - likeness(own.name, other.name) + 1e-3 * apart
    rows, columns = linear_sum_assignment(cost)
    return {ours[i].name: theirs[j].name for i, j in zip(rows, columns, strict=True) if cost[i, j] < never}


def by_calls(ours: Sequence[Owner], theirs: Sequence[Owner]) -> Matched:
    """Match those of the same sizes one after the other, as they are called."""
    return by_shapes(*(sorted(each, key=lambda owner: owner.order) for each in (ours, theirs)))


def by_shapes(ours: Sequence[Owner], theirs: Sequence[Owner]) -> Matched:
    """Match those of the same sizes one after the other, as they stand."""
    waiting: dict[tuple[int, ...], list[Owner]] = defaultdict(list)
    for other in theirs:
        waiting[other.sizes].append(other)
    return {own.name: waiting[own.sizes].pop(0).name for own in ours if waiting[own.sizes]}


def likeness(one: str, other: str) -> float:
    """Return how alike two modules' paths are, from 0 to 1."""
    return SequenceMatcher(None, _words(one), _words(other), autojunk=False).ratio()


def is_named(path: str) -> bool:
    """Return whether a module has a name that someone gave it, and not one of its class and a number."""
    return re.fullmatch(r"\d+|[A-Z]\w*_\d+", path.rpartition(".")[2].partition("[")[0]) is None


def _words(path: str) -> list[str]:
    """The words and numbers of a name, in one language."""
    found = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", path)
    return [LAYERS.get(word, word) for word in map(str.lower, found)]


def _map(name: str, match: Match, ours: Sequence[Owner], theirs: Sequence[Owner]) -> WeightMap:
    matched = match(ours, theirs)
    matched |= _nearly(matched, ours, theirs)
    # What is left goes tensor by tensor: one side may hold in one module what the other has in several.
    ours = [part for own in ours for part in ([own] if own.name in matched else singly(own))]
    theirs = [part for own in theirs for part in ([own] if own.name in matched.values() else singly(own))]
    left = [own for own in ours if own.name not in matched], [own for own in theirs if own.name not in matched.values()]
    matched |= match(*left)
    modules = _paired(matched, ours, theirs)
    # A module may have been matched for its largest tensor, and another for the rest.
    left = _left_of(ours, modules, "reference"), _left_of(theirs, modules, "candidate")
    alike = {own: other for own, other in match(*left).items() if likeness(own, other) >= ALIKE}
    modules += _paired(alike, *left)
    modules += tuple(_of_another_kind(ours, theirs, modules))
    used = [
        {p for each in modules for pair in each.tensors for p in getattr(pair, side)}
        for side in ("reference", "candidate")
    ]
    unmapped = (
        tuple(piece for piece in paths(ours) if piece not in used[0]),
        tuple(piece for piece in paths(theirs) if piece not in used[1]),
    )
    return WeightMap(name, modules, unmapped)


def _paired(matched: Matched, ours: Sequence[Owner], theirs: Sequence[Owner]) -> tuple[ModulePair, ...]:
    other = {owner.name: owner for owner in theirs}
    return tuple(
        ModulePair(own.member, other[matched[own.name]].member, tuple(_pairs(own, other[matched[own.name]])))
        for own in ours
        if own.name in matched
    )


def _left_of(owned: Sequence[Owner], modules: Sequence[ModulePair], side: str) -> list[Owner]:
    """The parameters of one side that are in no pair, each as an owner of its own."""
    used = {piece for each in modules for pair in each.tensors for piece in getattr(pair, side)}
    parts = (part for own in owned for part in singly(own) if part.parameters)
    return [part for part in parts if not used & {p for held in part.parameters.values() for p in held.pieces}]


def _of_another_kind(
    ours: Sequence[Owner], theirs: Sequence[Owner], modules: Sequence[ModulePair]
) -> Iterator[ModulePair]:
    """What is left and is a parameter on one side, and a buffer of the same name and form on the other."""
    used = {p for each in modules for pair in each.tensors for p in (*pair.reference, *pair.candidate)}
    for kind, other_kind in (("statistics", "parameters"), ("parameters", "statistics")):
        left = [(own, *each) for own in ours for each in getattr(own, kind).items() if not used & {*each[1].pieces}]
        others = [
            (other, *each)
            for other in theirs
            for each in getattr(other, other_kind).items()
            if not used & {*each[1].pieces}
        ]
        for own, leaf, held in left:
            for other, name, partner in others:
                if (leaf, held.form.shape) == (name, partner.form.shape) and likeness(own.name, other.name) >= ALIKE:
                    ways = transforms(held.form.shape, partner.form.shape, is_same_layout=True)
                    pair = TensorPair(held.pieces, partner.pieces, ways, partner.form.shape, is_usual=True)
                    yield ModulePair(own.member, other.member, (pair,))
                    break


def _nearly(matched: Matched, ours: Sequence[Owner], theirs: Sequence[Owner]) -> Matched:
    """Match those left that share all but one tensor: one may lack a bias."""
    taken = set(matched.values())
    left = [own for own in ours if own.name not in matched and own.sizes]
    others = [other for other in theirs if other.name not in taken and other.sizes]
    found: Matched = {}
    for own in left:
        alike = [each for each in others if _share_all_but_one(own, each) and each.name not in found.values()]
        if alike:
            found[own.name] = max(alike, key=lambda each: likeness(own.name, each.name)).name
    return found


def _share_all_but_one(own: Owner, other: Owner) -> bool:
    fewer, more = sorted((Counter(own.sizes), Counter(other.sizes)), key=lambda sizes: sizes.total())
    return own.sizes[-1] == other.sizes[-1] and fewer <= more and more.total() - fewer.total() == 1


def _pairs(own: Owner, other: Owner) -> Iterator[TensorPair]:
    for tensors in ("parameters", "statistics"):
        ours, theirs = getattr(own, tensors), getattr(other, tensors)
        partners = _partners(ours, theirs)
        for leaf, held in ours.items():
            if (found := partners.get(leaf)) is None:
                continue
            partner = theirs[found]
            if ways := transforms(held.form.shape, partner.form.shape, found == leaf, leaf == "kernel"):
                is_usual = leaf == found or {leaf, found} in USUAL
                is_usual &= not own.is_transposed and not _is_patch(held, partner)
                yield TensorPair(held.pieces, partner.pieces, ways, partner.form.shape, is_usual)


def _is_patch(one: Held, other: Held) -> bool:
    """Whether a convolution is written as a dense layer over patches, whose numbers lie in an order of its own."""
    return any(len(a.form.shape) >= 3 and len(b.form.shape) == 2 for a, b in ((one, other), (other, one)))


def _partners(ours: Mapping[str, Held], theirs: Mapping[str, Held]) -> dict[str, str]:
    """The tensor of the same size for each: of the same name, else of the same role, else any."""
    tests: tuple[Callable[[str, str], bool], ...] = (
        lambda one, other: one == other,
        lambda one, other: ROLES.get(one, one) == ROLES.get(other, other),
        lambda one, other: True,
    )
    found: dict[str, str] = {}
    for fits in tests:
        for one, held in ours.items():
            size = prod(held.form.shape)
            left = [leaf for leaf in theirs if leaf not in found.values() and prod(theirs[leaf].form.shape) == size]
            partner = next((other for other in left if fits(one, other)), None)
            if one not in found and partner is not None:
                found[one] = partner
    return found
