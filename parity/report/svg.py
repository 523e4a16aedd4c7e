"""A figure as SVG that stands in a page: in the page's colours, and with its values where it is pointed at."""

import io
import re
from collections.abc import Iterator, Sequence
from html import escape

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from parity.report.canvas import Drawing

# Where the viewer lacks Matplotlib's font, these are as wide or narrower, so that nothing overlaps.
_FONTS = "'DejaVu Sans', Verdana, Arial, sans-serif"
# Greys and the red of a limit follow the page, dark or light; colours that tell series apart stay.
_COLORS = {
    "#ffffff": "--paper", "#000000": "--ink", "#333333": "--ink", "#444444": "--ink", "#555555": "--soft",
    "#6b6b6b": "--soft", "#777777": "--soft", "#8a8a8a": "--soft", "#aaaaaa": "--soft", "#e4e4e4": "--line",
    "#ededed": "--line", "#efefef": "--band", "#f3f0ea": "--band", "#b3261e": "--alarm",
}  # fmt: skip
_MOST_ON_A_LINE = 12  # points of a line without marks that can be pointed at
_TAG = re.compile(r"<[^>]*>", re.DOTALL)
_LONG_NUMBER = re.compile(r"(?<=[\s\"(,])(-?\d+\.\d\d)\d+")
_HEX = re.compile("|".join(_COLORS))


def to_svg(figure: Figure, name: str, *, has_tips: bool = True) -> Markup:
    """Return a figure as an `svg` element for a page.

    Args:
        figure: drawn under `page_style`.
        name: what no other figure of the page is called, so that no reference inside leads to another figure.
        has_tips: whether its points tell their values when they are pointed at.
    """
    _fit_labels(figure)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg ") :]
    text = re.sub(r"<style type.*?</style>", "", text, count=1, flags=re.DOTALL)
    used = set(re.findall(r"#([\w.-]+)", text))
    text = text.replace("'DejaVu Sans'", _FONTS)
    text = _TAG.sub(lambda found: _slim(found[0], used), text)
    text = re.sub(r"<svg [^>]*viewBox=\"([^\"]*)\"[^>]*>", r'<svg viewBox="\1" aria-hidden="true">', text, count=1)
    tips = "".join(_tips(figure)) if has_tips else ""
    return Markup(text.rstrip().removesuffix("</svg>") + tips + "</svg>")


def _fit_labels(figure: Figure) -> None:
    """Leave out what stands in brackets where the label of an axis is longer than the axis."""
    for axes in figure.axes:
        box = axes.get_window_extent()
        for label, length in ((axes.xaxis.label, box.width), (axes.yaxis.label, box.height)):
            letters = max(map(len, label.get_text().split("\n")))
            if letters * 0.55 * float(label.get_fontsize()) / 72 * figure.dpi > 1.2 * length:
                label.set_text(_without_brackets(label.get_text()))


def _without_brackets(label: str) -> str:
    return re.split(r"\s\(", label)[0].replace("\n", " ")


def _slim(tag: str, used: set[str]) -> str:
    """A tag with two decimals, on one line, greys by the names of the page, and an id only if it is used."""
    tag = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", tag)
    tag = _LONG_NUMBER.sub(r"\1", " ".join(tag.split()))
    return _HEX.sub(lambda found: f"var({_COLORS[found[0]]}, {found[0]})", tag)


def _tips(figure: Figure) -> Iterator[str]:
    """An invisible disc on each point, and a rectangle on each cell, which tells its text when it is pointed at."""
    said = figure.said if isinstance(figure, Drawing) else {}
    height = figure.get_figheight() * 72
    for axes in figure.axes:
        for line in axes.lines:
            if not _is_series(line, axes) and line not in said:
                continue
            places, texts = _places(line, axes), said.get(line)
            for number in _kept(line, len(places) if texts is None else len(texts), places):
                x, y = places[number] / figure.dpi * 72
                text = escape(_values(line, axes, number) if texts is None else texts[number])
                if text:
                    yield f'<circle class="tip" cx="{x:.1f}" cy="{height - y:.1f}" r="4"><title>{text}</title></circle>'
        for mesh in axes.collections:
            if isinstance(mesh, QuadMesh) and mesh in said:
                yield from _cells(mesh, said[mesh], height, figure.dpi)


def _cells(mesh: QuadMesh, texts: Sequence[str], height: float, dpi: float) -> Iterator[str]:
    """The cells of a mesh whose sides are upright and level, row by row."""
    corners = np.asarray(mesh.get_coordinates(), np.float64)
    places = mesh.get_transform().transform(corners.reshape(-1, 2)).reshape(corners.shape) / dpi * 72
    cells = np.stack([places[:-1, :-1], places[1:, 1:]], axis=2).reshape(-1, 2, 2)
    for cell, text in zip(cells, texts, strict=True):
        (left, low), (right, high) = cell.min(axis=0), cell.max(axis=0)
        yield (
            f'<rect class="tip" x="{left:.1f}" y="{height - high:.1f}" width="{right - left:.1f}" '
            f'height="{high - low:.1f}"><title>{escape(text)}</title></rect>'
        )


def _places(line: Line2D, axes: Axes) -> NDArray[np.float64]:
    """Where its points are, in pixels; not a number where they are not drawn."""
    places = np.asarray(line.get_transform().transform(line.get_xydata()), np.float64).reshape(-1, 2)
    box = np.asarray(axes.get_window_extent().get_points())
    inside = ((places >= box[0] - 1) & (places <= box[1] + 1)).all(axis=1, keepdims=True)
    return np.where(inside, places, np.nan) if line.get_clip_on() else places


def _kept(line: Line2D, count: int, places: NDArray[np.float64]) -> list[int]:
    """Which points can be pointed at: those that are drawn, of a line without marks a selection."""
    found = [number for number in range(min(count, len(places))) if np.isfinite(places[number]).all()]
    marked = line.get_marker() not in ("", " ", "none", "None", None)
    return found if marked else found[:: max(1, -(-len(found) // _MOST_ON_A_LINE))]


def _is_series(line: Line2D, axes: Axes) -> bool:
    """Whether a line's points are values of both axes: not a limit, nor the end of an error bar, nor an ornament."""
    is_bar = line.get_marker() in ("_", "|")
    return line.get_transform() == axes.transData and not is_bar


def _values(line: Line2D, axes: Axes, number: int) -> str:
    """The values of a point with the panel's title and the names of the axes; "" if nothing has a name.

    An axis without a label shares that of the other panels, if they have one alone.
    """
    panels, names = axes.figure.axes, []
    for own, labels in (
        (axes.get_xlabel(), {panel.get_xlabel() for panel in panels}),
        (axes.get_ylabel(), {panel.get_ylabel() for panel in panels}),
    ):
        others = labels - {""}
        names.append(_without_brackets(own or (others.pop() if len(others) == 1 else "")))
    title = _without_brackets(axes.get_title(loc="left"))
    if not (title or all(names)):
        return ""
    point = np.asarray(line.get_xydata(), np.float64)[number]
    said = "; ".join(f"{name} {value:.4g}".strip() for name, value in zip(names, point, strict=True))
    return f"{title}: {said}" if title else said
