"""What is published: a wheel that runs on its own, with its types, and a source archive with what the links need."""

import posixpath
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from check_release import IN_SOURCE, quickstarts  # noqa: E402


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive of this tree."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def test_the_wheel_holds_the_packages_with_their_types_and_templates(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"{package}/py.typed" for package in ("parity", "bnjax", "bntorch")} <= names
    templates = {str(path.relative_to(ROOT)) for path in (ROOT / "parity").rglob("*.j2")}
    assert templates
    assert templates <= names
    top = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert top == {"parity", "bnjax", "bntorch", "bnparity.py"}


def test_the_source_archive_holds_what_the_readme_leads_to(built: Path) -> None:
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        pages = {
            name.partition("/")[2]: archive.extractfile(name).read().decode()  # pyright: ignore[reportOptionalMemberAccess]
            for name in archive.getnames()
            if name.endswith(".md")
        }
    assert set(IN_SOURCE) <= names
    assert {"README.md", "docs/index.md", "CHANGELOG.md", "CONTRIBUTING.md"} <= pages.keys()
    there = names | {str(folder) for name in names for folder in PurePosixPath(name).parents}
    led = [(page, link) for page, text in pages.items() for link in re.findall(r"\]\(([^)#:\s]+)[^):]*\)", text)]
    assert len(led) > 50
    lost = [
        (page, link) for page, link in led if posixpath.normpath(f"{PurePosixPath(page).parent}/{link}") not in there
    ]
    assert [each for each in lost if each[1] != "commands.md"] == []  # which is written when the site is built


def test_the_wheel_runs_every_quickstart_where_nothing_else_of_ours_is(built: Path, tmp_path: Path) -> None:
    """In a bare environment, which takes the frameworks, and nothing of ours, from the one of the tests."""
    (wheel,) = built.glob("*.whl")
    bare = tmp_path / "bare"
    venv.create(bare)
    python = bare / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(pip, check=True)
    (packages,) = bare.glob("lib/python*/site-packages")
    (ours,) = {path for path in sys.path if Path(path).name == "site-packages"}
    (packages / "frameworks.pth").write_text(ours)  # a path in such a file brings no editable install with it
    found = "import parity; print(parity.__file__)"
    shown = subprocess.run([python, "-c", found], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert str(bare) in shown.stdout
    quickstarts(python, tmp_path)
