"""A row of the fault catalogue, and the networks that can have a fault."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from parity.spec import ModelSpec, RunningVariance


def always(spec: ModelSpec) -> bool:
    return True


def with_norm(spec: ModelSpec) -> bool:
    return spec.use_batch_norm


def unbiased(spec: ModelSpec) -> bool:
    return spec.use_batch_norm and spec.running_variance is RunningVariance.UNBIASED


def biased(spec: ModelSpec) -> bool:
    return spec.use_batch_norm and spec.running_variance is RunningVariance.BIASED


def with_dropout(spec: ModelSpec) -> bool:
    return spec.dropout_rate > 0


def square_kernel(spec: ModelSpec) -> bool:
    return spec.hidden_width > 1 and (spec.num_hidden_layers > 1 or spec.input_dim == spec.hidden_width)


def two_square_kernels(spec: ModelSpec) -> bool:
    """Return whether two hidden kernels are square."""
    return spec.num_hidden_layers > (1 if spec.input_dim == spec.hidden_width else 2)


@dataclass(frozen=True, kw_only=True)
class FaultEntry:
    """One row of the catalogue.

    Args:
        name: as `--fault` takes it.
        what: what is wrong.
        signature: the trace that it leaves.
        remedy: what to change in a port that has it.
        possible: whether a network can have it.
        none_at: values of the spec at which it is none, by field, unless it is fitted.
        shows_in: the question that catches it.
        random: whether what it computes is itself rounding, so that it is reproduced in size and not in every digit.
        is_exact: whether it rounds, and each time alike: then it must be reproduced as exactly as if it did not.
        starts_at: the ends of the paths at which it must diverge; none for anywhere.
        is_of_a_layer: whether a hidden layer can have it alone.
        general: what it is a case of, together with others of which one is named first.
    """

    name: str
    what: str
    signature: str
    remedy: str
    possible: Callable[[ModelSpec], bool] = with_norm
    none_at: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    shows_in: str = "semantic"
    random: bool = False
    is_exact: bool = False
    starts_at: tuple[str, ...] = ()
    is_of_a_layer: bool = False
    general: str = ""

    def applies(self, spec: ModelSpec) -> bool:
        """Return whether a network with it computes something else."""
        return self.possible(spec) and all(getattr(spec, name) not in none for name, none in self.none_at.items())

    @property
    def family(self) -> str:
        """What it is a case of: itself, if nothing else."""
        return self.general or self.name
