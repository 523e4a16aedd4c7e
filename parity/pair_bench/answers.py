"""Which of a pair's two models is faster, a sentence for each task and dtype."""

from collections.abc import Iterator, Sequence

from parity.clock import times_words
from parity.pair_bench.records import PairBenchReport, PairRow


def answers(report: PairBenchReport) -> list[tuple[str, str]]:
    """Return each question and its answer: each side at its best, over the sizes of batch."""
    found = []
    for task, dtype in dict.fromkeys((row.task, row.dtype) for row in report.rows):
        rows = [row for row in report.rows if (row.task, row.dtype) == (task, dtype) and row.median_us is not None]
        bests = list(_bests(rows))
        if bests:
            found.append((f"{task} in {dtype}", "; ".join(_sentences(bests))))
    return found


def groups(report: PairBenchReport) -> Iterator[tuple[str, list[PairRow]]]:
    """Yield the rows of each task, dtype and size of batch, the fastest first, and those without a time last."""
    for key in dict.fromkeys((row.task, row.dtype, row.batch_size) for row in report.rows):
        own = [row for row in report.rows if (row.task, row.dtype, row.batch_size) == key]
        task, dtype, size = key
        yield (
            f"{task}, batches of {size}, {dtype}",
            sorted(own, key=lambda row: (row.median_us is None, row.median_us or 0.0)),
        )


def _bests(rows: Sequence[PairRow]) -> Iterator[tuple[PairRow, PairRow]]:
    """The fastest way of each side for each size of batch, the faster side first."""
    for size in dict.fromkeys(row.batch_size for row in rows):
        best: dict[str, PairRow] = {}
        for row in sorted((row for row in rows if row.batch_size == size), key=lambda row: row.median_us or 0.0):
            best.setdefault(row.side, row)
        if len(best) > 1:
            first, second = best.values()
            yield first, second


def _sentences(bests: Sequence[tuple[PairRow, PairRow]]) -> Iterator[str]:
    sure = [(one, other) for one, other in bests if _is_sure(one, other)]
    for side in dict.fromkeys(one.side for one, _ in sure):
        own = [(one, other) for one, other in sure if one.side == side]
        ratios = [(other.median_us or 0.0) / (one.median_us or 1.0) for one, other in own]
        ours, theirs = (_ways([pair[place] for pair in own]) for place in (0, 1))
        sizes = _sizes([one for one, _ in own], bests)
        yield f"the {side}, {ours}, {times_words(ratios)} times as fast as {theirs} ({sizes})"
    unsure = [one for one, other in bests if (one, other) not in sure]
    if unsure:
        yield f"no difference that is sure ({_sizes(unsure, bests)})"


def _is_sure(one: PairRow, other: PairRow) -> bool:
    """Whether the intervals do not meet, and the turns of neither differ."""
    return (one.high_us or 0.0) < (other.low_us or 0.0) and not (one.is_apart or other.is_apart)


def _ways(rows: Sequence[PairRow]) -> str:
    ways = dict.fromkeys(row.way for row in rows)
    return f"{rows[0].name} {' or '.join(ways)}"


def _sizes(rows: Sequence[PairRow], of: Sequence[object]) -> str:
    sizes = ", ".join(str(row.batch_size) for row in rows)
    return f"batches of {sizes}" if len(of) > 1 or len(rows) == 1 else sizes
