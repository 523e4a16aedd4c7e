"""The gallery as one HTML file that needs nothing beside it."""

from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup

from parity.errors import InputError
from parity.files import replace_file
from parity.lab.blocks import Plot, Table, Text
from parity.lab.run import LabReport
from parity.report.markup import DPI, Picture, configuration, render, take_picture


def write_lab_report(report: LabReport, folder: Path, dpi: int = DPI) -> Path:
    """Write `figures/*.png` and `report.html` into a folder; a file is either the old one or the whole new one.

    Returns:
        The path of the HTML file, which holds the figures too.

    Raises:
        InputError: the folder cannot be written.
    """
    figures = folder / "figures"
    try:
        figures.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot write to {str(folder)!r}: {reason}; choose a writable folder") from error
    pictures = {
        block.name: take_picture(block.name, block.figure, alt=block.alt, caption=block.caption, dpi=dpi)
        for section in report.sections
        for block in section.blocks
        if isinstance(block, Plot)
    }
    for name, picture in pictures.items():
        replace_file(figures / f"{name}.png", picture.png)
    page = folder / "report.html"
    replace_file(page, render_lab_page(report, pictures).encode())
    return page


def render_lab_page(report: LabReport, pictures: dict[str, Picture]) -> str:
    """The HTML of the gallery, with its figures inside it."""
    order = {name: number for number, name in enumerate(pictures, 1)}
    sections = [
        {
            "name": section.name,
            "title": section.title,
            "introduction": to_html(section.introduction),
            "blocks": [_block(block, pictures, order) for block in section.blocks],
        }
        for section in report.sections
    ]
    return render("lab.html.j2", report=report, sections=sections, configuration=configuration(report.config))


def to_html(markdown: str) -> Markup:
    """Markdown as HTML, in which HTML of the text's own is text."""
    return Markup(MarkdownIt("commonmark", {"html": False}).render(markdown))


def _block(block: Any, pictures: dict[str, Picture], order: dict[str, int]) -> dict[str, Any]:
    if isinstance(block, Text):
        return {"kind": "text", "html": to_html(block.markdown)}
    if isinstance(block, Table):
        return {"kind": "table", "table": block, "wordy": block.header[: block.words]}
    return {"kind": "figure", "figure": pictures[block.name], "number": order[block.name]}
