"""The README shows what is there."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from parity.pair.explain import acceptable

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_relative_link_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_path_that_a_page_names_exists(page: str) -> None:
    folders = "parity|bnjax|bntorch|tests|benchmarks|examples|docs|scripts"
    paths = re.findall(rf"`((?:{folders})/[\w/.]+)`", (ROOT / page).read_text(encoding="utf-8"))
    assert len(paths) > 5
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_python_example_runs(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(examples) == 5
    from bntorch import MultiLayerPerceptron

    for example in examples:
        # The data set and the number of passes are the reader's to choose; a small choice tests the same calls.
        small = example.replace('"fashion-mnist"', '"synthetic"').replace("range(5)", "range(1)")
        exec(small, {"module": MultiLayerPerceptron(784, 10, 3, 64, True)})


def test_every_extra_that_it_names_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = set(re.findall(r"'\.\[(\w+)\]'", README))
    assert named
    assert named <= set(project["optional-dependencies"])


def test_its_figures_on_survival_are_those_of_the_benchmarks() -> None:
    for framework in ("jax", "torch"):
        counts = json.loads((ROOT / "benchmarks" / f"survive_kills_{framework}.json").read_text())
        assert f"{counts['looked_at']:,} in " in README
        assert counts["kills"] == 100
        names = ("lost", "repeated", "altered", "tables_that_differ", "lines_of_traceback")
        assert [counts[name] for name in names] == [0] * len(names)
    fuzzed = json.loads((ROOT / "benchmarks" / "fuzz.json").read_text())
    assert f"{fuzzed['cases']:,} cases, {fuzzed['failures']} failures" in README
    assert fuzzed["cases"] >= 100_000


def test_its_figures_on_the_check_itself_are_those_of_the_benchmark() -> None:
    found = json.loads((ROOT / "benchmarks" / "self_test.json").read_text())
    assert found["passed"]
    assert f"({found['faults']} cases with a fault and {found['variants']} honest ones" in README
    for score in found["scores"]:
        caught, flagged = (score[name] for name in ("faults_caught", "variants_flagged"))
        named = score["faults_named"] or ""
        line = f"| {score['rule']} | {caught} of {found['faults']} | {named} | {flagged} of {found['variants']} |"
        assert line in README


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
        assert f"{line} {flagged} of {len(honest)} |" in README
        seen += len(rows)
    assert seen == len(every)


def test_the_table_of_pairs_is_what_was_measured() -> None:
    found = json.loads((ROOT / "benchmarks" / "pair_faults.json").read_text())
    assert found["passed"]
    assert not found["left_out"]
    table = README[README.index("| PyTorch against JAX |") :].partition("\n\n")[0]
    kinds = [row["kind"] for row in found["rows"] if row["fault"] is None]
    assert len(table.splitlines()) == 2 + len(kinds)
    for kind in kinds:
        rows = [row for row in found["rows"] if row["kind"] == kind]
        (honest,), faults = [r for r in rows if r["fault"] is None], [r for r in rows if r["fault"] is not None]
        agree = f"{honest['comparisons'] - honest['flagged']} of {honest['comparisons']}"
        placed, named = (sum(row[what] for row in faults) for what in ("placed", "named"))
        assert f"| {agree} | {honest['worst']} | {placed} of {len(faults)} | {named} |" in table
    assert f"plants {found['faults']} faults" in README


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
        assert f"| {depth} | {rows[0]['floor_us']:.0f} | {' | '.join(cells)} |" in README


@pytest.mark.fashion_mnist
def test_every_command_on_long_sweeps_runs(tmp_path: Path) -> None:
    """The first as written, the others on a sweep that takes seconds."""
    section = README.split("### Long and distributed sweeps")[1].split("### ")[0]
    (block,) = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
    commands = re.sub(r"^\$ ", "", block, flags=re.MULTILINE)
    assert len(re.findall(r"^bnparity", commands, re.MULTILINE)) == 6
    first, others = commands.split("\n", 1)
    assert others.count("--framework torch") == 5
    small = "--framework numpy --dataset synthetic --learning-rates 10:100:2"
    commands = f"{first}\n{others.replace('--framework torch', small)}"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    output = (tmp_path / "output").open("wb")
    with output, subprocess.Popen(
        ["bash", "-ec", commands], cwd=tmp_path, env=os.environ | {"PATH": path}, stdout=output,
        stderr=subprocess.STDOUT, start_new_session=True,
    ) as shell:  # fmt: skip
        try:
            status = shell.wait(500)
        finally:  # the scheduler and its workers go on
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
    shown = (tmp_path / "output").read_text().splitlines()
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
        assert f"| {name} | {row['comparisons']:,} | {figures} |" in README
    resident, more = (
        [row[f"resident_over_trace{words}"] for row in pairs.values()] for words in ("", "_with_4_times_the_draws")
    )
    assert f"{min(resident):.1f} to {max(resident):.1f} traces" in README
    assert all(with_more < 1.1 * own for own, with_more in zip(resident, more, strict=True))


def test_every_known_cause_is_counted() -> None:
    assert f"{len(acceptable())} causes are known" in " ".join(README.split())


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
            assert f"| {name}, {size} | {' | '.join(cells)} |" in README


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
        assert f"| {depth} | {' | '.join(cells)} | {most / 2**20:,.0f} MiB |" in README
