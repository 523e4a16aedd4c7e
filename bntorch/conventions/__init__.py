"""What libraries have otherwise: a table of conventions for each kind of function, and models run with one changed.

`calls` sees the functions, and the files beside it enter their conventions as they are imported here.
"""

from bntorch.conventions import (
    activations,
    attention,
    convolutions,
    losses,
    norms,
    optimizers,
    pools,
    recurrent,
    resizing,
    shapes,
    sums,
)
from bntorch.conventions.calls import CONVENTIONS, Called, Changed, Options, Way, convention

__all__ = [
    "CONVENTIONS",
    "Called",
    "Changed",
    "Options",
    "Way",
    "activations",
    "attention",
    "convention",
    "convolutions",
    "losses",
    "norms",
    "optimizers",
    "pools",
    "recurrent",
    "resizing",
    "shapes",
    "sums",
]
