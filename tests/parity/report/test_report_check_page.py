"""The HTML page of a check: one safe file, with the verdict first."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_check_report import agreeing, change, crashed, disagreeing, running_free
from places import at

from parity.check.config import CheckConfig
from parity.check.records import (
    CANDIDATE,
    REFERENCE,
    WITNESS,
    Cause,
    CheckReport,
    Measurement,
    Question,
    Setting,
)
from parity.errors import InputError
from parity.report import write_check_report
from parity.report.check_figures import answering, check_figures
from parity.report.check_page import LONGEST_MESSAGE
from parity.report.check_series import groups_of
from parity.report.check_tables import tables
from parity.verdict.trace import Key, Kind, Mode
from parity.verdict.verdict import Verdict

ATTACK = "<script>alert(1)</script>"
LOSS = Key(3, Mode.TRAIN, Kind.LOSS, "loss")
VOID = {"meta", "img", "br", "link", "input"}
REPORTS: dict[str, Callable[[], CheckReport]] = {
    "agree": lambda: agreeing((1,)), "disagree": lambda: disagreeing((1,)), "crash": crashed, "free": running_free,
}  # fmt: skip


class Page(HTMLParser):
    """Tags with their attributes, the text in order, and whether every tag is closed in its turn."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def write(report: CheckReport, folder: Path) -> Page:
    path = folder / "check.html"
    write_check_report(report, path)
    return Page(path.read_text(encoding="utf-8"))


def write_source(report: CheckReport, folder: Path) -> str:
    write(report, folder)
    return (folder / "check.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("make", REPORTS.values(), ids=REPORTS)
def test_the_page_needs_nothing_beside_it(make: Callable[[], CheckReport], tmp_path: Path) -> None:
    page = write(make(), tmp_path)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "embed", "base", "form"})
    links = [
        v for _, found in page.tags for name, v in found.items() if name in ("src", "href", "srcset", "xlink:href")
    ]
    assert all(link.startswith("#") for link in links)
    source = (tmp_path / "check.html").read_text()
    assert not re.search(r"https?:|url\([^#]|@import", source)
    assert [path.name for path in tmp_path.iterdir()] == ["check.html"]


@pytest.mark.parametrize("make", REPORTS.values(), ids=REPORTS)
def test_it_can_be_read_without_seeing(make: Callable[[], CheckReport], tmp_path: Path) -> None:
    page = write(make(), tmp_path)
    assert page.all("html") == [{"lang": "en"}]
    assert all(len(found["aria-label"]) > 60 for found in page.all("div") if found.get("role") == "img")
    assert all("scope" in header for header in page.all("th"))
    ids = [found["id"] for _, found in page.tags if "id" in found]
    assert len(ids) == len(set(ids))
    assert {found["aria-labelledby"] for _, found in page.tags if "aria-labelledby" in found} <= set(ids)


def before_figures(page: Page) -> str:
    return page.text[: page.text.index("Figure 1.")]


def test_a_disagreement_comes_with_its_numbers_first(tmp_path: Path) -> None:
    report = disagreeing((8,))
    top = before_figures(write(report, tmp_path))
    for words in (
        "DISAGREE", "jax does not compute what torch computes", "semantic: both take the same step",
        "step 0, layer 0, running variance: off by", "2.5e+12 times the noise floor, where 128 times is the limit",
        "candidate against reference", "or check with --running-variance biased",
        "biased_running_variance, in the candidate",
        "increment ratio 0.96875 = 31/32",
        "fast_variance", f"{report.comparisons:,} comparisons",
    ):  # fmt: skip
        assert words in " ".join(top.split())
    assert top.split().index("DISAGREE") < top.split().index("failed")


def test_what_was_not_compared_is_not_folded(tmp_path: Path) -> None:
    source = write_source(disagreeing((1,)), tmp_path)
    assert "torch does not show them" in source
    assert source.index("torch does not show them") < source.index("<details>")


@pytest.mark.parametrize(
    ("make", "headings"),
    [
        (lambda: disagreeing((1,)), ["Where", "How far", "Why"]),
        (lambda: agreeing((1,)), ["How far off, by layer", "How small an error would be seen"]),
        (running_free, ["Where, and how far"]), (crashed, []),
    ],
)  # fmt: skip
def test_three_figures_answer_and_the_others_are_folded(
    make: Callable[[], CheckReport], headings: list[str], tmp_path: Path
) -> None:
    report = make()
    source = write_source(report, tmp_path)
    shown = re.sub("<details>.*?</details>", "", source, flags=re.DOTALL)
    assert re.findall("<h2>(Where.*?|How far.*?|How small.*?|Why)</h2>", shown) == headings
    assert shown.count("<figure ") == len(headings)
    assert source.count("<figure ") == len(list(check_figures(report, groups_of(report))))
    numbers = re.findall(r"Figure (\d+)\. ", source)
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]


@pytest.mark.parametrize(
    ("failed", "expected"),
    [
        (Question.INPUTS, {"inputs_by_layer": "Where, and how far"}),
        (Question.SEMANTIC, {"semantic_by_layer": "Where", "semantic_relative": "How far"}),
        (Question.PRECISION, {"precision_by_layer": "Where", "precision_relative": "How far"}),
        (Question.FREE_RUN, {"free_run": "Where, and how far"}),
        (Question.STATISTICAL, {"statistical": "Where, and how far"}),
        (Question.CRASH, {}),
    ],
)
def test_figures_answer_for_no_other_question_than_the_failed(failed: Question, expected: dict[str, str]) -> None:
    every = [f"{q}_{kind}" for q in ("inputs", "semantic", "precision") for kind in ("by_layer", "by_step", "relative")]
    names = [*every, "free_run", "statistical", "cause_1"]
    undrawable = Cause(name="unexplained", evidence="nothing fits", side="candidate")
    report = replace(disagreeing((1,)), failed_question=failed, cause=undrawable)
    # The first cause that can be drawn may be another one than the cause.
    assert answering(report, names) == expected
    drawable = replace(undrawable, predicted=np.ones(3), observed=np.ones(3))
    assert answering(replace(report, cause=drawable), names) == expected | {"cause_1": "Why"}


def test_frameworks_are_named_as_their_makers_write_them(tmp_path: Path) -> None:
    report = replace(disagreeing((1,)), titles={"jax": "JAX", "torch": "PyTorch"})
    page = write(report, tmp_path)
    assert "JAX does not compute what PyTorch computes" in page.text
    assert "Candidate JAX, reference PyTorch" in page.text


def test_an_agreement_comes_with_its_limits_and_sensitivities(tmp_path: Path) -> None:
    report = agreeing((1, 8))
    page = write(report, tmp_path)
    assert "DISAGREE" not in page.text
    assert "AGREE jax computes what torch computes" in " ".join(before_figures(page).split())
    assert f"{report.comparisons:,} comparisons" in before_figures(page)
    top = page.text
    for question in (Question.SEMANTIC, Question.PRECISION):
        assert f"sure to be caught in a natural step is {report.sensitivity(question):.2g}" in top
        for setting in report.settings(question):
            worst = report.worst(question, setting)
            assert worst is not None
            assert f"{report.sensitivity(question, setting):.2g}" in top
            assert f"{worst.times_noise:.3g}" in top


def test_an_incomplete_check_says_what_could_not_be_asked_and_how_to_ask_for_less(tmp_path: Path) -> None:
    line = "semantic was not asked of the candidate jax, which does not offer float64; ask for less with --questions x"
    report = agreeing((1,), verdict=Verdict.INCOMPLETE, not_asked=(line, "more"))
    top = " ".join(before_figures(write(report, tmp_path)).split())
    assert f"INCOMPLETE {line}" in top
    assert "What could not be asked" in top
    assert "computes what" not in top
    assert "cause" not in top


def test_what_was_accepted_stands_before_everything_else(tmp_path: Path) -> None:
    report = agreeing((1,), config=CheckConfig(depths=(1,), accept=("fast_variance",)))
    assert "fast_variance; the reference is played with what is accepted" in before_figures(write(report, tmp_path))


def test_a_crash_shows_what_the_side_said(tmp_path: Path) -> None:
    page = write(crashed(), tmp_path)
    assert "raised ValueError: shapes (32, 64) and (32, 10) do not match" in page.text
    assert "Nothing: it never came to that." in page.text
    assert page.all("svg") == page.all("table") == []


def test_a_message_that_is_the_evidence_is_not_repeated(tmp_path: Path) -> None:
    report = replace(disagreeing((1,)), message="the twins stayed together")
    assert "Message" in write(report, tmp_path).text
    assert report.cause is not None
    same = replace(report, message=report.cause.evidence)
    assert "Message" not in write(same, tmp_path).text


def test_a_very_long_message_is_cut_and_says_so(tmp_path: Path) -> None:
    page = write(crashed("x" * (LONGEST_MESSAGE + 5) + "END"), tmp_path)
    assert "[8 more characters are left out]" in page.text
    assert "END" not in page.text


def test_active_text_comes_out_escaped(tmp_path: Path) -> None:
    cause = Cause(name=ATTACK, evidence=ATTACK, side=ATTACK, predicted=np.ones(3), observed=np.ones(3), axes=ATTACK)
    hostile = replace(
        running_free(), candidate=ATTACK, reference=f'"{ATTACK}', message=ATTACK, not_compared=(ATTACK,), cause=cause,
        other_causes=(cause,), command=ATTACK, environment={ATTACK: {f'" onload="{ATTACK}': ATTACK}},
    )  # fmt: skip
    page = write(
        change(hostile, lambda m: m.order == 0, key=at(ATTACK), pair=(ATTACK, ATTACK), times_noise=1e9), tmp_path
    )
    assert page.all("script") == []
    assert [found for _, found in page.tags if "onload" in found] == []
    assert page.text.count(ATTACK) > 20


@pytest.mark.parametrize(
    "name", ["結果 🎲", "a\x00b\x1b[31m", "line\nbreak", "\udcff", "\u202egnp", "$x^{", "n" * 500, ""]
)
def test_odd_names_do_no_harm(name: str, tmp_path: Path) -> None:
    report = replace(disagreeing((1,)), candidate=name, message=name, command=f"bnparity check {name}")
    page = write(report, tmp_path)
    assert "DISAGREE" in page.text
    assert not re.search("[\x00-\x08\x0e-\x1f]", page.text)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_has_words(value: float, tmp_path: Path) -> None:
    report = change(disagreeing((1,)), lambda m: m.tensor == "loss", times_noise=value, distance=value, floor=value,
                    size=value)  # fmt: skip
    page = write(replace(report, first_divergence=next(m for m in report.measurements if m.tensor == "loss")), tmp_path)
    assert "step 0, loss: off where the reference is not finite" in page.text
    assert f"{'not a number' if math.isnan(value) else 'infinite'} times the noise floor" in page.text


def test_the_tables_hold_the_worst_and_the_first_beyond() -> None:
    report = disagreeing((8,))
    found = {table.name: table for table in tables(report, groups_of(report))}
    assert list(found) == ["beyond_semantic"]
    table = found["beyond_semantic"].table
    assert table.header[0] == "where"
    assert [row[table.header.index("candidate to reference")] for row in table.rows] == ["2.5e+12"] * 20
    assert "depth 8" in table.constant
    rows = [row[0] for row in table.rows]
    assert rows[:9] == [f"step 0, layer {i}, running variance" for i in range(8)] + [
        "step 1, layer 0, running variance"
    ]
    assert len(rows) == 20
    assert "the first 20 of 120" in found["beyond_semantic"].note


def three_pairs(key: Key, noises: tuple[float, float, float], **changes: Any) -> list[Measurement]:
    pairs = (CANDIDATE, WITNESS), (CANDIDATE, REFERENCE), (REFERENCE, WITNESS)
    setting = Setting(depth=1, batch_norm=True, seed=0)
    fields = {"order": 3, "distance": 1.0, "floor": 1.0, "size": 1.0, "step": 3} | changes
    return [
        Measurement(question=Question.SEMANTIC, setting=setting, pair=pair, key=key, times_noise=noise, **fields)
        for pair, noise in zip(pairs, noises, strict=True)
    ]


def rows_of(*measurements: Measurement, name: str = "beyond_semantic") -> list[dict[str, str]]:
    report = replace(disagreeing((1,)), measurements=measurements)
    found = {table.name: table.table for table in tables(report, groups_of(report))}
    return [dict(zip(found[name].header, row, strict=True)) for row in found[name].rows]


def test_the_sides_of_a_tensor_stand_in_one_row_and_who_is_innocent_stays() -> None:
    (row,) = rows_of(*three_pairs(LOSS, (9e11, 8e11, 2.0)))
    assert row["candidate to NumPy"] == "9e+11"
    assert row["candidate to reference"] == "8e+11"
    assert row["reference to NumPy"] == "2"


def test_two_tensors_of_one_place_keep_their_numbers() -> None:
    given, carried = three_pairs(LOSS, (9e11, 9e11, 1.0)), three_pairs(LOSS, (200.0, 200.0, 1.0), shared=False)
    first, second = rows_of(*given, *carried)
    assert (first["where"], first["candidate to NumPy"]) == ("step 3, loss", "9e+11")
    assert (second["where"], second["candidate to NumPy"]) == ("step 3, loss, carried on", "200")
    again = rows_of(*given, *three_pairs(LOSS, (300.0, 300.0, 1.0)))
    assert [row["candidate to NumPy"] for row in again] == ["9e+11", "300"]


def test_the_tensor_that_is_furthest_off_is_first() -> None:
    near, far = three_pairs(LOSS, (1.0, 2.0, 0.5)), three_pairs(LOSS, (0.1, 0.2, 5.0), order=4)
    report = replace(agreeing((1,)), measurements=(*near, *far))
    (table,) = (found.table for found in tables(report, groups_of(report)) if found.name == "worst")
    column = table.header.index("reference to NumPy")
    assert [row[column] for row in table.rows] == ["5", "0.5"]


def test_hundreds_of_settings_are_all_in_the_table_and_the_worst_in_the_figures(tmp_path: Path) -> None:
    page = write(agreeing((1,), seeds=60), tmp_path)
    assert "Show all 240 rows" in page.text
    assert "Drawn are 12 of 120" in page.text
    assert len(page.all("tr")) == 1 + 240 + 1 + 20


def test_it_holds_configuration_environment_and_command(tmp_path: Path) -> None:
    page = write(disagreeing((1,)), tmp_path)
    tail = page.text[page.text.index("How this was made") :]
    for words in ("learning rate", "0.1", "sampled steps", "0, 3, 10", "jax: 0.10.2; x64: on", "--candidate jax"):
        assert words in tail
    assert "num hidden layers" not in tail


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "check.html"
    write(crashed(), tmp_path)
    before = path.read_bytes()
    with pytest.raises(InputError, match="cannot write"):
        write_check_report(crashed("other"), tmp_path / "missing" / "check.html")
    assert path.read_bytes() == before
