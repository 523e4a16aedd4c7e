"""The HTML page: one safe file that holds everything."""

import html
import re
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from fake_sweep import fake_report
from html_page import Page
from matplotlib.text import Text

from parity.divergence import Status
from parity.errors import InputError
from parity.report import write_report
from parity.report.boundaries import BOUNDARIES, boundary_table
from parity.report.figures import SWEEP_FIGURES
from parity.report.style import batch_norm_words
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
    links = [
        v for _, found in page.tags for name, v in found.items() if name in ("src", "href", "srcset", "xlink:href")
    ]
    assert links
    assert all(link.startswith("#") for link in links)
    assert len(page.all("svg")) == 2 * 3  # for wide windows, and for narrow ones
    styles = re.findall(r"<style>(.*?)</style>", (tmp_path / "report.html").read_text(), re.DOTALL)
    assert "url(" not in "".join(styles)
    assert "@import" not in "".join(styles)
    policies = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_the_figures_are_files_too(tmp_path: Path) -> None:
    write(fake_report(depths=(1,)), tmp_path)
    files = [(tmp_path / "figures" / f"{name}.png").read_bytes() for name in NAMES]
    assert all(content.startswith(b"\x89PNG\r\n\x1a\n") and content.endswith(b"IEND\xaeB`\x82") for content in files)


def test_no_folder_of_the_users_machine_is_on_a_figure(tmp_path: Path) -> None:
    command = "bnparity sweep --out /home/ada/runs/lab --data-dir=/srv/data"
    report = fake_report(depths=(1,), command=command)
    write(report, tmp_path)
    drawn = "\n".join(text.get_text() for entry in SWEEP_FIGURES for text in entry.draw(report).findobj(Text))
    assert "/home" not in drawn
    assert "/srv" not in drawn
    assert "--out …/lab" in drawn
    page = (tmp_path / "report.html").read_text()
    assert not any("/home" in svg for svg in re.findall("<svg.*?</svg>", page, re.DOTALL))
    assert command in page  # the command itself stands at the end


def test_a_figure_says_its_values_when_it_is_pointed_at(tmp_path: Path) -> None:
    report = fake_report(depths=(1, 2), seeds=2, titles={"jax": "JAX", "torch": "PyTorch"})
    write(report, tmp_path)
    page = (tmp_path / "report.html").read_text()
    said = {html.unescape(text) for text in re.findall("<title>(.*?)</title></circle>", page)}
    row = boundary_table(report, BOUNDARIES[0])[0]
    boundary = f"JAX, with batch norm, depth 1: {BOUNDARIES[0].name} {row.cells['jax'][True].text}"
    assert boundary in said
    trial = next(trial for trial in report.trials if trial.status is Status.TRAINED and trial.test_accuracy)
    words = f"learning rate {trial.learning_rate:.3g}, seed {trial.group.seed}"
    label = f"{report.title(trial.group.framework)}, {batch_norm_words(trial.group.batch_norm)}"
    assert f"{label}: {words}: accuracy {trial.test_accuracy:.3g}" in said


def test_it_ends_with_when_how_long_and_by_which_version(tmp_path: Path) -> None:
    end = write(fake_report(depths=(1,)), tmp_path).text.strip().splitlines()[-1]
    assert end.startswith(f"Made on {date.today().isoformat()} by bnparity {version('bnparity')}")


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
    assert tags.index("svg") < tags.index("table")
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
    assert len(page.all("details")) == 4  # statuses, thresholds, trials, how it was made


def test_it_can_be_read_without_seeing(tmp_path: Path) -> None:
    page = write(fake_report(depths=(1,), dataset="letters"), tmp_path)
    assert page.all("html") == [{"lang": "en"}]
    labels = [found["aria-label"] for found in page.all("div") if found.get("role") == "img"]
    assert len(labels) == 2 * 3
    assert all(len(label) > 40 and "letters" in label for label in labels)
    assert len(page.all("figcaption")) == 3
    assert all("scope" in header for header in page.all("th"))
    listed = [found["id"] for _, found in page.tags if "id" in found]
    ids = set(listed)
    assert len(listed) == len(ids)
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
    assert len(write(replace(report, trials=trials), tmp_path).all("figure")) == 2
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
