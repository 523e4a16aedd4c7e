"""Published pairs of models, a file for each family; see `benchmarks/published_pairs.py`."""

from collections.abc import Iterator
from importlib import import_module

from published.entry import Entry

FAMILIES = ("encoders", "decoders", "sequences", "images", "sounds", "converted", "layers")


def every_entry() -> Iterator[Entry]:
    """Yield every row, family by family."""
    for family in FAMILIES:
        yield from import_module(f"{__name__}.{family}").ENTRIES
