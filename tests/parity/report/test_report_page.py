"""The HTML page: one safe file that holds everything."""

import base64
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_sweep import fake_report
from html_page import Page

from parity.divergence import Status
from parity.errors import InputError
from parity.report import write_report
from parity.report.boundaries import BOUNDARIES, boundary_table
from parity.report.sweep_answers import answers
from parity.sweep.records import SweepReport, Trial

ATTACK = "<script>alert(1)</script>"
NAMES = ["divergent_learning_rate", "loss_and_accuracy", "training_curves"]


def write(report: SweepReport, folder: Path) -> Page:
    return Page(write_report(report, folder, dpi=25).read_text(encoding="utf-8"))


def hostile_report() -> SweepReport:
    report = fake_report(depths=(1,), frameworks=(ATTACK, "b"), dataset=ATTACK, command=f"bnparity '{ATTACK}'")
    first = report.trials[0]
    crashed = Trial(group=first.group, learning_rate=first.learning_rate, status=Status.ERROR, message=f"no {ATTACK}")
    return replace(report, trials=(crashed, *report.trials[1:]), environment={ATTACK: f'" onload="{ATTACK}'})


def test_the_page_needs_nothing_beside_it(tmp_path: Path) -> None:
    page = write(fake_report(depths=(1, 2)), tmp_path)
    names = {tag for tag, _ in page.tags}
    assert names.isdisjoint({"script", "link", "iframe", "object", "embed", "base", "form"})
    links = [value for _, found in page.tags for name, value in found.items() if name in ("src", "href", "srcset")]
    assert len(links) == 3
    assert all(link.startswith("data:image/png;base64,") for link in links)
    styles = re.findall(r"<style>(.*?)</style>", (tmp_path / "report.html").read_text(), re.DOTALL)
    assert "url(" not in "".join(styles)
    assert "@import" not in "".join(styles)
    policies = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_the_embedded_figures_are_the_files(tmp_path: Path) -> None:
    page = write(fake_report(depths=(1,)), tmp_path)
    files = [(tmp_path / "figures" / f"{name}.png").read_bytes() for name in NAMES]
    assert all(content.startswith(b"\x89PNG\r\n\x1a\n") and content.endswith(b"IEND\xaeB`\x82") for content in files)
    assert [base64.b64decode(image["src"].partition(",")[2]) for image in page.all("img")] == files


def test_active_text_comes_out_escaped(tmp_path: Path) -> None:
    page = write(hostile_report(), tmp_path)
    assert page.all("script") == []
    assert [found for _, found in page.tags if "onload" in found] == []
    assert page.text.count(ATTACK) >= 6  # title, data set, framework, message, environment, command
    assert f"no {ATTACK}" in page.text


def test_the_answer_comes_first_then_the_picture_then_the_tables(tmp_path: Path) -> None:
    report = fake_report(depths=(1, 2), titles={"jax": "JAX"})
    page = write(report, tmp_path)
    tags = [tag for tag, _ in page.tags]
    assert tags.index("img") < tags.index("table")
    assert re.findall(r"Figure \d+\.", page.text) == ["Figure 1.", "Figure 2.", "Figure 3."]
    first = page.text[: page.text.index("Figure 1.")]
    assert [sentence for sentence in answers(report) if sentence not in first] == []
    assert answers(report)[0].startswith("JAX")
    shown = page.text[page.text.index("Figure 1.") : page.text.index("What the statuses mean")]
    cells = [text for boundary in BOUNDARIES for row in boundary_table(report, boundary) for text in row.texts()]
    assert [text for text in cells if text not in shown] == []


def test_it_holds_configuration_environment_command_and_trials(tmp_path: Path) -> None:
    report = fake_report(depths=(2,))
    page = write(report, tmp_path)
    for words in ("0.001:10:9", "hidden width", "numpy", report.command, f"Show all {len(report.trials)} trials"):
        assert words in page.text
    # Head and body rows of the two boundaries, the thresholds and the trials.
    assert len(page.all("tr")) == 2 * (2 + 1) + (1 + len(report.thresholds)) + (1 + len(report.trials))
    assert len(page.all("details")) == 2


def test_it_can_be_read_without_seeing(tmp_path: Path) -> None:
    page = write(fake_report(depths=(1,), dataset="letters"), tmp_path)
    assert page.all("html") == [{"lang": "en"}]
    assert all(len(image["alt"]) > 40 and "letters" in image["alt"] for image in page.all("img"))
    assert len(page.all("figcaption")) == 3
    assert all("scope" in header for header in page.all("th"))
    ids = {found["id"] for _, found in page.tags if "id" in found}
    assert {found["aria-labelledby"] for _, found in page.tags if "aria-labelledby" in found} <= ids


@pytest.mark.parametrize(
    ("changes", "words"), [({"dataset": "synthetic"}, "SYNTHETIC DATA"), ({"complete": False}, "INCOMPLETE")]
)
def test_notices_stand_before_the_answer(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    page = write(fake_report(depths=(1,), **changes), tmp_path)
    assert page.text.index(words) < page.text.index("Smallest divergent learning rate")
    assert words not in write(fake_report(depths=(1,)), tmp_path).text


def test_a_report_without_trials_is_written_too(tmp_path: Path) -> None:
    page = write(fake_report(trials=(), thresholds=(), complete=False), tmp_path / "new" / "folder")
    assert "Nothing finished yet" in page.text


def test_a_figure_that_no_longer_applies_goes(tmp_path: Path) -> None:
    report = fake_report(depths=(1,))
    write(report, tmp_path)
    trials = tuple(replace(trial, losses=trial.losses[:0]) for trial in report.trials)
    assert len(write(replace(report, trials=trials), tmp_path).all("img")) == 2
    assert sorted(path.stem for path in (tmp_path / "figures").iterdir()) == NAMES[:2]


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(fake_report(depths=(1,)), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    whole = Path.write_bytes

    def half(path: Path, data: bytes) -> int:
        whole(path, data[: len(data) // 2])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(InputError, match="disk full"):
        write(fake_report(depths=(1, 2)), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_the_page_says_from_which_loss_a_trial_is_stuck(tmp_path: Path) -> None:
    report = fake_report(depths=(1,))
    page = write_report(report, tmp_path, dpi=25).read_text(encoding="utf-8")
    assert f"below {0.95 * report.label_entropy:.3f} nats" in page
