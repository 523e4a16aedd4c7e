"""Build the student's notebook: one source in `student_lab/*.md`, three forms of it.

A section is a Markdown file. Its text becomes text cells, and a fenced block becomes what its first line says:

    python              a demonstration: its stored output is that of the solved form
    python hidden       the same, with its code folded
    python training     a demonstration in which training amplifies rounding: of its output only the structure is tested
    python exercise     an exercise; what stands between ⟦ and ⟧ is the answer, which the student sees as `...`
    solution            text of the exercise's solution, above its code
    wrong               wrong answers to the exercise, a line for each: RIGHT => WRONG
    right               other right answers, a line for each: RIGHT => OTHER
    python check        the self-check, which ends an exercise: after it comes its folded solution
"""

import base64
import io
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import nbformat.v4 as notebook
from nbclient import NotebookClient
from PIL import Image

SECTIONS = Path(__file__).parent / "student_lab"
BLOCK = re.compile(r"^```([a-z ]+)\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
ANSWER = re.compile("⟦(.*?)⟧", re.DOTALL)
PRINTS = "The check then says:"
COLORS = 32  # of a stored picture


class Kind(StrEnum):
    """What a part of a section is, as its block's first line says it."""

    TEXT = "text"
    DEMONSTRATION = "python"
    HIDDEN = "python hidden"
    TRAINING = "python training"
    EXERCISE = "python exercise"
    SOLUTION = "solution"
    WRONG = "wrong"
    RIGHT = "right"
    CHECK = "python check"


@dataclass(frozen=True)
class Part:
    """A piece of a section.

    Args:
        kind: what it is.
        source: its text, with answers between ⟦ and ⟧.
        exercise: of a check, what it checks: code, wrong answers, the text of the solution.
    """

    kind: Kind
    source: str
    exercise: tuple["Part", ...] = ()

    def of(self, kind: Kind) -> list[str]:
        """Return the sources of the exercise's parts of a kind."""
        return [part.source for part in self.exercise if part.kind is kind]


def read_section(text: str) -> list[Part]:
    """Cut a section into parts, in order; what belongs to an exercise also hangs on its check."""
    parts, exercise, pieces = [], [], BLOCK.split(text)
    for words, kind, source in zip(pieces[::3], [*pieces[1::3], ""], [*pieces[2::3], ""], strict=True):
        if words.strip():
            parts.append(Part(Kind.TEXT, words.strip()))
        if not kind:
            continue
        part = Part(Kind(kind), source)
        if part.kind in (Kind.EXERCISE, Kind.SOLUTION, Kind.WRONG, Kind.RIGHT):
            exercise.append(part)
        if part.kind is Kind.CHECK:
            part, exercise = Part(part.kind, source, tuple(exercise)), []
        if part.kind not in (Kind.SOLUTION, Kind.WRONG, Kind.RIGHT):
            parts.append(part)
    return parts


def read_parts() -> list[Part]:
    """Read all sections, in the order of their files' names."""
    return [part for path in sorted(SECTIONS.glob("*.md")) for part in read_section(path.read_text())]


def blank(source: str) -> str:
    """Return an exercise as the student finds it.

    >>> blank("size = ⟦n - k + 1⟧  # one side")
    'size = ...  # one side'
    """
    return ANSWER.sub("...", source)


def solved(source: str) -> str:
    """Return an exercise with its answers.

    >>> solved("size = ⟦n - k + 1⟧")
    'size = n - k + 1'
    """
    return ANSWER.sub(r"\1", source)


def other_answers(check: Part, kind: Kind) -> dict[str, list[Part]]:
    """Return a check's exercise with each of its wrong (or other right) answers: from the line to the cells and check.

    Raises:
        ValueError: a line of the answers changes nothing, or more than one place.
    """
    cells, found = [solved(source) for source in check.of(Kind.EXERCISE)], {}
    for line in "\n".join(check.of(kind)).splitlines():
        right, _, other = line.partition(" => ")
        if sum(cell.count(right) for cell in cells) != 1:
            raise ValueError(f"{right!r} must stand once in the exercise, to be changed into {other!r}")
        found[line] = [*(Part(Kind.EXERCISE, cell.replace(right, other)) for cell in cells), check]
    return found


def make_cells(parts: Iterable[Part], form: Callable[[str], str], prints: Sequence[str] = ()) -> list[Any]:
    """Make the cells of a form.

    Args:
        parts: of all sections.
        form: `blank` or `solved`.
        prints: what each self-check says of the solution, for the cells with solutions; without it they have none.
    """
    cells, said = [], iter(prints)
    for part in parts:
        if part.kind is Kind.TEXT:
            cells.append(notebook.new_markdown_cell(part.source))
            continue
        metadata: dict[str, Any] = {"tags": [part.kind.replace(" ", "-")]}
        if part.kind in (Kind.HIDDEN, Kind.CHECK):
            metadata["jupyter"] = {"source_hidden": True}
        cells.append(notebook.new_code_cell(form(part.source), metadata=metadata))
        if part.kind is Kind.CHECK and form is blank:
            cells.append(notebook.new_markdown_cell(solution(part, next(said, ""))))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"  # nbformat's own ids are random
    return cells


def solution(check: Part, says: str) -> str:
    """Return the folded solution of a check's exercise, with what the check says of it."""
    code = [f"```python\n{solved(source)}\n```" for source in check.of(Kind.EXERCISE)]
    lines = [*check.of(Kind.SOLUTION), *code, f"{PRINTS}\n\n```text\n{says.strip()}\n```"]
    return "\n\n".join(["<details><summary>Solution</summary>", *lines, "</details>"])


def make_notebook(cells: list[Any]) -> Any:
    """Return a notebook of cells."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return notebook.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def run(cells: list[Any], folder: Path, timeout: int = 600) -> list[Any]:
    """Run cells in a new kernel whose working directory is `folder`, and return them with their outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised.
    """
    places = {"metadata": {"path": str(folder)}}
    client = NotebookClient(
        make_notebook(cells), timeout=timeout, record_timing=False, coalesce_streams=True, resources=places
    )
    environment = os.environ | {"PYTHONHASHSEED": "0"}  # the columns of Flax's table of a network are in a set's order
    return client.execute(env=environment).cells


def code_of(cells: Iterable[Any], *kinds: Kind) -> list[Any]:
    """Return the code cells of some kinds; all of them if none is named."""
    tags = {kind.replace(" ", "-") for kind in kinds or Kind}
    return [cell for cell in cells if cell.cell_type == "code" and tags & set(cell.metadata["tags"])]


def text_of(cell: Any) -> str:
    """Return what a cell has printed."""
    return "".join(output.text for output in cell.outputs if output.output_type == "stream" and output.name == "stdout")


def make_student_notebook(folder: Path) -> str:
    """Return the student's notebook as JSON: with blanks, and the outputs that a solved run's demonstrations have."""
    parts = read_parts()
    ran = code_of(run(make_cells(parts, solved), folder))
    prints = [text_of(cell) for cell in code_of(ran, Kind.CHECK)]
    cells = make_cells(parts, blank, prints)
    shown = (Kind.DEMONSTRATION, Kind.TRAINING)
    for cell, done in zip(code_of(cells, *shown), code_of(ran, *shown), strict=True):
        cell["outputs"] = [stored(output) for output in done.outputs if output.get("name") != "stderr"]
    return notebook.writes(make_notebook(cells)) + "\n"


def stored(output: Any) -> Any:
    """Return an output as it is stored: a picture with few colors, and without the name of what drew it."""
    if output.output_type == "display_data" and "image/png" in output.data:
        small = io.BytesIO()
        picture = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
        picture.convert("RGB").quantize(COLORS).save(small, "PNG", optimize=True)
        return notebook.new_output("display_data", {"image/png": base64.b64encode(small.getvalue()).decode()})
    return output
