"""The times of a pair as one HTML file that needs nothing beside it."""

from functools import partial
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from parity.files import replace_file
from parity.pair_bench.answers import answers, groups
from parity.pair_bench.records import PairBenchReport, PairRow
from parity.pair_bench.screen import HEADER, TERMS, cells, notes, words_of_verdict
from parity.report.canvas import open_sheet
from parity.report.heading import Heading
from parity.report.markup import Picture, configuration, render, take_picture
from parity.report.style import log_ticks, plain, short

_COLORS = {"reference": "#0072B2", "candidate": "#D55E00"}
_MARKERS = ("o", "s", "^", "D")


def write_pair_bench_report(report: PairBenchReport, path: Path) -> None:
    """Write the times of a pair as one HTML file; the file is either the old one or the whole new one.

    Raises:
        InputError: the place cannot be written.
    """
    sections = [(name, [cells(row) for row in rows], [*notes(rows)]) for name, rows in groups(report)]
    page = render(
        "pair_bench.html.j2",
        report=report,
        verdict=words_of_verdict(report),
        answers=answers(report),
        sections=sections,
        header=HEADER,
        terms=TERMS,
        figures=[_picture(report, *each) for each in _scalings(report)],
        configuration=configuration(report.config),
    )
    replace_file(path, page.encode())


def _scalings(report: PairBenchReport) -> list[tuple[str, list[PairRow]]]:
    """The rows of each task and dtype, where there are two sizes of batch or more."""
    found = []
    for task, dtype in dict.fromkeys((row.task, row.dtype) for row in report.rows):
        rows = [row for row in report.rows if (row.task, row.dtype) == (task, dtype) and row.median_us is not None]
        if len({row.batch_size for row in rows}) > 1:
            found.append((f"{task} in {dtype}", rows))
    return found


def _picture(report: PairBenchReport, name: str, rows: list[PairRow]) -> Picture:
    return take_picture(
        name.replace(" ", "_"),
        partial(_draw, report, name, rows),
        alt=f"Microseconds a sample against the size of the batch, {name}, a line for each way.",
        caption=f"What a sample costs as batches grow, {name}; lower is faster. Bars are 95% intervals of the "
        "median. A side has one colour, and a way one mark.",
    )


def _ends(rows: list[PairRow]) -> tuple[float, float]:
    """The least and the largest cost of a sample, with their intervals."""
    lows = [(row.low_us or 0.0) / row.batch_size for row in rows]
    highs = [(row.high_us or 0.0) / row.batch_size for row in rows]
    return min(lows), max(highs)


def _draw(report: PairBenchReport, name: str, rows: list[PairRow]) -> Figure:
    series: dict[tuple[str, str, str], list[PairRow]] = {}
    for row in rows:
        series.setdefault((row.side, row.name, row.way), []).append(row)
    ways = list(dict.fromkeys(way for _, _, way in series))
    looks = {key: (_COLORS[key[0]], _MARKERS[ways.index(key[2]) % len(_MARKERS)]) for key in series}
    handles = [
        Line2D([], [], color=color, marker=marker, markersize=5, label=plain(short(f"{side} ({framework}, {way})")))
        for (side, framework, way), (color, marker) in looks.items()
    ]
    heading = Heading(report.title, report.command)
    sheet = open_sheet(heading, f"Cost of a sample by size of batch: {name}", size=(8.5, 4.2), handles=handles)
    axes = sheet.axes(0, 0, sheet.width, sheet.height)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for key, own in series.items():
        own = sorted(own, key=lambda row: row.batch_size)
        costs = [(row.median_us or 0.0) / row.batch_size for row in own]
        ends = [
            [cost - (row.low_us or 0.0) / row.batch_size for row, cost in zip(own, costs, strict=True)],
            [(row.high_us or 0.0) / row.batch_size - cost for row, cost in zip(own, costs, strict=True)],
        ]
        axes.errorbar(
            [row.batch_size for row in own], costs, yerr=[[max(0.0, each) for each in end] for end in ends],
            color=looks[key][0], marker=looks[key][1], markersize=5,
        )  # fmt: skip
    sizes = sorted({row.batch_size for row in rows})
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    log_ticks(axes.yaxis, *_ends(rows))
    axes.set_xlabel("samples in a batch")
    axes.set_ylabel("microseconds a sample")
    return sheet.figure
