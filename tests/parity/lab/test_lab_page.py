"""The whole gallery: run, page and command."""

import ast
import os
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from html_page import Page
from lab_config import small_config, smallest_config, words

import parity.lab
from parity.cli import main
from parity.errors import InputError
from parity.lab import (
    PARTS,
    Code,
    LabConfig,
    LabReport,
    Plot,
    Section,
    Table,
    Text,
    run_lab,
    standardization,
    write_lab,
)
from parity.lab.page import render_section, to_html
from parity.lab.run import part_names
from parity.progress import SilentProgress

ATTACK = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def report() -> LabReport:
    """Both frameworks, and one that has nothing of what most parts need."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # most of the time is compilation
        return run_lab(smallest_config("jax", "torch", "lab_config:Broken"), command=f"bnparity lab '{ATTACK}'")


def test_the_whole_gallery(report: LabReport, tmp_path: Path) -> None:
    """One test, since its parts would run it in several processes."""
    every_part_is_there(report)
    what_fails_in_one_framework_is_said_and_the_others_are_shown(report)
    the_page_needs_nothing_beside_it(report, tmp_path)
    assert render_section(report.sections[0]).count("<figure ") == 2


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
    assert len(page.all("figure")) == len(plots) == len(set(plots))
    assert all(found["aria-label"] for found in page.all("div") if found.get("role") == "img")
    assert sorted(p.stem for p in (path.parent / "figures").iterdir()) == sorted(plots)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = {attributes["aria-labelledby"] for _, attributes in page.tags if "aria-labelledby" in attributes}
    anchors = {link["href"].removeprefix("#") for link in page.all("a") if link["href"].startswith("#")}
    assert labels | anchors <= set(ids)
    code = [block for section in report.sections for block in section.blocks if isinstance(block, Code)]
    assert {block.name for block in code} >= {"both_modes", "convolution_layer", "network_code", "training_code"}
    for listing in (listing for block in code for listing in block.listings.values()):
        assert listing.source in page.text
        assert listing.output in page.text
    assert len(page.all("math")) > 30
    cells = set(re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", path.read_text(encoding="utf-8")))
    assert {"JAX", "PyTorch"} <= cells
    assert cells.isdisjoint({"jax", "torch"})
    assert "$" not in page.text
    assert ATTACK in page.text
    assert "SYNTHETIC DATA" in page.text
    assert all(failure in page.text for failure in report.failures)


def test_parts_are_chosen_and_one_framework_is_compared_with_none(tmp_path: Path) -> None:
    report = run_lab(small_config("torch", parts=("standardization", "batch_norm")))
    assert [section.name for section in report.sections] == ["batch_norm", "standardization"]
    page = write_lab(report, tmp_path, dpi=25).read_text(encoding="utf-8")
    assert "Every experiment was run in each framework" not in page
    captions = [block.caption for section in report.sections for block in section.blocks if not isinstance(block, Text)]
    said = " ".join([*map(words, report.sections), *captions])
    assert [found for found in ("apart", "agree", "the other framework", "Lines are", "0e+00") if found in said] == []


def test_help_names_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(("lab", "--help"))
    shown = capsys.readouterr().out
    assert [name for name in part_names() if name not in shown] == []


def test_markdown_cannot_bring_markup_of_its_own() -> None:
    assert ATTACK not in to_html(f"*a* {ATTACK}")
    assert "<em>a</em>" in to_html("*a*")


@pytest.mark.parametrize("tex", [rf"\text{{{ATTACK}}}", r"\href{//a.example}{x}", r'\color{"onclick=x "}{<b>y</b>}'])
def test_a_formula_cannot_bring_markup_of_its_own(tex: str) -> None:
    page = Page(str(to_html(f"${tex}$")))
    assert {tag for tag, _ in page.tags} <= {"p", "span", "math", "mrow", "mtext", "mi", "mo", "mn", "mstyle"}
    names = {name for _, attributes in page.tags for name in attributes}
    assert names <= {"class", "xmlns", "display", "mathcolor", "stretchy"}


def test_what_is_no_formula_stands_as_it_is() -> None:
    assert "$x_1_2$" in Page(str(to_html("costs $x_1_2$ each"))).text


def test_formulas_are_typeset() -> None:
    found = to_html(r"Half, $\frac{1}{2}$, of a < b:" "\n\n$$\\sum_i x_i$$")
    assert '<math xmlns="http://www.w3.org/1998/Math/MathML" display="inline"' in found
    assert "<mfrac>" in found
    assert 'display="block"' in found
    assert "a &lt; b" in found


def test_two_frameworks_of_one_title_are_told_apart() -> None:
    report = run_lab(small_config("torch", "bntorch.backend:TorchBackend", parts=("batch_norm",)))
    (found,) = report.sections
    (code,) = (block for block in found.blocks if isinstance(block, Code))
    assert [*code.listings] == ["torch", "bntorch.backend:TorchBackend"]


def test_no_number_in_what_is_said_is_typed() -> None:
    """Formulas, code and names of dtypes aside, digits in text, captions and settings come out of braces."""
    typed = []
    for path in sorted(Path(parity.lab.__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        formats = {id(f.format_spec) for f in ast.walk(tree) if isinstance(f, ast.FormattedValue)}
        for node in ast.walk(tree):
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            said = isinstance(node, ast.JoinedStr) and id(node) not in formats
            if said or called in {"Text", "Table", "Plot", "lab_sheet", "panels"}:
                words = "".join(part.value for part in _literal_parts(node) if isinstance(part.value, str))
                words = re.sub(r"`[^`]*`|\$[^$]*\$|float(32|64)", "", words)
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
        (("--framework", "numpy"), ("numpy", "no tools", "--framework")),
        (("--dataset", "mnist"), ("'mnist'",)),
        (("--data-dir", "nowhere"), ("nowhere",)),
        (("--out", ""), ("--out must name a folder",)),
        (("--out", "file/inside"), ("cannot write to --out", "file/inside")),
        (("--depths", "3"), ("--depths",)),
        (("--parts", "all"), ("no part 'all'", "batch_norm", "phase_diagram")),
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
    [
        ("seeds", 0), ("batch_sizes", (1,)), ("curvature_depths", ()), ("curvature_depths", 8),
        ("diagram_depths", (0,)),
        ("diagram_depths", (10**6,)), ("diagram_rates", None), ("frameworks", ()), ("frameworks", "jax"),
        ("watched_updates", (3, 0)), ("watched_updates", (-1,)), ("watched_updates", (0.5,)), ("watched_updates", ()),
        ("fraction", 2), ("fraction", "0.1"), ("fraction", float("nan")), ("dataset", ["a"]), ("data_dir", None),
        ("curvature_samples", 1), ("gradient_samples", 1), ("gradient_width", 1), ("norm_batches", 1), ("parts", "all"),
    ],
)  # fmt: skip
def test_a_size_that_no_experiment_can_have_is_refused(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        LabConfig(**({"frameworks": ("jax",)} | {field: value}))  # type: ignore[arg-type]


def test_what_is_named_twice_is_run_once() -> None:
    config = LabConfig(frameworks=("jax", "jax"), diagram_depths=(1, 1, 2))
    assert (config.frameworks, config.diagram_depths) == (("jax",), (1, 2))


def test_more_samples_than_there_are_is_refused_before_anything_is_run() -> None:
    with pytest.raises(InputError, match=r"batch_sizes must be at most 10, .* got 32"):
        run_lab(small_config("numpy", fraction=0.001))


def test_a_framework_that_dies_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a framework cannot be run: it ended with exit status 3"):
        run_lab(small_config("numpy", "lab_config:Dying", parts=("batch_norm",)))


@pytest.mark.timeout(120)
def test_ctrl_c_does_not_wait_for_what_is_being_measured() -> None:
    class Interrupting(SilentProgress):
        def update(self, share: float, description: str) -> None:
            if description.startswith("torch"):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_lab(small_config("torch", "lab_config:Hanging", parts=("batch_norm",)), progress=Interrupting())


def test_a_figure_that_cannot_be_drawn_loses_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise ValueError("no ink")

    monkeypatch.setattr(standardization, "_draw", fail)
    report = run_lab(small_config("torch", parts=("standardization", "batch_norm")))
    (failure,) = report.failures
    assert failure.startswith("standardization: it cannot be shown, raised ValueError: no ink (at ")
    assert [len(section.blocks) > 1 for section in report.sections] == [True, False]


def test_a_folder_that_holds_a_sweep_or_a_users_file_keeps_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity.lab, "run_lab", lambda *arguments, **options: pytest.fail("it was run"))
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.sqlite").touch()
    (tmp_path / "other" / "report.html").mkdir(parents=True)
    arguments = ("lab", "--framework", "torch", "--dataset", "synthetic", "--out")
    for name, message in (("sweep", "holds a sweep"), ("other", "report.html is a folder there")):
        assert main((*arguments, str(tmp_path / name))) == 2
        assert message in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "sweep").iterdir()] == ["sweep.sqlite"]


@pytest.mark.parametrize(
    "text", ["![i](//a.example/i.png)", "[l](//a.example)", "<http://a.example>", "![i][r]\n\n[r]: //a.example"]
)
def test_text_leads_nowhere(text: str) -> None:
    page = Page(str(to_html(text)))
    assert {tag for tag, _ in page.tags} == {"p"}
    assert page.text.split() == text.split()


def devices(backend: Any) -> dict[str, str | None]:
    """What a side sees; it is called there."""
    del backend
    return {name: os.environ.get(name) for name in ("JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES")}


def test_the_gallery_stays_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with import_module("parity.lab.run")._open(LabConfig(frameworks=("torch",))) as sides:
        assert sides["torch"].call(devices) == {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
