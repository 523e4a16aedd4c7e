"""The values at the boundaries of a model's modules: recorded, and replaced by others, forward and backward.

While a model is traced, every value that enters or leaves a module is given a name (`checkpoint_name`, which computes
nothing). The trace is then evaluated with a crossing in the place of each name. So it works under `jit`, `scan`,
`vmap` and `checkpoint` as well; one compiled program serves, whether values are replaced or not.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import ClosedJaxpr
from jax.extend.core import primitives as p

from bnjax.interpret import Place, Visitor, apply, visits
from bnjax.islands import source_of
from bnjax.perturbed import ENTERED
from parity.backend.port import Boundary, Call, End, ModuleCall
from parity.source import caller_outside

NAME = "bnparity:"
CALL = "__call__"


class Names:
    """Gives names to the values at boundaries, while a model is traced.

    Args:
        opaque: types of arguments whose arrays are no values that cross: modules, and their states.

    Attributes:
        calls: in the order in which they began.
        boundaries: by their number, which is in the name.
    """

    def __init__(self, opaque: tuple[type, ...] = ()) -> None:
        self._opaque = opaque
        self.calls: list[ModuleCall] = []
        self.boundaries: list[Boundary] = []
        self._numbers: dict[str, int] = defaultdict(int)
        self._open: list[Call] = []

    def forget(self) -> None:
        """Forget a trace that did not come to its end."""
        self.calls, self.boundaries, self._open = [], [], []
        self._numbers.clear()

    def call(self, path: str, module: Any, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Call a module's function, with names for what enters and what leaves."""
        call = Call(path, self._numbers[path])
        self._numbers[path] += 1
        parent = self._open[-1] if self._open else None
        source = caller_outside("bnjax", "jax", "flax", "equinox", "contextlib")
        self.calls.append(ModuleCall(call=call, type=type(module).__name__, parent=parent, source=source))
        self._open.append(call)
        try:
            args, kwargs = self._name(call, End.INPUT, (args, kwargs))
            return self._name(call, End.OUTPUT, function(*args, **kwargs))
        finally:
            self._open.pop()

    def _name(self, call: Call, end: End, tree: Any) -> Any:
        leaves, structure = jax.tree_util.tree_flatten_with_path(tree, lambda each: isinstance(each, self._opaque))
        named = []
        for path, leaf in leaves:
            if isinstance(leaf, jax.Array | np.ndarray) and not jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
                leaf = checkpoint_name(leaf, f"{NAME}{len(self.boundaries)}")
                self.boundaries.append(Boundary(call, end, jax.tree_util.keystr(path)))
            named.append(leaf)
        return jax.tree.unflatten(structure, named)


@contextmanager
def named_calls(
    classes: Iterable[type], path_of: Callable[[Any], str | None], dropout: type, names: Names | None
) -> Iterator[None]:
    """While it lasts, every call of a module of these classes has names.

    Args:
        classes: of modules.
        path_of: returns the path of a module; None if it is not known.
        dropout: a class whose modules give what they are given.
        names: are given; None for none.
    """
    running: list[Any] = []

    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(self, dropout):
                return args[0]
            path = path_of(self)
            # What a class's own `__call__` calls of its base class is no call of its own.
            if names is None or path is None or any(self is other for other in running):
                return function(self, *args, **kwargs)
            running.append(self)
            try:
                return names.call(path, self, partial(function, self), args, kwargs)
            finally:
                running.pop()

        return call

    saved = {cls: vars(cls).get(CALL) for cls in classes if hasattr(cls, CALL)}
    try:
        for cls in saved:
            setattr(cls, CALL, wrapped(getattr(cls, CALL)))
        yield
    finally:
        for cls, own in saved.items():
            if own is None:
                delattr(cls, CALL)
            else:
                setattr(cls, CALL, own)


@dataclass(frozen=True)
class Crossing:
    """Where values cross a boundary in a traced function.

    Args:
        place: of the equation.
        traced: the call, as it was numbered while it was traced.
        boundary: of the first step, where it is within scans.
        lengths: of the scans.
        aval: shape and dtype of a value.
    """

    place: Place
    traced: Call
    boundary: Boundary
    lengths: tuple[int, ...]
    aval: Any

    @property
    def is_float(self) -> bool:
        """Whether it has a cotangent."""
        return bool(jnp.issubdtype(self.aval.dtype, jnp.floating))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the values of all steps."""
        return (*self.lengths, *self.aval.shape)

    def boundaries(self) -> Iterator[tuple[tuple[int, ...], Boundary]]:
        """The boundary of each step, with the index of its value among those of all steps."""
        call = self.boundary.call
        for number, index in enumerate(product(*map(range, self.lengths))):
            here = call._replace(number=call.number * int(np.prod(self.lengths, dtype=int)) + number)
            yield index, self.boundary._replace(call=here)


def values(jaxpr: ClosedJaxpr) -> list[Crossing]:
    """Find what the operations of a traced function give: numbers, one array each."""
    found: list[Crossing] = []
    whole = Call("", 0)
    for visit in visits(jaxpr.jaxpr):
        outvars = visit.equation.outvars
        if visit.equation.primitive.name in ENTERED | {"name"} or len(outvars) != 1:
            continue
        if jnp.issubdtype(outvars[0].aval.dtype, jnp.floating):
            source = source_of(visit.equation)
            leaf = f"{len(found)}: {visit.equation.primitive.name}{f' at {source}' if source else ''}"
            boundary = Boundary(whole, End.VALUE, leaf)
            found.append(Crossing(visit.place, whole, boundary, visit.lengths, outvars[0].aval))
    return found


def crossings(jaxpr: ClosedJaxpr, names: Names) -> list[Crossing]:
    """Find where a traced function's values cross boundaries, in the order in which they do.

    What is scanned may have been traced more often than it is called, and what is traced once may be called more often:
    so calls are numbered anew, as they come.
    """
    found: list[Crossing] = []
    numbers: dict[Call, int] = {}
    counts: dict[str, int] = defaultdict(int)
    seen: set[tuple[int, str]] = set()
    for visit in visits(jaxpr.jaxpr):
        name = visit.equation.params.get("name") if visit.equation.primitive is p.name_p else None
        if not (isinstance(name, str) and name.startswith(NAME)):
            continue
        boundary = names.boundaries[int(name.removeprefix(NAME))]
        call = boundary.call
        if call not in numbers or (numbers[call], name) in seen:
            numbers[call] = counts[call.module]
            counts[call.module] += 1
        seen.add((numbers[call], name))
        here = boundary._replace(call=Call(call.module, numbers[call]))
        found.append(Crossing(visit.place, call, here, visit.lengths, visit.equation.outvars[0].aval))
    return found


@dataclass(frozen=True)
class Cross(Visitor):
    """Puts a crossing in the place of each name, and after each other operation that is asked for.

    See `bnjax.interpret.Visitor`.

    It is given, by place, what replaces each value and its cotangent, whether it does, and a probe whose gradient is
    the cotangent.
    """

    places: frozenset[Place]

    def visit(self, place: Place, equation: Any, values: list[Any], given: Any) -> tuple[list[Any], Any] | None:
        """Record and replace a value."""
        if place not in self.places:
            return None
        is_name = equation.primitive is p.name_p
        value, here = jnp.asarray((values if is_name else apply(equation, values))[0]), given[place]
        if not jnp.issubdtype(value.dtype, jnp.floating):
            return [jnp.where(here["is_replaced"], here["value"], value)], value
        crossed = _crossing(
            value,
            here["probe"],
            here["value"],
            here["is_replaced"],
            here["cotangent"],
            here["is_cotangent_replaced"],
        )
        return [crossed], value

    def elsewhere(self, place: Place, equation: Any, value: Any, result: Any) -> Any:
        """What is replaced where it enters a module is replaced in later uses too, around the module say."""
        is_replaced = place in self.places and equation.primitive is p.name_p
        return _straight_through(jnp.asarray(value), result) if is_replaced else value

    def steps(self, place: Place, length: int, given: Any) -> Any:
        """What the steps of a scan are given."""
        return {other: each for other, each in given.items() if other[: len(place)] == place}


@jax.custom_vjp
def _crossing(
    value: Any, probe: Any, replaced: Any, is_replaced: Any, cotangent: Any, is_cotangent_replaced: Any
) -> Any:
    return jnp.where(is_replaced, replaced, value)


def _crossing_forward(
    value: Any, probe: Any, replaced: Any, is_replaced: Any, cotangent: Any, is_cotangent_replaced: Any
) -> tuple[Any, Any]:
    return jnp.where(is_replaced, replaced, value), (cotangent, is_cotangent_replaced)


def _crossing_backward(residual: Any, own: Any) -> tuple[Any, ...]:
    cotangent, is_replaced = residual
    nothing = jnp.zeros_like(own)
    return jnp.where(is_replaced, cotangent, own), own, nothing, None, nothing, None


_crossing.defvjp(_crossing_forward, _crossing_backward)


@jax.custom_vjp
def _straight_through(value: Any, other: Any) -> Any:
    """Return another value; what is derived is as if it were the value."""
    return other


def _straight_through_forward(value: Any, other: Any) -> tuple[Any, Any]:
    return other, None


def _straight_through_backward(_: Any, own: Any) -> tuple[Any, Any]:
    return own, jnp.zeros_like(own)


_straight_through.defvjp(_straight_through_forward, _straight_through_backward)
