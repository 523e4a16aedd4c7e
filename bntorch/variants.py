"""Honest variants: each computes the same in another way, so the check must not flag it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bntorch.compiled import compiled


def stock_norm(backend: Any) -> Any:
    """Return the backend that computes moments by `torch.var_mean` and normalizes by PyTorch's own batch norm."""
    return replace(backend, parts=replace(backend.parts, batch_moments=_stock_moments, normalize=_stock_normalize))


def _stock_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    var, mean = torch.var_mean(x, dim=0, correction=0)
    return mean, var


def _stock_normalize(
    x: Tensor, mean: Tensor, var: Tensor, scale: Tensor, bias: Tensor, eps: float, train: bool
) -> Tensor:
    if train:  # PyTorch computes the batch's moments itself
        return functional.batch_norm(x, None, None, scale, bias, training=True, eps=eps)
    return functional.batch_norm(x, mean, var, scale, bias, training=False, eps=eps)


VARIANTS: dict[str, Callable[[Any], Any]] = {
    "compiled": compiled,
    "stock_norm": stock_norm,
}
