"""Tensors of two models that are not each other's."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from parity.pair.findings import FindingKind, Map
from parity.pair.material import Material
from parity.pair.owners import Piece, module_of
from parity.pair.places import SIDES, sources
from parity.pair.records import Finding, PairCause
from parity.pair.trials import Change
from parity.pair.weight_map import role_of
from parity.verdict.trace import Kind
from parity.verdict.verdict import UNEXPLAINED

LeftOver = dict[str, dict[str, list[Piece]]]
MOST_LISTED = 6


def left_over(material: Material) -> LeftOver:
    """Return the tensors without a partner, by side and module."""
    weights, graph = material.settled.weights, material.graph
    changing = {key.path for answer in material.answers for key in answer.sites if key.kind is Kind.STATISTIC}
    left: LeftOver = {side: defaultdict(list) for side in SIDES}
    if weights.converter is not None:  # which has found them partners, though none that can be told
        return left
    for side, anatomy, pieces in zip(SIDES, (graph.reference, graph.candidate), weights.unmapped, strict=True):
        for piece in pieces:
            # What is frozen may be computed on the other side, a table of angles say: then its values tell.
            is_trained = piece.path in anatomy.parameters and piece.path not in anatomy.frozen
            if is_trained or piece.path in changing:
                left[side][module_of(piece.path, anatomy.modules)].append(piece)
    return left


def of_weights(material: Material, left: LeftOver) -> Iterator[Finding]:
    """Yield a finding of each tensor without a partner, and of what is mapped otherwise than its name says."""
    graph = material.graph
    pairs = [(pair.reference.module, pair.candidate.module) for pair in material.settled.weights.modules]
    for number, side in enumerate(SIDES):
        for pair in dict.fromkeys(pairs):
            if not all(left[each].get(module) for each, module in zip(SIDES, pair, strict=True)):
                for piece in left[side].pop(pair[number], ()):
                    yield _unmapped(side, piece, pair, graph)
    # What is left on both sides is meant to be the same, and has other shapes.
    if all(left.values()):
        ours, theirs = (next(iter(left[side])) for side in SIDES)
        yield _left(" and ".join(_listed(side, left[side], graph) for side in SIDES), ours, theirs, graph)
    else:
        for side in SIDES:
            for module, pieces in left[side].items():
                ours, theirs = (module, "") if side == "reference" else ("", module)
                yield _left(_listed(side, {module: pieces}, graph), ours, theirs, graph)
    for change in material.settled.changes:
        if change.is_difference:
            yield _of_change(change, graph)


def _listed(side: str, left: Mapping[str, Sequence[Piece]], graph: Map) -> str:
    forms = getattr(graph, side).parameters | getattr(graph, side).statistics
    words = [f"{piece} {forms[piece.path].shape}" for pieces in left.values() for piece in pieces]
    rest = f" and {len(words) - MOST_LISTED} more" if len(words) > MOST_LISTED else ""
    return f"{', '.join(words[:MOST_LISTED])}{rest} of the {side}"


def _left(words: str, ours: str, theirs: str, graph: Map) -> Finding:
    """Modules that have no partner, or none of the same shapes."""
    evidence, remedy = "the other model has none of this size", "add them to the other model"
    if ours and theirs:
        evidence, remedy = "the two models hold other numbers of them", "give both the same sizes"
    return Finding(
        kind=FindingKind.WEIGHTS,
        reference=ours,
        candidate=theirs,
        value=words,
        cause=PairCause(
            evidence=evidence,
            remedy=f'{remedy}; or map them with weights={{"NAME": ("NAME", transform)}}, if they are called otherwise',
        ),
        source=sources(graph, ours, theirs),
    )


def _unmapped(side: str, piece: Piece, pair: tuple[str, str], graph: Map) -> Finding:
    """A tensor without a partner, though its module has one."""
    other = "candidate" if side == "reference" else "reference"
    # A recurrent layer has several, `bias_hh_l0` say.
    is_bias = role_of(piece.path)[1] == "bias" or piece.path.rpartition(".")[2].startswith("bias_")
    give = f"give this layer of the {other} a bias; or " if is_bias else ""
    return Finding(
        kind=FindingKind.WEIGHTS,
        reference=pair[0],
        candidate=pair[1],
        value=f"{piece} of the {side}",
        cause=PairCause(
            name="missing_bias" if is_bias else UNEXPLAINED,
            evidence=f"the {other} has no tensor that this one of the {side} could be",
            remedy=f'{give}map it with weights={{"NAME": ("NAME", transform)}}, if the other is called otherwise',
        ),
        source=sources(graph, *pair),
    )


def _of_change(change: Change, graph: Map) -> Finding:
    pair = change.modules[0]
    ours, theirs = pair.reference.module, pair.candidate.module
    name = UNEXPLAINED
    if change.tensor is not None:
        name = "flipped_kernel" if "flipped" in change.words else "kernel_axes"
    return Finding(
        kind=FindingKind.WEIGHTS,
        reference=ours,
        candidate=theirs,
        value=change.words,
        agrees="with that everything there agrees",
        cause=PairCause(name=name, evidence=change.words),
        source=sources(graph, ours, theirs),
    )
