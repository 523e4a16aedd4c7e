"""The table of faults that need no framework, and putting one in its place."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from parity.errors import InputError, choices
from parity.faults import conventions, inputs, wrappers
from parity.faults.conventions import WeightImport, read_otherwise
from parity.spec import RunningVariance

Fault = tuple[str, Any]
"""The part that a fault replaces, and a function of the honest part and its arguments.

Of `weight_import` it is the part; where the part is `parts`, a function of all parts that returns others.
"""

NEUTRAL_FAULTS: dict[str, Fault] = {
    "biased_running_variance": ("conventions", partial(read_otherwise, running_variance=RunningVariance.BIASED)),
    "unbiased_running_variance": ("conventions", partial(read_otherwise, running_variance=RunningVariance.UNBIASED)),
    "swapped_momentum": ("conventions", conventions.swap_momentum),
    "default_momentum": ("conventions", partial(read_otherwise, decay=0.99)),
    "last_batch_statistics": ("conventions", partial(read_otherwise, decay=0.0)),
    "wrong_decay": ("conventions", partial(read_otherwise, decay=0.95)),
    "wrong_epsilon": ("conventions", partial(read_otherwise, eps=1e-3)),
    "norm_before_activation": ("conventions", conventions.swap_block_order),
    "swapped_mean_variance": ("weight_import", WeightImport(load=conventions.swap_mean_and_variance)),
    "transposed_kernel": (
        "weight_import",
        WeightImport(conventions.transpose_square_kernels, conventions.transpose_square_kernels),
    ),
    "biased_pixel_std": ("inputs", inputs.biased_pixel_std),
    "test_statistics_leak": ("inputs", inputs.test_statistics_leak),
    "shifted_batches": ("inputs", inputs.shifted_batches),
    "misaligned_labels": ("inputs", inputs.misaligned_labels),
    "zero_initial_scale": ("inputs", inputs.zero_initial_scale),
    "polluted_initial_statistics": ("inputs", inputs.polluted_initial_statistics),
    "missing_bias": ("linear", wrappers.missing_bias),
    "unbiased_normalizer": ("normalize", wrappers.unbiased_normalizer),
    "epsilon_twice_in_eval": ("normalize", wrappers.epsilon_twice_in_eval),
    "scale_plus_one": ("normalize", wrappers.scale_plus_one),
    "frozen_running_statistics": ("update_statistics", wrappers.frozen_running_statistics),
    "double_update": ("update_statistics", wrappers.double_update),
    "unscaled_dropout": ("dropout", wrappers.unscaled_dropout),
    "batch_of_one": ("check_batch", wrappers.batch_of_one),
    "train_uses_running_statistics": ("apply", wrappers.train_uses_running_statistics),
    "eval_updates_statistics": ("apply", wrappers.eval_updates_statistics),
    "forgotten_eval": ("apply", wrappers.forgotten_eval),
    "summed_loss": ("objective", wrappers.summed_loss),
}


@dataclass(frozen=True)
class Faulty:
    """A faulty part: `change(honest, *arguments, **values)`.

    Two that are made of the same are equal, so that a compiled program serves both.
    """

    change: Callable[..., Any]
    honest: Callable[..., Any]
    values: tuple[tuple[str, Any], ...] = ()

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self.change(self.honest, *arguments, **named, **dict(self.values))


def replace_part(parts: Any, faults: Mapping[str, Fault], name: str, **values: Any) -> Any:
    """Return `parts` with one part replaced by a faulty one, made of the part that stands there.

    Args:
        parts: a frozen dataclass of parts.
        faults: the framework's own, by name; the neutral ones are added.
        name: of the fault.
        values: its parameters (a decay, an epsilon), where they differ from its own.

    Raises:
        InputError: no fault has that name.
    """
    known = NEUTRAL_FAULTS | dict(faults)
    if name not in known:
        raise InputError(f"no fault is named {name!r}; {choices(name, sorted(known))}")
    part, change = known[name]
    if part == "parts":  # more than one
        return change(parts, **values)
    faulty = change if part == "weight_import" else Faulty(change, getattr(parts, part), tuple(sorted(values.items())))
    return replace(parts, **{part: faulty})
