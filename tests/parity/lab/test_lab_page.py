"""The whole gallery: run, page and command."""

import ast
import re
from pathlib import Path

import pytest
from html_page import Page
from lab_config import small_config

import parity.lab
from parity.cli import main
from parity.errors import InputError
from parity.lab import PARTS, LabConfig, LabReport, Plot, Section, Table, Text, run_lab, write_lab
from parity.lab.page import render_section, to_html

ATTACK = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def report() -> LabReport:
    """Both frameworks, and one that has nothing of what most parts need."""
    return run_lab(small_config("jax", "torch", "lab_config:Broken"), command=f"bnparity lab '{ATTACK}'")


def test_the_whole_gallery(report: LabReport, tmp_path: Path) -> None:
    """One test, since its parts would run it in several processes."""
    every_part_is_there(report)
    what_fails_in_one_framework_is_said_and_the_others_are_shown(report)
    the_page_needs_nothing_beside_it(report, tmp_path)
    assert render_section(report.sections[0], dpi=25).count("<img ") == 1


def every_part_is_there(report: LabReport) -> None:
    names = [part.__name__.rpartition(".")[2] for part, _ in PARTS]
    assert [section.name for section in report.sections] == names
    for section in report.sections:
        assert any(isinstance(block, Plot) for block in section.blocks), section.name
        assert any(isinstance(block, Table) for block in section.blocks), section.name
        assert any(isinstance(block, Text) for block in section.blocks), section.name
        assert "failed" not in section.blocks[0].markdown if isinstance(section.blocks[0], Text) else True
    assert {"jax", "torch", "flax"} <= set(report.environment)


def what_fails_in_one_framework_is_said_and_the_others_are_shown(report: LabReport) -> None:
    assert len(report.failures) == len(PARTS) - 1  # a sweep has rows for what crashed
    assert all(", lab_config:Broken: it " in failure for failure in report.failures)
    assert not any("\n" in failure for failure in report.failures)


def the_page_needs_nothing_beside_it(report: LabReport, tmp_path: Path) -> None:
    path = write_lab(report, tmp_path / "a folder", dpi=25)
    page = Page(path.read_text(encoding="utf-8"))
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "embed", "base", "form"})
    plots = [block.name for section in report.sections for block in section.blocks if isinstance(block, Plot)]
    assert len(page.all("img")) == len(plots) == len(set(plots))
    assert all(image["src"].startswith("data:image/png;base64,") and image["alt"] for image in page.all("img"))
    assert sorted(p.stem for p in (path.parent / "figures").iterdir()) == sorted(plots)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = {attributes["aria-labelledby"] for _, attributes in page.tags if "aria-labelledby" in attributes}
    anchors = {link["href"].removeprefix("#") for link in page.all("a") if link["href"].startswith("#")}
    assert labels | anchors <= set(ids)
    assert ATTACK in page.text
    assert "SYNTHETIC DATA" in page.text
    assert all(failure in page.text for failure in report.failures)


def test_markdown_cannot_bring_markup_of_its_own() -> None:
    assert ATTACK not in to_html(f"*a* {ATTACK}")
    assert "<em>a</em>" in to_html("*a*")


def test_no_number_in_what_is_said_is_typed() -> None:
    """Formulas in backticks and names of dtypes aside, digits in text, captions and settings come out of braces."""
    typed = []
    for path in sorted(Path(parity.lab.__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        formats = {id(f.format_spec) for f in ast.walk(tree) if isinstance(f, ast.FormattedValue)}
        for node in ast.walk(tree):
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            said = isinstance(node, ast.JoinedStr) and id(node) not in formats
            if said or called in {"Text", "Table", "Plot", "lab_sheet", "panels"}:
                words = "".join(part.value for part in _literal_parts(node) if isinstance(part.value, str))
                words = re.sub(r"`[^`]*`|float(32|64)", "", words)
                typed += [f"{path.name}: {found}" for found in re.findall(r".{0,20}\d.{0,20}", words)]
    assert typed == []


def _literal_parts(node: ast.AST) -> list[ast.Constant]:
    """The words of an f-string, not those of its formats and expressions."""
    if isinstance(node, ast.Constant):
        return [node]
    if isinstance(node, ast.JoinedStr):
        return [part for part in node.values if isinstance(part, ast.Constant)]
    return [part for child in ast.iter_child_nodes(node) for part in _literal_parts(child)]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--framework", "caffe"), ("no framework is named 'caffe'", "jax")),
        (("--framework", "numpy"), ("numpy", "jax")),
        (("--dataset", "mnist"), ("'mnist'",)),
        (("--data-dir", "nowhere"), ("nowhere",)),
        (("--out", ""), ("--out must name a folder",)),
        (("--out", "file/inside"), ("cannot write to --out", "file/inside")),
        (("--depths", "3"), ("--depths",)),
    ],
)
def test_bad_input_is_one_line_that_names_it(
    arguments: tuple[str, ...],
    named: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert main(("lab", *arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert [words for words in named if words not in err] == []


@pytest.mark.parametrize("failures", [(), ("batch_size, torch: it died",)])
def test_the_command_writes_the_page_and_says_where(
    failures: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[LabConfig] = []

    def run(config: LabConfig, *, command: str, **options: object) -> LabReport:
        asked.append(config)
        sections = (Section("a_part", "A part", "A *question*.", (Text("An answer."),)),)
        return LabReport(
            config=config, sections=sections, failures=failures, dataset="synthetic", environment={}, command=command,
            seconds=1.0,
        )  # fmt: skip

    monkeypatch.setattr(parity.lab, "run_lab", run)
    out = tmp_path / "lab"
    assert main(("lab", "--framework", "both", "--dataset", "synthetic", "--out", str(out))) == bool(failures)
    assert asked == [LabConfig(frameworks=("jax", "torch"), dataset="synthetic")]
    shown, complaints = capsys.readouterr()
    assert f"{out}/report.html" in shown.replace("\n", "")
    assert all(failure in complaints for failure in failures)
    page = (out / "report.html").read_text()
    assert "A <em>question</em>." in page
    assert "An answer." in page


@pytest.mark.parametrize(
    ("field", "value"),
    [("seeds", 0), ("batch_sizes", (1,)), ("curvature_depths", ()), ("diagram_depths", (0,)), ("frameworks", ())],
)
def test_a_size_that_no_experiment_can_have_is_refused(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        LabConfig(**({"frameworks": ("jax",)} | {field: value}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["![i](//a.example/i.png)", "[l](//a.example)", "<http://a.example>", "![i][r]\n\n[r]: //a.example"]
)
def test_text_leads_nowhere(text: str) -> None:
    page = Page(str(to_html(text)))
    assert {tag for tag, _ in page.tags} == {"p"}
    assert page.text.split() == text.split()
