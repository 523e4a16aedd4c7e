"""Arguments of functions over space: of convolutions and pools."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from bntorch.conventions.calls import Called


def per_axis(value: Any, count: int) -> tuple[int, ...]:
    """Return an argument of each spatial axis, for which one number may stand."""
    return (value,) * count if isinstance(value, int) else tuple(value)


def spatial_axes(call: Called) -> int:
    """Return how many spatial axes a function has, as its name says."""
    return int(call.name[-2])


def padded(x: Tensor, low: Sequence[int], high: Sequence[int], value: float = 0.0) -> Tensor:
    """Return a tensor padded along its last axes."""
    widths = [each for pair in zip(reversed(low), reversed(high), strict=True) for each in pair]
    return F.pad(x, widths, value=value)
