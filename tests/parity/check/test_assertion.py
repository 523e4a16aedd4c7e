"""The check in the tests of someone's port: the assertion, and the pytest plugin that offers it as a fixture."""

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from check_reports import EVIDENCE, agreeing, disagreeing

from parity.assertion import assert_parity as asserted
from parity.check.config import CheckConfig
from parity.check.records import CheckReport
from parity.check.screen import format_report
from parity.errors import InputError
from parity.spec import ModelSpec

pytest_plugins = "pytester"
TESTS = Path(__file__).parents[2]
HEAVY = ("jax", "jaxlib", "flax", "torch", "scipy", "matplotlib", "bnjax", "bntorch")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any, CheckConfig, str | None]]:
    """What the check was asked; it finds a disagreement where the candidate is called "bad"."""
    calls: list[tuple[Any, Any, CheckConfig, str | None]] = []

    def check(reference: Any, candidate: Any, *, config: CheckConfig, fault: str | None = None) -> CheckReport:
        calls.append((reference, candidate, config, fault))
        return disagreeing() if candidate == "bad" else agreeing()

    module = ModuleType("parity.check.run")
    vars(module)["check"] = check
    monkeypatch.setitem(sys.modules, "parity.check.run", module)
    return calls


def test_agreement_gives_the_report(asked: list) -> None:
    candidate = object()
    assert asserted("torch", candidate).agrees
    assert asked == [("torch", candidate, CheckConfig(), None)]


def test_disagreement_raises_the_report(asked: list) -> None:
    with pytest.raises(AssertionError) as failure:
        asserted("torch", "bad")
    assert str(failure.value) == format_report(disagreeing())


def test_a_spec_decides_depth_and_batch_norm(asked: list) -> None:
    spec = ModelSpec(num_hidden_layers=5, use_batch_norm=False, hidden_width=16)
    asserted("torch", "good", spec)
    asserted("torch", "good", spec, config=CheckConfig(seed=3), learning_rate=0.5)
    assert asked[0][2] == CheckConfig(spec=spec, depths=(5,), batch_norm=(False,))
    assert asked[1][2] == CheckConfig(spec=spec, depths=(5,), batch_norm=(False,), seed=3, learning_rate=0.5)


def test_options_override_the_config(asked: list) -> None:
    asserted("torch", "good", config=CheckConfig(seed=3, depths=(1, 2)), depths=(8,), fault="wrong_epsilon")
    assert asked[0][2:] == (CheckConfig(seed=3, depths=(8,)), "wrong_epsilon")


def test_bad_options_are_no_failed_assertion(asked: list) -> None:
    with pytest.raises(InputError, match="depth"):
        asserted("torch", "good", depths=(0,))
    with pytest.raises(TypeError, match="dephts"):
        asserted("torch", "good", dephts=(1,))
    assert asked == []


# the plugin

FAKE = """
import sys, types
sys.path.insert(0, {tests!r})
import check_reports
module = types.ModuleType("parity.check.run")
module.check = lambda reference, candidate, **options: getattr(check_reports, candidate)()
sys.modules["parity.check.run"] = module
"""


def test_the_fixture_works_wherever_this_is_installed(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(FAKE.format(tests=str(TESTS)))
    pytester.makepyfile(
        """
        def test_good(assert_parity):
            assert assert_parity("torch", "agreeing").agrees

        def test_bad(assert_parity):
            assert_parity("torch", "disagreeing", depths=(1, 25))
        """
    )
    result = pytester.runpytest_subprocess("-W", "error")
    result.assert_outcomes(passed=1, failed=1)
    lines = [line.removeprefix("E").strip() for line in result.outlines]
    assert [line for line in format_report(disagreeing()).splitlines() if line.strip() not in lines] == [
        "DISAGREE: jax does not compute what torch computes"
    ]
    assert "AssertionError: DISAGREE: jax does not compute what torch computes" in lines
    assert EVIDENCE in lines
    assert "assertion.py" not in result.stdout.str()  # the traceback ends in the test


def load_plugin(code: str) -> subprocess.CompletedProcess[str]:
    """What loading the plugin in a fresh process does, in an environment that it cannot have touched."""
    env = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60, check=False
    )


def plugin_entry() -> Any:
    (entry,) = entry_points(group="pytest11", name="bnparity")
    return entry


LOADED = """
import os, random, signal, sys, warnings, threading
import pytest
import numpy, rich.style  # what `import parity` needs, and what these change: warning filters, the state of `random`
before = dict(os.environ), list(sys.path), random.getstate(), signal.getsignal(2), list(warnings.filters)
from importlib.metadata import entry_points
(entry,) = entry_points(group="pytest11", name="bnparity")
{planted}
entry.load()
after = dict(os.environ), list(sys.path), random.getstate(), signal.getsignal(2), list(warnings.filters)
print(sorted({heavy!r} & sys.modules.keys()), before == after, threading.active_count())
"""


@pytest.mark.parametrize(
    ("planted", "expected"),
    [("", "[] True 1\n"), ("import scipy", "['scipy'] True 1\n"), ("os.environ['A_NEW_ONE'] = '1'", "[] False 1\n")],
)
def test_loading_the_plugin_brings_nothing_heavy_and_changes_nothing(planted: str, expected: str) -> None:
    result = load_plugin(LOADED.format(planted=planted, heavy=set(HEAVY)))
    assert (result.stdout, result.stderr) == (expected, "")


def test_the_plugin_itself_imports_nothing_but_pytest() -> None:
    # Through the entry point it comes after `import parity`, which brings NumPy; it must bring no more by itself.
    source = Path(sys.modules["parity"].__file__ or "").with_name("pytest_plugin.py")
    code = (
        "import runpy, sys, pytest, collections.abc, typing, pkgutil\n"
        f"before = set(sys.modules)\nrunpy.run_path({str(source)!r})\nprint(sorted(set(sys.modules) - before))"
    )
    result = load_plugin(code)
    assert (result.stdout, result.stderr) == ("[]\n", "")
    assert plugin_entry().value == "parity.pytest_plugin"
