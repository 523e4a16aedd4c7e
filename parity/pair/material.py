"""What a comparison found, from which its report is made."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from parity.pair.explain import Accepted, Cases
from parity.pair.findings import Located, Map, Segment
from parity.pair.forced import Answer
from parity.pair.input_layout import Order
from parity.pair.optimizer import Stepped
from parity.pair.precision import NarrowAnswer
from parity.pair.trials import Settled
from parity.verdict.compare import Distance
from parity.verdict.trace import Key, Kind


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a comparison found.

    Args:
        graph: the boundaries.
        cases: of what-ifs.
        settled: the weight map.
        answers: the forced pass.
        located: where it is off.
        seen: the modules at which each accepted difference was seen.
        free: the outputs of the free pass.
        drawn: the tensors that were drawn.
        stepped: what the optimizers show.
        narrow: the precision question.
        replaced: the values of the reference that are what accepted differences make of them.
        has_loss: whether both sides have a loss.
        versions: of the libraries.
        lacking: outputs of the reference that the candidate lacks, in words, and the mode.
        unlike: what could not be compared.
        nan: the segments whose values the reference itself has as NaN.
        counted: how many positions count, and of how many; None if all do.
        optimizers: whether each side has an optimizer.
        is_optimizer_asked: whether they were to be compared.
        order: in which the candidate takes the inputs' axes.
    """

    graph: Map
    cases: Cases
    settled: Settled
    answers: Sequence[Answer]
    located: Sequence[Located]
    seen: Mapping[Accepted, list[str]]
    free: Sequence[Answer]
    drawn: Sequence[str]
    stepped: Stepped = field(default_factory=Stepped)
    narrow: Sequence[NarrowAnswer] = ()
    replaced: Collection[Key] = ()
    has_loss: bool = True
    versions: Mapping[str, str] = field(default_factory=dict)
    lacking: Mapping[str, str] = field(default_factory=dict)
    unlike: Sequence[str] = ()
    nan: Collection[Segment] = ()
    counted: tuple[int, int] | None = None
    optimizers: tuple[bool, bool] = (False, False)
    is_optimizer_asked: bool = True
    order: Order | None = None


def sensitive(distances: Sequence[Distance]) -> list[Distance]:
    """Those that are not 0 up to rounding, such as the gradient of a bias before batch norm."""
    largest: dict[Kind, float] = {}
    for each in distances:
        largest[each.key.kind] = max(largest.get(each.key.kind, 0.0), each.size)
    return [each for each in distances if each.size > 1e-9 * largest[each.key.kind]]
