"""What a traced function computes in numbers narrower than float64."""

from typing import Any

import jax.numpy as jnp
from jax.extend.core import Jaxpr

from bnjax.interpret import visits
from bnjax.perturbed import ENTERED
from parity.backend.port import Island
from parity.source import place_outside


def islands(jaxpr: Jaxpr) -> tuple[Island, ...]:
    """Return the operations that give narrower floating-point numbers, each with its file and line."""
    found: dict[Island, None] = {}
    for visit in visits(jaxpr):
        equation = visit.equation
        narrow = [v.aval.dtype for v in equation.outvars if is_narrow(v.aval)]
        if narrow and equation.primitive.name not in ENTERED:
            found[Island(source_of(equation), equation.primitive.name, str(narrow[0]))] = None
    return tuple(found)


def is_narrow(value: Any) -> bool:
    """Return whether a value holds floating-point numbers narrower than float64."""
    dtype = getattr(value, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jnp.floating) and dtype != jnp.float64


def source_of(equation: Any) -> str:
    """Return file and line of the user's code that an equation comes from; "" if not known."""
    traceback = getattr(equation.source_info, "traceback", None)
    frames = [(frame.file_name, frame.line_num) for frame in traceback.frames] if traceback is not None else []
    return place_outside(frames, "jax", "flax", "equinox", "optax", "bnjax")
