"""What was compared and what was not: modules, tensors, values."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from parity.backend.convention import FLOAT32_ISLAND
from parity.backend.port import Anatomy, End
from parity.pair.findings import LOSS, Map
from parity.pair.forced import Answer
from parity.pair.material import Material, sensitive
from parity.pair.records import Covered, Finding, Mapped, Measured, module_words
from parity.pair.sites import Site
from parity.pair.trials import Settled
from parity.verdict.compare import SAFETY
from parity.verdict.trace import Kind

UNSTABLE = 1e-6  # a floor above this part of its value: a rounded number decides something there


def coverage_of(material: Material) -> dict[str, Covered]:
    """Return how much of the reference was compared."""
    graph, weights = material.graph, material.settled.weights
    called = dict.fromkeys(each.call.module for each in graph.reference.calls)
    reached = reached_modules(graph)
    modules = [m for m in graph.reference.modules if m in called]
    uncovered = tuple(m for m in modules if m not in reached)
    mapped = {piece.path for pair in weights.tensors for piece in pair.reference}

    def covered(paths: Mapping[str, Any]) -> Covered:
        rest = tuple(path for path in paths if path not in mapped)
        return Covered(compared=len(paths) - len(rest), all=len(paths), rest=rest)

    return {
        "modules": Covered(compared=len(modules) - len(uncovered), all=len(modules), rest=uncovered),
        "parameters": covered(graph.reference.parameters),
        "statistics": covered({p: t for p, t in graph.reference.statistics.items() if t.dtype.startswith("float")}),
        "boundaries": Covered(compared=len(graph.pairing.boundaries), all=len(graph.reference.boundaries)),
    }


def reached_modules(graph: Map) -> set[str]:
    """The modules whose values are compared, or enter something that is."""
    found: set[str] = set()
    waiting = list(graph.pairing.boundaries)
    seen = set(waiting)
    while waiting:
        boundary = waiting.pop()
        found.add(boundary.call.module)
        for source in graph.reference.sources.get(boundary, ()):
            if source not in seen:
                seen.add(source)
                waiting.append(source)
    return found


def unjudged(material: Material, narrow: Sequence[Finding]) -> Iterator[str]:
    """What had to be compared and was not: with it nobody may say that the two agree.

    Args:
        material: what was found.
        narrow: where the two agree no further than float32 does.
    """
    coverage, has_loss = coverage_of(material), material.has_loss
    yield from dict.fromkeys((*map(_narrow_words, narrow), *_unstable(material.answers)))
    yield from dict.fromkeys(material.unlike)
    for what in ("modules", "parameters"):
        if coverage[what].rest:
            yield f"{what} of the reference: {', '.join(map(module_words, coverage[what].rest))}"
    unused = [name for name in material.graph.reference.unused if name in material.graph.candidate.unused]
    if unused:
        yield f"what the inputs {', '.join(unused)} do: neither model takes them, and there is no loss that could"
    for pair in material.settled.weights.tensors if has_loss else ():
        piece, partner = pair.reference[0], pair.candidate[0]
        if not pair.ways[0].moves_only:
            yield f"gradient of {piece}: the given function does more than move its numbers"
        held = ((material.graph.reference, piece.path), (material.graph.candidate, partner.path))
        is_buffer, is_trained = (any(is_so(*each) for each in held) for is_so in (_is_buffer, _is_trained))
        if is_buffer and is_trained:
            yield f"gradient of {piece}: one side trains it, and the other holds it as it is"


def _is_buffer(anatomy: Anatomy, path: str) -> bool:
    return path in anatomy.statistics


def _is_trained(anatomy: Anatomy, path: str) -> bool:
    return path in anatomy.parameters and path not in anatomy.frozen


def _unstable(answers: Sequence[Answer]) -> Iterator[str]:
    """What no limit is honest on: its noise is a large part of it."""
    for answer in answers:
        for each in sensitive(answer.distances):
            if each.floor > UNSTABLE * each.size:
                yield f"{each.key.path} ({each.key.kind}): rounding alone moves it by {each.floor / each.size:.1g}"


def _narrow_words(finding: Finding) -> str:
    words = f"{finding.kind} at {finding.place}: it agrees as far as float32 does "
    words += f"(off by {finding.relative or 0:.1g} of its size), and "
    if finding.cause.name == FLOAT32_ISLAND:
        return f"{words}entirely where all is computed in float64 ({finding.cause.evidence})"
    return f"{words}something is computed or stored in float32"


def not_compared(material: Material, is_accepted_whole: bool) -> Iterator[str]:
    """What was left out and need not be compared, in words.

    Args:
        material: what was found.
        is_accepted_whole: whether something accepted goes on into the outputs when nothing is replaced.
    """
    for side, anatomy in (("reference", material.graph.reference), ("candidate", material.graph.candidate)):
        called = {each.call.module for each in anatomy.calls}
        idle = [module for module in anatomy.modules if module not in called and _holds(anatomy, module)]
        if idle and called != {""}:
            yield f"modules of the {side} that are never called: {', '.join(map(module_words, idle))}"
        if not anatomy.runs_in_float64:
            yield f"the {side} does not run in float64 by itself: its operations were given float64 for float32"
    dead = _dead(material.answers)
    if dead:
        yield f"parameters whose gradient is 0 on both sides: {', '.join(dead)}"
    if not material.has_loss:
        yield "nothing backward: give both ports a loss"
    if material.is_optimizer_asked and not all(material.optimizers):
        lacking = {(False, False): "neither side has an", (False, True): "the reference has no"}
        yield f"no update: {lacking.get(material.optimizers, 'the candidate has no')} optimizer"
    dropouts = [
        f"{module_words(module)} of the {side}"
        for side, anatomy in (("reference", material.graph.reference), ("candidate", material.graph.candidate))
        for module, kind in anatomy.modules.items()
        if "Dropout" in kind
    ]
    if dropouts:
        yield f"dropout, which drops nothing here in any mode: {', '.join(dropouts)}"
    for side, anatomy in (("reference", material.graph.reference), ("candidate", material.graph.candidate)):
        if anatomy.frozen:
            yield f"that these of the {side} are frozen: {', '.join(anatomy.frozen)}; they are compared as if trained"
    if material.counted is not None:
        counted, every = material.counted
        yield f"{every - counted} of {every} positions, which do not count"
    for answer in material.narrow:
        both = sorted({each.key.path for each in answer.ours if each.is_beyond})
        if both:
            yield f"in {answer.dtype} the reference itself is further from float64 than rounding: {', '.join(both)}"
    for piece in material.settled.weights.unmapped[0]:
        if piece.path in material.graph.reference.statistics:
            yield f"{piece} of the reference, which the candidate does not hold"
    if is_accepted_whole and material.free:
        yield "the outputs with nothing replaced: what is accepted goes on into them"


def _holds(anatomy: Anatomy, module: str) -> bool:
    return any(path.rpartition(".")[0] == module for path in anatomy.parameters)


def _dead(answers: Sequence[Answer]) -> list[str]:
    gradients: dict[str, bool] = {}
    for answer in answers:
        for each in answer.distances:
            if each.key.kind is Kind.GRADIENT:
                is_dead = each.size == 0 and each.distance == 0
                gradients[each.key.path] = gradients.get(each.key.path, True) and is_dead
    return [path for path, is_dead in gradients.items() if is_dead]


def measured(answers: Sequence[Answer]) -> Iterator[Measured]:
    """The values of the first batch, in causal order."""
    for answer in answers:
        if answer.batch.number == 0:
            for each in answer.distances:
                if each.size > 0 and np.isfinite(each.distance):
                    yield Measured(
                        path=each.key.path,
                        module=_module_of(answer.sites[each.key]),
                        kind=str(each.key.kind),
                        mode=str(answer.batch.mode),
                        relative=each.distance / each.size,
                        limit=SAFETY * each.floor / each.size,
                    )


def _module_of(site: Site) -> str:
    if site.owner is not None:
        return site.owner.reference.module
    return site.boundary.call.module if site.boundary is not None else LOSS


def weights_of(settled: Settled) -> dict[str, Mapped]:
    """Which tensors of the candidate the reference's are, by path."""
    changed = {
        str(piece): change.words
        for change in settled.changes
        for module in change.modules
        for pair in module.tensors
        for piece in pair.reference
    }
    proof = {"names": "names", "order of calls": "order of calls", "shapes": "shapes"}[settled.weights.name]
    return {
        str(piece): Mapped(
            candidate=" + ".join(map(str, pair.candidate)),
            transform=pair.ways[0].name,
            proof=changed.get(str(piece), f"{proof}; and what is computed with it"),
        )
        for pair in settled.weights.tensors
        for piece in pair.reference
    }


def free_distances(answers: Sequence[Answer]) -> dict[str, float]:
    """How far the outputs are apart when nothing is replaced, in noise floors, by mode."""
    found: dict[str, float] = {}
    for answer in answers:
        for each in answer.distances:
            site = answer.sites[each.key]
            is_output = site.boundary is not None and site.boundary.end is End.OUTPUT
            if (is_output and each.key.kind is Kind.ACTIVATION) or each.key.kind is Kind.LOSS:
                mode = str(answer.batch.mode)
                found[mode] = max(found.get(mode, 0.0), each.times_noise)
    return found
