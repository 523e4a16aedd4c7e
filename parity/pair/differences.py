"""What differs: the findings of a comparison, each with its cause and its place in the code."""

from collections.abc import Iterator, Sequence
from typing import Any

from parity.pair.findings import FindingKind, Located, Map, Seen, Segment, is_within, source_of
from parity.pair.material import Material, sensitive
from parity.pair.optimizer import OptimizerChange
from parity.pair.owners import Piece
from parity.pair.records import Finding, PairCause
from parity.pair.settle import Change
from parity.pair.weight_map import WeightMap, role_of
from parity.verdict.compare import SAFETY, Distance
from parity.verdict.noise import MANTISSA_BITS
from parity.verdict.trace import Kind, Mode
from parity.verdict.verdict import UNEXPLAINED

FLOAT32 = 2.0 ** (MANTISSA_BITS["float64"] - MANTISSA_BITS["float32"])  # its ulp over that of float64


def differences(material: Material) -> tuple[list[Finding], list[Finding]]:
    """Return where the two differ, in causal order, and where they agree no further than float32 does."""
    passes = list(_of_passes(material))
    has_islands = any(each.islands for each in (material.graph.reference, material.graph.candidate))
    narrow = [each for each in passes if has_islands and _is_of_an_island(each)]
    weights = list(_of_weights(material))
    findings = [*weights, *(p for p in passes if p not in narrow and not _follows(material.graph, p, weights))]
    findings += [*_of_outputs(material), *_of_updates(material), *_of_accepted(material)]
    if not findings:
        findings = [*([] if narrow else _of_whole(material)), *_of_precision(material)]
    return findings, narrow


def _follows(graph: Map, finding: Finding, weights: Sequence[Finding]) -> bool:
    """Whether what a module computes is off only since it, or one in it that is not paired, lacks a tensor."""
    lacking = {each.reference for each in weights if each.candidate}
    paired = {boundary.call.module for boundary in graph.pairing.boundaries}
    return finding.between is None and any(
        module == finding.reference or (module not in paired and is_within(module, finding.reference))
        for module in lacking
    )


def _is_of_an_island(finding: Finding) -> bool:
    """Whether a difference is as small as those of float32 are, where something is computed in float32."""
    times = finding.times_noise
    return finding.cause.name == UNEXPLAINED and times is not None and times <= FLOAT32 * SAFETY


def _of_weights(material: Material) -> Iterator[Finding]:
    """Tensors without a partner, and what the weight map has otherwise than names and conventions say."""
    weights, graph = material.settled.weights, material.graph
    changing = {key.path for answer in material.answers for key in answer.sites if key.kind is Kind.STATISTIC}
    for side, anatomy, pieces in zip(
        ("reference", "candidate"), (graph.reference, graph.candidate), weights.unmapped, strict=True
    ):
        for piece in pieces:
            if piece.path in anatomy.parameters or piece.path in changing:
                yield _unmapped(side, piece, weights, graph)
    for change in material.settled.changes:
        if change.is_difference:
            yield _of_change(change, graph)


def _unmapped(side: str, piece: Piece, weights: WeightMap, graph: Map) -> Finding:
    """A tensor without a partner, and the module of the other side that should have it."""
    other = "candidate" if side == "reference" else "reference"
    module, role = role_of(piece.path)
    pairs = {getattr(pair, side).module: pair for pair in weights.modules}
    pair = pairs.get(module)
    ours, theirs = (module, "") if side == "reference" else ("", module)
    if pair is not None:
        ours, theirs = pair.reference.module, pair.candidate.module
    # A recurrent layer has several, `bias_hh_l0` say.
    is_bias = (role == "bias" or piece.path.rpartition(".")[2].startswith("bias_")) and pair is not None
    give = f"give this layer of the {other} a bias; or " if is_bias else ""
    return Finding(
        kind=FindingKind.WEIGHTS,
        reference=ours,
        candidate=theirs,
        value=f"{piece} of the {side}",
        cause=PairCause(
            name="missing_bias" if is_bias else UNEXPLAINED,
            evidence=f"the {other} has no tensor that this one of the {side} could be",
            remedy=f'{give}map it with weights={{"NAME": ("NAME", transform)}}, if the other is called otherwise',
        ),
        source=_sources(graph, ours, theirs),
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
        yield Finding(
            kind=located.kind,
            reference=segment.reference,
            candidate=segment.candidate,
            **ends_of(segment),
            value=worst.site.path,
            modes=tuple(modes),
            times_noise=worst.distance.times_noise,
            relative=worst.distance.distance / worst.distance.size if worst.distance.size else None,
            agrees=_agrees(material.graph, located),
            cause=material.cases.cause(located, material.answers),
            source=_sources(material.graph, *_nearest_calls(segment)),
        )


def ends_of(segment: Segment) -> dict[str, Any]:
    """Return where a stretch comes from and where it leads to, as a row or a finding has it; nothing of a module."""
    if segment.after is None:
        return {}
    ours, theirs = segment.after[-1] if segment.after else ("", "")
    return {"between": (ours, segment.reference), "candidate_between": (theirs, segment.candidate)}


def _nearest_calls(segment: Segment) -> tuple[str, str]:
    """The module whose call is next to a stretch, on both sides: the last within the module whose output it makes."""
    ends = ends_of(segment)
    if not ends:
        return segment.reference, segment.candidate
    (start, end), (other_start, other_end) = ends["between"], ends["candidate_between"]
    is_last = start != end and is_within(start, end)
    return (start, other_start) if is_last else (end, other_end)


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
        judged = sensitive(answer.theirs)
        for each in answer.theirs:
            if each.is_beyond and each.key not in ours and each in judged:
                seen = Seen(0, each.key.mode, answer.sites[each.key], each)
                found.setdefault(material.graph.segment_of(seen), each)
        for segment, distance in found.items():
            yield Finding(
                kind=FindingKind.PRECISION,
                reference=segment.reference,
                candidate=segment.candidate,
                **ends_of(segment),
                value=f"{distance.key.path} in {answer.dtype}",
                modes=(str(distance.key.mode),),
                times_noise=distance.times_noise,
                relative=distance.distance / distance.size if distance.size else None,
                agrees=f"it agrees in float64; in {answer.dtype} it is further off than rounding",
                source=_sources(material.graph, *_nearest_calls(segment)),
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
