"""The student's notebook: in step with its source, right when solved, and never wrong about an answer."""

import builtins
import re
import symtable
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "examples" / "lab_student.ipynb"
sys.path.insert(0, str(ROOT / "scripts"))

from student_notebook import (  # noqa: E402
    PRINTS,
    Kind,
    blank,
    code_of,
    make_cells,
    other_answers,
    read_parts,
    run,
    solved,
    text_of,
)

AGAIN = "python scripts/make_notebook.py writes it anew"
EXERCISES = 28
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?")
OUTCOME = re.compile(rf"{NUMBER.pattern}|nan|none|does not train")  # what training may come to
SMALL = """\
BATCHES, PASSES, HAND_UPDATES, FRACTION = 5, 1, 2, 0.02
HAND_RATES = np.array([0.1, 1.0])
RATES = DEEP_RATES = BATCH_RATES = parity.LearningRates(0.1, 0.2, 2)
SWEEP_DEPTHS = DEPTHS = (1,)
BATCH_SIZES = (32,)"""

# A kernel is a process of its own; its client leaves its sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning", "ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # most of the time is compilation


def test_its_sources_are_what_the_script_writes() -> None:
    found = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(found)
    made = make_cells(read_parts(), blank)
    assert [(cell.cell_type, cell.id) for cell in found.cells] == [(cell.cell_type, cell.id) for cell in made], AGAIN
    for stored, cell in zip(found.cells, made, strict=True):
        assert stored.source.split(PRINTS)[0] == cell.source.split(PRINTS)[0], AGAIN
    assert NOTEBOOK.stat().st_size < 600_000


def test_its_cells_can_be_run_again_in_any_order() -> None:
    """What a cell takes from another is assigned in one place only: a check must not change what the rest uses."""
    names = [names_of(cell.source) for cell in code_of(make_cells(read_parts(), solved))]
    places = Counter(name for assigned, _ in names for name in assigned)
    assert {name: places[name] for _, used in names for name in used if places[name] != 1} == {}


@pytest.mark.fashion_mnist
def test_solutions_are_right_wrong_answers_are_told_and_outputs_are_of_a_run(tmp_path: Path) -> None:
    """One kernel for all, since it takes a minute: the solved form, and behind it other answers with their checks."""
    form = make_cells(read_parts(), solved)
    attempts = {
        (kind, number, line): make_cells(cells, solved)
        for number, check in enumerate(part for part in read_parts() if part.kind is Kind.CHECK)
        for kind in (Kind.WRONG, Kind.RIGHT)
        for line, cells in other_answers(check, kind).items()
    }
    tried = [cell for cells in attempts.values() for cell in cells]
    for number, cell in enumerate(tried):
        cell["id"] = f"attempt-{number}"
    ran = run([*form, *tried], tmp_path)
    done, otherwise = ran[: len(form)], ran[len(form) :]
    assert list(tmp_path.iterdir()) == []
    check_solutions(done)
    check_stored_outputs(done)
    found = dict(zip(attempts, [text_of(cell) for cell in code_of(otherwise, Kind.CHECK)], strict=True))
    assert {number for kind, number, _ in found if kind is Kind.WRONG} == set(range(EXERCISES))
    told = {Kind.WRONG: ": not right yet. ", Kind.RIGHT: ": right. "}
    assert {key: words for key, words in found.items() if told[key[0]] not in words} == {}


def check_solutions(done: list[Any]) -> None:
    """Every self-check says of the solution that it is right, and no cell complains."""
    says = [text_of(cell) for cell in code_of(done, Kind.CHECK)]
    assert len(says) == EXERCISES
    assert [words for words in says if not re.match(r"Exercise \d\.\d: right\. \w", words)] == []
    outputs = [output for cell in code_of(done) for output in cell.outputs]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []


def check_stored_outputs(done: list[Any]) -> None:
    """The stored outputs are those of the run.

    A printed number may differ by one unit of its last digit, where rounding moves it across the middle between two.
    Training amplifies rounding: of its outputs only the structure is compared, which is all but numbers and outcomes.
    """
    found = nbformat.read(NOTEBOOK, as_version=4)
    made = make_cells(read_parts(), blank, [text_of(cell) for cell in code_of(done, Kind.CHECK)])
    assert [cell.source for cell in found.cells] == [cell.source for cell in made], AGAIN
    for kind, compare in ((Kind.DEMONSTRATION, same_numbers), (Kind.TRAINING, same_structure)):
        for stored, cell in zip(code_of(found.cells, kind), code_of(done, kind), strict=True):
            assert [o.output_type for o in stored.outputs] == [o.output_type for o in cell.outputs], AGAIN
            assert compare(text_of(stored), text_of(cell)), f"{AGAIN}:\n{text_of(stored)}\n{text_of(cell)}"
            assert not re.search(r"(?<![\w.])/\w+/\w+", text_of(stored)), "a path of the machine that ran it"
    assert [cell.outputs for cell in code_of(found.cells, Kind.EXERCISE, Kind.CHECK) if cell.outputs] == []


@pytest.mark.fashion_mnist
def test_it_runs_with_nothing_filled_in(tmp_path: Path) -> None:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    (config,) = (cell for cell in code_of(cells) if cell.source.startswith("BATCHES = "))
    assert names_of(config.source)[0] == names_of(SMALL)[0]
    config.source = SMALL
    done = run(cells, tmp_path)
    says = [text_of(cell) for cell in code_of(done, Kind.CHECK)]
    assert len(says) == EXERCISES
    assert [words for words in says if not re.fullmatch(r"Exercise \d\.\d: not filled in yet\.\n", words)] == []
    assert list(tmp_path.iterdir()) == []


def same_numbers(one: str, other: str) -> bool:
    """Whether two texts differ by at most one unit of the last digit of a number."""
    return NUMBER.sub("", one).split() == NUMBER.sub("", other).split() and all(
        abs(float(a) - float(b)) <= 1.001 * max(last_digit(a), last_digit(b))
        for a, b in zip(NUMBER.findall(one), NUMBER.findall(other), strict=True)
    )


def last_digit(number: str) -> float:
    """What one unit of the last digit of a printed number is worth."""
    digits, _, exponent = number.partition("e")
    return 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))


def same_structure(one: str, other: str) -> bool:
    """Whether two texts are the same but for numbers and outcomes."""
    return OUTCOME.sub("", one).split() == OUTCOME.sub("", other).split()


def names_of(source: str) -> tuple[set[str], set[str]]:
    """The global names that a cell assigns, and those that it only uses."""

    def scopes(scope: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
        yield scope
        for inner in scope.get_children():
            yield from scopes(inner)

    top = symtable.symtable(source, "cell", "exec")
    assigned = {name.get_name() for name in top.get_symbols() if name.is_assigned() or name.is_imported()}
    named = {
        name.get_name()
        for scope in scopes(top)
        for name in scope.get_symbols()
        if name.is_referenced() and (scope is top or name.is_global())
    }
    return assigned, named - assigned - set(dir(builtins))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("loss 0.50", "loss 0.51", True),
        ("loss 0.50", "loss  0.52", False),
        ("1.2e-06", "1.3e-06", True),
        ("a 1", "b 1", False),
    ],
)
def test_printed_numbers_may_differ_by_one_unit(one: str, other: str, expected: bool) -> None:
    assert same_numbers(one, other) is expected
