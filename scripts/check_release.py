"""Try a wheel and a source archive as people get them: in an environment that has nothing else, all three quickstarts.

`make release` calls it with the folder that holds both. Frameworks come in the versions of constraints.txt.
"""

import re
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IN_SOURCE = ("examples/stock_flax.py", "benchmarks/pair_faults.json", "docs/index.md", "tests/conftest.py", "Makefile")


def quickstarts(python: Path, folder: Path) -> None:
    """Run the three quickstarts of the documentation, small, with a Python that has bnparity.

    Raises:
        SystemExit: one does not do what the documentation says.
    """
    page = (ROOT / "docs" / "quickstart" / "compare.md").read_text(encoding="utf-8")
    (pair,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (folder / "pair.py").write_text(pair)
    mended = pair.replace("nn.gelu(nn.Dense(32)(x))", "nn.gelu(nn.Dense(32)(x), approximate=False)")
    (folder / "mended.py").write_text(mended.replace("nn.LayerNorm()", "nn.LayerNorm(epsilon=1e-5)"))
    sweep = "sweep --framework torch --depths 1 --passes 1 --dataset synthetic --learning-rates 0.1:10:3"
    _run(python, folder, sweep, {0}, "report: runs/sweep/report.html")
    _run(python, folder, "compare pair.py", {1}, "gelu_form")
    _run(python, folder, "compare mended.py", {0}, "AGREE")
    # Beside other work its figures are not to be trusted, which is exit status 1.
    _run(python, folder, "bench --pair mended.py --batch-sizes 8 --blocks 2", {0, 1}, "forward")


def _run(python: Path, folder: Path, command: str, statuses: set[int], words: str) -> None:
    done = subprocess.run(
        [python, "-m", "parity", *command.split()], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode not in statuses or words not in done.stdout:
        raise SystemExit(f"bnparity {command}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    print(f"bnparity {command}: as documented", flush=True)


def main(folder: Path) -> None:
    """Check the wheel and the source archive of a folder."""
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    if missing := [name for name in IN_SOURCE if name not in names]:
        raise SystemExit(f"{source.name} lacks {', '.join(missing)}")
    with tempfile.TemporaryDirectory() as place:
        bare = Path(place) / "bare"
        venv.create(bare, with_pip=True)
        python = bare / "bin" / "python"
        install = [python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt"]
        subprocess.run([*install, "torch", f"{wheel}[jax]"], check=True)
        quickstarts(python, Path(place))
    print(f"{wheel.name} and {source.name} can be published")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
