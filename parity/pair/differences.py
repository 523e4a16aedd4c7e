"""What differs: the findings of a comparison, each with its cause and its place in the code."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from parity.backend.convention import FLOAT32_ISLAND
from parity.backend.port import End
from parity.pair.aside import Aside, set_aside
from parity.pair.findings import FindingKind, Located, Map, Seen, Segment, is_within, source_of
from parity.pair.material import Material, sensitive
from parity.pair.optimizer import OptimizerChange
from parity.pair.owners import Piece, module_of
from parity.pair.records import Finding, PairCause
from parity.pair.trials import Change
from parity.pair.weight_map import role_of
from parity.verdict.compare import SAFETY, Distance
from parity.verdict.noise import MANTISSA_BITS
from parity.verdict.trace import Kind, Mode
from parity.verdict.verdict import UNEXPLAINED

SIDES = ("reference", "candidate")
LeftOver = dict[str, dict[str, list[Piece]]]
MOST_LISTED = 6
OF_MODE = ("statistics_never_used", "statistics_always_used")  # a norm is in the other mode
OF_VARIANCE = ("per_shard_statistics", "fast_variance")  # its variance is another one, and its mean is not
FLOAT32 = 2.0 ** (MANTISSA_BITS["float64"] - MANTISSA_BITS["float32"])  # its ulp over that of float64


def differences(material: Material) -> tuple[list[Finding], list[Finding], Aside]:
    """Return where the two differ, in causal order; where they agree no further than float32 does; what is aside."""
    left, stepped = _left_over(material), material.stepped
    partners = {pair.candidate.module: pair.reference.module for pair in material.settled.weights.modules}
    lacking = {*left["reference"], *(partners.get(module, module) for module in left["candidate"])}
    weights = list(_of_weights(material, left))
    passes, aside = set_aside(_once(list(_of_passes(material, lacking))), material.seen)
    # What is not trained and the other side has not, and computes say, is likely to be stored in float32.
    anatomies = material.graph.reference, material.graph.candidate
    left_over = zip(anatomies, material.settled.weights.unmapped, strict=True)
    is_stored = any(piece.path in {*each.statistics, *each.frozen} for each, pieces in left_over for piece in pieces)
    has_islands = is_stored or any(each.islands for each in anatomies)
    narrow = [each for each in passes if _is_of_an_island(each, each.times_noise, has_islands)]
    updates = list(_of_updates(material))
    largest = max((each.distance.times_noise for each in stepped.changes), default=0)
    narrow += [each for each in updates if _is_of_an_island(each, largest, any(stepped.islands))]
    findings = [*weights, *(each for each in passes if each not in narrow), *_of_outputs(material)]
    findings += [*(each for each in updates if each not in narrow), *_of_accepted(material)]
    if not findings:
        whole = [] if narrow or goes_on(material, aside) else _of_whole(material)
        findings = [*whole, *_of_precision(material, aside)]
    return findings, narrow, aside


def goes_on(material: Material, aside: Aside) -> bool:
    """Whether what is accepted goes on into the outputs when nothing is replaced."""
    kinds = {key.kind for key in (*material.replaced, *aside.limits)}
    return Kind.ACTIVATION in kinds or Kind.LOSS in kinds


def _follows(graph: Map, located: Located, lacking: Collection[str]) -> bool:
    """Whether something is off only since a module that computes it lacks a tensor."""
    segment = located.segment
    if not segment.is_module:
        is_made = segment.reference in lacking and segment.ends.startswith(End.OUTPUT)
        return is_made or any(module in lacking for module in graph.through(segment))
    paired = {boundary.call.module for boundary in graph.pairing.boundaries}
    return segment.reference in lacking or any(
        module not in paired and is_within(module, segment.reference) for module in lacking
    )


def _is_of_an_island(finding: Finding, times: float | None, has_islands: bool) -> bool:
    """Whether a difference is as small as those of float32, and is gone in float64, or nothing else is known of it.

    What is larger, as bfloat16 makes it, is told as what it is: a difference, and its cause.
    """
    is_small = times is not None and times <= FLOAT32 * SAFETY
    is_known = finding.cause.name == FLOAT32_ISLAND
    return is_small and (is_known or (has_islands and finding.cause.name == UNEXPLAINED))


def _left_over(material: Material) -> LeftOver:
    """The tensors without a partner, by side and module."""
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


def _of_weights(material: Material, left: LeftOver) -> Iterator[Finding]:
    """Tensors without a partner, and what the weight map has otherwise than names and conventions say."""
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
        source=_sources(graph, ours, theirs),
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
        source=_sources(graph, *pair),
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
        source=_sources(graph, ours, theirs),
    )


def _of_passes(material: Material, lacking: Collection[str]) -> Iterator[tuple[Located, Finding]]:
    """What is off in the forced pass, but for what follows from a module that lacks a tensor."""
    for located in material.located:
        if _follows(material.graph, located, lacking):
            continue
        segment, worst = located.segment, located.worst
        modes = dict.fromkeys(str(each.mode) for each in located.seen)
        yield (
            located,
            Finding(
                kind=located.kind,
                reference=segment.reference,
                candidate=segment.candidate,
                **ends_of(segment),
                value=worst.site.path,
                modes=tuple(modes),
                times_noise=worst.distance.times_noise,
                relative=_relative(worst.distance),
                largest=_largest(located),
                agrees=_agrees(material.graph, located),
                cause=material.cases.cause(located, material.answers),
                source=_sources(material.graph, *_nearest_calls(segment)),
            ),
        )


def _once(found: Sequence[tuple[Located, Finding]]) -> Iterator[tuple[Located, Finding]]:
    """Leave out that a norm's statistics move otherwise, or not, where it takes others for the same reason.

    Another reason is told as well: an error of rounding in the norm's variance does not hide a wrong momentum.
    """
    causes: dict[str, set[str]] = defaultdict(set)
    for _, each in found:
        if each.kind is FindingKind.FORWARD and each.cause.name != UNEXPLAINED:
            causes[each.reference].add(each.cause.name)
    for located, each in found:
        same = {each.cause.name, *OF_MODE, *(() if role_of(each.value)[1] == "mean" else OF_VARIANCE)}
        if each.kind is not FindingKind.STATISTICS or not causes[each.reference] & same:
            yield located, each


def _relative(distance: Distance) -> float | None:
    return distance.distance / distance.size if distance.size else None


def _largest(located: Located) -> float | None:
    """The largest relative size of all that is off at a place; None if something there has none."""
    sizes = [_relative(each.distance) for each in located.seen]
    known = [size for size in sizes if size is not None and isfinite(size)]
    return max(known) if len(known) == len(sizes) else None


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
    return located.agrees + (f" (it leads through {', '.join(through)})" if through else "")


def _of_updates(material: Material) -> Iterator[Finding]:
    """The optimizers: as one finding if every parameter is changed otherwise, or for one cause; else one for each."""
    by_path: dict[str, list[OptimizerChange]] = {}
    for change in material.stepped.changes:
        by_path.setdefault(change.distance.key.path, []).append(change)
    compared = {each.key.path for each in material.stepped.distances}
    firsts = [min(each, key=lambda change: change.distance.key.step) for each in by_path.values()]
    is_everywhere, cause = len(by_path) == len(compared), material.stepped.cause
    is_one = len(by_path) > 1 and (is_everywhere or cause.name != UNEXPLAINED)
    rest = f" and {len(by_path) - MOST_LISTED} more" if len(by_path) > MOST_LISTED else ""
    names = "every parameter" if is_everywhere else ", ".join([*by_path][:MOST_LISTED]) + rest
    for change in firsts[:1] if is_one else firsts:
        pair, distance = change.owner, change.distance
        yield Finding(
            kind=FindingKind.UPDATE,
            reference="" if is_one else pair.reference.module,
            candidate="" if is_one else pair.candidate.module,
            value=f"the change of {names if is_one else distance.key.path}",
            step=distance.key.step,
            modes=(str(Mode.TRAIN),),
            times_noise=distance.times_noise,
            relative=_relative(distance),
            agrees="given the same parameters and the same gradients, the optimizer's step differs",
            cause=cause,
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


def _of_precision(material: Material, aside: Aside) -> Iterator[Finding]:
    """Where the candidate is further from float64 than its dtype allows, and the reference is not."""
    for answer in material.narrow:
        ours = {each.key for each in answer.ours if each.is_beyond}
        found: dict[Segment, Distance] = {}
        judged = sensitive(answer.theirs)
        for each in answer.theirs:
            if each.is_beyond and each.key not in ours and each in judged and not aside.covers(each):
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
                relative=_relative(distance),
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
                relative=_relative(first),
                agrees="every part agrees on what it is given; the whole does not",
            )
            return


def _sources(graph: Map, ours: str, theirs: str) -> dict[str, str | None]:
    return {
        "reference": source_of(graph.reference, ours) or None,
        "candidate": source_of(graph.candidate, theirs) or None,
    }
