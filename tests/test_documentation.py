"""The README and the documentation show what is there, and what they say to run runs."""

import contextlib
import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from parity.bench.answers import answers as answers_of_bench
from parity.bench.config import BenchConfig, Case
from parity.bench.records import BenchReport, Row
from parity.cli import parse
from parity.commands.sweep import PRESETS
from parity.pair.explain import acceptable
from parity.report.boundaries import BOUNDARIES, boundary_table
from parity.report.sweep_answers import answers
from parity.sweep import Group, SweepConfig
from parity.sweep.records import Outcome, SweepReport, Threshold

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if path.name != "commands.md"  # which is written when the documentation is built
}
EVERYTHING = "\n".join(PAGES.values())
LONGEST_README = 150


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.DOTALL)


def commands(page: str) -> list[str]:
    """What a reader is told to type, with lines that go on joined."""
    lines = [line for block in blocks(page, "console") for line in block.replace("\\\n", " ").splitlines()]
    return [line.removeprefix("$ ").split("#")[0].strip() for line in lines if line.startswith("$ ")]


def test_the_readme_is_short_and_begins_with_the_three_questions() -> None:
    lines = PAGES["README.md"].splitlines()
    assert len(lines) <= LONGEST_README
    questions = [line for line in lines if line.startswith("#") and line.endswith("?")]
    assert len(questions) == 4  # the last is whether the answers are to be trusted
    assert "31/32" in PAGES["README.md"]


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", PAGES[page])
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md"])
def test_every_path_that_a_page_names_exists(page: str) -> None:
    folders = "parity|bnjax|bntorch|tests|benchmarks|examples|docs|scripts"
    paths = re.findall(rf"`((?:{folders})/[\w/.]+)`", (ROOT / page).read_text(encoding="utf-8"))
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_every_python_example_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As written, one after the other as a reader would run them."""
    monkeypatch.chdir(tmp_path)
    variables: dict[str, object] = {}
    for example in blocks(page, "python"):
        # The data set and the number of passes are the reader's to choose; a small choice tests the same calls.
        small = example.replace('"fashion-mnist"', '"synthetic"').replace("range(5)", "range(1)")
        exec(small, variables)


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_every_command_can_be_parsed_and_names_files_that_are_there(page: str) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for command in commands(page):
        program, *arguments = shlex.split(command.removesuffix("&"))
        if program == "make":
            assert set(arguments) <= targets, command
        elif program == "bnparity":
            parse(arguments)
            assert [word for word in arguments if word.startswith("examples/") and not (ROOT / word).exists()] == []
        else:
            assert program in ("pip", "dask", "."), command


def in_shell(command: str, folder: Path, seconds: float = 500, where: Path | None = None) -> tuple[int, str]:
    """The exit status and what a command of a page prints into a file of `folder`; what it starts ends with it."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "80"}
    output = (folder / "output").open("wb")
    with output, subprocess.Popen(
        ["bash", "-ec", command], cwd=where or folder, env=environment, stdout=output, stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as shell:  # fmt: skip
        try:
            status = shell.wait(seconds)
        finally:  # a scheduler and its workers go on
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
    return status, (folder / "output").read_text()


def without_numbers(text: str) -> list[str]:
    """The lines of a text, each number a sign, and progress left out."""
    lines = [line for line in text.splitlines() if not re.match(r"\s*\d+% ", line)]
    joined = " ".join(" ".join(lines).split())
    return re.sub(r"\d[\d.]*(e[-+]\d+)?", "#", joined).split()


def test_the_quickstart_on_two_models_shows_what_a_reader_gets(tmp_path: Path) -> None:
    page = "docs/quickstart/compare.md"
    (pair,), (shown,) = blocks(page, "python"), blocks(page, "console")
    (tmp_path / "pair.py").write_text(pair)
    command, _, output = shown.partition("\n")
    status, found = in_shell(command.removeprefix("$ "), tmp_path)
    assert status == 1, found
    assert without_numbers(found) == without_numbers(output)
    readme = PAGES["README.md"].split("$ bnparity compare pair.py\n")[1].split("```")[0]
    for part in readme.split("...\n"):
        assert " ".join(without_numbers(part)) in " ".join(without_numbers(found))
    mended = pair.replace("nn.gelu(nn.Dense(32)(x))", "nn.gelu(nn.Dense(32)(x), approximate=False)")
    (tmp_path / "pair.py").write_text(mended.replace("nn.LayerNorm()", "nn.LayerNorm(epsilon=1e-5)"))
    status, found = in_shell(command.removeprefix("$ "), tmp_path)
    assert status == 0, found
    assert found.count("AGREE") == 1


@pytest.mark.parametrize(
    "shown", [block for block in blocks("docs/guides/port.md", "console") if "\n" in block.strip()]
)
def test_the_guide_to_ports_shows_what_its_examples_say(shown: str, tmp_path: Path) -> None:
    command, _, output = shown.partition("\n")
    status, found = in_shell(command.removeprefix("$ "), tmp_path, where=ROOT)
    assert status == 0, found
    assert " ".join(without_numbers(output.removesuffix("...\n"))) in " ".join(without_numbers(found))


@pytest.mark.fashion_mnist
def test_the_quickstart_on_sweeps_runs(tmp_path: Path) -> None:
    (command,) = commands("docs/quickstart/sweep.md")
    status, found = in_shell(command, tmp_path)
    assert status == 0, found
    assert "with batch norm the smallest divergent learning rate is" in found
    assert (tmp_path / "runs" / "first" / "report.html").exists()


def lab_report() -> SweepReport:
    """What the lab preset found, from its table of boundaries."""
    with (ROOT / "benchmarks" / "lab_thresholds.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = ("largest_stable", "smallest_divergent", "largest_useful")
    rates: list[dict[str, Any]] = [{name: float(row[name]) for name in names if row[name]} for row in rows]
    thresholds = [
        Threshold(
            group=Group(row["framework"], int(row["depth"]), row["batch_norm"] == "on", int(row["seed"])),
            outcome=Outcome(row["outcome"]),
            **found,
        )
        for row, found in zip(rows, rates, strict=True)
    ]
    config = SweepConfig.from_words(vars(PRESETS["lab"]) | {"framework": ("jax", "torch")})
    return SweepReport(
        config=config, trials=(), thresholds=tuple(thresholds), dataset=config.dataset, label_entropy=2.3,
        environment={}, command="", titles={"jax": "JAX", "torch": "PyTorch"},
    )  # fmt: skip


def test_the_lab_presets_answer_and_tables_are_what_was_found() -> None:
    report, page = lab_report(), PAGES["docs/explanations/divergence.md"]
    assert len(report.thresholds) == 11 * 2 * 2 * 3
    for sentence in answers(report):
        assert sentence in page
        assert sentence in PAGES["README.md"]
    for boundary in BOUNDARIES:
        for row in boundary_table(report, boundary):
            assert f"| {row.depth} | {' | '.join(row.texts())} |" in page


def test_every_extra_that_it_names_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = set(re.findall(r"'\.\[(\w+)\]'", EVERYTHING))
    assert named
    assert named <= set(project["optional-dependencies"])


def test_its_figures_on_survival_are_those_of_the_benchmarks() -> None:
    for framework in ("jax", "torch"):
        counts = json.loads((ROOT / "benchmarks" / f"survive_kills_{framework}.json").read_text())
        assert f"{counts['looked_at']:,} in " in EVERYTHING
        assert counts["kills"] == 100
        names = ("lost", "repeated", "altered", "tables_that_differ", "lines_of_traceback")
        assert [counts[name] for name in names] == [0] * len(names)
    fuzzed = json.loads((ROOT / "benchmarks" / "fuzz.json").read_text())
    assert f"{fuzzed['cases']:,} cases, {fuzzed['failures']} failures" in EVERYTHING
    assert fuzzed["cases"] >= 100_000


def test_its_figures_on_the_check_itself_are_those_of_the_benchmark() -> None:
    found = json.loads((ROOT / "benchmarks" / "self_test.json").read_text())
    assert found["passed"]
    assert f"({found['faults']} cases with a fault and {found['variants']} honest ones" in EVERYTHING
    for score in found["scores"]:
        caught, flagged = (score[name] for name in ("faults_caught", "variants_flagged"))
        named = score["faults_named"] or ""
        line = f"| {score['rule']} | {caught} of {found['faults']} | {named} | {flagged} of {found['variants']} |"
        assert line in EVERYTHING


def test_its_figures_on_faults_that_the_check_has_not_seen_are_those_of_the_benchmark() -> None:
    ports = {
        "stock PyTorch": "stock torch", "a norm written by hand in PyTorch": "handwritten torch",
        "stock Flax and optax": "stock flax", "plain JAX": "plain jax",
    }  # fmt: skip
    every = json.loads((ROOT / "benchmarks" / "unseen_faults.json").read_text())["rows"]
    assert all(row["right"] for row in every)
    seen = 0
    for words, port in ports.items():
        rows = [row for row in every if row["port"].lower() == port]
        faults, honest = [r for r in rows if r["caught"] is not None], [r for r in rows if r["caught"] is None]
        caught, misplaced = sum(r["caught"] for r in faults), sum(r["placed"] is False for r in faults)
        named, unexplained, wrong = (sum(r["naming"] == n for r in faults) for n in ("named", "unexplained", "wrong"))
        flagged = sum(not r["right"] for r in honest)
        line = f"| {words} | {caught} of {len(faults)} | {misplaced} | {named} | {unexplained} | {wrong} |"
        assert f"{line} {flagged} of {len(honest)} |" in EVERYTHING
        seen += len(rows)
    assert seen == len(every)


def test_the_table_of_pairs_is_what_was_measured() -> None:
    found = json.loads((ROOT / "benchmarks" / "pair_faults.json").read_text())
    assert found["passed"]
    assert not found["left_out"]
    table = EVERYTHING[EVERYTHING.index("| PyTorch against JAX |") :].partition("\n\n")[0]
    kinds = [row["kind"] for row in found["rows"] if row["fault"] is None]
    assert len(table.splitlines()) == 2 + len(kinds)
    for kind in kinds:
        rows = [row for row in found["rows"] if row["kind"] == kind]
        (honest,), faults = [r for r in rows if r["fault"] is None], [r for r in rows if r["fault"] is not None]
        agree = f"{honest['comparisons'] - honest['flagged']} of {honest['comparisons']}"
        placed, named = (sum(row[what] for row in faults) for what in ("placed", "named"))
        assert f"| {agree} | {honest['worst']} | {placed} of {len(faults)} | {named} |" in table
    assert f"plants {found['faults']} faults" in EVERYTHING


def test_its_first_table_of_speed_is_what_was_measured() -> None:
    found = json.loads((ROOT / "benchmarks" / "bench.json").read_text())
    assert found["trusted"]
    lab = {"width": 64, "batch_size": 32, "batch_norm": True}
    shown = [
        ("eager_loop", 1),
        ("compiled_step", 1),
        ("population_eager", 32),
        ("jit_step", 1),
        ("population_sharded", 16),
    ]
    for depth in (1, 8, 25):
        rows = [row for row in found["rows"] if row["depth"] == depth and lab.items() <= row.items()]
        timed = {
            (row["mode"], row["population"]): row for row in reversed(rows)
        }  # the loops are timed again at depth 8
        cells = [f"{timed[mode]['median_us']:.0f} ({timed[mode]['ratio_to_floor']:.2g})" for mode in shown]
        assert f"| {depth} | {rows[0]['floor_us']:.0f} | {' | '.join(cells)} |" in EVERYTHING


def test_the_readmes_benchmark_says_what_the_committed_run_found() -> None:
    found = json.loads((ROOT / "benchmarks" / "bench.json").read_text())
    cases = iter([Case(**given) for given in found["config"]["cases"]])
    rows, case, seen = [], next(cases), set[tuple[str, str, int]]()
    for row in found["rows"]:  # case after case, and in none of them a way twice
        key = row["framework"], row["mode"], row["population"]
        size = row["depth"], row["width"], row["batch_size"], row["batch_norm"]
        if key in seen or size != (case.depth, case.width, case.batch_size, case.batch_norm):
            case, seen = next(cases), set()
        seen.add(key)
        own: dict[str, Any] = {name: row[name] for name in ("framework", "mode", "device", "precision", "population")}
        times: dict[str, Any] = {name: row[name] for name in ("median_us", "low_us", "high_us", "is_apart")}
        rows.append(Row(**own, **times, case=case, title={"jax": "JAX", "torch": "PyTorch"}[row["framework"]]))
    assert next(cases, None) is None
    report = BenchReport(
        config=BenchConfig(frameworks=("jax", "torch")), rows=tuple(rows), environment={}, command="", seconds=1.0
    )
    one, _ = answers_of_bench(report)
    assert f"{one.question}: {one.text}\n" in PAGES["README.md"]


def test_its_table_of_what_bounds_a_population_is_what_was_measured() -> None:
    found = json.loads((ROOT / "benchmarks" / "bench.json").read_text())
    rows = [row for row in found["rows"] if row["batch_size"] == 32 and row["batch_norm"] and row["population"] > 1]
    for depth, width in ((1, 64), (8, 64), (25, 64), (8, 256)):
        cells = []
        for framework in ("jax", "torch"):
            own = [r for r in rows if (r["framework"], r["depth"], r["width"]) == (framework, depth, width)]
            best = min((row for row in own if row["median_us"]), key=lambda row: row["median_us"])
            cells += [best["ratio_to_floor"], best["median_us"] / best["own_floor_us"]]
        assert f"| {depth}, {width} | {' | '.join(f'{cell:.2f}' for cell in cells)} |" in EVERYTHING


@pytest.mark.fashion_mnist
def test_every_command_on_long_sweeps_runs(tmp_path: Path) -> None:
    """The first as written, the others on a sweep that takes seconds."""
    (block,) = blocks("docs/guides/long_sweeps.md", "console")
    typed = re.sub(r"^\$ ", "", block, flags=re.MULTILINE)
    assert len(re.findall(r"^bnparity", typed, re.MULTILINE)) == 6
    first, others = typed.split("\n", 1)
    assert others.count("--framework torch") == 5
    small = "--framework numpy --dataset synthetic --learning-rates 10:100:2"
    status, found = in_shell(f"{first}\n{others.replace('--framework torch', small)}", tmp_path)
    shown = found.splitlines()
    assert status == 0, shown
    reports = [line for line in shown if line.startswith("report: ")]
    assert [line.split()[1] for line in reports] == ["runs/long/report.html"] * 4 + ["runs/dask/report.html"]
    (dry,) = (line for line in shown if line.startswith("0 trials done"))
    assert "36 to run" in dry
    rows = (tmp_path / "runs" / "long" / "trials.csv").read_text().splitlines()
    assert len(rows) == len(set(rows)) == 1 + 2 * 3 * 2 * 2  # the header; seeds, depths, batch norm, learning rates
    assert (tmp_path / "runs" / "dask" / "trials.parquet").exists()


def test_what_a_comparison_costs_is_what_was_measured() -> None:
    pairs = json.loads((ROOT / "benchmarks" / "compare_cost.json").read_text())["pairs"]
    for name, row in pairs.items():
        figures = f"{row['seconds']:.0f} | {row['draw_over_plain']:.1f} | {row['kept_over_trace']:.1f}"
        assert f"| {name} | {row['comparisons']:,} | {figures} |" in EVERYTHING
    resident, more = (
        [row[f"resident_over_trace{words}"] for row in pairs.values()] for words in ("", "_with_4_times_the_draws")
    )
    assert f"{min(resident):.1f} to {max(resident):.1f} traces" in EVERYTHING
    assert all(with_more < 1.1 * own for own, with_more in zip(resident, more, strict=True))


def test_every_known_cause_is_counted() -> None:
    assert f"{len(acceptable())} causes are known" in " ".join(EVERYTHING.split())


def test_the_times_of_pairs_are_what_was_measured() -> None:
    """The fastest of a task is bold, and what was measured is to be trusted."""
    for name in ("cnn", "encoder", "mlp"):
        found = json.loads((ROOT / "benchmarks" / f"bench_{name}.json").read_text())
        assert (found["verdict"], found["trusted"], found["complete"]) == ("agree", True, True)
        for size in found["config"]["batch_sizes"]:
            cells = []
            for task in ("forward", "training step"):
                rows = [row for row in found["rows"] if (row["task"], row["batch_size"]) == (task, size)]
                best = min(row["median_us"] for row in rows)
                own = {row["way"]: row["median_us"] for row in rows}
                cells += [
                    f"**{own[way]:,.0f}**" if own[way] == best else f"{own[way]:,.0f}"
                    for way in ("eager", "compiled", "jitted")
                ]
            assert f"| {name}, {size} | {' | '.join(cells)} |" in EVERYTHING


def test_what_a_tpu_would_take_is_what_its_compiler_said() -> None:
    found = json.loads((ROOT / "benchmarks" / "tpu_v5e.json").read_text())
    assert (found["estimates"], found["complete"], found["all_fit"]) == (True, True, True)
    for depth in (1, 8, 25):
        own = [row for row in found["rows"] if row["group"].startswith(f"depth {depth},")]
        steps = {
            row["models"]: row
            for row in own
            if row["estimate_us"] and row["per"] == "model-step" and row["dtype"] == "float32"
        }
        cells = [
            f"{row['estimate_us']:.3g}{'*' * bool(row['not_estimated'])} ({row['roofline_us']:.2g})"
            for row in (steps[models] for models in (1, 16, 256))
        ]
        most = max(row["memory_bytes"] for row in own)
        assert f"| {depth} | {' | '.join(cells)} | {most / 2**20:,.0f} MiB |" in EVERYTHING
