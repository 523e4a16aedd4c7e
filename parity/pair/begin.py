"""The beginning of a comparison: the order of the inputs' axes, and which tensor is which."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from parity.backend.port import Anatomy, Port
from parity.errors import InputError
from parity.pair.drawn_state import without_constants
from parity.pair.forced import Batch, ask
from parity.pair.guard import CrashError
from parity.pair.input_layout import Order, orders
from parity.pair.pinned import Converter, as_loaded, flat_state, pinned_maps
from parity.pair.settle import OFF, Settling
from parity.pair.setup import Setup
from parity.pair.trials import Settled
from parity.pair.weight_map import WeightMap, check_mapped, weight_maps
from parity.process import words_of
from parity.verdict.trace import Array, Mode


@dataclass(frozen=True)
class Begun:
    """A comparison before anything is judged.

    Args:
        order: in which the candidate takes the inputs' axes.
        theirs: the candidate's anatomy.
        state: of the reference.
        drawn: the tensors of it that were drawn anew.
        settled: which tensor is which.
        is_off_at_inputs: whether what is computed of the inputs at once is off.
    """

    order: Order
    theirs: Anatomy
    state: dict[str, Array]
    drawn: tuple[str, ...]
    settled: Settled
    is_off_at_inputs: bool

    @property
    def misfits(self) -> int:
        """How much is off, or not paired."""
        return len(self.settled.off) - self.settled.paired


def begin(setup: Setup, ours: Anatomy) -> Begun:
    """Find out the order of the inputs' axes, and which tensor is which; both models then hold the same numbers.

    Another order is tried where one does not fit.

    Args:
        setup: what is compared.
        ours: the reference's anatomy.

    Raises:
        InputError: the weights cannot be mapped, or the reference is not repeatable.
        CrashError: a model raised.
    """
    initial = setup.reference.state()
    first, last = setup.given[0], None
    best: Begun | None = None
    for order, theirs in orders(setup.candidate, ours, first, setup.pair.layouts):
        last = order
        try:
            begun = _begun_with(setup, order, (ours, theirs), initial)
        except (CrashError, InputError):
            if best is None:
                raise
            continue
        if best is None or begun.misfits < best.misfits:
            best = begun
        if not begun.is_off_at_inputs:
            break
    assert best is not None
    if last is not best.order:
        setup.candidate.prepare(best.order(first))
    if last is not best.order or best.is_off_at_inputs:
        setup.reference.load(best.state)
        Settling(setup.candidate, (ours, best.theirs), best.state).load(best.settled.weights)
    return best


def _begun_with(setup: Setup, order: Order, models: tuple[Anatomy, Anatomy], initial: Mapping[str, Array]) -> Begun:
    """The weight map, by the first batch. What the reference shows of it is not kept: a model's values are many."""
    maps = _maps(setup, *models)
    state, drawn = without_constants(initial, maps[0], frozenset(models[0].statistics), setup.seed)
    setup.reference.load(state)
    settling = Settling(setup.candidate, models, state)
    settling.load(maps[0])
    played = setup.batches(order)
    _check_repeatable(setup, played[0])
    settled = settling.settle(maps, [ask(setup.reference, batch) for batch in played if batch.number == 0])
    return Begun(order, models[1], state, drawn, settled, settling.is_off_at_inputs(settled))


def _maps(setup: Setup, ours: Anatomy, theirs: Anatomy) -> tuple[WeightMap, ...]:
    """The weight maps that are tried."""
    given = setup.pair.weights
    if given is None:
        found = weight_maps(ours, theirs)
        check_mapped(found, ours, theirs)
        return found
    if isinstance(given, Mapping):
        try:
            found = pinned_maps(given, ours, theirs)
            check_mapped(found, ours, theirs)
            return found
        except InputError:
            raise
        except Exception as error:  # the user's own code
            form = '{"NAME": "NAME"} or {"NAME": ("NAME", transform)}'
            raise InputError(f"weights must be names, as {form}; it {words_of(error)}") from error
    if not callable(given):
        raise InputError(f"weights must be names of tensors, or a function of the state, got {given!r}")
    convert = cast("Converter", given)

    def loaded(state: Mapping[str, Array]) -> dict[str, Array]:
        return flat_state(convert({path: np.array(array) for path, array in state.items()}), theirs)

    state = setup.reference.state()
    try:
        made = loaded(state)
    except InputError:
        raise
    except Exception as error:  # the user's own code
        raise InputError(f"weights {words_of(error)}") from error
    found = weight_maps(ours, theirs)
    return tuple(replace(as_loaded(each, state, made), converter=loaded) for each in found)


def _check_repeatable(setup: Setup, first: Batch) -> None:
    """Refuse a reference that draws its own random numbers; of a candidate that does, say so."""
    if not _repeats(setup.reference, first.ours, first.mode):
        raise InputError(
            "the reference is not repeatable: it gives two answers to one batch; switch off what draws random "
            "numbers, or share its draws through call="
        )
    if not _repeats(setup.candidate, first.theirs, first.mode):
        raise CrashError("candidate", "is not repeatable: it gives two answers to one batch, so it draws its own")


def _repeats(port: Port, inputs: Mapping[str, Any], mode: Mode) -> bool:
    """Whether a model gives one answer to a batch."""
    one, other = (port.play(inputs, mode, is_backward=False).values for _ in range(2))
    return _is_same(one, other)


def _is_same(one: Mapping[Any, Array], other: Mapping[Any, Array]) -> bool:
    """Whether two answers are one, up to rounding: on a GPU sums are added up in any order."""
    return one.keys() == other.keys() and all(_is_near(one[at], other[at]) for at in one)


def _is_near(one: Array, other: Array) -> bool:
    with np.errstate(all="ignore"):
        size = np.abs(one).max(initial=0.0, where=np.isfinite(one))
    return bool(np.allclose(one, other, rtol=OFF, atol=OFF * size, equal_nan=True))
