"""What every HTML page is made of: its pictures, its templates, and values in words."""

import io
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from parity.machine import current_commit
from parity.report.canvas import NARROW_PAGE, WIDE_PAGE, Drawing, drawn_for
from parity.report.heading import Heading
from parity.report.style import page_style
from parity.report.svg import to_svg

DPI = 130  # of the figures that are files
# Control characters, and bytes of a command line that are no UTF-8: neither may stand in HTML.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class Picture:
    """A figure inside a page.

    Args:
        name: its anchor, and its file's name without the ending.
        alt: what it shows, for a reader who cannot see it.
        caption: how to read it.
        title: what it is of.
        setting: the data set, and what was run on it.
        notices: what a reader must know before any number.
        wide: the drawing for a page of a wide window.
        narrow: the drawing for a page of a narrow one.
        width: of the wide drawing, in pixels of the page.
    """

    name: str
    alt: str
    caption: str
    title: str
    setting: str
    notices: tuple[str, ...]
    wide: Markup
    narrow: Markup
    width: int


def take_picture(name: str, draw: Callable[[], Figure], *, alt: str, caption: str) -> Picture:
    """A figure for a page, drawn for wide windows and for narrow ones."""
    drawings = []
    for medium in (WIDE_PAGE, NARROW_PAGE):
        with page_style(), drawn_for(medium):
            figure = draw()
            # No finger hovers: only the wide drawing tells its values.
            svg = to_svg(figure, f"{name}-{len(drawings)}", has_tips=medium is WIDE_PAGE)
            drawings.append((figure, svg))
    (figure, wide), (_, narrow) = drawings
    title, heading = (figure.title, figure.heading) if isinstance(figure, Drawing) else ("", Heading("", ""))
    width = round(96 * figure.get_figwidth())
    return Picture(name, alt, caption, title, heading.setting, heading.notices, wide, narrow, width)


def take_png(draw: Callable[[], Figure], dpi: int = DPI) -> bytes:
    """A figure as a file of its own, with all of its words on it."""
    buffer = io.BytesIO()
    with page_style():
        draw().savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def render(template: str, **values: Any) -> str:
    """A template of this folder with values in it; all text is escaped, and what cannot be shown is marked."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    environment.globals["zip"] = zip
    environment.filters["words"] = words
    if "report" in values:
        values["made"] = made(values["report"])
    page = environment.get_template(template).render(values)
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", page)


def made(report: Any) -> str:
    """When a page was made, how long its work took, by which version, and the commit of the project one works in."""
    seconds = getattr(report, "seconds", 0.0)
    parts = [
        f"Made on {date.today().isoformat()}",
        f"in {seconds:.1f} s" if 0 < seconds < 10 else f"in {seconds:.0f} s" if seconds else "",
        f"by bnparity {version('bnparity')}",
    ]
    commit = current_commit()
    return " ".join(filter(None, parts)) + (f". The working directory was at commit {commit}." if commit else ".")


def words(value: Any) -> str:
    """A value as a reader wants it: four significant digits, `on` and `off`, a dash for what does not apply."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {words(item)}" for name, item in value.items())
    if isinstance(value, tuple | list):
        return ", ".join(words(item) for item in value)
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else str(value)
    return str(value)


def configuration(config: Any) -> list[tuple[str, str]]:
    """The fields of a dataclass, and of those inside it, in words."""
    return [(name.replace("_", " "), words(value)) for name, value in _flat(config)]


def _flat(config: Any) -> Iterator[tuple[str, Any]]:
    for found in fields(config):
        value = getattr(config, found.name)
        nested = is_dataclass(value) and not _has_words(value)
        yield from _flat(value) if nested else [(found.name, None if value == "" else value)]


def _has_words(value: Any) -> bool:
    return type(value).__str__ is not object.__str__
