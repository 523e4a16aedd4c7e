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
    assert "reference: PyTorch, candidate: PyTorch; " in printed
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
        (["pair.py", "--baseline", "no.toml"], "the baseline 'no.toml' cannot be read: No such file or directory"),
        (["pair.py", "--baseline", "bad.toml"], "bad.toml:2: this is not TOML: Invalid value"),
        (["pair.py", "--baseline", ""], "--baseline must name a file, got nothing"),
        (
            ["pair.py", "--write-baseline", "pair.py"],
            "--write-baseline 'pair.py': there is such a file; choose a new one",
        ),
        (["pair.py", "--write-baseline", "x", "--json", "x"], "must be different files, got 'x' for both"),
        (["pair.py", "--format", "gitlab"], "gitlab"),
        (["raises.py"], "reference() of raises.py raised ValueError: not today (at raises.py:3"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    (folder / "pair.py").write_text(PAIR % "1.0")
    (folder / "broken.py").write_text("inputs = undefined")
    (folder / "bad.toml").write_text("\nx = = 1\n")
    (folder / "raises.py").write_text(
        "inputs = {'x': [1.0]}\ndef reference():\n    raise ValueError('not today')\ndef candidate(): pass\n"
    )
    assert main(["compare", *arguments]) == 2
    complaint = capsys.readouterr().err
    assert words in complaint
    assert len(complaint.strip().splitlines()) == 1


BENT = (PAIR % "1.01").replace("return factor * self.line(x)", "y = self.line(x); return y + (factor - 1) * y.square()")
ACCEPTED = "accepted: unexplained@between line and the output of the model, at most"


def entry_of(text: str) -> str:
    """The one entry of a file that was written, with its reason filled in."""
    assert text.count('reason = ""') == 1
    return text.replace('reason = ""', 'reason = "as in the paper"')


def test_a_baseline_is_written_filled_in_and_then_used_if_it_lies_here(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "pairs").mkdir()
    (folder / "pairs" / "bent.py").write_text("import torch\ntorch.manual_seed(0)\n" + BENT)
    asked = ["compare", "pairs/bent.py", "--questions", "forced", "--format", "github"]
    assert main([*asked, "--write-baseline", "parity-baseline.toml"]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "parity-baseline.toml: 1 to accept; fill in each reason"
    assert printed[-2].startswith("::error file=pairs/bent.py,line=18,title=forward%3A between line and the output of")
    path = folder / "parity-baseline.toml"
    written = path.read_text()
    assert 'pair = "pairs/bent.py"' in written

    assert main(asked) == 2
    assert "parity-baseline.toml:3: an entry needs a reason" in capsys.readouterr().err
    assert main([*asked, "--write-baseline", "parity-baseline.toml"]) == 2
    assert "there is such a file; choose a new one, and copy from it" in capsys.readouterr().err
    assert path.read_text() == written

    path.write_text(entry_of(written))
    assert main([*asked, "--json", "r.json"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].startswith(ACCEPTED)
    assert printed[-2].startswith("::notice file=pairs/bent.py,title=accepted difference::unexplained@between line and")
    assert printed[-1] == "baseline: parity-baseline.toml"
    (accepted,) = json.loads((folder / "r.json").read_text())["accepted"]
    assert accepted["reason"] == "as in the paper"
    assert 0 < accepted["at_most"] < 0.1

    path.rename(folder / "pairs" / "own.toml")  # where its pattern means another file
    assert main([*asked, "--baseline", "pairs/own.toml"]) == 1
    printed = capsys.readouterr().out
    assert "accepted" not in printed
    assert printed.endswith("baseline: pairs/own.toml\n")


def test_what_no_entry_accepts_is_not_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "pair.py").write_text(PAIR % "None")
    assert main(["compare", "pair.py", "--write-baseline", "new.toml", "--format", "github"]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "nothing to write into new.toml; of the findings 1 cannot be accepted so"
    assert printed[-2].startswith("::error file=pair.py,line=16,title=crash::the candidate: raised TypeError: ")
    assert not (folder / "new.toml").exists()
