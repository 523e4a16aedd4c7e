"""Where two models part: what lies beyond its limit, gathered at the module or the stretch of code that computes it.

Between two boundaries lies a *segment*: a module, from what enters it to what leaves it, or a stretch of code between
modules. A segment whose value is off is a forward finding, and what is off backward in it follows from that.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from itertools import chain

from parity.backend.port import Anatomy, Boundary, Call, End, ModuleCall
from parity.pair.forced import Answer
from parity.pair.pairing import BoundaryPair, Pairing
from parity.pair.sites import Site
from parity.verdict.compare import Distance
from parity.verdict.trace import Kind, Mode


class FindingKind(StrEnum):
    """What kind of difference it is; in causal order."""

    CRASH = "crash"
    WEIGHTS = "weights"
    FORWARD = "forward"
    BACKWARD = "backward"
    GRADIENT = "gradient"
    STATISTICS = "statistics"
    UPDATE = "update"
    PRECISION = "precision"


KINDS = {
    Kind.ACTIVATION: FindingKind.FORWARD,
    Kind.LOSS: FindingKind.FORWARD,
    Kind.COTANGENT: FindingKind.BACKWARD,
    Kind.GRADIENT: FindingKind.GRADIENT,
    Kind.STATISTIC: FindingKind.STATISTICS,
}
LOSS = "the loss"


@dataclass(frozen=True)
class Segment:
    """A module, or a stretch of code between boundaries.

    Args:
        reference: path of the module whose value it is, or of the one that the stretch leads to.
        candidate: the same.
        after: the modules that the stretch comes from, as the two call them; none for a module.
        ends: which value of the module.
    """

    reference: str
    candidate: str
    after: tuple[tuple[str, str], ...] | None = None
    ends: str = ""

    @property
    def is_module(self) -> bool:
        """Whether it is a module."""
        return self.after is None


OF_THE_LOSS = Segment(LOSS, LOSS, (("", ""),))


@dataclass(frozen=True)
class Seen:
    """Something beyond its limit: the batch, the mode, the site and the distance."""

    batch: int
    mode: Mode
    site: Site
    distance: Distance


@dataclass(frozen=True)
class Located:
    """A segment that is off.

    Args:
        kind: of the first that is off.
        segment: where.
        seen: everything of it that is beyond its limit, in causal order.
        agrees: what around it agrees, in words.
    """

    kind: FindingKind
    segment: Segment
    seen: tuple[Seen, ...]
    agrees: str = ""

    @property
    def worst(self) -> Seen:
        """The furthest of its own kind."""
        own = [each for each in self.seen if KINDS[each.site.kind] is self.kind]
        return max(own, key=lambda each: each.distance.times_noise)


@dataclass
class Map:
    """The boundaries of two models as a graph.

    Args:
        reference: its anatomy.
        candidate: the same.
        pairing: the boundaries that are compared.
    """

    reference: Anatomy
    candidate: Anatomy
    pairing: Pairing
    _sources: dict[Boundary, frozenset[Boundary]] = field(default_factory=dict)

    def sources(self, boundary: Boundary) -> frozenset[Boundary]:
        """The paired boundaries from which a value is computed, with none in between."""
        if boundary not in self._sources:
            found: set[Boundary] = set()
            waiting, seen = list(self.reference.sources.get(boundary, ())), set()
            while waiting:
                source = waiting.pop()
                if source in seen:
                    continue
                seen.add(source)
                if source in self.pairing.boundaries:
                    found.add(source)
                else:
                    waiting += self.reference.sources.get(source, ())
            self._sources[boundary] = frozenset(found)
        return self._sources[boundary]

    def users(self, boundary: Boundary) -> tuple[Boundary, ...]:
        """The paired boundaries whose values are computed from one, in order."""
        return tuple(other for other in self.pairing.boundaries if boundary in self.sources(other))

    def is_called(self, module: str) -> bool:
        """Whether a module of the reference is called; else what holds it uses its tensors."""
        return any(each.call.module == module for each in self.reference.calls)

    def covering(self, module: str) -> list[Segment]:
        """The segments that the gradient of what a module gives comes from."""
        return list(dict.fromkeys(map(self.segment_before, self._gradient_from(self.outputs(module)))))

    def outputs(self, module: str) -> list[Boundary]:
        """What leaves a module of the reference, of all its calls."""
        return [b for b in self.reference.boundaries if b.call.module == module and b.end is End.OUTPUT]

    def segments_behind(self, segment: Segment) -> list[Segment]:
        """All segments that use what a module gives, if the candidate's is a function's; none else."""
        if any(each.call.module == segment.candidate for each in self.candidate.calls if each.call.module):
            return []
        waiting = self.outputs(segment.reference)
        seen = set(waiting)
        while waiting:
            new = [user for user in self._all_users.get(waiting.pop(), ()) if user not in seen]
            seen.update(new)
            waiting += new
        return [self.segment_before(b) for b in self.pairing.boundaries if b in seen]

    def segments_after(self, boundary: Boundary) -> list[Segment]:
        """The segments that the gradient of a value comes from, in the reference or in the candidate."""
        found = self._gradient_from(self._all_users.get(boundary, ()))
        if boundary in self.pairing.boundaries:
            own = {pair.candidate: pair for pair in self.pairing.boundaries.values()}
            start = self._candidate_users.get(self.pairing.boundaries[boundary].candidate, ())
            theirs = _reached(self._candidate_users, start, own)
            found += sorted((own[each].reference for each in theirs), key=self._places.__getitem__)
        return [self.segment_before(each) for each in dict.fromkeys(found)]

    def _gradient_from(self, boundaries: Iterable[Boundary]) -> list[Boundary]:
        """The paired ones of some boundaries and those behind them, up to where cotangents are replaced."""
        return sorted(_reached(self._all_users, boundaries, self.pairing.boundaries), key=self._places.__getitem__)

    def through(self, segment: Segment) -> list[str]:
        """The modules that a stretch leads through, which are not paired: the reference's, then the candidate's."""
        ends = [b for b in self.pairing.boundaries if self.segment_before(b) == segment]
        others = [self.pairing.boundaries[b].candidate for b in ends]
        paired = {pair.candidate for pair in self.pairing.boundaries.values()}
        ours = _modules_between(self.reference, ends, set(self.pairing.boundaries))
        return [*ours, *(each for each in _modules_between(self.candidate, others, paired) if each not in ours)]

    @cached_property
    def _places(self) -> dict[Boundary, int]:
        return {boundary: number for number, boundary in enumerate(self.reference.boundaries)}

    @cached_property
    def _all_users(self) -> dict[Boundary, list[Boundary]]:
        return _users(self.reference)

    @cached_property
    def _candidate_users(self) -> dict[Boundary, list[Boundary]]:
        return _users(self.candidate)

    def segment_before(self, boundary: Boundary) -> Segment:
        """The segment whose result is the value at a boundary."""
        sources = self.sources(boundary)
        if boundary.end is End.OUTPUT and self._is_of_module(boundary):
            return Segment(*self.paths(boundary))
        after = dict.fromkeys(map(self.paths, sorted(sources, key=self._places.__getitem__)))
        return Segment(*self.paths(boundary), tuple(after), f"{boundary.end}{boundary.leaf}")

    def _is_of_module(self, output: Boundary) -> bool:
        """Whether what leads to an output begins at the inputs of its module, and one of these is compared."""
        inputs: set[Boundary] = set()
        waiting, seen = list(self.reference.sources.get(output, ())), set()
        while waiting:
            source = waiting.pop()
            if source in seen:
                continue
            seen.add(source)
            if source.call == output.call and source.end is End.INPUT:
                inputs.add(source)
            elif source in self.pairing.boundaries:
                return False
            else:
                waiting += self.reference.sources.get(source, ())
        return not inputs or any(each in self.pairing.boundaries for each in inputs)

    def paths(self, boundary: Boundary) -> tuple[str, str]:
        """What the two call the module of a boundary."""
        return boundary.call.module, self.pairing.boundaries[boundary].candidate.call.module

    def segment_of(self, seen: Seen) -> Segment:
        """The segment that something beyond its limit belongs to."""
        site = seen.site
        if site.owner is not None:
            return Segment(site.owner.reference.module, site.owner.candidate.module)
        if site.boundary is None:
            return OF_THE_LOSS
        if site.kind is Kind.ACTIVATION:
            return self.segment_before(site.boundary)
        return self._segment_after(site.boundary)

    def _segment_after(self, boundary: Boundary) -> Segment:
        """The segment backward of which a cotangent is the result."""
        users = self.users(boundary)
        if not users:
            return Segment(LOSS, LOSS, (self.paths(boundary),))
        return self.segment_before(users[0])


def _users(anatomy: Anatomy) -> dict[Boundary, list[Boundary]]:
    """The boundaries whose values are computed from each."""
    found: dict[Boundary, list[Boundary]] = defaultdict(list)
    for boundary, sources in anatomy.sources.items():
        for source in sources:
            found[source].append(boundary)
    return found


def _reached(
    users: Mapping[Boundary, Iterable[Boundary]], start: Iterable[Boundary], paired: Mapping[Boundary, BoundaryPair]
) -> set[Boundary]:
    """The paired ones of some boundaries and those behind them, up to where cotangents are replaced."""
    waiting = list(start)
    found, seen = set(), set(waiting)
    while waiting:
        boundary = waiting.pop()
        if (pair := paired.get(boundary)) is not None:
            found.add(boundary)
            if pair.has_cotangent:
                continue
        for user in users.get(boundary, ()):
            if user not in seen:
                seen.add(user)
                waiting.append(user)
    return found


def _modules_between(anatomy: Anatomy, ends: Iterable[Boundary], paired: Collection[Boundary]) -> list[str]:
    """The modules of which no boundary is paired, on the way to some boundaries from the paired ones before them."""
    known = {boundary.call.module for boundary in paired}
    found, waiting = set(), [source for end in ends for source in anatomy.sources.get(end, ())]
    while waiting:
        boundary = waiting.pop()
        if boundary not in paired and boundary not in found:
            found.add(boundary)
            waiting += anatomy.sources.get(boundary, ())
    modules = {boundary.call.module for boundary in found} - known
    return list(dict.fromkeys(b.call.module for b in anatomy.boundaries if b.call.module in modules))


def locate(graph: Map, answers: Iterable[Answer]) -> list[Located]:
    """Gather what lies beyond its limit by the segments that it comes from, in causal order."""
    seen = [
        Seen(answer.batch.number, answer.batch.mode, answer.sites[distance.key], distance)
        for answer in answers
        for distance in answer.beyond
    ]
    cut = {(each.batch, each.mode, each.site.boundary) for each in seen if _is_cut(each)}
    seen = [each for each in seen if not _follows_from_cut(graph, each, cut) and not _is_cut_at_frozen(graph, each)]
    by_segment: dict[tuple[Segment, bool], list[Seen]] = defaultdict(list)
    forward = {graph.segment_of(each) for each in seen if KINDS[each.site.kind] is FindingKind.FORWARD}
    for each in seen:
        segment = _folded(graph, each, forward)
        by_segment[segment, each.site.kind is Kind.STATISTIC].append(each)
    found = [_located(graph, segment, each, forward) for (segment, _), each in by_segment.items()]
    places = {boundary: number for number, boundary in enumerate(graph.reference.boundaries)}
    ends = {b.call.module: number for b, number in places.items() if b.end is End.OUTPUT}

    def place(located: Located) -> int:
        """Of the first value that is off."""
        own = [each.site for each in located.seen if KINDS[each.site.kind] is located.kind]
        found = [ends.get(site.owner.reference.module) if site.owner else places.get(_at(site)) for site in own]
        return min(len(places) if number is None else number for number in found)

    return sorted(found, key=lambda each: (place(each), list(FindingKind).index(each.kind)))


def _is_cut(seen: Seen) -> bool:
    """Whether the candidate's gradient is 0 where the reference's is not: nothing reached it."""
    is_backward = seen.site.kind in (Kind.COTANGENT, Kind.GRADIENT)
    return is_backward and seen.distance.distance == seen.distance.size > 0


def _is_cut_at_frozen(graph: Map, seen: Seen) -> bool:
    """Whether the candidate's gradient is 0 where nothing but what the reference has frozen would be trained by it."""
    site, frozen = seen.site, graph.reference.frozen
    if not frozen or not _is_cut(seen):
        return False
    if site.kind is Kind.GRADIENT:
        return site.path.partition("[")[0] in frozen
    if site.boundary is None or graph.reference.sources.get(site.boundary):
        return False
    held = [path for path in graph.reference.parameters if is_within(path, site.boundary.call.module)]
    return bool(held) and set(held) <= set(frozen)


def _follows_from_cut(graph: Map, seen: Seen, cut: Collection[tuple[int, Mode, Boundary | None]]) -> bool:
    """Whether a gradient lacks only what one further on lacks: nothing can take the place of one that is cut off."""
    after: Sequence[Boundary] = ()
    if seen.site.kind is Kind.COTANGENT and seen.site.boundary is not None:
        after = graph.users(seen.site.boundary)
    elif seen.site.kind is Kind.GRADIENT and seen.site.owner is not None:
        after = graph.outputs(seen.site.owner.reference.module)
        if len(after) == 1 and not _is_cut(seen):  # of several calls one may be cut off
            return False
    return any((seen.batch, seen.mode, b) in cut for b in after)


def _at(site: Site) -> Boundary:
    """Where a value is; the loss is at none."""
    return site.boundary or Boundary(Call("", -1), End.OUTPUT, "")


def _folded(graph: Map, seen: Seen, forward: set[Segment]) -> Segment:
    """The segment of what is off: one that is off forward, where what is off backward follows from that."""
    own = graph.segment_of(seen)
    if own in forward:
        return own
    if seen.site.kind is Kind.GRADIENT:  # of a tensor that a stretch uses: of code within the module, or around it
        inside = (each for each in forward if not each.is_module and is_within(each.reference, own.reference))
        around = (each for each in graph.covering(own.reference) if each in forward)
        holders = (
            each for each in forward if not graph.is_called(own.reference) and is_within(own.reference, each.reference)
        )
        # A function has no modules, and may use a tensor wherever something is computed of what this one gives.
        later = (each for each in graph.segments_behind(own) if each in forward)
        return next(chain(inside, around, holders, later), own)
    if seen.site.kind is not Kind.COTANGENT or seen.site.boundary is None:
        return own
    return next((each for each in graph.segments_after(seen.site.boundary) if each in forward), own)


def is_within(path: str, module: str) -> bool:
    """Whether a path is that of a module or of one within it."""
    return not module or path == module or path.startswith(f"{module}.")


def _located(graph: Map, segment: Segment, seen: list[Seen], forward: set[Segment]) -> Located:
    kinds = [KINDS[each.site.kind] for each in seen]
    kind = min(kinds, key=list(FindingKind).index)
    return Located(kind, segment, tuple(seen), _agrees(kind, segment))


def _agrees(kind: FindingKind, segment: Segment) -> str:
    match kind:
        case FindingKind.FORWARD if segment.is_module:
            return "given the same input, its output differs"
        case FindingKind.FORWARD:
            return "given the same values, what is computed from them differs"
        case FindingKind.BACKWARD if not segment.is_module:
            return "forward it agrees; given the same gradient at its end, the gradient at its start differs"
        case FindingKind.BACKWARD:
            return "its output agrees; given the same gradient of its output, that of its input differs"
        case FindingKind.GRADIENT:
            return "its output agrees, and so does the gradient of its input; that of its own weights differs"
        case FindingKind.STATISTICS:
            return "given the same input, its new statistics differ"
    return ""


def source_of(anatomy: Anatomy, module: str) -> str:
    """File and line of the first call of a module within the model; "" if not known."""
    if not module:
        return ""
    calls: Sequence[ModuleCall] = anatomy.calls
    return next((each.source for each in calls if each.call == Call(module, 0)), "")
