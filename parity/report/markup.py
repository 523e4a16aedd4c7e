"""What every HTML page is made of: its pictures, its templates, and values in words."""

import base64
import io
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

DPI = 130
# Control characters, and bytes of a command line that are no UTF-8: neither may stand in HTML.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class Picture:
    """A figure inside a page.

    Args:
        name: its anchor, and its file's name without the ending.
        alt: what it shows, for a reader who cannot see it.
        caption: how to read it.
        png: the image.
        width: in pixels of the page.
        height: in pixels of the page.
    """

    name: str
    alt: str
    caption: str
    png: bytes
    width: int
    height: int

    @property
    def data(self) -> str:
        """The image in base64."""
        return base64.b64encode(self.png).decode("ascii")


def take_picture(name: str, figure: Figure, *, alt: str, caption: str, dpi: int = DPI) -> Picture:
    """A figure as a PNG with its words."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    width, height = (round(inches * 100) for inches in figure.get_size_inches())
    return Picture(name, alt, caption, buffer.getvalue(), width, height)


def render(template: str, **values: Any) -> str:
    """A template of this folder with values in it; all text is escaped, and what cannot be shown is marked."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    environment.globals["zip"] = zip
    environment.filters["words"] = words
    page = environment.get_template(template).render(values)
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", page)


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
