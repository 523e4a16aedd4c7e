"""The report of a benchmark as one HTML file that needs nothing beside it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from parity.bench.answers import answers, groups
from parity.bench.config import Case
from parity.bench.records import BenchReport, Row
from parity.bench.screen import HEADER, TERMS, by_case, cells, floor_words, notes
from parity.files import replace_file
from parity.report.canvas import open_sheet
from parity.report.heading import Heading
from parity.report.markup import Picture, configuration, render, take_picture
from parity.report.style import REFERENCE_COLOR, log_ticks, plain, short

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # a framework each
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
AXES: dict[str, tuple[str, Callable[[Row], float]]] = {
    "depth": ("hidden layers", lambda row: row.case.depth),
    "width": ("units in a hidden layer", lambda row: row.case.width),
    "batch_size": ("samples in a minibatch", lambda row: row.case.batch_size),
    "population": ("models trained at once", lambda row: row.population),
}


def write_bench_report(report: BenchReport, path: Path) -> None:
    """Write the report of a benchmark as one HTML file; the file is either the old one or the whole new one.

    Raises:
        InputError: the place cannot be written.
    """
    pictures = [_picture(report, axis, rows) for axis, rows in scalings(report)]
    replace_file(path, render_bench_page(report, pictures).encode())


def render_bench_page(report: BenchReport, pictures: list[Picture]) -> str:
    """The HTML of a report, with its figures inside it."""
    sections = [
        (
            f"{name}{floor_words(rows)}",
            [(group, [cells(row) for row in own]) for group, own in groups(rows)],
            [*notes(rows)],
        )
        for name, rows in by_case(report)
    ]
    shares = {
        name: [(found.name, f"{found.share:.1%}") for found in operations]
        for name, operations in report.profiles.items()
    }
    return render(
        "bench.html.j2",
        report=report,
        titles=[report.title(name) for name in report.config.frameworks],
        answers=answers(report),
        sections=sections,
        header=HEADER,
        terms=TERMS,
        shares=shares,
        figures=pictures,
        configuration=[entry for entry in configuration(report.config) if entry[0] != "cases"],
    )


def scalings(report: BenchReport) -> Iterator[tuple[str, list[Row]]]:
    """For each axis, the rows that differ in it alone, where there are two values of it or more."""
    measured = [row for row in report.rows if row.median_us is not None]
    for axis, (_, value) in AXES.items():
        families: dict[Any, list[Row]] = {}
        for row in measured:
            families.setdefault(_but(row, axis), []).append(row)
        best = max(families.values(), key=lambda rows: len({value(row) for row in rows}), default=[])
        if len({value(row) for row in best}) > 1:
            like = _but(best[0], axis)[1:]
            yield axis, [row for row in measured if _but(row, axis)[1:] == like]


def _but(row: Row, axis: str) -> tuple[Any, ...]:
    """What makes a row comparable with others that differ in an axis alone, the way to train first."""
    case = replace(row.case, populations=(1,), compiled=False, loops=True)
    if axis == "population":
        return (row.framework, row.mode), case
    fixed: dict[str, Any] = {axis: getattr(Case(), axis)}
    return (row.framework, row.mode, row.population), replace(case, **fixed)


def _picture(report: BenchReport, axis: str, rows: list[Row]) -> Picture:
    label = AXES[axis][0]
    return take_picture(
        f"cost_by_{axis}",
        partial(_draw, report, axis, rows),
        alt=f"Microseconds per model-step against {label}, a line for each mode.",
        caption=f"What a model-step costs as the number of {label} grows; lower is faster. Bars are 95% intervals "
        "of the median. A framework has one colour, and a mode one mark. The grey line is the floor.",
    )


def _draw(report: BenchReport, axis: str, rows: list[Row]) -> Figure:
    label, value = AXES[axis]
    series: dict[str, list[Row]] = {}
    for row in rows:
        models = "" if axis == "population" or row.population == 1 else f", {row.population} models"
        series.setdefault(f"{row.name} {row.mode.replace('_', ' ')}{models}", []).append(row)
    frameworks = list(dict.fromkeys(row.framework for row in rows))
    looks = {}
    for framework in frameworks:
        own = [name for name, each in series.items() if each[0].framework == framework]
        color = _COLORS[frameworks.index(framework) % len(_COLORS)]
        looks |= {name: (color, _MARKERS[number % len(_MARKERS)]) for number, name in enumerate(own)}
    handles = [Line2D([], [], color=c, marker=m, label=plain(short(name))) for name, (c, m) in looks.items()]
    handles.append(Line2D([], [], color=REFERENCE_COLOR, linestyle="dashed", label="floor"))
    fixed = "" if axis == "population" else "; models as in the legend"
    heading = Heading(f"standard normal noise for data; {_fixed(rows[0], axis)}{fixed}", report.command)
    sheet = open_sheet(heading, f"Cost of a model-step by {label}", size=(8.5, 4.2), handles=handles)
    axes = sheet.axes(0, 0, sheet.width, sheet.height)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for name, own in series.items():
        own = sorted(own, key=value)
        color, marker = looks[name]
        medians = [row.median_us or 0.0 for row in own]
        errors = [
            [max(0.0, m - (row.low_us or m)) for m, row in zip(medians, own, strict=True)],
            [max(0.0, (row.high_us or m) - m) for m, row in zip(medians, own, strict=True)],
        ]
        axes.errorbar([value(row) for row in own], medians, yerr=errors, color=color, marker=marker, markersize=5)
    floors = sorted({(value(row), row.floor_us or 0.0) for row in rows})
    axes.plot(*zip(*floors, strict=True), color=REFERENCE_COLOR, linestyle="dashed")
    values = [value(row) for row in rows]
    costs = [cost for row in rows for cost in (row.median_us, row.floor_us) if cost]
    axes.set_xticks(sorted(set(values)), [f"{each:g}" for each in sorted(set(values))])
    axes.xaxis.set_minor_locator(NullLocator())
    log_ticks(axes.yaxis, min(costs), max(costs))
    axes.set_xlabel(label)
    axes.set_ylabel("microseconds per model-step")
    return sheet.figure


def _fixed(row: Row, axis: str) -> str:
    case = row.case
    words = {"depth": f"depth {case.depth}", "width": f"width {case.width}", "batch_size": f"batch {case.batch_size}"}
    norm = "with batch norm" if case.batch_norm else "without batch norm"
    return ", ".join([*(text for name, text in words.items() if name != axis), norm])
