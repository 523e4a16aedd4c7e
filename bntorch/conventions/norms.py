"""Conventions of norms."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from bntorch.conventions.calls import Called, Way, convention
from parity.backend.convention import LARGEST_EPSILON, ROUNDING

NORMS = ("layer_norm", "group_norm", "rms_norm", "batch_norm", "instance_norm")
RUNNING = ("running_mean", "running_var")


def _small(epsilon: float) -> float:
    """Return an epsilon; what is as large as a variance is none, though a variance that is too large looks like it."""
    if abs(epsilon) > LARGEST_EPSILON:
        raise ValueError(f"{epsilon:g} is no epsilon")
    return epsilon


@convention("norm_epsilon", *NORMS)
def _epsilon(call: Called) -> Iterator[Way]:
    default = torch.finfo(torch.float64).eps if call.name == "rms_norm" else 1e-5
    own = float(call.get("eps", default))
    yield Way(
        "eps", f"it is {own:g}", "epsilon is {value:g}", lambda value: call.again(eps=_small(value)), own,
        jax=f"set epsilon={own:g}", torch=f"set eps={own:g}", torch_other="set eps={value:g}",
    )  # fmt: skip


@convention("norm_epsilon", "rsqrt", "sqrt")
def _epsilon_by_hand(call: Called) -> Iterator[Way]:
    yield Way(
        "under the root", "not", "{value:g} more is added before the square root",
        lambda value: call.again(input=call["input"] + _small(value)), 0.0,
        jax="add the same before the square root", torch="add the same before the square root",
        torch_other="add {value:g} before the square root",
    )  # fmt: skip


@convention("fast_variance", *NORMS[:2], *NORMS[3:])
def _fast_variance(call: Called) -> Iterator[Way]:
    """E[x^2] - E[x]^2 loses as many digits as the square of the mean is larger than the variance.

    An instance norm that keeps averages is left alone: it takes these in evaluation.
    """
    is_kept = call["running_mean"] is not None
    if call["training"] if call.name == "batch_norm" else not is_kept:
        yield Way(
            "fast", "it is the mean of the squares of what is centered",
            "the variance is the mean of the squares less the square of the mean, which rounds by as much",
            lambda: _normalized(call), jax="set use_fast_variance=False", torch="center before the squares are taken",
            torch_other="take the mean of the squares less the square of the mean", weakness=ROUNDING,
        )  # fmt: skip


def _normalized(call: Called) -> Tensor:
    """A norm by E[x^2] - E[x]^2."""
    x, weight, bias = call["input"], call["weight"], call["bias"]
    split, axes = x, (0, *range(2, x.ndim))
    if call.name == "layer_norm":
        axes = tuple(range(x.ndim - len(call["normalized_shape"]), x.ndim))
    elif call.name == "group_norm":
        split = x.reshape(len(x), call["num_groups"], -1)
        axes = (2,)
    elif call.name == "instance_norm":
        axes = tuple(range(2, x.ndim))
    mean = split.mean(axes, keepdim=True)
    variance = (split.square().mean(axes, keepdim=True) - mean.square()).clamp(min=0)
    if call["running_mean"] is not None:
        with torch.no_grad():
            count = x.numel() // x.shape[1]
            taken = mean.flatten(), variance.flatten() * count / (count - 1)
            for name, each in zip(RUNNING, taken, strict=True):
                call[name].lerp_(each, call["momentum"])
    y = ((split - mean) * torch.rsqrt(variance + call.get("eps", 1e-5))).reshape(x.shape)
    form = [-1, *[1] * (x.ndim - 2)] if call.name != "layer_norm" else call["normalized_shape"]
    y = y if weight is None else y * weight.reshape(form)
    return y if bias is None else y + bias.reshape(form)


@convention("statistics_never_used", "batch_norm")
def _never(call: Called) -> Iterator[Way]:
    if not call["training"] and call["running_mean"] is not None:
        yield Way(
            "batch", "the running ones", "the norm takes the batch's statistics in evaluation too",
            lambda: call.again(training=True), jax="hand use_running_average (or train) on to this norm",
            torch="hand the mode on to this norm", torch_other="call the module in training mode",
        )  # fmt: skip


@convention("statistics_always_used", "batch_norm")
def _always(call: Called) -> Iterator[Way]:
    if call["training"] and call["running_mean"] is not None:
        yield Way(
            "running", "those of the batch", "the norm takes its running statistics in training too",
            lambda: call.again(training=False), jax="hand use_running_average (or train) on to this norm",
            torch="hand the mode on to this norm", torch_other="call the module in evaluation mode",
        )  # fmt: skip


@convention("averaged_statistics", "batch_norm")
def _averaged(call: Called) -> Iterator[Way]:
    """In training the running averages are taken, with this batch in them; its part of them has a gradient."""
    if call["training"] and call["running_mean"] is not None:
        yield Way(
            "running", "those of the batch", "the norm takes its running averages in training, with the batch in them",
            lambda: _by_averages(call), jax='normalize by the batch: mode="batch" of an Equinox norm',
            torch="normalize by the batch", torch_other="normalize by the running averages, brought up to date first",
        )  # fmt: skip


def _by_averages(call: Called) -> Tensor:
    x, part = call["input"], call["momentum"]
    axes = (0, *range(2, x.ndim))
    moments = x.mean(axes), x.var(axes, correction=0)
    mean, variance = (call[name].clone().lerp(each, part) for name, each in zip(RUNNING, moments, strict=True))
    call.again()  # which brings the averages that are kept up to date
    form = [1, -1, *[1] * (x.ndim - 2)]
    y = (x - mean.reshape(form)) * torch.rsqrt(variance.reshape(form) + call.get("eps", 1e-5))
    weight, bias = (None if call[name] is None else call[name].reshape(form) for name in ("weight", "bias"))
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@convention("debiased_statistics", "batch_norm")
def _debiased(call: Called) -> Iterator[Way]:
    """Averages that begin at 0 are divided by what they lack to 1, `1 - momentum ** count`."""
    if not call["training"] and call["running_mean"] is not None:
        yield Way(
            "lack", "as they are", "the running averages are divided by {value:.6g}, as if they had begun at 0",
            lambda value: call.again(**{name: call[name] / value for name in RUNNING}), 1.0,
            jax="take the running averages as they are (without zero_debias)", torch="take them as they are",
            torch_other="divide the running averages by {value:.6g}",
        )  # fmt: skip


@convention("per_shard_statistics", "batch_norm")
def _shards(call: Called) -> Iterator[Way]:
    """Each device normalizes by its own part of the batch; of the running statistics the average is taken."""
    x = call["input"]
    running = [name for name in RUNNING if call[name] is not None]

    def run(count: int) -> Tensor:
        shards = x.chunk(count)
        moments = [{name: call[name].clone() for name in running} for _ in shards]
        outputs = [call.again(input=each, **own) for each, own in zip(shards, moments, strict=True)]
        for name in running:
            call[name].copy_(torch.stack([each[name] for each in moments]).mean(0))
        return torch.cat(outputs)

    for count in range(2, len(x) + 1) if call["training"] else ():
        if len(x) % count == 0 and x.numel() > count * x.shape[1]:
            yield Way(
                f"{count} shards", "those of the whole batch", f"each of {count} shards has its own statistics",
                partial(run, count), jax="set axis_name, so that the devices share their statistics",
                torch="normalize by the statistics of the whole batch",
                torch_other=f"normalize each of {count} parts of the batch by itself",
            )  # fmt: skip
