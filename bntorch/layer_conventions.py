"""Conventions of layers: norms, activations, convolutions, pools, resizing, recurrent layers."""

from collections.abc import Callable, Iterator, Sequence
from itertools import permutations, product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bntorch.conventions import ARGUMENTS, Called, Way, convention

# norms

NORMS = ("layer_norm", "group_norm", "rms_norm", "batch_norm", "instance_norm")


@convention("norm_epsilon", *NORMS)
def _epsilon(call: Called) -> Iterator[Way]:
    default = torch.finfo(torch.float64).eps if call.name == "rms_norm" else 1e-5
    own = float(call.get("eps", default))
    yield Way(
        "eps", f"it is {own:g}", "epsilon is {value:g}", lambda value: call.again(eps=value), own,
        jax=f"set epsilon={own:g}", torch=f"set eps={own:g}", torch_other="set eps={value:g}",
    )  # fmt: skip


@convention("norm_epsilon", "rsqrt", "sqrt")
def _epsilon_by_hand(call: Called) -> Iterator[Way]:
    yield Way(
        "under the root", "not", "{value:g} more is added before the square root",
        lambda value: call.again(input=call["input"] + value), 0.0,
        jax="add the same before the square root", torch="add the same before the square root",
        torch_other="add {value:g} before the square root",
    )  # fmt: skip


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


# activations

GELU = {"none": "by the error function", "tanh": "by tanh"}


@convention("gelu_form", "gelu")
def _gelu(call: Called) -> Iterator[Way]:
    own = call.get("approximate", "none")
    other = "none" if own == "tanh" else "tanh"
    yield Way(
        other, GELU[own], f"GELU is {GELU[other]}", lambda: call.again(approximate=other),
        jax=f"pass approximate={own == 'tanh'} to gelu", torch=f"pass approximate='{own}' to gelu",
        torch_other=f"pass approximate='{other}' to gelu",
    )  # fmt: skip


@convention("gelu_form", "gelu")
def _quick_gelu(call: Called) -> Iterator[Way]:
    x, own = call["input"], call.get("approximate", "none")
    yield Way(
        "sigmoid", GELU[own], "GELU is x sigmoid(1.702 x)", lambda: x * torch.sigmoid(1.702 * x),
        jax=f"use gelu(x, approximate={own == 'tanh'})", torch=f"use gelu(x, approximate='{own}')",
        torch_other="use x * sigmoid(1.702 * x)",
    )  # fmt: skip


SLOPES = {"leaky_relu": ("negative_slope", 0.01), "elu": ("alpha", 1.0), "softplus": ("beta", 1.0)}


@convention("activation_slope", *SLOPES)
def _slope(call: Called) -> Iterator[Way]:
    argument, default = SLOPES[call.name]
    own = float(call.get(argument, default))
    yield Way(
        argument, f"it is {own:g}", f"{argument} of {call.name} is {{value:g}}",
        lambda value: call.again(**{argument: value}), own, jax=f"set {argument}={own:g}",
        torch=f"set {argument}={own:g}", torch_other=f"set {argument}={{value:g}}",
    )  # fmt: skip


@convention("relu_at_zero", "relu")
def _relu_at_zero(call: Called) -> Iterator[Way]:
    x = call["input"]
    for key, words, run in (
        ("half", "1/2", lambda: torch.maximum(x, torch.zeros_like(x))),
        ("one", "1", lambda: x.clamp(min=0)),
    ):
        yield Way(
            key, "it is 0", f"the derivative of ReLU at 0 is {words}", run, jax="use jax.nn.relu",
            torch="use torch.relu", torch_other="use torch.maximum(x, 0)" if key == "half" else "use x.clamp(min=0)",
        )  # fmt: skip


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "softplus": F.softplus,
    "relu6": F.relu6,
    "hardswish": F.hardswish,
    "mish": F.mish,
}


@convention("other_activation", *(name for name in ACTIVATIONS if name in ARGUMENTS))
def _activation(call: Called) -> Iterator[Way]:
    for other, function in ACTIVATIONS.items():
        if other != call.name:
            yield Way(
                f"{call.name} {other}", call.name, f"the activation is {other}",
                lambda f=function: f(call["input"]), jax=f"use {call.name}", torch=f"use {call.name}",
                torch_other=f"use {other}",
            )  # fmt: skip


@convention("missing_module", *(name for name in ACTIVATIONS if name in ARGUMENTS), *NORMS)
def _missing(call: Called) -> Iterator[Way]:
    x = call["input"]
    words = call.name.replace("_", " ")
    yield Way(
        call.name, "it is there", f"{words} is left out", lambda: x * 1.0, jax=f"apply {words} here",
        torch=f"apply {words} here", torch_other=f"leave {words} out",
    )  # fmt: skip


# convolutions and pools


def _pair(value: Any, count: int) -> tuple[int, ...]:
    return (value,) * count if isinstance(value, int) else tuple(value)


def _spatial(call: Called) -> int:
    return int(call.name[-2])


def _padded(x: Tensor, low: Sequence[int], high: Sequence[int], value: float = 0.0) -> Tensor:
    """Pad the last axes."""
    widths = [each for pair in zip(reversed(low), reversed(high), strict=True) for each in pair]
    return F.pad(x, widths, value=value)


@convention("same_padding", "conv1d", "conv2d", "conv3d")
def _same(call: Called) -> Iterator[Way]:
    """The same padding in all, more of it at the other end: SAME has more at the end."""
    x, weight, count = call["input"], call["weight"], _spatial(call)
    stride, dilation = (_pair(call.get(each, 1), count) for each in ("stride", "dilation"))
    padding = call.get("padding", 0)
    if isinstance(padding, str):
        return
    own = _pair(padding, count)
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
            lambda: call.again(input=_padded(x, low, high), padding=0),
            jax=f"set padding={[(p, p) for p in own]}", torch=f"set padding={own}",
            torch_other=f"pad by {tuple(low)} before and {tuple(high)} after",
        )  # fmt: skip


@convention("flipped_kernel", "conv1d", "conv2d", "conv3d", *(f"conv_transpose{n}d" for n in (1, 2, 3)))
def _flipped(call: Called) -> Iterator[Way]:
    axes = tuple(range(-_spatial(call), 0))
    if any(call["weight"].shape[axis] > 1 for axis in axes):
        yield Way(
            "flipped", "as it is", "the kernel is flipped", lambda: call.again(weight=call["weight"].flip(axes)),
            jax="flip the kernel along its spatial axes (transpose_kernel, or when its weights are loaded)",
            torch="flip the kernel along its spatial axes", torch_other="flip the kernel along its spatial axes",
        )  # fmt: skip


@convention("transpose_padding", *(f"conv_transpose{n}d" for n in (1, 2, 3)))
def _transpose_padding(call: Called) -> Iterator[Way]:
    """The same part of the output in size, but another one: it begins later or earlier."""
    count = _spatial(call)
    own = _pair(call.get("padding", 0), count)
    extra = _pair(call.get("output_padding", 0), count)
    for shift in (s for s in product((-1, 0, 1), repeat=count) if any(s) and len(set(s)) == 1):
        start = [p + s for p, s in zip(own, shift, strict=True)]
        if min(start) < 0:
            continue

        def run(start: list[int] = start) -> Tensor:
            like = call.again()
            whole = call.again(padding=0, output_padding=0)
            size = like.shape[-count:]
            need = [max(b + n - m, 0) for b, n, m in zip(start, size, whole.shape[-count:], strict=True)]
            whole = _padded(whole, [0] * count, need)
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


@convention("pool_kind", *(f"max_pool{n}d" for n in (1, 2, 3)))
def _max_or_average(call: Called) -> Iterator[Way]:
    if not call["return_indices"] and call.get("dilation", 1) in (1, (1,) * _spatial(call)):
        average = getattr(F, f"avg_pool{_spatial(call)}d")
        given = {name: call[name] for name in ("kernel_size", "stride", "padding") if name in call.arguments}
        yield Way(
            "average", "the maximum", "the pool takes the average", lambda: average(call["input"], **given),
            jax="use max_pool", torch="use max_pool", torch_other="use avg_pool",
        )  # fmt: skip


@convention("pool_kind", *(f"avg_pool{n}d" for n in (1, 2, 3)))
def _average_or_max(call: Called) -> Iterator[Way]:
    given = {name: call[name] for name in ("kernel_size", "stride", "padding") if name in call.arguments}
    maximum = getattr(F, f"max_pool{_spatial(call)}d")
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
    count = _spatial(call)
    padding = _pair(call.get("padding", 0), count)
    if any(padding) and not call["return_indices"]:
        yield Way(
            "zeros", "minus infinity", "the maximum's padding is 0",
            lambda: call.again(input=_padded(call["input"], padding, padding), padding=0),
            jax="pad with -jnp.inf", torch="pad with -inf", torch_other="pad with 0",
        )  # fmt: skip


@convention("pool_padding", *(f"avg_pool{n}d" for n in (1, 2, 3)))
def _average_pool(call: Called) -> Iterator[Way]:
    own = call.arguments.get("count_include_pad", True)
    words = {True: "counted", False: "not counted"}
    if any(_pair(call.get("padding", 0), _spatial(call))) or call["ceil_mode"]:
        yield Way(
            "count", words[own], f"the padding of the average is {words[not own]}",
            lambda: call.again(count_include_pad=not own), jax=f"set count_include_pad={own}",
            torch=f"set count_include_pad={own}", torch_other=f"set count_include_pad={not own}",
        )  # fmt: skip


# resizing


@convention("resize_kernel", "interpolate")
def _resize(call: Called) -> Iterator[Way]:
    own = call.get("mode", "nearest")
    for other in ("nearest", "nearest-exact", "bilinear", "bicubic"):
        if other != own and call["input"].ndim == 4:
            changed = {"align_corners": None, "antialias": False} if "nearest" in other else {}
            yield Way(
                other, own, f"it is resized by {other}", lambda m=other, c=changed: call.again(mode=m, **c),
                jax=f"resize by {own}", torch=f"set mode='{own}'", torch_other=f"set mode='{other}'",
            )  # fmt: skip


@convention("resize_kernel", "interpolate")
def _cubic(call: Called) -> Iterator[Way]:
    """PyTorch has another cubic kernel with antialiasing (Keys, 1981), which else does nothing to a larger image."""
    if call.get("mode", "nearest") == "bicubic" and not _is_smaller(call):
        own = bool(call["antialias"])
        ours, theirs = (-0.5, -0.75)[:: 1 if own else -1]
        yield Way(
            f"a {theirs}", f"{ours}", f"the cubic kernel has a = {theirs}", lambda: call.again(antialias=not own),
            jax="use jax.image.resize" if own else "resize by weights of the kernel with a = -0.75, written by hand",
            torch=f"set antialias={own}", torch_other=f"set antialias={not own}",
        )  # fmt: skip


def _is_smaller(call: Called) -> bool:
    """Whether an image is made smaller."""
    x = call["input"]
    return any(new < old for new, old in zip(call.again().shape[2:], x.shape[2:], strict=True))


@convention("resize_antialias", "interpolate")
def _antialias(call: Called) -> Iterator[Way]:
    own = bool(call["antialias"])
    if call.get("mode", "nearest") in ("bilinear", "bicubic") and _is_smaller(call):
        yield Way(
            f"{not own}", f"{own}", f"antialias is {not own}", lambda: call.again(antialias=not own),
            jax=f"set antialias={own}", torch=f"set antialias={own}", torch_other=f"set antialias={not own}",
        )  # fmt: skip


@convention("align_corners", "interpolate")
def _corners(call: Called) -> Iterator[Way]:
    own = bool(call["align_corners"])
    if call.get("mode", "nearest") in ("linear", "bilinear", "bicubic", "trilinear"):
        yield Way(
            f"{not own}", f"{own}", f"align_corners is {not own}", lambda: call.again(align_corners=not own),
            jax="map the corners of pixels to corners" if not own else "map the centers of the corner pixels",
            torch=f"set align_corners={own}", torch_other=f"set align_corners={not own}",
        )  # fmt: skip


# recurrent layers


@convention("sequence_direction", "lstm", "gru")
def _direction(call: Called) -> Iterator[Way]:
    axis = 1 if call["8"] else 0  # batch_first

    def run() -> Any:
        outputs, *state = call.again(input=call["input"].flip(axis))
        return (outputs, *state)

    def back() -> Any:
        outputs, *state = run()
        return (outputs.flip(axis), *state)

    if isinstance(call["8"], bool):
        for key, words, made in (("reversed", "", run), ("reversed and back", ", and its outputs back", back)):
            yield Way(
                key, "from the first step on", f"the sequence is read from its end{words}", made,
                jax="read the sequence from its beginning", torch="read the sequence from its beginning",
                torch_other="flip the sequence",
            )  # fmt: skip


def _gates(call: Called, count: int, change: Callable[[list[Tensor]], list[Tensor]]) -> Any:
    """Run a recurrent layer with the gates of every tensor changed."""

    def changed(weight: Tensor | None) -> Tensor | None:
        return None if weight is None else torch.cat(change(list(weight.chunk(count))))

    if "weights" in call.arguments:
        return call.again(weights=[changed(each) for each in call["weights"]])
    return call.again(**{name: changed(call[name]) for name in ("w_ih", "w_hh", "b_ih", "b_hh")})


@convention("gate_order", "lstm", "lstm_cell", "gru", "gru_cell")
def _gate_order(call: Called) -> Iterator[Way]:
    names = "ifgo" if call.name.startswith("lstm") else "rzn"
    for order in list(permutations(range(len(names))))[1:]:
        words = "".join(names[each] for each in order)
        yield Way(
            words, names, f"the gates lie in the order {words}",
            lambda order=order: _gates(call, len(names), lambda parts: [parts[each] for each in order]),
            jax=f"keep the gates in the order {names}", torch=f"keep the gates in the order {names}",
            torch_other=f"keep the gates in the order {words}",
        )  # fmt: skip
