"""The HTML page of a comparison: the verdict and the places first, and from each a way to its row of the tree."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from fake_compare_report import disagreeing
from html_page import Page

from parity.pair.records import CompareReport, Mark, Measured, ModuleRow, PairCause
from parity.pair.report import crashed
from parity.report.compare_depth import along_depth
from parity.report.compare_page import render_compare_page, write_compare_report
from parity.report.compare_tree import LONGEST, Node, grow
from parity.verdict.verdict import Verdict

ATTACK = "<script>alert(1)</script>"
REPORTS = {
    "disagree": disagreeing(),
    "agree": disagreeing(verdict=Verdict.AGREE, findings=()),
    "incomplete": disagreeing(verdict=Verdict.INCOMPLETE, findings=()),
    "crash": crashed("raised ValueError: no", {"python": "3.13"}),
}


def page(report: CompareReport) -> Page:
    return Page(render_compare_page(report))


def shown(report: CompareReport) -> str:
    """The text of a page, with a space between two elements."""
    body = render_compare_page(report).partition("<body>")[2]
    return " ".join(re.sub("<[^>]+>", " ", body).split())


def texts(node: Node) -> list[str]:
    """The names below a row, as they stand below one another."""
    return [text for each in node.within for text in (each.title.partition(";")[0], *texts(each))]


def at(report: CompareReport, title: str) -> Node:
    waiting = list(grow(report).top)
    while waiting:
        node = waiting.pop()
        if node.title.partition(";")[0] == title:
            return node
        waiting += node.within
    raise LookupError(title)


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_the_page_needs_nothing_beside_it_and_its_links_lead_somewhere(report: CompareReport, tmp_path: Path) -> None:
    write_compare_report(report, tmp_path / "r.html")
    found = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert {tag for tag, _ in found.tags}.isdisjoint({"script", "link", "iframe", "object", "embed", "base", "form"})
    assert not re.search(r"https?:|url\(|@import|src=", (tmp_path / "r.html").read_text())
    ids = [each["id"] for _, each in found.tags if "id" in each]
    assert len(ids) == len(set(ids))
    assert {each["href"] for each in found.all("a")} <= {f"#{name}" for name in ids}
    assert all(len(each["aria-label"]) > 60 for each in found.all("svg") if "aria-hidden" not in each)
    assert {each["aria-labelledby"] for _, each in found.tags if "aria-labelledby" in each} <= set(ids)


def test_the_verdict_and_the_places_come_first() -> None:
    first = shown(disagreeing()).partition("Where they part")[0]
    assert first.startswith("✘ DISAGREE the two part at 4 places A pair . 1,234 comparisons")
    assert "weights: blocks.0.b (block_0.b in the candidate) missing_bias: the candidate has no such tensor" in first
    assert (
        "backward: head (top in the candidate) unexplained: no cause that is known here reproduces it update" in first
    )
    assert "reference: one, candidate: another" in shown(
        disagreeing(environment={"reference": "one", "candidate": "another"})
    )


def test_each_finding_leads_to_its_row_and_the_row_back() -> None:
    report = disagreeing()
    tree = grow(report)
    rows = [at(report, title) for title in ("blocks.0.b", "between blocks.1.a and blocks.1.b", "head", "the model")]
    assert list(tree.anchors) == [row.anchor for row in rows]
    assert [row.findings for row in rows] == [[1], [2], [3], [4]]
    links = [each["href"] for each in page(report).all("a")]
    for number, row in enumerate(rows, 1):
        assert links.count(f"#finding-{number}") == 2  # in the list at the top, and in the row
        assert f"#{row.anchor}" in links


def test_a_tensor_that_only_the_candidate_has_is_at_no_row() -> None:
    report = disagreeing()
    alone = replace(report.findings[0], reference="", candidate="extra")
    report = replace(report, findings=(alone,))
    assert grow(report).anchors == ("",)
    assert at(report, "the model").findings == []


def test_the_tree_has_lists_of_modules_and_the_code_between_in_order() -> None:
    report = disagreeing()
    model, loss = grow(report).top
    assert loss.name == "code between the output of the model and the loss"
    assert texts(model) == [
        "blocks",
        "between the input of the model and blocks.0",
        "blocks.0",
        "between the input of blocks.0 and blocks.0.a",
        "blocks.0.a",
        "between blocks.0.a and blocks.0.b",
        "blocks.0.b",
        "between blocks.0.b and the output of blocks.0",
        "blocks.1",
        "blocks.1.a",
        "blocks.1.act",
        "between blocks.1.a and blocks.1.b",
        "blocks.1.b",
        "blocks.2",
        "blocks.2.a",
        "between blocks.2.a and the output of blocks.2",
        "between blocks.2 and head",
        "head",
    ]
    text = shown(report)
    assert "blocks ✘ 2 inside" in text
    assert "act Type2 – · no partner" in text
    assert [each.name for each in at(report, "blocks.0").within] == [
        "code between the input and a", "a", "code between a and b", "b", "code between b and the output",
    ]  # fmt: skip
    assert at(report, "blocks").within[0].name == "code between the input of the model and blocks.0"
    assert "1 Type1 block_1 ✘ 1 inside" in text  # its own code agrees, and yet no green mark says so


def test_a_row_says_how_far_off_it_is_as_its_finding_does() -> None:
    report = disagreeing()
    assert at(report, "the model").times_noise == 2e14  # the optimizer's; of what the model computes all agrees
    assert at(report, "between blocks.1.a and blocks.1.b").times_noise == 3.8e11
    assert at(report, "blocks.0.a").times_noise == 0.5
    infinite = replace(report, findings=(*report.findings[:3], replace(report.findings[3], times_noise=math.inf)))
    assert "the model Type0 the model ✘ differs finding 4 ✘ 3 inside ∞" in shown(infinite)


def test_names_of_any_kind_are_shown_and_neither_obeyed_nor_endless() -> None:
    evil = "\x1b]0;owned\x07\u202e" + "long" * 99
    modules = (ModuleRow(path=evil, type="T", candidate=evil, mark=Mark.AGREES, times_noise=0.1),)
    report = disagreeing(
        findings=(), modules=modules, stretches=(), weights={evil: disagreeing().weights["head.weight"]}
    )
    report = replace(report, measured=tuple(replace(each, path=evil, module=evil) for each in report.measured))
    text = render_compare_page(replace(report, drawn=(evil,), not_compared=(evil,)))
    assert "\u202e" not in text
    assert "\ufffd" not in text
    assert r"\x1b]0;owned\x07\u202e" in text
    (node,) = grow(report).top[0].within
    assert max(len(node.name), len(node.candidate)) <= LONGEST
    assert "longlong" * 40 in node.title


def test_a_large_tree_is_open_where_something_is_to_be_seen() -> None:
    def row(path: str, mark: Mark = Mark.AGREES) -> ModuleRow:
        return ModuleRow(path=path, type="T", candidate=path, mark=mark, times_noise=0.1)

    many = [row(f"more.{i}.{name}") for i in range(30) for name in "ab"]
    more = (row("more"), *many, row("odd"), row("odd.a", Mark.NOT_COMPARED))
    small, large = (disagreeing(modules=(*disagreeing().modules, *added)) for added in ((), more))
    assert all(at(small, path).is_open for path in ("blocks.0", "blocks.2"))
    seen = {path: at(large, path).is_open for path in ("blocks", "blocks.0", "blocks.1", "blocks.2", "more", "odd")}
    assert seen == {"blocks": True, "blocks.0": True, "blocks.1": True, "blocks.2": False, "more": False, "odd": True}
    details = page(large).all("details")
    assert (
        len([each for each in details if "open" not in each]) == 1 + 1 + 30 + 2
    )  # the map of tensors, and how it was made


def test_what_agrees_in_a_long_list_is_one_row_but_for_the_neighbours_of_what_differs() -> None:
    report = disagreeing()
    layers = [
        ModuleRow(path=f"layers.{i}", type="T", candidate=f"l_{i}", mark=Mark.AGREES, times_noise=0.1)
        for i in range(100)
    ]
    for off, rows in (
        (50, ["0 … 47 (48 rows)", "48", "49", "50", "51", "52", "53 … 99 (47 rows)"]),
        (5, ["0", "1", "2", "3", "4", "5", "6", "7", "8 … 99 (92 rows)"]),
    ):
        marked = [replace(row, mark=Mark.DIFFERS) if row.path == f"layers.{off}" else row for row in layers]
        tree = at(replace(report, modules=(*report.modules, *marked)), "layers")
        assert [each.name for each in tree.within] == rows
    folded = tree.within[-1]
    assert not folded.is_open
    assert (folded.within[0].title, folded.within[-1].title) == ("layers.8", "layers.99")
    flat = disagreeing(findings=(), stretches=(), modules=[replace(row, path=row.path[7:]) for row in layers])
    assert [each.name for each in at(flat, "the model").within] == ["0 … 99 (100 rows)"]
    assert "0 … 99 (100 rows) ✔ all agree" in shown(flat)


def test_every_value_is_in_the_figure_and_what_is_off_has_the_number_of_its_finding() -> None:
    report = disagreeing()
    chart = along_depth(report)
    assert chart is not None
    assert [panel.title for panel in chart.panels] == ["forward", "backward", "gradients"]
    assert sum(len(panel.points) for panel in chart.panels) == len(report.measured)
    off = [(panel.title, point.finding) for panel in chart.panels for point in panel.points if point.is_off]
    assert off == [("forward", None), ("forward", 2), ("backward", 3)]  # the number once, where it is furthest off
    forward, backward, gradients = (panel.points for panel in chart.panels)
    assert forward[0].y == chart.panel  # 0 is at the bottom, and at the top what is off by all of its size
    assert backward[0].y < forward[0].y / 8
    assert gradients[0].x == max(point.x for point in forward)  # a module's tensors are at its end
    assert "blocks.1.b input, evaluation: relative error 0.0002; limit 1e-14" in {each.title for each in forward}
    assert [name for _, name in chart.names][:2] == ["blocks.0", "blocks.0.a"]
    source = render_compare_page(report)
    assert source.count("<title>") == 1 + len(report.measured)
    assert along_depth(replace(report, measured=())) is None


def test_many_modules_are_named_by_what_holds_them() -> None:
    report = disagreeing()
    some = report.measured[:2]
    many = [replace(each, path=f"s.{i}.{each.path}", module=f"s.{i}.a") for i in range(40) for each in some]
    chart = along_depth(replace(report, measured=(*report.measured, *many)))
    assert chart is not None
    names = [name for _, name in chart.names]  # of 44 each second, since "blocks", "head" and "s" say too little
    assert names == ["blocks.0", "blocks.2", *(f"s.{number}" for number in range(0, 40, 2))]
    wide = [replace(each, path=f"w{i} output", module=f"w{i}.a") for i in range(10) for each in some]
    chart = along_depth(replace(report, measured=(*wide, *many)))
    assert chart is not None
    names = [name for _, name in chart.names]  # those of the first level are enough, as far as there is room
    assert {"w0", "w8", "s"} <= set(names) <= {*(f"w{i}" for i in range(10)), "s"}


def test_the_limit_of_a_value_is_drawn_at_its_own_place_alone() -> None:
    report = disagreeing()
    noisy = Measured(
        path="blocks.0.a.bias", module="blocks.0.a", kind="gradient", mode="train", relative=0.5, limit=2.0
    )
    chart = along_depth(replace(report, measured=(*report.measured, noisy)))
    assert chart is not None
    assert chart.has_noise
    corners = [tuple(map(float, found)) for found in re.findall(r"L([\d.]+) ([\d.]+)", chart.panels[-1].limit)]
    assert corners[-2][0] == pytest.approx(chart.right, abs=0.05)  # it reaches over the last place too
    edge = [y for _, y in corners]
    assert sum(y < chart.panel / 8 for y in edge) == 2  # both corners of one place
    plain = along_depth(report)
    assert plain is not None
    assert not plain.has_noise
    assert "A grey column" not in shown(report)
    assert [label for _, label in plain.lines] == ["1", "1e-6", "1e-12", "0"]
    assert [label for _, label in chart.lines] == ["1", "1e-6", "1e-12", "0"]


def test_what_was_not_compared_comes_first_where_it_is_the_verdict() -> None:
    for verdict, order in ((Verdict.INCOMPLETE, 1), (Verdict.AGREE, -1)):
        text = shown(disagreeing(verdict=verdict, findings=()))
        places = [text.index("nothing of that"), text.index("module of the reference")]
        assert places == sorted(places, reverse=order < 0)
        assert "candidate: softmax gives float32 at port.py:7" in text


def test_the_weight_map_is_a_table_of_both_names_and_how_and_why() -> None:
    assert "head.weight top.kernel transposed names" in shown(disagreeing()).partition("Which tensor is which")[2]
    text = shown(disagreeing(drawn=tuple(f"norm{i}.bias" for i in range(400))))
    assert "400 of them hold random numbers here" in text


def test_active_text_comes_out_escaped() -> None:
    report = disagreeing()
    cause = PairCause(name=ATTACK, evidence=f'"{ATTACK}', remedy=ATTACK)
    hostile = replace(
        report,
        findings=tuple(
            replace(each, value=ATTACK, agrees=ATTACK, cause=cause, source={"reference": ATTACK})
            for each in report.findings
        ),
        modules=tuple(replace(each, path=f"{each.path}{ATTACK}", type=ATTACK) for each in report.modules),
        measured=tuple(replace(each, path=f'"{ATTACK}') for each in report.measured),
        title=ATTACK,
        not_compared=(ATTACK,),
        environment={ATTACK: ATTACK},
        command=ATTACK,
    )  # fmt: skip
    found = page(hostile)
    assert found.all("script") == []
    assert found.text.count(ATTACK) > 40


def test_a_candidate_that_could_not_be_played_has_a_page() -> None:
    text = shown(REPORTS["crash"])
    assert "DISAGREE the candidate could not be run" in text
    assert "Both models run on the same batch" not in text
    assert "1. crash the candidate raised ValueError: no" in text
    assert "Nothing was compared: it never came to that." in text
    assert "Nothing was left out" in shown(disagreeing(not_compared=()))
