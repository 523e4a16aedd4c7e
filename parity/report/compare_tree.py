"""The model as the page of a comparison shows it: a tree of modules, and between them the stretches of code."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from parity.pair.findings import LOSS
from parity.pair.records import CompareReport, Finding, Mark, ModuleRow, StretchRow, module_words, stretch_words

MOST_OPEN = 40  # rows of a tree that is shown whole; a larger one is open where something is to be seen


@dataclass
class Node:
    """A row of the tree, with what is within it.

    Args:
        name: that is shown.
        title: the whole name.
        row: what was seen of it; None of a path that is no module which is called, as of a list of modules.
        anchor: of the row in the page.
        within: its modules, and the code between them, in the order in which they compute.
        findings: their numbers, from 1.
        is_open: whether what is within is shown from the start.
    """

    name: str
    title: str
    anchor: str
    row: ModuleRow | StretchRow | None = None
    within: list["Node"] = field(default_factory=list)
    findings: list[int] = field(default_factory=list)
    is_open: bool = True

    @property
    def is_stretch(self) -> bool:
        """Whether it is code between modules."""
        return isinstance(self.row, StretchRow)

    @property
    def candidate(self) -> str:
        """What the candidate calls a module; a dash where it has none."""
        if not isinstance(self.row, ModuleRow):
            return ""
        return "–" if self.row.candidate is None else module_words(self.row.candidate)

    def count(self, *marks: Mark) -> int:
        """How many rows below it have one of some marks."""
        return sum(node.row is not None and node.row.mark in marks for node in _below(self))


def _below(node: Node) -> Iterator[Node]:
    for each in node.within:
        yield each
        yield from _below(each)


@dataclass(frozen=True)
class Tree:
    """The rows at the top, and the anchor of the row of each finding; "" of one that has none."""

    top: tuple[Node, ...]
    anchors: tuple[str, ...]


def grow(report: CompareReport) -> Tree:
    """Return the tree of a report."""
    root = Node("the model", "the model", "row-0")
    nodes, top = {"": root}, [root]

    def node(path: str) -> Node:
        if path not in nodes:
            parent, _, name = path.rpartition(".")
            nodes[path] = Node(name, path, f"row-{len(nodes)}")
            node(parent).within.append(nodes[path])
        return nodes[path]

    for row in report.modules:
        node(row.path).row = row
    places: dict[object, Node] = {**nodes}
    for number, row in enumerate(report.stretches):
        end = row.between[1]
        name = stretch_words(*row.between)
        title = f"{name}; in the candidate {stretch_words(*row.candidate_between)}"
        here = places[row.between, row.candidate_between] = Node(f"code {name}", title, f"code-{number}", row)
        parent = nodes.get(end.rpartition(".")[0], root)
        if end == LOSS:
            top.append(here)
        elif row.is_within or not end or end not in nodes:
            nodes.get(end, root).within.append(here)
        else:
            parent.within.insert(parent.within.index(nodes[end]), here)
    found = [places.get(_place(finding)) for finding in report.findings] if report.modules else []
    for number, each in enumerate(found, 1):
        if each is not None:
            each.findings.append(number)
    is_small = len(places) <= MOST_OPEN
    for each in _below(root):
        each.is_open = is_small or bool(each.findings or each.count(Mark.DIFFERS, Mark.NOT_COMPARED))
    anchors = ["" if each is None else each.anchor for each in found] or [""] * len(report.findings)
    return Tree(tuple(top) if report.modules else (), tuple(anchors))


def _place(finding: Finding) -> object:
    if finding.between is not None:
        return finding.between, finding.candidate_between
    return None if finding.candidate and not finding.reference else finding.reference
