"""Conventions of convolutions, and of their kernels."""

from collections.abc import Iterator
from itertools import product

from torch import Tensor

from bntorch.conventions.calls import Called, Way, convention
from bntorch.conventions.space import padded, per_axis, spatial_axes


@convention("same_padding", "conv1d", "conv2d", "conv3d")
def _same(call: Called) -> Iterator[Way]:
    """The same padding in all, more of it at the other end: SAME has more at the end."""
    x, weight, count = call["input"], call["weight"], spatial_axes(call)
    stride, dilation = (per_axis(call.get(each, 1), count) for each in ("stride", "dilation"))
    padding = call.get("padding", 0)
    if isinstance(padding, str):
        return
    own = per_axis(padding, count)
    size, kernel = x.shape[-count:], weight.shape[-count:]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    outputs = [(n + 2 * p - r) // s + 1 for n, p, r, s in zip(size, own, reach, stride, strict=True)]
    # SAME pads as much as the outputs need, and the odd one at the end.
    total = [max((o - 1) * s + r - n, 0) for o, s, r, n in zip(outputs, stride, reach, size, strict=True)]
    low = [each // 2 for each in total]
    high = [each - before for each, before in zip(total, low, strict=True)]
    if low != list(own) and any(own):
        yield Way(
            "SAME", f"{own} at both ends", f"it is padded by {tuple(low)} before and {tuple(high)} after, as SAME does",
            lambda: call.again(input=padded(x, low, high), padding=0),
            jax=f"set padding={[(p, p) for p in own]}", torch=f"set padding={own}",
            torch_other=f"pad by {tuple(low)} before and {tuple(high)} after",
        )  # fmt: skip


@convention("flipped_kernel", "conv1d", "conv2d", "conv3d", *(f"conv_transpose{n}d" for n in (1, 2, 3)))
def _flipped(call: Called) -> Iterator[Way]:
    axes = tuple(range(-spatial_axes(call), 0))
    if any(call["weight"].shape[axis] > 1 for axis in axes):
        yield Way(
            "flipped", "as it is", "the kernel is flipped", lambda: call.again(weight=call["weight"].flip(axes)),
            jax="flip the kernel along its spatial axes (transpose_kernel, or when its weights are loaded)",
            torch="flip the kernel along its spatial axes", torch_other="flip the kernel along its spatial axes",
        )  # fmt: skip


@convention("transpose_padding", *(f"conv_transpose{n}d" for n in (1, 2, 3)))
def _transpose_padding(call: Called) -> Iterator[Way]:
    """The same part of the output in size, but another one: it begins later or earlier."""
    count = spatial_axes(call)
    own = per_axis(call.get("padding", 0), count)
    extra = per_axis(call.get("output_padding", 0), count)
    for shift in (s for s in product((-1, 0, 1), repeat=count) if any(s) and len(set(s)) == 1):
        start = [p + s for p, s in zip(own, shift, strict=True)]
        if min(start) < 0:
            continue

        def run(start: list[int] = start) -> Tensor:
            like = call.again()
            whole = call.again(padding=0, output_padding=0)
            size = like.shape[-count:]
            need = [max(b + n - m, 0) for b, n, m in zip(start, size, whole.shape[-count:], strict=True)]
            whole = padded(whole, [0] * count, need)
            for axis, (b, n) in enumerate(zip(start, size, strict=True), start=-count):
                whole = whole.narrow(axis, b, n)
            return whole

        yield Way(
            f"{start[0]}", f"{own} (and {extra} at the end)", f"what is cut off at the beginning is {tuple(start)}",
            run, jax=f"cut {own} off at the beginning: set padding accordingly", torch=f"set padding={own}",
            torch_other=f"cut {tuple(start)} off at the beginning",
        )  # fmt: skip


@convention("kernel_axes", "conv2d", "conv3d", *(f"conv_transpose{n}d" for n in (2, 3)))
def _kernel_axes(call: Called) -> Iterator[Way]:
    weight = call["weight"]
    if weight.shape[-1] == weight.shape[-2] > 1:
        yield Way(
            "space", "height, then width", "the kernel's height and width are exchanged",
            lambda: call.again(weight=weight.transpose(-1, -2)), jax="keep height before width in the kernel",
            torch="keep height before width in the kernel", torch_other="exchange the kernel's last two axes",
        )  # fmt: skip
