"""Hostile text in every field of every report: a page shows it as text, and has no element more than without it."""

import re
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from fake_check_report import agreeing, crashed, disagreeing, running_free
from fake_sweep import fake_report
from hostile_cases import hostile, texts
from html_page import Page
from hypothesis import strategies as st
from markupsafe import Markup
from matplotlib.figure import Figure

from parity.bench.config import BenchConfig, Case
from parity.bench.records import BenchReport, Operation, Row
from parity.divergence import LearningRates, Status
from parity.lab import LabConfig, LabReport, Plot, Section, Table, write_lab
from parity.lab.page import to_html
from parity.report import check_page, page, write_bench_report, write_check_report, write_report
from parity.report.markup import Picture

# What a page may have an element's attribute for; an address is this page's own anchor or a picture inside it.
HARMLESS = {
    "id", "class", "lang", "charset", "name", "content", "http-equiv", "scope", "rowspan", "colspan", "tabindex",
    "role",
    "aria-label", "aria-labelledby", "width", "height", "style", "alt", "src", "href",
}  # fmt: skip
ADDRESS = re.compile(r"#\w+")
STYLE = re.compile(r"max-width: \d+px")
PLAIN = "plain"


def in_page(text: str) -> str:
    """A text as a page holds it: what HTML cannot hold is marked, and a line break is a line break."""
    marked = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", "\ufffd", text)
    return re.sub("\r\n?", "\n", marked)


def told(value: Any, text: str) -> Any:
    """A record in which every text of its own is `text`."""
    match value:
        case Enum() | Figure():
            return value
        case str():
            return text if value else value
        case tuple():
            return tuple(told(item, text) for item in value)
        case dict() | MappingProxyType():
            return {key: told(item, text) for key, item in zip([text], value.values(), strict=False)}
        case _ if is_dataclass(value) and not isinstance(value, type):
            kept = (*KEPT, "name") if isinstance(value, Section | Table | Plot) else KEPT  # anchors, and names of files
            made = object.__new__(type(value))  # unchecked: a page must be safe by itself
            for field in fields(value):
                old = getattr(value, field.name)
                object.__setattr__(made, field.name, old if field.name in kept else told(old, text))
            return made
    return value


# Not free text: it decides what is drawn, or is checked when a command begins, by a closed list of choices.
KEPT = ("key", "step", "dtype", "dtypes", "questions", "precision", "device", "block_order", "initialization",
        "running_variance", "outcome", "learning_rates", "diagram_rates")  # fmt: skip


@cache
def reports() -> dict[str, Any]:
    rates = LearningRates(0.01, 10.0, 3)
    sweep = fake_report(depths=(1, 2), frameworks=("a",), rates=rates, complete=False)
    broken = replace(sweep.trials[0], status=Status.ERROR, message="broken")
    few = replace(disagreeing((1,)), measurements=disagreeing((1,)).measurements[::20])
    free = running_free()
    bench = BenchReport(
        config=BenchConfig(frameworks=("a",), cases=(Case(depth=1), Case(depth=2))),
        environment={"a": "b"}, command="c",
        rows=tuple(
            Row(framework="a", mode="m", device="cpu", precision="highest", case=Case(depth=depth), population=8,
                note="n", median_us=median, low_us=8.0, high_us=10.0, floor_us=4.0)
            for depth, median in ((1, 9.0), (2, None))
        ),
        seconds=1.0, profiles={"a": (Operation("o", 1.0),)}, complete=False,
    )  # fmt: skip
    blocks = (
        Table("table", "caption", ("name", "x"), (("a", "b"),)),
        Plot("figure", lambda: Figure((1, 1)), "alt", "caption"),
    )
    lab = LabReport(config=LabConfig(frameworks=("a",)), sections=(Section("part", "title", "", blocks),),
                    failures=("f",), dataset="d", environment={"a": "b"}, command="c", seconds=1.0)  # fmt: skip
    return {
        "sweep": replace(sweep, trials=(broken, *sweep.trials[1:])), "check": few,
        "agreed": replace(agreeing((1,)), measurements=few.measurements),
        "crashed": crashed(), "free": replace(free, measurements=free.measurements[::20]), "bench": bench, "lab": lab,
    }  # fmt: skip


def written(name: str, report: Any, folder: Path) -> str:
    if name == "sweep":
        return write_report(report, folder).read_text("utf-8")
    if name == "lab":
        return write_lab(report, folder).read_text("utf-8")
    path = folder / "page.html"
    (write_bench_report if name == "bench" else write_check_report)(report, path)
    return path.read_text("utf-8")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are written without drawing their figures; the words of the figures are there."""

    def picture(name: str, draw: Any, *, alt: str, caption: str) -> Picture:
        return Picture(name, alt, caption, "title", "setting", (), Markup(), Markup(), 1)

    for module in ("report.page", "report.check_page", "report.bench_page", "lab.page"):
        monkeypatch.setattr(f"parity.{module}.take_picture", picture)
    for module in ("report.page", "lab.page"):
        monkeypatch.setattr(f"parity.{module}.take_png", lambda draw, dpi: b"png")
    monkeypatch.setattr(page, "SWEEP_FIGURES", [replace(figure, draw=lambda _: None) for figure in page.SWEEP_FIGURES])
    monkeypatch.setattr("parity.report.bench_page._draw", lambda *_: None)
    real = check_page.check_figures
    monkeypatch.setattr(check_page, "check_figures", lambda *a: [replace(f, draw=lambda: None) for f in real(*a)])


def assert_harmless(source: str) -> Page:
    found = Page(source)
    for tag, attributes in found.tags:
        assert tag not in ("script", "iframe", "object", "embed", "base", "form", "link", "svg", "math"), tag
        assert attributes.keys() <= HARMLESS, (tag, attributes)
        for name in ("src", "href"):
            assert ADDRESS.fullmatch(attributes.get(name, "#x")), attributes
        assert STYLE.fullmatch(attributes.get("style", "max-width: 1px"))
    return found


def outline(found: Page) -> list[tuple[str, tuple[str, ...]]]:
    return [(tag, tuple(attributes)) for tag, attributes in found.tags]


@hostile(sample=12, many=1500, name=st.sampled_from(list(reports())), text=texts.filter(bool))
@pytest.mark.usefixtures("undrawn")
def test_pages(name: str, text: str, tmp_path: Path) -> None:
    report = reports()[name]
    plain = assert_harmless(written(name, told(report, PLAIN), tmp_path))
    attacked = assert_harmless(written(name, told(report, text), tmp_path))
    assert outline(attacked) == outline(plain)
    # The text stands wherever the plain one stood, and the longest of it as it was given.
    wanted = in_page(text)
    assert attacked.text.count(wanted) >= 3
    assert wanted in attacked.text.split("Command")[-1]


FORMULAS = frozenset(
    [
        "span",
        "div",
        "math",
        "menclose",
        "merror",
        "mfrac",
        "mi",
        "mmultiscripts",
        "mn",
        "mo",
        "mover",
        "mpadded",
        "mphantom",
        "mprescripts",
        "mroot",
        "mrow",
        "ms",
        "mspace",
        "msqrt",
        "mstyle",
        "msub",
        "msubsup",
        "msup",
        "mtable",
        "mtd",
        "mtext",
        "mtr",
        "munder",
        "munderover",
        "none",
    ]
)


@hostile(sample=100, many=6000, text=st.lists(texts, min_size=1, max_size=4).map("\n".join))
def test_markdown_of_the_gallery(text: str) -> None:
    found = Page(str(to_html(text)))
    blocks = {
        "p",
        "em",
        "strong",
        "code",
        "pre",
        "ul",
        "ol",
        "li",
        "blockquote",
        "hr",
        "br",
        *(f"h{i}" for i in range(1, 7)),
    }
    assert {tag for tag, _ in found.tags} <= blocks | FORMULAS
    names = {name for tag, attributes in found.tags for name in attributes if tag not in FORMULAS}
    assert names <= {"class", "start"}
    names = {name for tag, attributes in found.tags for name in attributes if tag in FORMULAS - {"span", "div"}}
    assert not [name for name in names if name in ("href", "src", "style", "class", "id") or name.startswith("on")]


@hostile(
    sample=3,
    many=24,
    seconds=60.0,
    memory=1 << 30,
    name=st.sampled_from(list(reports())),
    text=st.one_of(texts, st.sampled_from(("$\\frac{$", "$x_{$ \udcff"))),
    length=st.sampled_from((1, 10**5)),
)
def test_figures_are_drawn(name: str, text: str, length: int, tmp_path: Path) -> None:
    report = told(reports()[name], (text * length)[:length] if length > 1 else text)
    source = written(name, report, tmp_path)
    assert "<script" not in source
