"""The workflow for GitHub: it is what the guide shows, and its lines do what the guide says."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from parity.pair.baseline import read_baseline

yaml = pytest.importorskip("yaml")  # which comes with Dask
ROOT = Path(__file__).parent.parent
WORKFLOW = ROOT / "examples" / "parity.yml"
GUIDE = (ROOT / "docs" / "guides" / "ci.md").read_text(encoding="utf-8")
SECTION = GUIDE.split("## Pairs of models")[1].split("## A port")[0]
NUMBER = re.compile(r"[0-9.]+e[+-][0-9]+|0\.[0-9]+")


def block(language: str) -> str:
    (found,) = (each for each in SECTION.split("```")[1::2] if each.partition("\n")[0] == language)
    return found.partition("\n")[2]


def steps() -> list[dict[str, Any]]:
    return yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]["compare"]["steps"]


def test_the_workflow_checks_out_installs_compares_and_keeps_what_it_found() -> None:
    assert [str(each.get("uses", each.get("name"))).partition("@")[0] for each in steps()] == [
        "actions/checkout", "actions/setup-python", "Install", "Compare", "actions/upload-artifact",
    ]  # fmt: skip
    assert steps()[2]["run"].startswith("pip install 'bnparity[jax,torch] @ git+")


def test_the_readme_shows_its_lines() -> None:
    assert yaml.safe_load(block("yaml")) == steps()[3:4]


def test_the_readmes_baseline_is_read(tmp_path: Path) -> None:
    path = tmp_path / "parity-baseline.toml"
    path.write_text(block("toml"))
    assert [str(each) for each in read_baseline(path, str(tmp_path / "pairs" / "cnn.py"))] == [
        "biased_running_variance@*"
    ]
    assert [each.at_most for each in read_baseline(path, str(tmp_path / "pairs" / "tables.py"))] == [1e-3]


def test_its_lines_annotate_what_the_readme_shows(tmp_path: Path) -> None:
    text = (ROOT / "examples" / "compare_cnn.py").read_text()
    text = re.sub("^(# Flax averages|accept =).*\n", "", text, flags=re.MULTILINE)
    honest = text.replace("padding=1), nn.BatchNorm2d(8)", "padding=1), nn.BatchNorm2d(8, eps=1e-3)")
    (tmp_path / "pairs").mkdir()
    for name, pair in (("cnn", text), ("cnn_b", honest)):
        faulty = pair.replace("momentum=0.9)(nn.Conv", "momentum=0.9, epsilon=1e-3)(nn.Conv")
        (tmp_path / "pairs" / f"{name}.py").write_text(faulty)
    (tmp_path / "parity-baseline.toml").write_text(block("toml"))
    (tmp_path / "bnparity").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m parity "$@"\n')
    (tmp_path / "bnparity").chmod(0o755)
    path = os.pathsep.join((str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, "GITHUB_WORKSPACE": str(tmp_path)}
    command = ["bash", "-e", "-c", steps()[3]["run"]]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    first, second = re.split(r"^(?=AGREE)", done.stdout, flags=re.MULTILINE)
    shown = block("").strip().splitlines()
    assert NUMBER.sub("N", "\n".join(first.splitlines()[-3:])) == NUMBER.sub("N", "\n".join(shown))
    assert [line for line in second.splitlines() if line.startswith("::")] == [shown[1].replace("cnn.py", "cnn_b.py")]
    assert sorted(each.name for each in tmp_path.glob("*.xml")) == ["parity-cnn.xml", "parity-cnn_b.xml"]
