"""The command `bnparity compare`: what it prints, writes and returns, and what it refuses."""

import json
from pathlib import Path

import pytest

from parity.cli import main

PAIR = '''"""A scaled line."""
import parity

inputs = {"x": parity.normal(6, 4)}

def make(factor):
    import bntorch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.line = nn.Linear(4, 3)

        def forward(self, x):
            return factor * self.line(x)

    return bntorch.port(Net(), loss=lambda y: y.square().mean())

def reference():
    return make(1.0)

def candidate():
    return make(%s)
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("factor", "status"), [("1.0", 0), ("1.01", 1)])
def test_the_verdict_is_printed_written_and_returned(
    folder: Path, capsys: pytest.CaptureFixture[str], factor: str, status: int
) -> None:
    (folder / "pair.py").write_text(PAIR % factor)
    files = ["--json", "r.json", "--html", "r.html", "--junit", "r.xml"]
    assert main(["compare", "pair.py", *files]) == status
    printed = capsys.readouterr().out
    assert printed.startswith("DISAGREE: the two part at one place (A scaled line)" if status else "AGREE: ")
    found = json.loads((folder / "r.json").read_text())
    assert found["verdict"] == ("disagree" if status else "agree")
    assert "reference: torch, candidate: torch; " in printed
    assert (found["environment"]["reference"], found["environment"]["candidate"]) == ("torch", "torch")
    assert {row["mark"] for row in found["modules"]} == {"agrees"}
    assert found["command"] == "bnparity compare pair.py --json r.json --html r.html --junit r.xml"
    for finding in found["findings"]:
        assert (finding["between"], finding["reference"], finding["candidate"]) == (["line", ""], "", "")
        assert finding["relative"] == pytest.approx(0.01)
    assert ("<failure" in (folder / "r.xml").read_text()) == bool(status)
    assert "A scaled line" in (folder / "r.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.py"], "there is no file 'nowhere.py'; give a pair's file, or the name of its module"),
        (["pair.py", "--accept", "x@y"], "'x@y' cannot be accepted: no difference is named 'x'"),
        (["pair.py", "--questions", "why"], "why"),
        (["pair.py", "--json", "no/such/folder/r.json"], "there is no folder"),
        (["broken.py"], "broken.py cannot be read: it raised NameError"),
        (["raises.py"], "reference() of raises.py raised ValueError: not today (at raises.py:3"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    (folder / "pair.py").write_text(PAIR % "1.0")
    (folder / "broken.py").write_text("inputs = undefined")
    (folder / "raises.py").write_text(
        "inputs = {'x': [1.0]}\ndef reference():\n    raise ValueError('not today')\ndef candidate(): pass\n"
    )
    assert main(["compare", *arguments]) == 2
    complaint = capsys.readouterr().err
    assert words in complaint
    assert len(complaint.strip().splitlines()) == 1
