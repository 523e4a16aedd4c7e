"""Each part works where what it must not need is not installed: in a fresh process that cannot import it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

JAX = ("jax", "jaxlib", "flax", "optax")
TORCH = ("torch", "torchvision")

BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Block())
"""

TRAINING_STEP = """
import numpy as np
import {package}
net = {package}.create_train_state({package}.MultiLayerPerceptron(6, 3, 2, 4, True))
inputs, labels = np.ones((5, 6), np.float32), np.arange(5) % 3
net, metrics = {package}.train_step(net, inputs, labels, 0.1)
assert np.isfinite(float(metrics["loss"]))
"""

LOADED = """
import sys
import {module}
heavy = {{"jax", "flax", "optax", "torch", "torchvision", "matplotlib", "bnjax", "bntorch"}} & sys.modules.keys()
assert not heavy, heavy
"""

SWEEP = """
import sys
from parity.cli import main
options = "sweep --dataset synthetic --depths 1 --learning-rates 0.01:10:3 --passes 1 --out".split()
sys.exit(main([*options, {out!r}, *{more!r}]))
"""


def run(code: str, blocked: Sequence[str] = (), first: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh process, with the same packages as here but those that are blocked.

    Args:
        code: what to run.
        blocked: packages that are to look as if they were not installed.
        first: a folder whose packages go before the others.
    """
    path = os.pathsep.join([*([str(first)] if first else []), *sys.path])
    return subprocess.run(
        # -P: only these folders, not the current one.
        [sys.executable, "-P", "-c", BLOCK.format(blocked=tuple(blocked)) + code],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("package", "blocked"), [("bnjax", (*TORCH, "bntorch", "matplotlib")), ("bntorch", (*JAX, "bnjax", "matplotlib"))]
)
def test_a_sibling_trains_without_the_other_framework(package: str, blocked: Sequence[str]) -> None:
    result = run(TRAINING_STEP.format(package=package), blocked)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("module", ["parity", "parity.cli"])
def test_parity_loads_neither_framework_nor_matplotlib(module: str) -> None:
    result = run(LOADED.format(module=module))
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(("blocked", "installed"), [(TORCH, "jax"), (JAX, "torch")])
def test_the_sweep_uses_the_framework_that_is_installed(tmp_path: Path, blocked: Sequence[str], installed: str) -> None:
    result = run(SWEEP.format(out=str(tmp_path), more=()), blocked)
    assert result.returncode == 0, result.stderr
    header, *rows = (tmp_path / "trials.csv").read_text().splitlines()
    assert header.startswith("framework,")
    assert {row.partition(",")[0] for row in rows} == {installed}


@pytest.mark.parametrize(
    ("blocked", "more", "extras"),
    [
        (TORCH, ("--framework", "both"), ["torch"]),
        (JAX, ("--framework", "both"), ["jax"]),
        (TORCH, ("--framework", "torch"), ["torch"]),
        ((*JAX, *TORCH), (), ["jax", "torch"]),
    ],
)
def test_a_missing_framework_is_one_line_with_the_extra_to_install(
    tmp_path: Path, blocked: Sequence[str], more: Sequence[str], extras: Sequence[str]
) -> None:
    result = run(SWEEP.format(out=str(tmp_path / "out"), more=more), blocked)
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert [extra for extra in ("jax", "torch") if f"pip install 'bnparity[{extra}]'" in result.stderr] == extras
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("package", "file", "planted", "code", "blocked"),
    [
        ("bnjax", "norm.py", "torch", TRAINING_STEP, TORCH),
        ("bntorch", "norm.py", "flax", TRAINING_STEP, JAX),
        ("parity", "errors.py", "matplotlib", LOADED, ()),
        ("parity", "cli.py", "torch", LOADED, TORCH),
    ],
)
def test_a_planted_import_is_noticed(
    tmp_path: Path, package: str, file: str, planted: str, code: str, blocked: Sequence[str]
) -> None:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    shutil.copytree(Path(spec.origin).parent, tmp_path / package)
    module = tmp_path / package / file
    module.write_text(f"{module.read_text()}\n\nimport {planted}\n")
    result = run(code.format(package=package, module="parity.cli"), blocked, first=tmp_path)
    assert result.returncode == 1
    assert planted in result.stderr.splitlines()[-1]
