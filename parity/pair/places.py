"""Where in two models, and in their code, something is."""

from typing import Any

from parity.pair.findings import Map, Segment, is_within, source_of

SIDES = ("reference", "candidate")


def ends_of(segment: Segment) -> dict[str, Any]:
    """Return where a stretch comes from and where it leads to, as a row or a finding has it; nothing of a module."""
    if segment.after is None:
        return {}
    ours, theirs = segment.after[-1] if segment.after else ("", "")
    return {"between": (ours, segment.reference), "candidate_between": (theirs, segment.candidate)}


def nearest_calls(segment: Segment) -> tuple[str, str]:
    """Return the modules whose calls are next to a stretch: the last within the module whose output it makes."""
    ends = ends_of(segment)
    if not ends:
        return segment.reference, segment.candidate
    (start, end), (other_start, other_end) = ends["between"], ends["candidate_between"]
    is_last = start != end and is_within(start, end)
    return (start, other_start) if is_last else (end, other_end)


def sources(graph: Map, ours: str, theirs: str) -> dict[str, str | None]:
    """Return where two modules are called in the code of both sides, as file and line; None if it is not known."""
    return {
        "reference": source_of(graph.reference, ours) or None,
        "candidate": source_of(graph.candidate, theirs) or None,
    }
