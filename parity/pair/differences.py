"""What differs: the findings of a comparison, each with its cause and its place in the code."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from math import isfinite

from parity.backend.convention import FLOAT32_ISLAND
from parity.backend.port import End
from parity.pair.aside import Aside, set_aside
from parity.pair.findings import FindingKind, Located, Map, Seen, Segment, is_within
from parity.pair.material import Material, sensitive
from parity.pair.optimizer import OptimizerChange
from parity.pair.places import ends_of, nearest_calls, sources
from parity.pair.records import Finding, PairCause
from parity.pair.weight_differences import MOST_LISTED, left_over, of_weights
from parity.pair.weight_map import role_of
from parity.verdict.compare import SAFETY, Distance
from parity.verdict.noise import MANTISSA_BITS
from parity.verdict.trace import Kind, Mode
from parity.verdict.verdict import UNEXPLAINED

OF_MODE = ("statistics_never_used", "statistics_always_used")  # a norm is in the other mode
OF_VARIANCE = ("per_shard_statistics", "fast_variance")  # its variance is another one, and its mean is not
FLOAT32 = 2.0 ** (MANTISSA_BITS["float64"] - MANTISSA_BITS["float32"])  # its ulp over that of float64


def differences(material: Material) -> tuple[list[Finding], list[Finding], Aside]:
    """Return where the two differ, in causal order; where they agree no further than float32 does; what is aside."""
    left, stepped = left_over(material), material.stepped
    partners = {pair.candidate.module: pair.reference.module for pair in material.settled.weights.modules}
    lacking = {*left["reference"], *(partners.get(module, module) for module in left["candidate"])}
    weights = list(of_weights(material, left))
    passes, aside = set_aside(_once(list(_of_passes(material, lacking))), material.seen)
    # What is not trained and the other side has not, and computes say, is likely to be stored in float32.
    anatomies = material.graph.reference, material.graph.candidate
    unmapped = zip(anatomies, material.settled.weights.unmapped, strict=True)
    is_stored = any(piece.path in {*each.statistics, *each.frozen} for each, pieces in unmapped for piece in pieces)
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
                source=sources(material.graph, *nearest_calls(segment)),
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
                source=sources(material.graph, *nearest_calls(segment)),
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
