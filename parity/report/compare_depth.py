"""The figure of a comparison: how far each value is off along the depth, above what rounding may do."""

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from parity.errors import one_line
from parity.pair.coverage import UNSTABLE
from parity.pair.findings import FindingKind
from parity.pair.records import CompareReport, Measured
from parity.pair.screen import MODES, readable
from parity.report.style import short

PANELS = {  # the kinds of tensors that stand in one panel, and the findings whose values they are
    "forward": (("activation", "loss"), FindingKind.FORWARD),
    "backward": (("cotangent",), FindingKind.BACKWARD),
    "gradients": (("gradient",), FindingKind.GRADIENT),
    "statistics": (("statistic",), FindingKind.STATISTICS),
}
LOWEST = -18  # the power of ten that what is smaller is drawn at; equal numbers too
EVERY = 6  # powers of ten between two lines
LEFT, RIGHT, HEIGHT, GAP, HEAD = 52, 10, 120, 38, 28  # in pixels
WIDE, NARROW = 1120, 350  # of the drawing for a wide window, and for a narrow one
MOST_NAMES, FEW_NAMES, NEAREST, LONGEST = 24, 8, 13, 28  # names, how near two may stand, characters


@dataclass(frozen=True)
class Point:
    """A value: where it is drawn, what it says, whether it is off, and the number of its finding."""

    x: float
    y: float
    title: str
    is_off: bool
    finding: int | None


@dataclass(frozen=True)
class Panel:
    """The values of one kind: its title, its upper edge, the area up to the limits, and the values."""

    title: str
    top: float
    limit: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Chart:
    """The whole figure: its panels, its lines with their words, the names of modules along the depth, and whether some
    value is hardly more than noise."""

    height: float
    panels: tuple[Panel, ...]
    lines: tuple[tuple[float, str], ...]
    names: tuple[tuple[float, str], ...]
    has_noise: bool
    width: int
    left: int = LEFT
    panel: int = HEIGHT

    @property
    def right(self) -> int:
        """The right edge of the panels."""
        return self.width - RIGHT

    @property
    def bottom(self) -> float:
        """The lower edge of the last panel."""
        return self.panels[-1].top + HEIGHT


def along_depth(report: CompareReport, width: int = WIDE) -> Chart | None:
    """Return the figure of a report, so many pixels wide; None if nothing was measured."""
    if not report.measured:
        return None
    places = _places(report.measured)
    step = (width - LEFT - RIGHT) / (max(places.values()) + 1)
    top = max(0, math.ceil(math.log10(max(max(each.relative, each.limit) for each in report.measured) or 1)))

    def across(each: Measured) -> float:
        return round(LEFT + (places[_at(each)] + 0.5) * step, 1)

    def down(value: float) -> float:
        power = max(math.log10(value), LOWEST) if value > 0 else LOWEST
        return round(HEIGHT * (top - power) / (top - LOWEST), 1)

    panels: list[Panel] = []
    for title, (kinds, finding) in PANELS.items():
        here = [each for each in report.measured if each.kind in kinds]
        if not here:
            continue
        own = {number: f for number, f in enumerate(report.findings, 1) if f.kind is finding}
        worst = {
            max((m for m in here if m.path == f.value and m.mode in f.modes), key=_size, default=None): number
            for number, f in own.items()
        }
        points = [Point(across(m), down(m.relative), _title(m), _is_off(m), worst.get(m)) for m in here]
        highest: dict[float, float] = {}
        for each in here:
            highest[across(each)] = min(highest.get(across(each), HEIGHT), down(each.limit))
        limit = _area(sorted(highest.items()), step, max(places.values()) + 1)
        panels.append(Panel(title, HEAD + GAP / 2 + len(panels) * (HEIGHT + GAP), limit, tuple(points)))
    names: list[tuple[float, str]] = []
    for place, name in _names(report.measured, places):
        x = round(LEFT + (place + 0.5) * step, 1)
        if not names or x - names[-1][0] >= NEAREST:
            names.append((x, short(one_line(name), LONGEST)))
    powers = range(top - top % EVERY, LOWEST, -EVERY)  # 1 is among them: what is off by all of its size
    lines = [(down(10.0**power), f"1e{power}" if power else "1") for power in powers]
    return Chart(
        height=panels[-1].top + HEIGHT + 24 + 4.5 * max((len(name) for _, name in names), default=0),
        panels=tuple(panels),
        lines=(*lines, (float(HEIGHT), "0")),
        names=tuple(names),
        width=width,
        has_noise=any(each.limit > UNSTABLE for each in report.measured),
    )


def _at(each: Measured) -> str:
    """What is at one place: a value and its gradient; a module's tensors are where the module ends."""
    return each.module if each.kind in ("gradient", "statistic") else each.path


def _places(measured: Sequence[Measured]) -> dict[str, int]:
    """The places along the depth, in the order of the forward pass."""
    forward = dict.fromkeys(_at(each) for each in measured if each.kind in ("activation", "loss"))
    places = {path: number for number, path in enumerate(forward)}
    for each in measured:
        if each.kind == "activation":
            places[each.module] = places[each.path]  # the last is its output
    for each in measured:
        places.setdefault(_at(each), len(forward))  # a module without values of its own
    return places


def _names(measured: Sequence[Measured], places: dict[str, int]) -> list[tuple[int, str]]:
    """The first place of each module, of as many levels of the tree as there is room for.

    If the last that is tried has too many, some of its modules are named, equally far from one another.
    """
    found: list[tuple[int, str]] = []
    levels = max(each.module.count(".") for each in measured) + 1
    for level in range(1, levels + 1):
        first: dict[str, int] = {}
        for each in measured:
            if each.kind in ("activation", "loss"):
                first.setdefault(".".join(each.module.split(".")[:level]), places[_at(each)])
        named = [(place, name) for name, place in first.items() if name]
        if len(named) > MOST_NAMES:
            return found if len(found) >= FEW_NAMES else named[:: _round_step(len(named) / MOST_NAMES)]
        found = named
    return found


def _round_step(least: float) -> int:
    """The first of 1, 2, 5, 10, 20, ... that is not below a number."""
    return next(step for power in count() for step in (10**power, 2 * 10**power, 5 * 10**power) if step >= least)


def _size(each: Measured) -> float:
    return each.relative


def _is_off(each: Measured) -> bool:
    return not each.relative <= each.limit


def _title(each: Measured) -> str:
    off = "equal" if each.relative == 0 else f"relative error {each.relative:.2g}"
    return one_line(f"{readable(each.path)}, {MODES.get(each.mode, each.mode)}: {off}; limit {each.limit:.1g}")


def _area(highest: Sequence[tuple[float, float]], step: float, places: int) -> str:
    """The path around everything below the limits: each is that of its own place alone."""
    edge = "".join(f"L{x - step / 2:.1f} {y:g}L{x + step / 2:.1f} {y:g}" for x, y in _filled(highest, step, places))
    return f"M{LEFT} {HEIGHT}{edge}L{LEFT + places * step:g} {HEIGHT}Z"


def _filled(highest: Sequence[tuple[float, float]], step: float, places: int) -> Iterator[tuple[float, float]]:
    """The limits, and at a place without one the narrower of those before and after it, at the ends the narrowest."""
    known, limits = zip(*highest, strict=True)
    edges = (max(limits), *limits, max(limits))
    for number in range(places):
        x = round(LEFT + (number + 0.5) * step, 1)
        after = bisect_left(known, x)
        is_known = after < len(known) and known[after] == x
        yield x, limits[after] if is_known else max(edges[after : after + 2])
