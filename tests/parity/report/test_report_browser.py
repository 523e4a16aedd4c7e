"""Every page in a real browser: nothing of it runs, asks for anything, or is wider than its window."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_compare_report as compare_reports
import pytest
from fake_check_report import disagreeing
from fake_sweep import fake_report
from matplotlib.figure import Figure
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from parity.bench.config import BenchConfig, Case
from parity.bench.records import BenchReport, Operation, Row
from parity.divergence import Status
from parity.estimate import EstimateConfig, EstimateReport, EstimateRow
from parity.lab import LabConfig, LabReport, Plot, Section, Table, Text, write_lab
from parity.lab.drawing import lab_sheet, panels
from parity.report import write_bench_report, write_check_report, write_estimate_report, write_report
from parity.report.compare_page import write_compare_report
from parity.sweep.records import Trial

# Were the page's policy all that holds a script back, the elements would still be there.
ATTACK = "<b class=attack onclick=alert(1)>name</b><script>document.title='attacked'</script><img src=//127.0.0.1:9>"
LEAST_LETTERS = 8  # pixels from the top to the bottom of a line: figures are not shrunk until nobody can read them
FOUND = """
return {
    attacked: document.querySelectorAll('.attack, script').length,
    handlers: [...document.querySelectorAll('*')].filter(
        element => element.getAttributeNames().some(name => name.startsWith('on'))).length,
    asked: performance.getEntriesByType('resource').map(entry => entry.name).filter(name => !name.startsWith('data:')),
    images: document.images.length,
    figures: [...document.querySelectorAll('svg')].filter(
        svg => svg.getBoundingClientRect().width > 100).length,
    spill: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    title: document.title,
    text: document.body.textContent,
    cut: [...document.querySelectorAll('.plot')].filter(
        plot => plot.getBoundingClientRect().right > document.documentElement.clientWidth).length,
    letters: Math.min(...[...document.querySelectorAll('.plot svg text')].map(
        text => text.getBoundingClientRect().height).filter(height => height > 0)),
}
"""


def sweep_page(folder: Path) -> Path:
    report = fake_report(depths=(1, 50), frameworks=(ATTACK, "b"), dataset=ATTACK, command=f"bnparity '{ATTACK}'")
    first = report.trials[0]
    crashed = Trial(group=first.group, learning_rate=first.learning_rate, status=Status.ERROR, message=ATTACK)
    return write_report(
        replace(report, trials=(crashed, *report.trials[1:]), environment={ATTACK: ATTACK}), folder, dpi=25
    )


def check_page(folder: Path) -> Path:
    report = replace(disagreeing((1,)), command=f"bnparity '{ATTACK}'", environment={ATTACK: ATTACK})
    path = folder / "check.html"
    write_check_report(report, path)
    return path


def bench_page(folder: Path) -> Path:
    config = BenchConfig(frameworks=(ATTACK,), cases=(Case(depth=1), Case(depth=2)))
    rows = tuple(
        Row(framework=ATTACK, mode=ATTACK, device="cpu", precision="highest", case=case, population=8, note=ATTACK,
            median_us=9.0, low_us=8.0, high_us=10.0, floor_us=4.0, ratio_to_floor=2.25)
        for case in config.cases
    )  # fmt: skip
    report = BenchReport(config=config, rows=rows, environment={ATTACK: ATTACK}, command=ATTACK, seconds=1.0,
                         profiles={ATTACK: (Operation(ATTACK, 1.0),)})  # fmt: skip
    path = folder / "bench.html"
    write_bench_report(report, path)
    return path


def estimate_page(folder: Path) -> Path:
    row = EstimateRow(framework=ATTACK, group=ATTACK, program=ATTACK, dtype="float32", models=8, per="model-step",
                      estimate_us=2.0, roofline_us=1.0, roofline_by=ATTACK, note=ATTACK)  # fmt: skip
    rows = row, replace(row, models=16, note="", memory_bytes=10**9, fits=False, compile_s=1.0, operations=1e9)
    report = EstimateReport(config=EstimateConfig(compile_for="v5e"), title=ATTACK, rows=rows, left_out=(ATTACK,),
                            environment={ATTACK: ATTACK}, command=ATTACK, seconds=1.0, complete=False)  # fmt: skip
    path = folder / "estimate.html"
    write_estimate_report(report, path)
    return path


def lab_page(folder: Path) -> Path:
    def draw() -> Figure:
        sheet = lab_sheet("A figure", ATTACK, ATTACK, 2.0, columns=2)
        panels(sheet, 2, (ATTACK, ATTACK))
        return sheet.figure

    table = Table("table", ATTACK, ("name", *map(str, range(12))), ((ATTACK, *["0.123456"] * 12),))
    blocks = (Text(f"*Said* {ATTACK}"), table, Plot("figure", draw, ATTACK, ATTACK))
    report = LabReport(config=LabConfig(frameworks=(ATTACK,)), sections=(Section("part", ATTACK, ATTACK, blocks),),
                       failures=(ATTACK,), dataset=ATTACK, environment={ATTACK: ATTACK}, command=ATTACK,
                       seconds=1.0)  # fmt: skip
    return write_lab(report, folder, dpi=25)


def compare_page(folder: Path) -> Path:
    report = compare_reports.disagreeing(title=ATTACK, command=ATTACK, environment={ATTACK: ATTACK})
    modules = tuple(replace(row, path=f"{row.path}{'.n' * 60}", type=ATTACK * 3) for row in report.modules)
    path = folder / "compare.html"
    write_compare_report(replace(report, modules=(*report.modules, *modules)), path)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    program, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if not (program and driver) and os.environ.get("CI") != "true":  # in CI it fails
        pytest.skip("there is no Chromium with its driver here; `make browser` gets it")
    options = ChromeOptions()
    options.binary_location = program or "chromium"
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--force-device-scale-factor=1"):
        options.add_argument(flag)
    chrome = Chrome(options=options, service=Service(driver or "chromedriver"))
    try:
        yield chrome
    finally:
        chrome.quit()


@pytest.mark.parametrize("page", [sweep_page, check_page, bench_page, estimate_page, lab_page, compare_page])
def test_a_page_is_safe_and_fits(page: Callable[[Path], Path], browser: Chrome, tmp_path: Path) -> None:
    path = page(tmp_path)
    for width in (1280, 390):  # a desk, a hand
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False})  # fmt: skip
        browser.get(path.as_uri())
        found: dict[str, Any] = browser.execute_script(FOUND)
        assert (found["attacked"], found["handlers"], found["asked"], found["images"]) == (0, 0, [], 0)
        assert found["figures"] > 0
        assert (found["spill"] <= 0, found["cut"]) == (True, 0), f"at {width} pixels"
        assert found["letters"] >= LEAST_LETTERS
        assert found["title"] not in ("", "attacked")
        assert ATTACK in found["text"]
        assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_the_link_of_a_finding_leads_to_its_row(browser: Chrome, tmp_path: Path) -> None:
    browser.get(f"{compare_page(tmp_path).as_uri()}")
    for link in browser.find_elements("css selector", ".finding a"):
        browser.execute_script("arguments[0].click()", link)
        target = browser.find_element("css selector", ".row:target")
        assert target.is_displayed()
        assert "differs" in target.text
