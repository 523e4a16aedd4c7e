"""What was measured of one thing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parity.clock.meter import Use
from parity.clock.statistics import median_interval
from parity.clock.watch import are_apart


@dataclass(frozen=True, kw_only=True)
class Times:
    """Times, in microseconds, of what a subclass says. None: not measured.

    Args:
        compile_s: seconds until it was done for the first time, less what it takes afterwards; caches were empty.
        median_us: of the samples.
        low_us: lower end of the median's 95% bootstrap interval.
        high_us: its upper end.
        paid_after: how often it must be done until the time to compile has been won back against what runs without a
            compiler.
        samples_us: every sample, in the order in which they were taken; the halves are of two turns.
        threads: how many cores it kept busy, on average.
        others: how many cores others kept busy meanwhile, on average.
        is_apart: whether its two turns differ, so that neither is to be trusted.
        note: why there is no time, or what else is to be known.
    """

    compile_s: float | None = None
    median_us: float | None = None
    low_us: float | None = None
    high_us: float | None = None
    paid_after: float | None = None
    samples_us: tuple[float, ...] = ()
    threads: float | None = None
    others: float | None = None
    is_apart: bool = False
    note: str = ""


def measured(samples: Sequence[float], uses: Sequence[Use], compile_s: float, gain: float) -> dict[str, Any]:
    """Return the fields of `Times` that samples give.

    Args:
        samples: in microseconds.
        uses: of the processors, in each turn.
        compile_s: seconds; below 0 counts as 0.
        gain: microseconds that it is faster by than what runs without a compiler.
    """
    median, low, high = median_interval(samples)
    compile_s = max(0.0, compile_s)
    return {
        "compile_s": compile_s,
        "median_us": median,
        "low_us": low,
        "high_us": high,
        "paid_after": 1e6 * compile_s / gain if gain > 0 else None,
        "samples_us": tuple(samples),
        "threads": float(np.mean([use.own for use in uses])),
        "others": float(np.mean([use.others for use in uses])),
        "is_apart": are_apart(samples),
    }
