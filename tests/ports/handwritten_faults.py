"""A hand-written norm with something wrong in its statistics, or in its closed-form backward pass."""

from typing import Any

import torch
from torch import Tensor, nn

from .collection import PROBE, factory, fault
from .handwritten_torch import HandwrittenNorm, HandwrittenTorch, Normalize

__getattr__ = factory

STATISTICS = ("0 running *", "0 increment of running *")
BEHIND_NORM = ("* gradient of bias", "* gradient of kernel", "* gradient of gamma", "* gradient of beta")


class StatisticsAStepLate(HandwrittenNorm):
    """Takes in the statistics of the batch before."""

    kept: tuple[Tensor, Tensor] | None = None

    def update_statistics(self, x: Tensor, y: Tensor) -> None:
        kept, self.kept = self.kept, (self.batch_mean(x), self.batch_variance(x))
        if kept is not None:
            self.running_mean.copy_(self.decay * self.running_mean + (1 - self.decay) * kept[0])
            self.running_var.copy_(self.decay * self.running_var + (1 - self.decay) * kept[1])


@fault("wrong names", "running statistics take in the batch before", where=STATISTICS, needs_norm=True,
       names=("late_statistics", "statistics_a_step_late"), float32_only=True)  # fmt: skip
class LateStatistics(HandwrittenTorch):
    norm = StatisticsAStepLate


class OfNormalizedInput(HandwrittenNorm):
    """Takes in the statistics of its output."""

    def update_statistics(self, x: Tensor, y: Tensor) -> None:
        super().update_statistics(((y - self.bias) / self.weight).detach(), y)


@fault("more names", "running statistics of the normalized input", where=STATISTICS, needs_norm=True,
       names=("statistics_of_output", "statistics_from_normalized_input"))  # fmt: skip
class StatisticsOfNormalized(HandwrittenTorch):
    norm = OfNormalizedInput


@fault("more names", "the running statistics of the first two norms are exchanged", where=STATISTICS, needs_norm=True,
       min_depth=2, names=("statistics_of_another_layer", "statistics_from_another_layer"))  # fmt: skip
class StatisticsOfAnotherLayer(HandwrittenTorch):
    @torch.no_grad()
    def update(self, learning_rate: float) -> None:
        super().update(learning_rate)
        if self.spec.use_batch_norm and self.spec.num_hidden_layers > 1:
            first, second = (self.hidden[i].get_submodule("norm") for i in (0, 1))
            for one, other in zip(first.buffers(), second.buffers(), strict=True):
                kept = one.clone()
                one.copy_(other)
                other.copy_(kept)


@fault("more names", "biased running variance in the last layer only", where="* running variance", needs_norm=True,
       names=("biased_running_variance",), float32_only=True)  # fmt: skip
class BiasedVarianceInOneLayer(HandwrittenTorch):
    def make_norm(self, layer: int) -> nn.Module:
        spec = self.spec
        unbiased = layer < spec.num_hidden_layers - 1 and spec.running_variance == "unbiased"
        return self.norm(spec.hidden_width, spec.eps, spec.decay, unbiased)


class VarianceOnly(HandwrittenNorm):
    """Averages the variance only."""

    def update_statistics(self, x: Tensor, y: Tensor) -> None:
        super().update_statistics(x, y)
        self.running_mean.copy_(self.batch_mean(x))


@fault("new", "the running mean is the last batch's; the running variance is averaged", where="0 running mean",
       needs_norm=True)  # fmt: skip
class DecayOfVarianceOnly(HandwrittenTorch):
    norm = VarianceOnly


class CorrectedTwice(HandwrittenNorm):
    """Takes in the unbiased variance times n/(n-1)."""

    def batch_variance(self, x: Tensor) -> Tensor:
        return x.var(dim=0) * len(x) / (len(x) - 1)


@fault("new", "the bias correction n/(n-1) is applied twice", where="0 running variance", needs_norm=True,
       float32_only=True)  # fmt: skip
class BiasCorrectedTwice(HandwrittenTorch):
    norm = CorrectedTwice


class AveragedDeviation(HandwrittenNorm):
    """Averages standard deviations, and stores their square."""

    def update_statistics(self, x: Tensor, y: Tensor) -> None:
        old = self.running_var.sqrt()
        super().update_statistics(x, y)
        self.running_var.copy_((self.decay * old + (1 - self.decay) * self.batch_variance(x).sqrt()) ** 2)


@fault("new", "standard deviations are averaged, and squared", where="0 running variance", needs_norm=True)
class DeviationsAveraged(HandwrittenTorch):
    norm = AveragedDeviation


class BareEvaluation(HandwrittenNorm):
    """Evaluates without epsilon."""

    def evaluated(self, x: Tensor) -> Tensor:
        return self.weight * (x - self.running_mean) / torch.sqrt(self.running_var) + self.bias


@fault("new", "no epsilon in evaluation", where="0 evaluated norm output", needs_norm=True)
class NoEpsInEvaluation(HandwrittenTorch):
    norm = BareEvaluation


class UpdatedFirst(HandwrittenNorm):
    """Updates the running statistics first, and normalizes by them."""

    def trained(self, x: Tensor) -> Tensor:
        mean = self.decay * self.running_mean + (1 - self.decay) * self.batch_mean(x)
        var = self.decay * self.running_var + (1 - self.decay) * self.batch_variance(x)
        return self.weight * (x - mean) / torch.sqrt(var + self.eps) + self.bias


@fault("new", "training normalizes by the updated running statistics", where="0 norm output", needs_norm=True)
class NormalizesByUpdated(HandwrittenTorch):
    norm = UpdatedFirst


class ClampedVariance(HandwrittenNorm):
    """Normalizes by max(var, eps) in training."""

    def trained(self, x: Tensor) -> Tensor:
        centred = x - x.mean(dim=0)
        return self.weight * centred / (centred**2).mean(dim=0).clamp(min=self.eps).sqrt() + self.bias


@fault("new", "the variance is clamped at epsilon, in place of their sum", where="0 norm output", needs_norm=True)
class EpsIsAClamp(HandwrittenTorch):
    norm = ClampedVariance


# The closed form, a term short.


def with_backward(name: str, formula: Any) -> type[HandwrittenNorm]:
    """A norm whose `dx` is a formula of (dy, xhat, gamma, inv_std, n)."""

    def backward(ctx: Any, dy: Tensor) -> Any:
        xhat, gamma, inv_std = ctx.saved_tensors
        dx = formula(dy, xhat, gamma, inv_std, len(xhat))
        return dx, (dy * xhat).sum(dim=0), dy.sum(dim=0), None

    normalize = type(name, (Normalize,), {"backward": staticmethod(backward)})
    return type(name, (HandwrittenNorm,), {"normalize": normalize})


@fault("new", "backward without the variance's term", where=BEHIND_NORM, needs_norm=True)
class BackwardWithoutVariance(HandwrittenTorch):
    norm = with_backward("W", lambda dy, xhat, gamma, inv_std, n: (gamma * inv_std / n) * (n * dy - dy.sum(dim=0)))


@fault("new", "backward without the mean's term", where=BEHIND_NORM, needs_norm=True)
class BackwardWithoutMean(HandwrittenTorch):
    norm = with_backward(
        "M", lambda dy, xhat, gamma, inv_std, n: (gamma * inv_std / n) * (n * dy - xhat * (dy * xhat).sum(dim=0))
    )


@fault("new", "backward divides by n - 1", where=BEHIND_NORM, needs_norm=True, float32_only=True)
class BackwardOfUnbiased(HandwrittenTorch):
    norm = with_backward(
        "U",
        lambda dy, xhat, gamma, inv_std, n: (
            (gamma * inv_std / n) * (n * dy - dy.sum(dim=0) - n / (n - 1) * xhat * (dy * xhat).sum(dim=0))
        ),
    )


@fault("new", "backward forgets gamma", where=BEHIND_NORM, when=("later", PROBE), needs_norm=True)
class BackwardWithoutGamma(HandwrittenTorch):
    norm = with_backward(
        "G", lambda dy, xhat, gamma, inv_std, n: inv_std / n * (n * dy - dy.sum(dim=0) - xhat * (dy * xhat).sum(dim=0))
    )


@fault("new", "the kernel's column norm is capped at 0.5 after each update", where="* updated kernel")
class MaxNorm(HandwrittenTorch):
    @torch.no_grad()
    def update(self, learning_rate: float) -> None:
        super().update(learning_rate)
        for p in self.network.parameters():
            if p.ndim == 2:
                p.copy_(torch.renorm(p, 2, 0, 0.5))
