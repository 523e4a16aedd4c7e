"""Which library a model is of."""

import sys
from collections.abc import Mapping
from typing import Any

from flax import linen, nnx

from bnjax.functional import CallModel, Functional, Plain
from bnjax.linen_model import Linen
from bnjax.nnx_model import Nnx
from parity.errors import InputError


def functional(model: Any, variables: Any, call: CallModel | None, inputs: Mapping[str, Any]) -> Functional:
    """Return a model of any library as a function.

    Raises:
        InputError: it is no model of a known kind, or its variables are missing.
    """
    if isinstance(model, linen.Module):
        return Linen(model, variables, call, inputs)
    if isinstance(model, nnx.Module):
        return Nnx(model, call)
    equinox = sys.modules.get("equinox")
    if equinox is not None and isinstance(model, equinox.Module):
        from bnjax.equinox_model import Equinox  # which needs it

        return Equinox(model, variables, call)
    if not callable(model):
        raise InputError(
            f"{type(model).__name__} is no model; give a linen, NNX or Equinox module, or a function and its parameters"
        )
    if variables is None:
        raise InputError("a function needs its parameters; give them as the port's second argument")
    return Plain(model, variables, call)
