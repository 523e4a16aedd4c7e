"""The gallery as one HTML file that needs nothing beside it."""

import re
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from markupsafe import Markup, escape
from mdit_py_plugins.dollarmath import dollarmath_plugin

from parity.errors import InputError
from parity.files import replace_file
from parity.lab.blocks import Block, Code, Plot, Section, Table, Text, listed
from parity.lab.run import LabReport
from parity.report.markup import DPI, Picture, configuration, render, take_picture, take_png


def write_lab(report: LabReport, folder: str | Path, dpi: int = DPI) -> Path:
    """Write `report.html`, one file that needs nothing beside it, and `figures/*.png` into a folder.

    A file is either the old one or the whole new one.

    Returns:
        Where the page lies.

    Raises:
        InputError: the folder cannot be written.
    """
    folder = Path(folder)
    figures = folder / "figures"
    try:
        figures.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot write to {str(folder)!r}: {reason}; choose a writable folder") from error
    blocks = [block for section in report.sections for block in section.blocks]
    page = folder / "report.html"
    replace_file(page, render_lab_page(report, _pictures(blocks)).encode())
    for plot in blocks:
        if isinstance(plot, Plot):
            replace_file(figures / f"{plot.name}.png", take_png(plot.draw, dpi))
    return page


def render_lab_page(report: LabReport, pictures: dict[str, Picture]) -> str:
    """The HTML of the gallery, with its figures inside it."""
    numbers = _number(block for section in report.sections for block in section.blocks)
    sections = [
        {
            "name": section.name,
            "title": section.title,
            "introduction": to_html(section.introduction),
            "blocks": [_block(block, pictures, numbers) for block in section.blocks],
        }
        for section in report.sections
    ]
    names = listed([report.title(name) for name in report.config.frameworks])
    shown = configuration(report.config)
    return render("lab.html.j2", report=report, names=names, sections=sections, configuration=shown)


def render_section(section: Section) -> str:
    """The HTML of what one part found, with its figures inside it: what a notebook shows."""
    pictures = _pictures(section.blocks)
    numbers = _number(section.blocks)
    return render("lab_section.html.j2", blocks=[_block(block, pictures, numbers) for block in section.blocks])


def to_html(markdown: str) -> Markup:
    """Markdown as HTML, in which HTML of the text's own is text and nothing leads or reaches outside the page.

    TeX between dollar signs becomes MathML, which browsers typeset by themselves.

    >>> print(to_html("Half: $\\frac{1}{2}$"))  # doctest: +ELLIPSIS
    <p>Half: <span class="math inline"><math ...<mfrac>...</math></span></p>
    <BLANKLINE>
    """
    parser = MarkdownIt("commonmark", {"html": False}).disable(["image", "link", "autolink", "reference"])
    parser.use(dollarmath_plugin, allow_labels=False, renderer=_to_mathml)
    return Markup(parser.render(markdown))


def _to_mathml(tex: str, options: dict[str, bool]) -> str:
    """A formula as MathML; as it is, where it is none."""
    escaped = tex.replace("<", r"\lt ").replace(">", r"\gt ")  # which the converter leaves as they are
    try:
        made = convert(escaped, display="block" if options["display_mode"] else "inline")
    except Exception:  # the converter raises anything at what it cannot read
        return str(escape(f"${tex}$"))
    return re.sub(' (href|style|class|id)="[^"]*"', "", made)


def _pictures(blocks: Iterable[Block]) -> dict[str, Picture]:
    return {
        plot.name: take_picture(plot.name, plot.draw, alt=plot.alt, caption=plot.caption)
        for plot in blocks
        if isinstance(plot, Plot)
    }


def _number(blocks: Iterable[Block]) -> dict[str, int]:
    """Tables, figures and listings are counted, each kind by itself, from 1."""
    counts, numbers = {Table: count(1), Plot: count(1), Code: count(1)}, {}
    for block in blocks:
        if not isinstance(block, Text):
            numbers[block.name] = next(counts[type(block)])
    return numbers


def _block(block: Block, pictures: dict[str, Picture], numbers: dict[str, int]) -> dict[str, Any]:
    if isinstance(block, Text):
        return {"kind": "text", "html": to_html(block.markdown)}
    if isinstance(block, Table):
        return {"kind": "table", "table": block, "wordy": block.header[: block.words], "number": numbers[block.name]}
    if isinstance(block, Code):
        return {"kind": "code", "code": block, "number": numbers[block.name]}
    return {"kind": "figure", "figure": pictures[block.name], "number": numbers[block.name]}
