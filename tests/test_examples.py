"""The worked example: a port that is honest work and computes something else, and what the check says of it."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_stock_flax_port_is_diagnosed_with_both_of_its_causes(tmp_path: Path) -> None:
    verdict = tmp_path / "verdict.json"
    options = ["--depths", "1", "--batch-norm", "on", "--questions", "semantic", "--json", str(verdict)]
    command = [sys.executable, "-m", "parity", "check", "--candidate", "examples.stock_flax:make_backend", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    found = json.loads(verdict.read_text())
    assert found["verdict"] == "disagree"
    assert found["failed_question"] == "semantic"
    first = found["first_divergence"]
    assert (first["step"], first["layer"], first["tensor"]) == (0, 0, "running variance")
    assert found["cause"]["name"] == "biased_running_variance"
    assert "31/32" in found["cause"]["evidence"]
    assert [cause["name"] for cause in found["other_causes"]] == ["fast_variance"]
    assert "31/32" in done.stdout
