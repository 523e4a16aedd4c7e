"""The report on a comparison: findings with their causes, and what was compared and what was not."""

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity.backend.port import Anatomy, End
from parity.pair.explain import Accepted, Cases
from parity.pair.findings import FindingKind, Located, Map, Seen, Segment, is_within, source_of
from parity.pair.forced import Answer
from parity.pair.optimizer import OptimizerChange
from parity.pair.owners import Piece
from parity.pair.precision import NarrowAnswer
from parity.pair.records import CompareReport, Covered, Finding, Mapped, Mark, Measured, ModuleRow, PairCause
from parity.pair.settle import Change, Settled
from parity.pair.weight_map import WeightMap, role_of
from parity.verdict.compare import SAFETY, Distance
from parity.verdict.noise import MANTISSA_BITS
from parity.verdict.trace import Kind, Mode
from parity.verdict.verdict import UNEXPLAINED, Verdict

FLOAT32 = 2.0 ** (MANTISSA_BITS["float64"] - MANTISSA_BITS["float32"])  # its ulp over that of float64
UNSTABLE = 1e-6  # a floor above this part of its value: a rounded number decides something there


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a comparison found.

    Args:
        graph: the boundaries.
        cases: of what-ifs.
        settled: the weight map.
        answers: the forced pass.
        located: where it is off.
        seen: the modules at which each accepted difference was seen.
        free: the outputs of the free pass.
        drawn: the tensors that were drawn.
        changes: what the optimizers do otherwise.
        steps: all distances of the optimizers' steps.
        narrow: the precision question.
        has_loss: whether both sides have a loss.
        versions: of the libraries.
        lacking: outputs of the reference that the candidate lacks, in words, and the mode.
        unlike: what could not be compared.
        counted: how many positions count, and of how many; None if all do.
        optimizers: whether each side has an optimizer.
        is_optimizer_asked: whether they were to be compared.
    """

    graph: Map
    cases: Cases
    settled: Settled
    answers: Sequence[Answer]
    located: Sequence[Located]
    seen: Mapping[Accepted, Sequence[str]]
    free: Sequence[Answer]
    drawn: Sequence[str]
    changes: Sequence[OptimizerChange] = ()
    steps: Sequence[Distance] = ()
    narrow: Sequence[NarrowAnswer] = ()
    has_loss: bool = True
    versions: Mapping[str, str] = field(default_factory=dict)
    lacking: Mapping[str, str] = field(default_factory=dict)
    unlike: Sequence[str] = ()
    counted: tuple[int, int] | None = None
    optimizers: tuple[bool, bool] = (False, False)
    is_optimizer_asked: bool = True


def crashed(words: str, versions: Mapping[str, str]) -> CompareReport:
    """Return the report on a candidate that could not be played."""
    finding = Finding(kind=FindingKind.CRASH, agrees="the candidate raised", cause=PairCause(evidence=words))
    return CompareReport(verdict=Verdict.DISAGREE, findings=(finding,), environment=_environment(versions))


def report(material: Material) -> CompareReport:
    """Return the verdict on what was found."""
    passes = list(_of_passes(material))
    islands = _islands(material.graph)
    narrow = [each for each in passes if islands and _is_of_an_island(each)]
    weights = list(_of_weights(material))
    findings = [*weights, *(p for p in passes if p not in narrow and not _follows(material.graph, p, weights))]
    findings += [*_of_outputs(material), *_of_updates(material), *_of_accepted(material)]
    if not findings:
        findings = [*([] if narrow else _of_whole(material)), *_of_precision(material)]
    unstable = tuple(dict.fromkeys((*map(_narrow_words, narrow), *_unstable(material.answers))))
    distances = [each for answer in material.answers for each in answer.distances] + list(material.steps)
    within = [each for each in distances if not each.is_beyond]
    unjudged = (*unstable, *_unjudged(material))
    verdict = Verdict.DISAGREE if findings else Verdict.INCOMPLETE if unjudged or not within else Verdict.AGREE
    return CompareReport(
        verdict=verdict,
        findings=tuple(findings),
        accepted=tuple(
            {"name": each.name, "place": each.place, "seen": list(modules)} for each, modules in material.seen.items()
        ),
        coverage=_coverage(material),
        islands=islands,
        not_compared=(*unjudged, *_not_compared(material)),
        weights=_weights(material.settled),
        comparisons=len(distances),
        sensitivity=max((SAFETY * each.floor / each.size for each in _sensitive(distances)), default=0.0),
        worst=max((each.times_noise for each in within), default=0.0),
        free=_free(material.free),
        drawn=tuple(material.drawn),
        modules=tuple(_modules(material, findings)),
        measured=tuple(_measured(material.answers)),
        environment=_environment(material.versions),
    )


def _follows(graph: Map, finding: Finding, weights: Sequence[Finding]) -> bool:
    """Whether what a module computes is off only since it, or one in it that is not paired, lacks a tensor."""
    lacking = {each.reference for each in weights if each.candidate}
    paired = {boundary.call.module for boundary in graph.pairing.boundaries}
    return finding.between is None and any(
        module == finding.reference or (module not in paired and is_within(module, finding.reference))
        for module in lacking
    )


def _islands(graph: Map) -> tuple[dict[str, Any], ...]:
    """What either side computes in narrower numbers."""
    return tuple(
        {"side": side, **each._asdict()}
        for side, anatomy in (("reference", graph.reference), ("candidate", graph.candidate))
        for each in anatomy.islands
    )


def _is_of_an_island(finding: Finding) -> bool:
    """Whether a difference is as small as those of float32 are, where something is computed in float32."""
    times = finding.times_noise
    return finding.cause.name == UNEXPLAINED and times is not None and times <= FLOAT32 * SAFETY


def _narrow_words(finding: Finding) -> str:
    return (
        f"{finding.kind} at {finding.place}: it agrees as far as float32 does "
        f"(off by {finding.relative or 0:.1g} of its size), and something is computed in float32"
    )


def _of_weights(material: Material) -> Iterator[Finding]:
    """Tensors without a partner, and what the weight map has otherwise than names and conventions say."""
    weights, graph = material.settled.weights, material.graph
    changing = {key.path for answer in material.answers for key in answer.sites if key.kind is Kind.STATISTIC}
    for side, anatomy, pieces in zip(
        ("reference", "candidate"), (graph.reference, graph.candidate), weights.unmapped, strict=True
    ):
        for piece in pieces:
            if piece.path in anatomy.parameters or piece.path in changing:
                yield _unmapped(side, piece, weights)
    for change in material.settled.changes:
        if change.is_difference:
            yield _of_change(change, graph)


def _unmapped(side: str, piece: Piece, weights: WeightMap) -> Finding:
    """A tensor without a partner, and the module of the other side that should have it."""
    other = "candidate" if side == "reference" else "reference"
    module, role = role_of(piece.path)
    is_bias = role == "bias" or piece.path.rpartition(".")[2].startswith("bias_")  # as recurrent layers have
    pairs = {getattr(pair, side).module: pair for pair in weights.modules}
    pair = pairs.get(module)
    ours, theirs = (module, "") if side == "reference" else ("", module)
    if pair is not None:
        ours, theirs = pair.reference.module, pair.candidate.module
    return Finding(
        kind=FindingKind.WEIGHTS,
        reference=ours,
        candidate=theirs,
        value=f"{piece} of the {side}",
        cause=PairCause(
            name="missing_bias" if is_bias and pair is not None else UNEXPLAINED,
            evidence=f"the {other} has no tensor that this one of the {side} could be",
            remedy='map it with weights={"NAME": ("NAME", transform)}, if the other is called otherwise',
        ),
    )


def _of_change(change: Change, graph: Map) -> Finding:
    pair = change.modules[0]
    ours, theirs = pair.reference.module, pair.candidate.module
    name = "kernel_axes" if change.tensor is not None else "unexplained"
    return Finding(
        kind=FindingKind.WEIGHTS,
        reference=ours,
        candidate=theirs,
        value=change.words,
        agrees="with that everything there agrees",
        cause=PairCause(name=name, evidence=change.words),
        source=_sources(graph, ours, theirs),
    )


def _of_passes(material: Material) -> Iterator[Finding]:
    for located in material.located:
        segment, worst = located.segment, located.worst
        modes = dict.fromkeys(str(each.mode) for each in located.seen)
        between = None
        if segment.after is not None:
            between = (segment.after[-1][0] if segment.after else "", segment.reference)
        yield Finding(
            kind=located.kind,
            reference=segment.reference,
            candidate=segment.candidate,
            between=between,
            value=worst.site.path,
            modes=tuple(modes),
            times_noise=worst.distance.times_noise,
            relative=worst.distance.distance / worst.distance.size if worst.distance.size else None,
            agrees=_agrees(material.graph, located),
            cause=material.cases.cause(located, material.answers),
            source=_sources(material.graph, segment.reference, segment.candidate),
        )


def _agrees(graph: Map, located: Located) -> str:
    through = [] if located.segment.is_module else graph.through(located.segment)
    return located.agrees + (f" (on the way: {', '.join(through)})" if through else "")


def _of_updates(material: Material) -> Iterator[Finding]:
    """The optimizers: as one finding if every parameter is changed otherwise, else one for each that is."""
    by_path: dict[str, list[OptimizerChange]] = {}
    for change in material.changes:
        by_path.setdefault(change.distance.key.path, []).append(change)
    compared = {each.key.path for each in material.steps}
    firsts = [min(each, key=lambda change: change.distance.key.step) for each in by_path.values()]
    is_everywhere = len(by_path) > 1 and len(by_path) == len(compared)
    for change in firsts[:1] if is_everywhere else firsts:
        pair, distance = change.owner, change.distance
        yield Finding(
            kind=FindingKind.UPDATE,
            reference="" if is_everywhere else pair.reference.module,
            candidate="" if is_everywhere else pair.candidate.module,
            value="the change of every parameter" if is_everywhere else f"the change of {distance.key.path}",
            step=distance.key.step,
            modes=(str(Mode.TRAIN),),
            times_noise=distance.times_noise,
            relative=distance.distance / distance.size if distance.size else None,
            agrees="given the same parameters and the same gradients, the optimizer's step differs",
        )


def _of_outputs(material: Material) -> Iterator[Finding]:
    """What the model as a whole gives, and the other does not."""
    for output, mode in material.lacking.items():
        yield Finding(
            kind=FindingKind.FORWARD,
            value=output,
            modes=(mode,),
            agrees="no output of the candidate is of this name, or order, and form and, of whole numbers, the same",
            cause=PairCause(remedy="if it is not to be compared, leave it out with call= of the port"),
        )


def _of_precision(material: Material) -> Iterator[Finding]:
    """Where the candidate is further from float64 than its dtype allows, and the reference is not."""
    for answer in material.narrow:
        ours = {each.key for each in answer.ours if each.is_beyond}
        found: dict[Segment, Distance] = {}
        sensitive = _sensitive(answer.theirs)
        for each in answer.theirs:
            if each.is_beyond and each.key not in ours and each in sensitive:
                seen = Seen(0, each.key.mode, answer.sites[each.key], each)
                found.setdefault(material.graph.segment_of(seen), each)
        for segment, distance in found.items():
            yield Finding(
                kind=FindingKind.PRECISION,
                reference=segment.reference,
                candidate=segment.candidate,
                between=None if segment.after is None else (segment.after[-1][0], segment.reference),
                value=f"{distance.key.path} in {answer.dtype}",
                modes=(str(distance.key.mode),),
                times_noise=distance.times_noise,
                relative=distance.distance / distance.size if distance.size else None,
                agrees=f"it agrees in float64; in {answer.dtype} it is further off than rounding",
                source=_sources(material.graph, segment.reference, segment.candidate),
            )


def _of_accepted(material: Material) -> Iterator[Finding]:
    """An accepted difference that is seen nowhere: a comparison that does not need it must not pass with it."""
    for accepted, modules in material.seen.items():
        if not modules:
            yield Finding(
                kind=FindingKind.FORWARD if "statistic" not in accepted.name else FindingKind.STATISTICS,
                value=str(accepted),
                cause=PairCause(
                    name="accepted_difference_gone",
                    evidence=f"{accepted} is accepted, and was seen at no module",
                    remedy="leave it out of what is accepted",
                ),
            )


def _of_whole(material: Material) -> Iterator[Finding]:
    """Every part agrees on what it is given, and yet the whole does not."""
    for answer in material.free:
        first = next(iter(answer.beyond), None)
        if first is not None:
            yield Finding(
                kind=FindingKind.FORWARD,
                value=first.key.path,
                modes=(str(answer.batch.mode),),
                times_noise=first.times_noise,
                relative=first.distance / first.size if first.size else None,
                agrees="every part agrees on what it is given; the whole does not",
            )
            return


def _sources(graph: Map, ours: str, theirs: str) -> dict[str, str | None]:
    return {
        "reference": source_of(graph.reference, ours) or None,
        "candidate": source_of(graph.candidate, theirs) or None,
    }


def _unstable(answers: Sequence[Answer]) -> Iterator[str]:
    """What no limit is honest on: its noise is a large part of it."""
    for answer in answers:
        for each in _sensitive(answer.distances):
            if each.floor > UNSTABLE * each.size:
                yield f"{each.key.path} ({each.key.kind}): rounding alone moves it by {each.floor / each.size:.1g}"


def _sensitive(distances: Sequence[Distance]) -> list[Distance]:
    """Those that are not 0 up to rounding, such as the gradient of a bias before batch norm."""
    largest: dict[Kind, float] = {}
    for each in distances:
        largest[each.key.kind] = max(largest.get(each.key.kind, 0.0), each.size)
    return [each for each in distances if each.size > 1e-9 * largest[each.key.kind]]


def _unjudged(material: Material) -> Iterator[str]:
    """What had to be compared and was not: with it nobody may say that the two agree."""
    coverage, has_loss = _coverage(material), material.has_loss
    yield from dict.fromkeys(material.unlike)
    for what in ("modules", "parameters"):
        if coverage[what].rest:
            yield f"{what} of the reference: {', '.join(coverage[what].rest)}"
    for pair in material.settled.weights.tensors if has_loss else ():
        if not pair.ways[0].moves_only:
            yield f"gradient of {pair.reference[0]}: the given function does more than move its numbers"


def _coverage(material: Material) -> dict[str, Covered]:
    graph, weights = material.graph, material.settled.weights
    called = dict.fromkeys(each.call.module for each in graph.reference.calls)
    reached = _reached(graph)
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


def _modules(material: Material, findings: Sequence[Finding]) -> Iterator[ModuleRow]:
    graph = material.graph
    types = {each.call.module: each.type for each in reversed(graph.reference.calls)}
    partners = {ours.module: theirs.module for ours, theirs in graph.pairing.calls.items()}
    worst: dict[str, float] = {}
    for answer in material.answers:
        for each in answer.distances:
            site = answer.sites[each.key]
            if site.boundary is not None:
                module = site.boundary.call.module
                worst[module] = max(worst.get(module, 0.0), each.times_noise)
    off = {finding.reference for finding in findings}
    reached = _reached(graph)
    for path in dict.fromkeys(each.call.module for each in graph.reference.calls):
        is_paired = path in partners
        mark = Mark.AGREES if is_paired else Mark.WITHIN if path in reached else Mark.NOT_COMPARED
        yield ModuleRow(
            path=path,
            type=types.get(path, ""),
            candidate=partners.get(path),
            mark=Mark.DIFFERS if path in off else mark,
            times_noise=worst.get(path),
        )


def _measured(answers: Sequence[Answer]) -> Iterator[Measured]:
    for answer in answers:
        if answer.batch.number == 0:
            for each in answer.distances:
                if each.size > 0 and np.isfinite(each.distance):
                    yield Measured(
                        path=each.key.path,
                        kind=str(each.key.kind),
                        mode=str(answer.batch.mode),
                        relative=each.distance / each.size,
                        limit=SAFETY * each.floor / each.size,
                    )


def _reached(graph: Map) -> set[str]:
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


def _not_compared(material: Material) -> Iterator[str]:
    for side, anatomy in (("reference", material.graph.reference), ("candidate", material.graph.candidate)):
        called = {each.call.module for each in anatomy.calls}
        idle = [module for module in anatomy.modules if module not in called and _holds(anatomy, module)]
        if idle and called != {""}:
            yield f"modules of the {side} that are never called: {', '.join(idle)}"
        if not anatomy.runs_in_float64:
            yield f"the {side} does not run in float64 by itself: its operations were given float64 for float32"
    dead = _dead(material.answers)
    if dead:
        yield f"parameters whose gradient is 0 on both sides: {', '.join(dead)}"
    if not material.has_loss:
        yield "nothing backward: give both ports a loss"
    if material.is_optimizer_asked and not all(material.optimizers):
        lacking = " and ".join(
            s for s, has in zip(("reference", "candidate"), material.optimizers, strict=True) if not has
        )
        yield f"no update: the {lacking} has no optimizer"
    dropouts = [
        f"{module or 'the model'} of the {side}"
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
    for key in material.seen:
        if key.name in ("norm_epsilon", "gelu_form") and material.seen[key]:
            yield f"what follows backward from {key}"


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


def _weights(settled: Settled) -> dict[str, Mapped]:
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


def _free(answers: Sequence[Answer]) -> dict[str, float]:
    found: dict[str, float] = {}
    for answer in answers:
        for each in answer.distances:
            site = answer.sites[each.key]
            is_output = site.boundary is not None and site.boundary.end is End.OUTPUT
            if (is_output and each.key.kind is Kind.ACTIVATION) or each.key.kind is Kind.LOSS:
                mode = str(answer.batch.mode)
                found[mode] = max(found.get(mode, 0.0), each.times_noise)
    return found


def _environment(versions: Mapping[str, str]) -> dict[str, Any]:
    own = {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()}
    return own | {"numpy": np.__version__, **versions}
