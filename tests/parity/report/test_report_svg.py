"""A figure as part of a page: in the page's colours, readable at any width, with its values where it is pointed at."""

import re
from html import unescape
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from parity.report.canvas import NARROW_PAGE, WIDE_PAGE, Drawing, drawn_for, open_sheet, say, without_places
from parity.report.heading import Heading
from parity.report.markup import take_picture, take_png
from parity.report.style import page_style
from parity.report.svg import to_svg

X, Y = [1.0, 10.0, 100.0], [0.5, 0.001234, 7.0]


def drawn(texts: list[str] | None = None, marker: str = "o", **options: Any) -> Figure:
    sheet = open_sheet(
        Heading("data set: letters", "made --out /home/ada/x", ("A NOTICE",)), "A title", size=(8.0, 2.0)
    )
    axes = sheet.axes(0, 0, sheet.width, sheet.height)
    axes.set_xscale("log")
    axes.set_xlabel("learning rate (no unit, log scale)")
    axes.set_ylabel("loss\n(nats)")
    (line,) = axes.plot(X, Y, marker=marker, color="#0072B2", **options)
    axes.axhline(1.0, color="#6B6B6B")
    if texts is not None:
        say(line, texts)
    return sheet.figure


def svg(**options: Any) -> str:
    with page_style(), drawn_for(WIDE_PAGE):
        return str(to_svg(drawn(**options), "figure"))


def tips(source: str) -> list[str]:
    return [unescape(text) for text in re.findall("<title>(.*?)</title>", source)]


def test_points_tell_their_values_with_the_names_of_the_axes() -> None:
    assert tips(svg()) == [
        "learning rate 1; loss 0.5", "learning rate 10; loss 0.001234", "learning rate 100; loss 7",
    ]  # fmt: skip


def test_points_tell_what_they_are_given_to_tell() -> None:
    assert tips(svg(texts=["a < b", "", 'c & "d"'])) == ["a < b", 'c & "d"']
    assert tips(svg(texts=[])) == []


def test_a_name_in_a_tip_is_text() -> None:
    with page_style(), drawn_for(WIDE_PAGE):
        figure = drawn()
        figure.axes[0].set_title("<b>&", loc="left")
        source = str(to_svg(figure, "figure"))
    assert "<b>" not in source
    assert tips(source)[0] == "<b>&: learning rate 1; loss 0.5"


def test_a_tip_lies_on_its_mark() -> None:
    source = svg()
    marks = [tuple(map(float, found)) for found in re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)"', source)]
    places = [tuple(map(float, found)) for found in re.findall(r'<circle [^>]*cx="([\d.]+)" cy="([\d.]+)"', source)]
    assert len(places) == len(X)
    # Both are rounded, to two decimals and to one.
    assert all(any(np.allclose(place, mark, rtol=0, atol=0.055) for mark in marks) for place in places)


def test_what_is_not_drawn_tells_nothing() -> None:
    with page_style(), drawn_for(WIDE_PAGE):
        figure = drawn()
        figure.axes[0].set_ylim(0.1, 1.0)
        assert tips(str(to_svg(figure, "figure"))) == ["learning rate 1; loss 0.5"]


def test_a_line_without_marks_can_be_pointed_at_here_and_there() -> None:
    with page_style(), drawn_for(WIDE_PAGE):
        sheet = open_sheet(Heading("", ""), "", size=(8.0, 2.0))
        axes = sheet.axes(0, 0, 3, 1, xlabel="update", ylabel="loss")
        axes.plot(np.arange(1000), np.arange(1000))
        found = tips(str(to_svg(sheet.figure, "figure")))
    assert 5 < len(found) < 20


def test_what_is_no_series_tells_nothing() -> None:
    with page_style(), drawn_for(WIDE_PAGE):
        sheet = open_sheet(Heading("", ""), "", size=(8.0, 2.0))
        axes = sheet.axes(0, 0, 3, 1, xlabel="size", ylabel="accuracy")
        axes.errorbar([1.0], [0.5], yerr=[[0.1], [0.2]], marker="o", capsize=2)
        axes.axhline(0.4)
        assert tips(str(to_svg(sheet.figure, "figure"))) == ["size 1; accuracy 0.5"]


def test_panels_share_the_names_of_their_axes_and_have_a_title_of_their_own() -> None:
    with page_style(), drawn_for(WIDE_PAGE):
        sheet = open_sheet(Heading("", ""), "", size=(8.0, 2.0))
        first = sheet.axes(0, 0, 3, 1, xlabel="size (log scale)", ylabel="accuracy")
        second = sheet.axes(4, 0, 3, 1)
        for axes, title in ((first, "one"), (second, "other (much)")):
            axes.plot([1.0], [0.5], marker="o")
            axes.set_title(title, loc="left")
        assert tips(str(to_svg(sheet.figure, "figure"))) == [
            "one: size 1; accuracy 0.5", "other: size 1; accuracy 0.5",
        ]  # fmt: skip
        second.set_ylabel("loss")
        first.set_ylabel("")
        first.set_xlabel("")
        assert tips(str(to_svg(sheet.figure, "figure")))[0] == "one: 1; loss 0.5"


def test_text_that_looks_like_markup_is_text() -> None:
    with page_style(), drawn_for(WIDE_PAGE):
        figure = drawn()
        figure.axes[0].set_title(' id="x" 0.12345 #ffffff')
        assert ' id="x" 0.12345 #ffffff' in unescape(str(to_svg(figure, "figure")))


def test_cells_of_a_mesh_tell_their_texts() -> None:
    with page_style(), drawn_for(WIDE_PAGE):
        sheet = open_sheet(Heading("", ""), "", size=(8.0, 2.0))
        mesh = sheet.axes(0, 0, 3, 1).pcolormesh([0, 1, 2], [0, 1], np.zeros((1, 2)))
        say(mesh, ["left", "right"])
        source = str(to_svg(sheet.figure, "figure"))
    assert tips(source) == ["left", "right"]
    lefts = [float(x) for x in re.findall(r'<rect class="tip" x="([\d.]+)"', source)]
    assert lefts == sorted(lefts)


def test_greys_follow_the_page_and_series_keep_their_colours() -> None:
    source = svg()
    assert set(re.findall(r"(?<!, )#[0-9a-fA-F]{6}", source)) == {"#0072b2"}  # outside of a page its own greys hold
    assert {"--paper", "--ink", "--soft"} <= set(re.findall(r"var\((--\w+), #\w+\)", source))


def test_it_reaches_nothing_outside_itself() -> None:
    source = svg()
    assert not re.search(r"https?:|@import|<style|<script|<image", source.replace("http://www.w3.org", ""))
    ids = re.findall(r' id="([^"]*)"', source)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"#(m\w+|p\w+)", source)) == set(ids)


def test_two_figures_of_a_page_share_no_name() -> None:
    with page_style(), drawn_for(WIDE_PAGE):
        one, other = (set(re.findall(r' id="([^"]*)"', str(to_svg(drawn(), name)))) for name in ("one", "other"))
    assert one
    assert one.isdisjoint(other)


def test_numbers_in_texts_keep_their_digits() -> None:
    with page_style(), drawn_for(WIDE_PAGE):
        figure = drawn()
        figure.axes[0].set_title("0.0012345")
        assert "0.0012345" in str(to_svg(figure, "figure"))


def test_a_picture_has_a_drawing_for_each_width_and_its_words_beside_it() -> None:
    picture = take_picture("figure", drawn, alt="alt", caption="caption")
    assert (picture.title, picture.setting, picture.notices) == ("A title", "data set: letters", ("A NOTICE",))
    widths = [float(found[1]) for drawing in (picture.wide, picture.narrow)
              if (found := re.search(r'viewBox="0 0 ([\d.]+)', str(drawing)))]  # fmt: skip
    assert widths == [round(8.0 * 72, 4), round(NARROW_PAGE.width * 72, 4)]
    for drawing in (picture.wide, picture.narrow):
        assert not any(word in str(drawing) for word in ("A title", "letters", "A NOTICE", "made"))
    assert tips(str(picture.narrow)) == []


def test_a_label_longer_than_its_axis_loses_what_stands_in_brackets() -> None:
    picture = take_picture("figure", drawn, alt="alt", caption="caption")
    assert "(no unit, log scale)" in picture.wide
    assert "learning rate" in picture.narrow
    with page_style(), drawn_for(NARROW_PAGE):
        figure = drawn()
        figure.axes[0].set_xlabel("a label that goes on and on and on and on (and has more to say)")
        assert "more to say" not in to_svg(figure, "figure")


def test_a_file_has_its_words_on_it_and_no_folder() -> None:
    figure = drawn()
    assert isinstance(figure, Drawing)
    words = [text.get_text() for text in figure.texts]
    assert any("A title" in text for text in words)
    assert any("made by: made --out …/x" in text for text in words)
    assert take_png(drawn, 20).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("bnparity sweep --out runs/lab", "bnparity sweep --out runs/lab"),
        ("bnparity sweep --out=/a/b --depths 1", "bnparity sweep --out=…/b --depths 1"),
        ("bnparity sweep '/a b/c d'", "bnparity sweep …/c d"),
        ("/usr/bin/python it's", "…/python it's"),
        ("bnparity lab --out ~/runs --only 'a b'", "bnparity lab --out …/runs --only 'a b'"),
        ("bnparity lab --out=/a/c=d/e ../../x/y", "bnparity lab --out=…/e …/y"),
        ("parity.lab.run_lab(LabConfig(frameworks=('jax',)))", "parity.lab.run_lab(LabConfig(frameworks=('jax',)))"),
    ],
)
def test_a_command_without_places(command: str, shown: str) -> None:
    assert without_places(command) == shown


def test_the_callers_settings_do_not_matter() -> None:
    plain = take_picture("figure", drawn, alt="alt", caption="caption")
    with matplotlib.rc_context({"svg.fonttype": "path", "savefig.dpi": 300, "font.size": 30}):
        assert take_picture("figure", drawn, alt="alt", caption="caption") == plain
