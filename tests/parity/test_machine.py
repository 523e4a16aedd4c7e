"""How many cores this process may use, and which commit of a project it is in."""

import os
import subprocess
from pathlib import Path

import pytest

from parity.machine import current_commit, usable_cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_cores_that_a_process_is_kept_from_are_not_counted() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, [min(before)])
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_a_system_that_does_not_tell_has_all_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert usable_cores() == 12


def git(folder: Path, *words: str) -> str:
    settings = ("-c", "user.name=a", "-c", "user.email=a@a.example", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *settings, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_commit_of_the_project_that_one_works_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "port.py").write_text("")
    git(tmp_path, "add", "port.py")
    git(tmp_path, "commit", "--quiet", "--message", "a port")
    monkeypatch.chdir(tmp_path)
    commit = git(tmp_path, "rev-parse", "--short", "HEAD")
    assert current_commit() == commit
    (tmp_path / "notes").touch()  # what is not tracked is no change of it
    assert current_commit() == commit
    asked = tmp_path / "asked"
    git(tmp_path, "config", "core.fsmonitor", f"touch {asked}; false")  # no program that a project names is started
    assert current_commit() == commit
    assert not asked.exists()
    git(tmp_path, "config", "--unset", "core.fsmonitor")
    (tmp_path / "port.py").write_text("changed")
    assert current_commit() == f"{commit}+"


def test_no_commit_outside_of_a_project_or_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert current_commit() == ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert current_commit() == ""
