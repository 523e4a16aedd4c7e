"""Conventions of pools."""

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor

from bntorch.conventions.calls import Called, Way, convention
from bntorch.conventions.space import padded, per_axis, spatial_axes


@convention("pool_kind", *(f"max_pool{n}d" for n in (1, 2, 3)))
def _max_or_average(call: Called) -> Iterator[Way]:
    if not call["return_indices"] and call.get("dilation", 1) in (1, (1,) * spatial_axes(call)):
        average = getattr(F, f"avg_pool{spatial_axes(call)}d")
        given = {name: call[name] for name in ("kernel_size", "stride", "padding") if name in call.arguments}
        yield Way(
            "average", "the maximum", "the pool takes the average", lambda: average(call["input"], **given),
            jax="use max_pool", torch="use max_pool", torch_other="use avg_pool",
        )  # fmt: skip


@convention("pool_kind", *(f"avg_pool{n}d" for n in (1, 2, 3)))
def _average_or_max(call: Called) -> Iterator[Way]:
    given = {name: call[name] for name in ("kernel_size", "stride", "padding") if name in call.arguments}
    maximum = getattr(F, f"max_pool{spatial_axes(call)}d")
    yield Way(
        "maximum", "the average", "the pool takes the maximum", lambda: maximum(call["input"], **given),
        jax="use avg_pool", torch="use avg_pool", torch_other="use max_pool",
    )  # fmt: skip


@convention("pool_kind", "mean", *(f"adaptive_avg_pool{n}d" for n in (1, 2, 3)))
def _mean_or_max(call: Called) -> Iterator[Way]:
    x = call["input"]

    def run() -> Tensor:
        if call.name == "mean":
            return x.amax(call["dim"], keepdim=bool(call["keepdim"]))
        return getattr(F, call.name.replace("avg", "max"))(x, call["output_size"])  # type: ignore[no-any-return]

    if call.name != "mean" or call["dim"] is not None:
        yield Way(
            f"{call.name} maximum", "the mean", "the maximum is taken", run, jax="take the mean",
            torch="take the mean", torch_other="take the maximum",
        )  # fmt: skip


@convention("pool_padding", *(f"max_pool{n}d" for n in (1, 2, 3)))
def _max_pool(call: Called) -> Iterator[Way]:
    count = spatial_axes(call)
    padding = per_axis(call.get("padding", 0), count)
    if any(padding) and not call["return_indices"]:
        yield Way(
            "zeros", "minus infinity", "the maximum's padding is 0",
            lambda: call.again(input=padded(call["input"], padding, padding), padding=0),
            jax="pad with -jnp.inf", torch="pad with -inf", torch_other="pad with 0",
        )  # fmt: skip


@convention("pool_padding", *(f"avg_pool{n}d" for n in (1, 2, 3)))
def _average_pool(call: Called) -> Iterator[Way]:
    own = call.arguments.get("count_include_pad", True)
    words = {True: "counted", False: "not counted"}
    if any(per_axis(call.get("padding", 0), spatial_axes(call))) or call["ceil_mode"]:
        yield Way(
            "count", words[own], f"the padding of the average is {words[not own]}",
            lambda: call.again(count_include_pad=not own), jax=f"set count_include_pad={own}",
            torch=f"set count_include_pad={own}", torch_other=f"set count_include_pad={not own}",
        )  # fmt: skip
