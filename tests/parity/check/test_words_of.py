"""Where a side raised: the file, the line and the method of its own code, also where a library raised for it."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from parity.process import SideError, words_of
from parity.sides import SideSpec, open_side

PORT = """
import torch
import parity
from parity.spec import check_training_batch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(3, 2)

    def forward(self, x):
        return self.head(x)

class Learner:
    def train_step(self, inputs, labels, learning_rate):
        return Net()(torch.ones(4, 5))

    def evaluate(self, inputs):
        raise RuntimeError("not trained yet")

    def weights(self):
        check_training_batch(1)

class Port:
    def learner(self, spec, weights, dtype):
        return Learner()

    def call(self, method):
        return getattr(Learner(), method)(*[None] * (3 if method == "train_step" else method == "evaluate"))
"""
PLACES = {
    "train_step": (": .* shapes cannot be multiplied", "return self.head(x)", "Net.forward"),
    "evaluate": (": not trained yet", 'raise RuntimeError("not trained yet")', "Learner.evaluate"),
    "weights": (": training with batch norm needs", "check_training_batch(1)", "Learner.weights"),
}


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "raising_port.py"
    path.write_text(PORT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "raising_port", raising=False)
    return path


def call(backend: Any, method: str) -> Any:
    return backend.call(method)


@pytest.mark.parametrize("method", PLACES)
def test_a_side_that_raises_is_quoted_with_the_place_in_its_own_code(method: str, port: Path) -> None:
    message, line, name = PLACES[method]
    number = PORT.splitlines().index(next(text for text in PORT.splitlines() if text.strip() == line)) + 1
    with (
        open_side(SideSpec(target=import_module("raising_port").Port())) as side,
        pytest.raises(SideError, match=f"raised [A-Za-z]+{message}.* \\(at {port}:{number}, in {name}\\)$"),
    ):
        side.call(call, method)


def test_the_place_survives_a_message_that_is_cut(port: Path) -> None:
    with pytest.raises(SideError) as raised, open_side(SideSpec(target=Long())) as side:
        side.call(call, "x")
    assert str(raised.value).endswith(", in Long.call)")
    assert " ... (at " in str(raised.value)


class Long:
    def learner(self, spec: Any, weights: Any, dtype: str) -> None: ...

    def call(self, method: str) -> None:
        raise RuntimeError(1000 * method)


def test_of_an_installed_port_its_package_is_meant_and_not_what_it_calls() -> None:
    source = "def run(f): f()\n"
    code = compile(source, "/usr/lib/python3/site-packages/their_port/model.py", "exec")
    space: dict[str, Any] = {"__name__": "their_port.model"}
    exec(code, space)
    library: dict[str, Any] = {"__name__": "their_library"}
    exec(compile("def fail(): 1 / 0\n", "/usr/lib/python3/site-packages/their_library.py", "exec"), library)
    with pytest.raises(ZeroDivisionError) as raised:
        space["run"](library["fail"])
    error = raised.value.with_traceback(raised.tb.tb_next)  # without this test's own frame
    assert words_of(error).endswith("(at /usr/lib/python3/site-packages/their_port/model.py:1, in run)")


def test_where_only_the_standard_library_is_left_no_place_is_named() -> None:
    with (
        pytest.raises(Exception, match=r"cannot be loaded: it raised ModuleNotFoundError: .*'$"),
        open_side(SideSpec(target="no_such_module:make")),
    ):
        pass


def test_where_nothing_can_be_said_of_the_place_the_error_is_still_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    namespace: dict[str, Any] = {"__name__": None}
    exec(compile("def fail(): raise ValueError('no licence')", "", "exec"), namespace)
    with pytest.raises(ValueError, match="no licence") as error:
        namespace["fail"]()
    assert words_of(error.value).startswith("raised ValueError: no licence")
