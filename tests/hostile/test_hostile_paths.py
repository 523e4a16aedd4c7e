"""Where results go: they arrive, or one line says why not; what someone else has there stays."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hostile_cases import file_names, hostile, paths, refusal
from hostile_places import KINDS, emptied, put
from hypothesis import strategies as st
from matplotlib.figure import Figure

from parity.commands.result_files import cleared
from parity.errors import InputError
from parity.files import make_folder, replace_file
from parity.lab import LabConfig, LabReport, Plot, Section, write_lab

FOREIGN = b"someone else's"


def contents(folder: Path) -> dict[str, bytes | str]:
    """Every regular file and link below a folder, links by where they lead."""
    found: dict[str, bytes | str] = {}
    for path in folder.rglob("*"):
        if path.is_symlink():
            found[str(path)] = str(path.readlink())
        elif path.is_file():
            found[str(path)] = path.read_bytes()
    return found


@hostile(sample=60, many=6000, name=file_names, kind=st.sampled_from(KINDS), beside=st.lists(file_names, max_size=3))
def test_a_file_arrives_or_nothing_changes(name: str, kind: str, beside: list[str], tmp_path: Path) -> None:
    folder = emptied(tmp_path / "place")
    os.chdir(folder)
    for other in {*beside, ".trial"} - {name, "beside"}:
        Path(other).write_bytes(FOREIGN)
    path = Path("file") if kind == "socket" else Path(name)  # a socket's path must be short
    if path.name != "beside" and not path.exists():
        put(kind, path, FOREIGN)
    before = contents(folder)
    message = refusal(replace_file, path, b"new")
    after = contents(folder)
    if message:
        assert after == before
        assert repr(str(path)) in message
        assert message.endswith("; choose a writable place")
    else:
        assert path.read_bytes() == b"new"
        assert not path.is_symlink()
        assert {**before, str(folder / path): b"new"} == after


@hostile(
    sample=60, many=6000, given=st.dictionaries(st.sampled_from(("--json", "--html", "--junit")), paths, min_size=1),
    kinds=st.lists(st.sampled_from(KINDS), min_size=3, max_size=3),
    ending=st.sampled_from(("done", "refused", "crashed")),
)  # fmt: skip
def test_files_that_are_cleared_come_back_or_are_written(
    given: dict[str, str], kinds: list[str], ending: str, tmp_path: Path
) -> None:
    folder = emptied(tmp_path / "place" / "deep" / "er" / "still")
    os.chdir(folder)
    Path("stays").write_bytes(FOREIGN)
    outputs = {option: Path(name) for option, name in given.items()}
    for kind, path in zip(kinds, outputs.values(), strict=False):
        try:
            if not path.is_absolute() and ".." not in path.parts and len(str(path)) < 60:
                path.parent.mkdir(parents=True, exist_ok=True)
                put(kind, path, FOREIGN)
        except (OSError, ValueError):
            pass  # no such thing can be there
    before = contents(folder)

    def work() -> None:
        with cleared(outputs):
            if ending != "done":
                raise InputError("refused") if ending == "refused" else RuntimeError
            for path in outputs.values():
                replace_file(path, b"new")

    crashed = False
    try:
        message = refusal(work)
    except RuntimeError:
        message, crashed = "", True
    after = contents(folder)
    if message:
        assert after == before
        assert message == "refused" or any(option in message for option in given)
        return
    assert crashed == (ending == "crashed")
    names = {str(Path.cwd() / path) for path in outputs.values()}
    assert {n: c for n, c in after.items() if n not in names} == {n: c for n, c in before.items() if n not in names}
    assert all(not path.exists() if crashed else path.read_bytes() == b"new" for path in outputs.values())


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_a_name_that_no_file_can_have(name: str) -> None:
    with pytest.raises(InputError, match="--json"), cleared({"--json": Path(name)}):
        raise AssertionError("the work began")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are saved without being drawn."""

    def save(self: Figure, file: Any, *, format: str, **_: Any) -> None:
        file.write("<svg ></svg>" if format == "svg" else b"png")

    monkeypatch.setattr(Figure, "savefig", save)


def lab_report(command: str) -> LabReport:
    blocks = (Plot("figure", lambda: Figure(figsize=(1, 1)), "alt", "caption"),)
    return LabReport(config=LabConfig(frameworks=("a",)), sections=(Section("part", "t", "i", blocks),), failures=(),
                     dataset="d", environment={}, command=command, seconds=1.0)  # fmt: skip


@hostile(
    sample=60, many=4000, out=paths, linked=st.booleans(),
    inside=st.dictionaries(
        st.sampled_from(("figures", "report.html", "figures/figure.png", ".trial", "notes")), st.sampled_from(KINDS)
    ),
)  # fmt: skip
@pytest.mark.usefixtures("undrawn")
def test_a_folder_of_results(out: str, linked: bool, inside: dict[str, str], tmp_path: Path) -> None:
    folder = emptied(tmp_path / "place" / "deep" / "er" / "still")
    os.chdir(folder)
    target = Path(out)
    if target.is_absolute() or ".." in target.parts:
        target = Path("out")
    foreign: dict[Path, Any] = {}
    try:
        if linked:
            Path("elsewhere").mkdir()
            target.symlink_to("elsewhere")
        for name, kind in sorted(inside.items()):
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind in ("file", "link", "folder"):
                put(kind, path, FOREIGN)
                if name in (".trial", "notes") and kind != "folder":
                    foreign[path.resolve()] = FOREIGN
    except (OSError, ValueError):
        pass  # no such thing can be there

    def work() -> None:
        make_folder(target, ["report.html"], option="--out")
        write_lab(lab_report("c"), target)

    message = refusal(work)
    if message:
        assert "cannot write" in message
        assert message.endswith(("; choose a writable folder", "; choose a writable place"))
    else:
        assert (target / "report.html").read_text().startswith("<!doctype html>")
        assert (target / "figures" / "figure.png").read_bytes() == b"png"
    assert all(path.read_bytes() == content for path, content in foreign.items())
    assert not any(folder.rglob("*.partial"))


@hostile(sample=10, many=500, value=st.recursive(st.one_of(st.floats(), st.text()), st.lists, max_leaves=5))
def test_json_is_json(value: Any, tmp_path: Path) -> None:
    from parity.files import write_object

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    write_object({"value": value}, tmp_path / "f.json")
    json.loads((tmp_path / "f.json").read_text(), parse_constant=refuse)
