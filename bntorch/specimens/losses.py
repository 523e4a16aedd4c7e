"""Losses in PyTorch, each in a convention of its own."""

from collections.abc import Callable

import torch
import torch.nn.functional as F


def weighted(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits, labels, 1 + torch.arange(logits.shape[-1], dtype=logits.dtype))


def square(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.mse_loss(logits, F.one_hot(labels, logits.shape[-1]).to(logits.dtype))


# By fault; of the others it is cross entropy.
LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "class_weights": weighted,
    "class_weights left out": weighted,
    "ignored_index": lambda z, y: F.cross_entropy(z, y, ignore_index=1),
    "half_square": square,
    "loss_reduction square": square,
}
