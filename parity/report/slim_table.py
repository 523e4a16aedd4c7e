"""A table without the columns that say the same in every row."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class SlimTable:
    """A table of which the constant columns have gone into a sentence.

    Args:
        header: names of the columns that are left.
        rows: their cells.
        constant: "depth 8; seed 0", "" where every column varies.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    constant: str = ""


def slim(header: Sequence[str], rows: Sequence[Sequence[str]], kept: Sequence[str] = ()) -> SlimTable:
    """Take the columns that have the same value in every row out of a table of two rows or more.

    Args:
        header: names of the columns.
        rows: cells.
        kept: names of columns that stay.

    >>> slim(("depth", "seed", "loss"), [("1", "0", "0.5"), ("2", "0", "0.6")])
    SlimTable(header=('depth', 'loss'), rows=(('1', '0.5'), ('2', '0.6')), constant='seed 0')
    """
    if len(rows) < 2:
        return SlimTable(tuple(header), tuple(map(tuple, rows)))
    columns = list(zip(*rows, strict=True))
    varies = [name in kept or len(set(column)) > 1 for name, column in zip(header, columns, strict=True)]
    same = [(name, column[0]) for name, column, vary in zip(header, columns, varies, strict=True) if not vary]
    return SlimTable(
        tuple(name for name, vary in zip(header, varies, strict=True) if vary),
        tuple(tuple(cell for cell, vary in zip(row, varies, strict=True) if vary) for row in rows),
        "; ".join(f"{name} {value}" for name, value in same if value not in ("", "–")),
    )
