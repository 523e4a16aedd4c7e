"""What a benchmark answers, a sentence for each question."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from parity.bench.config import Case
from parity.bench.records import BenchReport, Row
from parity.clock import times_words

QUESTIONS: dict[str, Callable[[Row], bool]] = {
    "one model": lambda row: row.population == 1,
    "many models at once": lambda row: row.population > 1,
}


@dataclass(frozen=True)
class Answer:
    """The answer to a question.

    Args:
        question: in words.
        text: which framework is faster, by how much, each at its best; or how fast the one that was timed is.
    """

    question: str
    text: str


@dataclass(frozen=True)
class _Best:
    """The fastest row of each framework in a case, the fastest framework first."""

    case: Case
    rows: tuple[Row, ...]

    @property
    def is_clear(self) -> bool:
        """Whether the intervals of the first two do not meet, and the turns of neither differ."""
        first, second = self.rows[:2]
        return (first.high_us or 0.0) < (second.low_us or 0.0) and not (first.is_apart or second.is_apart)

    @property
    def ratio(self) -> float:
        return (self.rows[1].median_us or 0.0) / (self.rows[0].median_us or 1.0)


def answers(report: BenchReport) -> list[Answer]:
    """Return the answers, as far as there are figures for them."""
    found = []
    for question, is_asked in QUESTIONS.items():
        best = list(_bests([row for row in report.rows if row.median_us is not None and is_asked(row)]))
        compared = [each for each in best if len(each.rows) > 1]
        if compared:
            found.append(Answer(question, _compared(compared)))
        elif best:
            found.append(Answer(question, "; ".join(map(_alone, best))))
    return found


def groups(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Yield the rows of a case by what they answer, the fastest first, and those without a time last."""
    for question, is_asked in QUESTIONS.items():
        own = [row for row in rows if is_asked(row)]
        if own:
            yield question, sorted(own, key=lambda row: (row.median_us is None, row.median_us or 0.0))


def _bests(rows: Sequence[Row]) -> Iterator[_Best]:
    for case in dict.fromkeys(row.case for row in rows):
        best: dict[str, Row] = {}
        for row in sorted((row for row in rows if row.case == case), key=lambda row: row.median_us or 0.0):
            best.setdefault(row.framework, row)
        yield _Best(case, tuple(best.values()))


def _alone(best: _Best) -> str:
    (row,) = best.rows
    lab = f", {row.ratio_to_lab_loop:.2g} times as fast as the lab's loop" if row.ratio_to_lab_loop else ""
    return f"{row.way}{lab} ({best.case})"


def _compared(bests: Sequence[_Best]) -> str:
    if len(bests) == 1:
        return f"{_sentence(bests[0])} ({bests[0].case})"
    found = []
    for winner in dict.fromkeys(each.rows[0].framework for each in bests if each.is_clear):
        own = [each for each in bests if each.is_clear and each.rows[0].framework == winner]
        ratios = [each.ratio for each in own]
        others = " or ".join(dict.fromkeys(each.rows[1].name for each in own))
        where = "all" if len(own) == len(bests) else f"{len(own)} of {len(bests)}"
        where = str(own[0].case) if len(own) == 1 else f"{where} networks"
        found.append(f"{own[0].rows[0].name}, {times_words(ratios)} times as fast as {others} ({where})")
    unclear = [each for each in bests if not each.is_clear]
    if unclear:
        where = str(unclear[0].case) if len(unclear) == 1 else f"{len(unclear)} of {len(bests)} networks"
        found.append(f"no difference that is sure ({where})")
    return "; ".join(found)


def _sentence(best: _Best) -> str:
    first, second = best.rows[:2]
    if not best.is_clear:
        return f"no difference that is sure between {first.way} and {second.way}"
    return f"{first.way}, {times_words([best.ratio])} times as fast as {second.way}"
