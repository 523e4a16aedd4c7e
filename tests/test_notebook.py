"""The gallery's notebook: in step with the code, and every cell of it runs."""

import json
import sys
from pathlib import Path

import nbformat
import pytest
from lab_config import smallest_config
from nbclient import NotebookClient

from parity.lab import PARTS

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "examples" / "lab.ipynb"
sys.path.insert(0, str(ROOT / "scripts"))

from make_notebook import make_notebook  # noqa: E402


def test_it_is_what_the_script_writes() -> None:
    assert NOTEBOOK.read_text() == make_notebook(), "python scripts/make_notebook.py writes it anew"


def test_it_holds_every_parts_text() -> None:
    found = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(found)
    words = "\n".join(cell.source for cell in found.cells if cell.cell_type == "markdown")
    assert [part.TITLE for part, _ in PARTS if part.TITLE not in words or part.INTRODUCTION not in words] == []


# A kernel is a process of its own; its client leaves its sockets to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning", "ignore::DeprecationWarning")
def test_every_cell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # most of the time is compilation
    found = nbformat.read(NOTEBOOK, as_version=4)
    (setup,) = (cell for cell in found.cells if "config = LabConfig" in cell.source)
    asked = 'LabConfig(frameworks=("jax", "torch"))'
    assert asked in setup.source
    setup.source = "from parity.sweep import LearningRates\n" + setup.source.replace(asked, repr(smallest_config()))
    done = NotebookClient(found, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    kinds = {output.output_type for output in outputs}
    assert kinds <= {"execute_result", "stream"}
    pages = [output.data["text/html"] for output in outputs if output.output_type == "execute_result"]
    assert len(pages) == len(PARTS)
    assert all("<svg " in page for page in pages)
    assert [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"] == []
    assert "(1, 16, 8, 8)" in json.dumps(outputs)
