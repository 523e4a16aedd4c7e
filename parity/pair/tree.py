"""The model as a tree: what was seen of each module, and of each stretch of code between two."""

from collections.abc import Iterator, Sequence

from parity.backend.port import Boundary
from parity.pair.coverage import reached_modules
from parity.pair.findings import Seen, Segment
from parity.pair.material import Material
from parity.pair.places import ends_of
from parity.pair.records import Finding, Mark, ModuleRow, StretchRow
from parity.verdict.compare import Distance
from parity.verdict.trace import Kind


def module_rows(material: Material, findings: Sequence[Finding]) -> Iterator[ModuleRow]:
    """Return the modules of the reference, each with what was seen of it."""
    graph = material.graph
    types = {each.call.module: each.type for each in reversed(graph.reference.calls)}
    partners = {ours.module: theirs.module for ours, theirs in graph.pairing.calls.items()}
    off = {each.reference for each in findings if each.between is None and (each.reference or not each.candidate)}
    worst: dict[str, float] = {}
    for segment, distance in _distances(material):
        module = segment.reference
        if segment.is_module and (module in off or not distance.is_beyond):
            worst[module] = max(worst.get(module, 0.0), distance.times_noise)
    reached, nan = (
        reached_modules(graph),
        {each.reference for each in material.nan if each.is_module or not each.reference},
    )
    for path in dict.fromkeys(each.call.module for each in graph.reference.calls):
        mark = Mark.AGREES if path in partners else Mark.WITHIN if path in reached else Mark.NOT_COMPARED
        mark = Mark.NOT_COMPARED if path in nan else mark
        yield ModuleRow(
            path=path,
            type=types.get(path, ""),
            candidate=partners.get(path),
            mark=Mark.DIFFERS if path in off else mark,
            times_noise=None if path in nan else worst.get(path),
        )


def stretch_rows(material: Material, findings: Sequence[Finding]) -> Iterator[StretchRow]:
    """Return the stretches of code whose values were compared, in causal order, each with what was seen of it."""
    off = {(each.between, each.candidate_between) for each in findings}
    worst: dict[tuple[tuple[str, str], tuple[str, str]], float | None] = {}
    for segment, distance in _distances(material):
        if ends := ends_of(segment):
            place = ends["between"], ends["candidate_between"]
            if not segment.after and place not in off:
                continue  # what is given to the model
            own = worst.setdefault(place, None)
            if place in off or not distance.is_beyond:
                worst[place] = max(own or 0.0, distance.times_noise)
    nan = {(ends["between"], ends["candidate_between"]) for each in material.nan if (ends := ends_of(each))}
    for place, times in worst.items():
        mark = Mark.DIFFERS if place in off else Mark.NOT_COMPARED if place in nan else Mark.AGREES
        times = None if mark is Mark.NOT_COMPARED else times
        yield StretchRow(between=place[0], candidate_between=place[1], mark=mark, times_noise=times)


def _distances(material: Material) -> Iterator[tuple[Segment, Distance]]:
    """Each distance with the segment that it judges, in causal order."""
    graph = material.graph
    known: dict[tuple[Kind, str, Boundary | None], Segment] = {}
    for answer in material.answers:
        for each in answer.distances:
            site = answer.sites[each.key]
            if site.boundary is not None and site.boundary not in graph.pairing.boundaries:
                continue  # of a batch of another shape
            at = site.kind, site.path, site.boundary
            if at not in known:
                known[at] = graph.segment_of(Seen(answer.batch.number, answer.batch.mode, site, each))
            yield known[at], each
