"""The model as the page of a comparison shows it: a tree of modules, and between them the stretches of code."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from parity.errors import one_line
from parity.pair.findings import LOSS, is_within
from parity.pair.records import CompareReport, Finding, Mark, ModuleRow, StretchRow, module_words, stretch_words
from parity.report.style import short

MOST_OPEN = 40  # rows of a tree that is shown whole; a larger one is open where something is to be seen
MOST_ALIKE = 8  # rows that agree one after another in a larger tree; more are folded into one
NEAR = 2  # but for so many on each side of what is to be seen
LONGEST = 60  # characters of a name


@dataclass
class Node:
    """A row of the tree, with what is within it.

    Args:
        name: that is shown.
        title: the whole name.
        row: what was seen of it; None of a path that is no module which is called, as of a list of modules, and of rows
            that are folded into one.
        anchor: of the row in the page.
        within: its modules, and the code between them, in the order in which they compute.
        findings: their numbers, from 1.
        times_noise: how far off it is, in noise floors: as its finding says, if it has one.
        is_open: whether what is within is shown from the start.
    """

    name: str
    title: str
    anchor: str
    row: ModuleRow | StretchRow | None = None
    within: list["Node"] = field(default_factory=list)
    findings: list[int] = field(default_factory=list)
    times_noise: float | None = None
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
        return "–" if self.row.candidate is None else _short(module_words(self.row.candidate))

    def count(self, *marks: Mark) -> int:
        """How many rows below it have one of some marks."""
        return sum(node.row is not None and node.row.mark in marks for node in _below(self))

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is to be seen at it and below it."""
        marks = (Mark.DIFFERS, Mark.NOT_COMPARED)
        return not (self.findings or self.count(*marks) or (self.row is not None and self.row.mark in marks))


def _below(node: Node) -> Iterator[Node]:
    for each in node.within:
        yield each
        yield from _below(each)


@dataclass(frozen=True)
class Tree:
    """The rows at the top, the anchor of the row of each finding ("" of one that has none), whether some are folded."""

    top: tuple[Node, ...]
    anchors: tuple[str, ...]
    is_folded: bool = False


def grow(report: CompareReport) -> Tree:
    """Return the tree of a report."""
    root = Node("the model", "the model", "row-0")
    nodes, top = {"": root}, [root]

    def node(path: str) -> Node:
        if path not in nodes:
            parent, _, name = path.rpartition(".")
            nodes[path] = Node(_short(name), one_line(path), f"row-{len(nodes)}")
            node(parent).within.append(nodes[path])
        return nodes[path]

    for row in report.modules:
        here = node(row.path)
        here.row, here.times_noise = row, row.times_noise
    code = _add_code(report, nodes, top)
    places: Mapping[object, Node] = {**nodes, **code}
    found = [places.get(_place(finding)) for finding in report.findings] if report.modules else []
    for number, each in enumerate(found, 1):
        if each is not None:
            each.findings.append(number)
            each.times_noise = report.findings[each.findings[0] - 1].times_noise
    if len(places) > MOST_OPEN:
        _fold(root)
    anchors = ["" if each is None else each.anchor for each in found] or [""] * len(report.findings)
    return Tree(tuple(top) if report.modules else (), tuple(anchors), is_folded=len(places) > MOST_OPEN)


def _add_code(report: CompareReport, nodes: Mapping[str, Node], top: list[Node]) -> dict[object, Node]:
    """Add the code between modules where it computes, and return its rows by their places."""
    found: dict[object, Node] = {}
    for number, row in enumerate(report.stretches):
        end = row.between[1]
        is_last = row.is_within or end in ("", LOSS) or end not in nodes
        path = end if is_last else end.rpartition(".")[0]
        name = f"code {_short(_own_words(row, path, nodes), 2 * LONGEST)}"
        title = f"{stretch_words(*row.between)}; in the candidate {stretch_words(*row.candidate_between)}"
        here = Node(name, one_line(title), f"code-{number}", row, times_noise=row.times_noise)
        found[row.between, row.candidate_between] = here
        within = top if end == LOSS else nodes.get(path, nodes[""]).within
        within.insert(len(within) if is_last else within.index(nodes[end]), here)
    return found


def _fold(root: Node) -> None:
    """Leave open what something is to be seen in, and of what agrees there only what is next to it."""
    for each in _below(root):
        each.is_open = bool(each.findings or each.count(Mark.DIFFERS, Mark.NOT_COMPARED))
    for each in [root, *_below(root)]:
        if each.is_open:
            each.within = list(_gathered(each.within))


def _gathered(rows: list[Node]) -> Iterator[Node]:
    """Some rows, with those that agree one after another in one, but for the nearest to what is to be seen."""
    seen = [number for number, each in enumerate(rows) if not each.is_quiet]
    near = {number + step for number in seen for step in range(-NEAR, NEAR + 1)}
    for is_near, numbers in groupby(range(len(rows)), near.__contains__):
        run = [rows[number] for number in numbers]
        if is_near or len(run) <= MOST_ALIKE:
            yield from run
        else:
            modules = [each for each in run if not each.is_stretch] or run
            name = f"{modules[0].name} … {modules[-1].name} ({len(run)} rows)"
            yield Node(name, name, f"{run[0].anchor}-on", within=run, is_open=False)


def _short(name: str, most: int = LONGEST) -> str:
    return short(one_line(name), most)


def _own_words(row: StretchRow, path: str, nodes: Mapping[str, Node]) -> str:
    """A stretch as the innermost module that holds all of it names it: its input, the modules in it, its output."""
    while path and not (path in nodes and nodes[path].row and all(is_within(each, path) for each in row.between)):
        path = path.rpartition(".")[0]
    own = [each.removeprefix(path).removeprefix(".") if path else each for each in row.between]
    return stretch_words(*own).replace(" of the model", "") if path else stretch_words(*own)


def _place(finding: Finding) -> object:
    if finding.between is not None:
        return finding.between, finding.candidate_between
    return None if finding.candidate and not finding.reference else finding.reference
