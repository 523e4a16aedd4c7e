"""The README shows what is there."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_relative_link_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_room_that_it_names_exists() -> None:
    rooms = re.findall(r"^\| `([^`]+)`", README, re.MULTILINE)
    paths = [room for room in rooms if room.startswith(("parity/", "tests/"))]
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
