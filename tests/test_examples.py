"""The worked example: a port that is honest work and computes something else, and what the check says of it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def judge(verdict: Path, *options: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """The finished command, and what it wrote."""
    asked = ["--depths", "1", "--batch-norm", "on", "--questions", "semantic", "--json", str(verdict), *options]
    command = [sys.executable, "-m", "parity", "check", "--candidate", "examples.stock_flax:make_backend", *asked]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done, json.loads(verdict.read_text())


def test_the_stock_flax_port_is_diagnosed_with_both_of_its_causes(tmp_path: Path) -> None:
    done, found = judge(tmp_path / "verdict.json")
    assert done.returncode == 1, done.stderr
    assert found["verdict"] == "disagree"
    assert found["failed_question"] == "semantic"
    first = found["first_divergence"]
    assert (first["step"], first["layer"], first["tensor"]) == (0, 0, "running variance")
    assert found["cause"]["name"] == "biased_running_variance"
    assert "31/32" in found["cause"]["evidence"]
    assert "--running-variance biased" in found["cause"]["remedy"]
    assert [cause["name"] for cause in found["other_causes"]] == ["fast_variance"]
    assert "31/32" in done.stdout


def test_the_stock_flax_port_is_green_where_its_two_differences_are_meant(tmp_path: Path) -> None:
    done, found = judge(tmp_path / "verdict.json", "--running-variance", "biased", "--accept", "fast_variance")
    assert done.returncode == 0, done.stderr
    assert (found["verdict"], found["accepted"]) == ("agree", ["fast_variance"])
