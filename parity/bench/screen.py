"""The report of a benchmark as text."""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from parity.bench.answers import answers, groups
from parity.bench.records import BenchReport, Row

TERMS = {
    "models": "how many are trained at once",
    "µs": "microseconds per model-step, one SGD update of one model; the median of the samples of two turns",
    "95% interval": "of the median, by bootstrap",
    "× floor": "how many times the floor, which the matrix products or the memory traffic alone would take",
    "× lab's loop": "how many times as fast as a plain loop of eager updates in PyTorch",
    "threads": "how many cores it kept busy, on average",
    "compiled in": "seconds until the first updates were done, less what they take afterwards",
    "paid after": "model-steps after which that is won back, against the framework's plain loop",
}
HEADER = ("framework", "mode", *TERMS)
SHORT_HEADER = ("", "models", "µs", "95%", "×floor", "×lab", "threads", "compile")
APART = "its two turns differ"


def print_report(report: BenchReport, console: Console) -> None:
    """Print whether it is to be trusted, the answers, a table for each case, and notes on it."""
    for doubt in report.doubts:
        console.out(f"NOT TO BE TRUSTED, the machine was not its own: {doubt}", highlight=False)
    if not report.complete:
        console.out(f"INTERRUPTED: {report.done}.")
    for answer in answers(report):
        console.out(f"{answer.question}: {answer.text}", highlight=False)
    for case, rows in by_case(report):
        console.out("")
        console.out(f"{case}{floor_words(rows)}", highlight=False)
        table = Table(*SHORT_HEADER, box=None, padding=(0, 1, 0, 0))
        for column in table.columns[1:]:
            column.justify, column.no_wrap = "right", True
        for _, group in groups(rows):
            for number, row in enumerate(group):
                framework, mode, *numbers = cells(row)
                is_best = number == 0 and row.median_us is not None
                table.add_row(f"{framework} {mode}", *numbers[:-1], style="bold" if is_best else None)
        console.print(table)
        for name, words in notes(rows):
            console.out(f"{name}: {words}", highlight=False)
    for framework, operations in report.profiles.items():
        shares = ", ".join(f"{found.name} {found.share:.0%}" for found in operations)
        console.out(f"\nwhere the time of {report.title(framework)}'s population goes: {shares}", highlight=False)
    console.out("")
    console.out("µs: per model-step, one SGD update of one model. ×floor: what matrix products or memory alone take.")
    console.out("×lab: how many times as fast as PyTorch's loop of eager updates. threads: cores that it kept busy.")


def floor_words(rows: list[Row]) -> str:
    """Return the floor of a case, and what it would be if there were no products but a framework's own."""
    own = {row.name: row.own_floor_us for row in rows if row.own_floor_us is not None}
    floor = next((row.floor_us for row in rows if row.floor_us is not None), None)
    if floor is None:
        return ""
    alone = ", ".join(f"{name} {_time(each)}" for name, each in own.items())
    return f"; floor {floor:.3g} µs" + (f" (with its own products alone: {alone})" if alone else "")


def by_case(report: BenchReport) -> Iterator[tuple[str, list[Row]]]:
    """The rows of each case, in the order in which they were measured."""
    cases: dict[str, list[Row]] = {}
    for row in report.rows:
        cases.setdefault(str(row.case), []).append(row)
    yield from cases.items()


def notes(rows: list[Row]) -> Iterator[tuple[str, str]]:
    """Yield what is to be known of rows: why one has no time, or is not to be trusted."""
    for row in rows:
        if row.note or row.is_apart:
            yield f"{row.name} {row.mode}", row.note or f"{APART}: {_halves(row)} µs"


def _halves(row: Row) -> str:
    half = len(row.samples_us) // 2
    turns = row.samples_us[:half], row.samples_us[half:]
    return " and ".join(f"{_time(min(turn))}-{_time(max(turn))}" for turn in turns)


def cells(row: Row) -> tuple[str, ...]:
    """A row in words; what is not to be trusted has a question mark."""
    first = row.name, row.mode.replace("_", " "), str(row.population)
    if row.median_us is None or row.low_us is None or row.high_us is None:
        return *first, "none", *[""] * (len(TERMS) - 2)
    return (
        *first,
        _time(row.median_us) + ("?" if row.is_apart else ""),
        f"{_time(row.low_us)}-{_time(row.high_us)}",
        _number(row.ratio_to_floor, ".2f" if (row.ratio_to_floor or 0) < 10 else ".0f"),
        _number(row.ratio_to_lab_loop, ".2f" if (row.ratio_to_lab_loop or 0) < 10 else ".0f"),
        _number(row.threads, ".1f"),
        _number(row.compile_s, ".1f", " s"),
        _number(row.paid_after, ",.0f", " steps"),
    )


def _time(microseconds: float) -> str:
    return f"{microseconds:.1f}" if microseconds < 100 else f"{microseconds:.0f}"


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "" if value is None else f"{value:{form}}{unit}"
