"""The median of timings, and how sure it is."""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000
CONFIDENCE = 0.95


def median_interval(samples: Sequence[float]) -> tuple[float, float, float]:
    """The median, and the ends of its 95% percentile bootstrap interval.

    The resamples are drawn by a generator of a fixed seed, so the same samples give the same interval.

    Reference: Efron, "Bootstrap methods: another look at the jackknife", 1979.

    >>> median_interval([3.0, 3.0, 3.0])
    (3.0, 3.0, 3.0)
    """
    values = np.asarray(samples, np.float64)
    drawn = np.random.default_rng(0).choice(values, (RESAMPLES, len(values)))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.median(drawn, axis=1), [tail, 1 - tail])
    return float(np.median(values)), float(low), float(high)


def times_words(ratios: Sequence[float]) -> str:
    """Return ratios in words, from the least to the largest.

    >>> times_words([1.049, 12.3])
    '1.05 to 12'
    """
    ends = [f"{ratio:.3g}" if ratio < 2 else f"{ratio:.2g}" for ratio in (min(ratios), max(ratios))]
    return " to ".join(dict.fromkeys(ends))
