"""The faults that need no framework: wrong conventions, inputs, weight imports and parts.

A backend is assembled from named parts, and a fault replaces exactly one of them. A fault is a function of the honest
part and its arguments. Faults that need a framework are in `faults.py` beside each framework's `parts.py`.
"""

from parity.faults.conventions import AS_GIVEN, WeightImport, cumulative_decay, debiased_decay, read_conventions
from parity.faults.table import NEUTRAL_FAULTS, Fault, replace_part

__all__ = [
    "AS_GIVEN",
    "NEUTRAL_FAULTS",
    "Fault",
    "WeightImport",
    "cumulative_decay",
    "debiased_decay",
    "read_conventions",
    "replace_part",
]
