"""Conventions that libraries have otherwise, and a model that is run with one of them changed.

A convention is changed where PyTorch's functions are called, within modules and elsewhere. So what a model would show
with another epsilon, padding or mask is computed by the model itself, forward and backward. `CONVENTIONS` lists them,
and another is one more entry: the functions that it is about, and the ways in which a call may be made otherwise.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import permutations, product
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from parity.backend.convention import Change, Option

_POOL = ("input", "kernel_size", "stride", "padding")
_CONVOLUTION = ("input", "weight", "bias", "stride", "padding")
# The names of arguments, as far as conventions need them: PyTorch's own functions have no signatures.
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "gelu": ("input", "approximate"),
    "layer_norm": ("input", "normalized_shape", "weight", "bias", "eps"),
    "group_norm": ("input", "num_groups", "weight", "bias", "eps"),
    "rms_norm": ("input", "normalized_shape", "weight", "eps"),
    "batch_norm": ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
    "instance_norm": (
        "input", "running_mean", "running_var", "weight", "bias", "use_input_stats", "momentum", "eps",
    ),
    "rsqrt": ("input",),
    "sqrt": ("input",),
    **{f"conv{n}d": (*_CONVOLUTION, "dilation", "groups") for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": (*_CONVOLUTION, "output_padding", "groups", "dilation") for n in (1, 2, 3)},
    **{f"max_pool{n}d": (*_POOL, "dilation", "ceil_mode", "return_indices") for n in (1, 2, 3)},
    **{f"avg_pool{n}d": (*_POOL, "ceil_mode", "count_include_pad", "divisor_override") for n in (1, 2, 3)},
    "leaky_relu": ("input", "negative_slope"),
    "elu": ("input", "alpha"),
    "softplus": ("input", "beta", "threshold"),
    "relu": ("input", "inplace"),
    "silu": ("input", "inplace"),
    "tanh": ("input",),
    "sigmoid": ("input",),
    "softmax": ("input", "dim"),
    "log_softmax": ("input", "dim"),
    "scaled_dot_product_attention": ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale"),
    "multi_head_attention_forward": ("query", "key", "value"),
    "masked_fill": ("input", "mask", "value"),
    "masked_fill_": ("input", "mask", "value"),
    "where": ("condition", "input", "other"),
    "tril": ("input", "diagonal"),
    "triu": ("input", "diagonal"),
    "arange": ("start", "end", "step"),
    "std": ("input", "dim"),
    "var": ("input", "dim"),
    "flatten": ("input", "start_dim", "end_dim"),
    "chunk": ("input", "chunks", "dim"),
    "split": ("input", "split_size", "dim"),
    "unbind": ("input", "dim"),
    "embedding": ("input", "weight", "padding_idx"),
    "interpolate": (
        "input", "size", "scale_factor", "mode", "align_corners", "recompute_scale_factor", "antialias",
    ),
    "cross_entropy": (
        "input", "target", "weight", "size_average", "ignore_index", "reduce", "reduction", "label_smoothing",
    ),
    "nll_loss": ("input", "target", "weight", "size_average", "ignore_index", "reduce", "reduction"),
    "mse_loss": ("input", "target", "size_average", "reduce", "reduction"),
    "l1_loss": ("input", "target", "size_average", "reduce", "reduction"),
    "lstm": ("input", "hx", "weights"),
    "gru": ("input", "hx", "weights"),
    "lstm_cell": ("input", "hx", "w_ih", "w_hh", "b_ih", "b_hh"),
    "gru_cell": ("input", "hx", "w_ih", "w_hh", "b_ih", "b_hh"),
    "round": ("input",),
    **{f"adaptive_avg_pool{n}d": ("input", "output_size") for n in (1, 2, 3)},
    **dict.fromkeys(("mean", "sum"), ("input", "dim", "keepdim")),
    **dict.fromkeys(
        ("add", "__add__", "__radd__", "add_", "__iadd__", "mul", "__mul__", "__rmul__", "div", "__truediv__"),
        ("input", "other"),
    ),
    "cat": ("tensors", "dim"),
    "__getitem__": ("input", "index"),
    "linear": ("input", "weight", "bias"),
}  # fmt: skip
# PyTorch calls these by another name, since they give indices or not.
_NAMES = {getattr(F, f"{kind}max_pool{n}d"): f"{kind}max_pool{n}d" for n in (1, 2, 3) for kind in ("", "adaptive_")}


@dataclass(frozen=True)
class Called:
    """A call of a function of PyTorch.

    Args:
        name: of the function.
        function: itself.
        arguments: by name; one without a name here by its place.
        by_place: how many of them are given by their place.
    """

    name: str
    function: Callable[..., Any]
    arguments: dict[str, Any]
    by_place: int

    @classmethod
    def of(cls, name: str, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> "Called":
        """Name the arguments of a call."""
        names = ARGUMENTS[name]
        places = [names[place] if place < len(names) else str(place) for place in range(len(args))]
        return cls(name, function, {**dict(zip(places, args, strict=True)), **kwargs}, len(args))

    def __getitem__(self, name: str) -> Any:
        return self.arguments.get(name)

    def get(self, name: str, default: Any) -> Any:
        """Return an argument, or what it is if it is not given."""
        found = self.arguments.get(name)
        return default if found is None else found

    def again(self, **changed: Any) -> Any:
        """Call the function once more, with some arguments changed."""
        given = {**self.arguments, **changed}
        by_place = [given.pop(name) for name in list(self.arguments)[: self.by_place]]
        return self.function(*by_place, **given)


@dataclass(frozen=True)
class Way:
    """Another way to make a call.

    Args:
        key: tells it apart from others of its name.
        own: how the model makes it, in words.
        other: how it would be made; `{value}` is what is fitted.
        run: makes the call; it is given what is fitted.
        start: what is fitted, as the model has it; None if nothing is.
        jax: what to write in JAX to have it as the model does.
        torch: what to write in PyTorch for that.
        torch_other: what to write in PyTorch to have it otherwise.
    """

    key: str
    own: str
    other: str
    run: Callable[..., Any]
    start: float | None = None
    jax: str = ""
    torch: str = ""
    torch_other: str = ""

    def option(self, name: str) -> Option:
        """Return it as other processes have it."""
        writes = {"jax": self.jax, "torch": self.torch, "other": self.torch_other}
        change = Change(name, self.key, self.start)
        return Option(change=change, own=self.own, other=self.other, writes=writes)


Ways = Callable[[Called], Iterator[Way]]
CONVENTIONS: dict[str, list[tuple[frozenset[str], Ways]]] = {}


def _convention(name: str, *functions: str) -> Callable[[Ways], Ways]:
    def register(ways: Ways) -> Ways:
        CONVENTIONS.setdefault(name, []).append((frozenset(functions), ways))
        return ways

    return register


class _Functions(TorchFunctionMode):
    """Sees the functions of `ARGUMENTS` that are called within it, also those within attention."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = _NAMES.get(func, getattr(func, "__name__", ""))
        if func is F.multi_head_attention_forward:
            func = self._attention
        # A call with a tensor to write to, or of tensors that only stand for numbers, is left alone.
        if name not in ARGUMENTS or not callable(func) or "out" in kwargs:
            return func(*args, **kwargs)
        return self.call(Called.of(name, func, args, kwargs))

    def _attention(self, *args: Any, **kwargs: Any) -> Any:
        with self:
            return _attention(*args, **kwargs)

    def call(self, called: Called) -> Any:
        raise NotImplementedError


def _unchecked(function: Any) -> Any:
    """A function of Python that does not ask whether a mode is to see it, so that what it calls is seen instead."""
    never = {name: lambda *_: False for name in ("has_torch_function", "has_torch_function_variadic")}
    twin = FunctionType(function.__code__, {**function.__globals__, **never}, None, function.__defaults__)
    twin.__kwdefaults__ = function.__kwdefaults__
    return twin


_attention = _unchecked(F.multi_head_attention_forward)


class Options(_Functions):
    """Notes in which other ways the calls within it could be made."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[tuple[str, str], Option] = {}

    def call(self, called: Called) -> Any:
        """Note the ways of a call, and make it: what is within it comes after it."""
        for name in CONVENTIONS:
            for way in _ways_of(called, name):
                self.found.setdefault((name, way.key), way.option(name))
        return called.again()


class Changed(_Functions):
    """Makes the calls within it otherwise, where they have that way."""

    def __init__(self, change: Change) -> None:
        super().__init__()
        self._change = change

    def call(self, called: Called) -> Any:
        """Make a call."""
        name, key, value = self._change
        for way in _ways_of(called, name):
            if way.key == key:
                return way.run() if way.start is None else way.run(value)
        return called.again()


def _ways_of(called: Called, name: str) -> list[Way]:
    """The ways of a convention to make a call; none of a form of it that has no such way."""
    found: list[Way] = []
    for functions, ways in CONVENTIONS[name]:
        if called.name in functions:
            with suppress(ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
                found += ways(called)
    return found


# norms

NORMS = ("layer_norm", "group_norm", "rms_norm", "batch_norm", "instance_norm")


@_convention("norm_epsilon", *NORMS)
def _epsilon(call: Called) -> Iterator[Way]:
    default = torch.finfo(torch.float64).eps if call.name == "rms_norm" else 1e-5
    own = float(call.get("eps", default))
    yield Way(
        "eps", f"it is {own:g}", "epsilon is {value:g}", lambda value: call.again(eps=value), own,
        jax=f"set epsilon={own:g}", torch=f"set eps={own:g}", torch_other="set eps={value:g}",
    )  # fmt: skip


@_convention("norm_epsilon", "rsqrt", "sqrt")
def _epsilon_by_hand(call: Called) -> Iterator[Way]:
    yield Way(
        "under the root", "not", "{value:g} more is added before the square root",
        lambda value: call.again(input=call["input"] + value), 0.0,
        jax="add the same before the square root", torch="add the same before the square root",
        torch_other="add {value:g} before the square root",
    )  # fmt: skip


@_convention("statistics_never_used", "batch_norm")
def _never(call: Called) -> Iterator[Way]:
    if not call["training"] and call["running_mean"] is not None:
        yield Way(
            "batch", "the running ones", "the norm takes the batch's statistics in evaluation too",
            lambda: call.again(training=True), jax="hand use_running_average (or train) on to this norm",
            torch="hand the mode on to this norm", torch_other="call the module in training mode",
        )  # fmt: skip


@_convention("statistics_always_used", "batch_norm")
def _always(call: Called) -> Iterator[Way]:
    if call["training"] and call["running_mean"] is not None:
        yield Way(
            "running", "those of the batch", "the norm takes its running statistics in training too",
            lambda: call.again(training=False), jax="hand use_running_average (or train) on to this norm",
            torch="hand the mode on to this norm", torch_other="call the module in evaluation mode",
        )  # fmt: skip


# activations

GELU = {"none": "by the error function", "tanh": "by tanh"}


@_convention("gelu_form", "gelu")
def _gelu(call: Called) -> Iterator[Way]:
    own = call.get("approximate", "none")
    other = "none" if own == "tanh" else "tanh"
    yield Way(
        other, GELU[own], f"GELU is {GELU[other]}", lambda: call.again(approximate=other),
        jax=f"pass approximate={own == 'tanh'} to gelu", torch=f"pass approximate='{own}' to gelu",
        torch_other=f"pass approximate='{other}' to gelu",
    )  # fmt: skip


@_convention("gelu_form", "gelu")
def _quick_gelu(call: Called) -> Iterator[Way]:
    x, own = call["input"], call.get("approximate", "none")
    yield Way(
        "sigmoid", GELU[own], "GELU is x sigmoid(1.702 x)", lambda: x * torch.sigmoid(1.702 * x),
        jax=f"use gelu(x, approximate={own == 'tanh'})", torch=f"use gelu(x, approximate='{own}')",
        torch_other="use x * sigmoid(1.702 * x)",
    )  # fmt: skip


SLOPES = {"leaky_relu": ("negative_slope", 0.01), "elu": ("alpha", 1.0), "softplus": ("beta", 1.0)}


@_convention("activation_slope", *SLOPES)
def _slope(call: Called) -> Iterator[Way]:
    argument, default = SLOPES[call.name]
    own = float(call.get(argument, default))
    yield Way(
        argument, f"it is {own:g}", f"{argument} of {call.name} is {{value:g}}",
        lambda value: call.again(**{argument: value}), own, jax=f"set {argument}={own:g}",
        torch=f"set {argument}={own:g}", torch_other=f"set {argument}={{value:g}}",
    )  # fmt: skip


@_convention("relu_at_zero", "relu")
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


@_convention("other_activation", *(name for name in ACTIVATIONS if name in ARGUMENTS))
def _activation(call: Called) -> Iterator[Way]:
    for other, function in ACTIVATIONS.items():
        if other != call.name:
            yield Way(
                f"{call.name} {other}", call.name, f"the activation is {other}",
                lambda f=function: f(call["input"]), jax=f"use {call.name}", torch=f"use {call.name}",
                torch_other=f"use {other}",
            )  # fmt: skip


@_convention("missing_module", *(name for name in ACTIVATIONS if name in ARGUMENTS), *NORMS)
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


@_convention("same_padding", "conv1d", "conv2d", "conv3d")
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


@_convention("flipped_kernel", "conv1d", "conv2d", "conv3d", *(f"conv_transpose{n}d" for n in (1, 2, 3)))
def _flipped(call: Called) -> Iterator[Way]:
    axes = tuple(range(-_spatial(call), 0))
    if any(call["weight"].shape[axis] > 1 for axis in axes):
        yield Way(
            "flipped", "as it is", "the kernel is flipped", lambda: call.again(weight=call["weight"].flip(axes)),
            jax="flip the kernel along its spatial axes (transpose_kernel, or when its weights are loaded)",
            torch="flip the kernel along its spatial axes", torch_other="flip the kernel along its spatial axes",
        )  # fmt: skip


@_convention("transpose_padding", *(f"conv_transpose{n}d" for n in (1, 2, 3)))
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


@_convention("kernel_axes", "conv2d", "conv3d", *(f"conv_transpose{n}d" for n in (2, 3)))
def _kernel_axes(call: Called) -> Iterator[Way]:
    weight = call["weight"]
    if weight.shape[-1] == weight.shape[-2] > 1:
        yield Way(
            "space", "height, then width", "the kernel's height and width are exchanged",
            lambda: call.again(weight=weight.transpose(-1, -2)), jax="keep height before width in the kernel",
            torch="keep height before width in the kernel", torch_other="exchange the kernel's last two axes",
        )  # fmt: skip


@_convention("pool_kind", *(f"max_pool{n}d" for n in (1, 2, 3)))
def _max_or_average(call: Called) -> Iterator[Way]:
    if not call["return_indices"] and call.get("dilation", 1) in (1, (1,) * _spatial(call)):
        average = getattr(F, f"avg_pool{_spatial(call)}d")
        given = {name: call[name] for name in ("kernel_size", "stride", "padding") if name in call.arguments}
        yield Way(
            "average", "the maximum", "the pool takes the average", lambda: average(call["input"], **given),
            jax="use max_pool", torch="use max_pool", torch_other="use avg_pool",
        )  # fmt: skip


@_convention("pool_kind", *(f"avg_pool{n}d" for n in (1, 2, 3)))
def _average_or_max(call: Called) -> Iterator[Way]:
    given = {name: call[name] for name in ("kernel_size", "stride", "padding") if name in call.arguments}
    maximum = getattr(F, f"max_pool{_spatial(call)}d")
    yield Way(
        "maximum", "the average", "the pool takes the maximum", lambda: maximum(call["input"], **given),
        jax="use avg_pool", torch="use avg_pool", torch_other="use max_pool",
    )  # fmt: skip


@_convention("pool_kind", "mean", *(f"adaptive_avg_pool{n}d" for n in (1, 2, 3)))
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


@_convention("pool_padding", *(f"max_pool{n}d" for n in (1, 2, 3)))
def _max_pool(call: Called) -> Iterator[Way]:
    count = _spatial(call)
    padding = _pair(call.get("padding", 0), count)
    if any(padding) and not call["return_indices"]:
        yield Way(
            "zeros", "minus infinity", "the maximum's padding is 0",
            lambda: call.again(input=_padded(call["input"], padding, padding), padding=0),
            jax="pad with -jnp.inf", torch="pad with -inf", torch_other="pad with 0",
        )  # fmt: skip


@_convention("pool_padding", *(f"avg_pool{n}d" for n in (1, 2, 3)))
def _average_pool(call: Called) -> Iterator[Way]:
    own = call.arguments.get("count_include_pad", True)
    words = {True: "counted", False: "not counted"}
    if any(_pair(call.get("padding", 0), _spatial(call))) or call["ceil_mode"]:
        yield Way(
            "count", words[own], f"the padding of the average is {words[not own]}",
            lambda: call.again(count_include_pad=not own), jax=f"set count_include_pad={own}",
            torch=f"set count_include_pad={own}", torch_other=f"set count_include_pad={not own}",
        )  # fmt: skip


# attention


@_convention("softmax_axis", "softmax", "log_softmax")
def _softmax_axis(call: Called) -> Iterator[Way]:
    x = call["input"]
    own = int(call["dim"]) % x.ndim
    for axis in range(x.ndim):
        if axis != own and x.shape[axis] > 1:
            yield Way(
                f"axis {axis}", f"{own}", f"the softmax is over axis {axis} of {x.ndim}",
                lambda axis=axis: call.again(dim=axis), jax=f"set axis={own}", torch=f"set dim={own}",
                torch_other=f"set dim={axis}",
            )  # fmt: skip


@_convention("softmax_axis", "scaled_dot_product_attention")
def _attention_axis(call: Called) -> Iterator[Way]:
    def run() -> Tensor:
        query, key, value, mask = (call[name] for name in ("query", "key", "value", "attn_mask"))
        scores = query @ key.mT * call.get("scale", query.shape[-1] ** -0.5)
        if call["is_causal"]:
            mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf) if mask.dtype is torch.bool else scores + mask
        return scores.softmax(-2) @ value

    yield Way(
        "queries", "the keys", "the softmax of attention is over the queries", run, jax="set axis=-1",
        torch="set dim=-1", torch_other="set dim=-2",
    )  # fmt: skip


@_convention("attention_scale", "softmax")
def _logit_scale(call: Called) -> Iterator[Way]:
    yield Way(
        "factor", "once", "what enters the softmax is {value:g} times as large",
        lambda value: call.again(input=value * call["input"]), 1.0,
        jax="scale the scores as the reference does", torch="scale the scores as the reference does",
        torch_other="scale the scores by {value:g}",
    )  # fmt: skip


@_convention("attention_scale", "scaled_dot_product_attention")
def _attention_scale(call: Called) -> Iterator[Way]:
    own = float(call.get("scale", call["query"].shape[-1] ** -0.5))
    yield Way(
        "scale", f"{own:.6g}", "the scores are scaled by {value:.6g}", lambda value: call.again(scale=value), own,
        jax=f"scale the scores by {own:.6g}", torch=f"set scale={own:.6g}", torch_other="set scale={value:.6g}",
    )  # fmt: skip


LOWEST = torch.finfo(torch.float64).min  # which is finite, so that a row that is masked whole has numbers


@_convention("mask_polarity", "masked_fill", "masked_fill_", "where")
def _polarity(call: Called) -> Iterator[Way]:
    argument = "condition" if call.name == "where" else "mask"
    mask = call[argument]
    if isinstance(mask, Tensor) and mask.ndim:
        yield _inverted(call, argument, call.name, ~mask)


@_convention("mask_polarity", "multi_head_attention_forward", "scaled_dot_product_attention")
def _attention_polarity(call: Called) -> Iterator[Way]:
    for argument in ("key_padding_mask", "attn_mask"):
        mask = call[argument]
        if isinstance(mask, Tensor):
            is_kept = mask == 0
            if mask.dtype is torch.bool and call.name == "scaled_dot_product_attention":
                is_kept = mask
            for least in (LOWEST, -math.inf):
                other = torch.zeros(mask.shape, dtype=torch.float64).masked_fill(is_kept, least)
                yield _inverted(call, argument, f"{argument} {least:g}", other)


def _inverted(call: Called, argument: str, key: str, mask: Tensor) -> Way:
    return Way(
        key, "it is the other way round", f"{argument} keeps what it should drop",
        lambda: call.again(**{argument: mask}), jax="invert the mask", torch="invert the mask",
        torch_other="invert the mask",
    )  # fmt: skip


CONSTANTS = (-math.inf, -1e4, -1e9, -1e10, -1e30, float(torch.finfo(torch.float32).min), torch.finfo(torch.float64).min)


@_convention("mask_constant", "masked_fill", "masked_fill_")
def _constant(call: Called) -> Iterator[Way]:
    own = call["value"]
    if isinstance(own, int | float) and own < -1e3:
        for value in CONSTANTS:
            if value != own:
                yield Way(
                    f"{value:g}", f"{own:g}", f"what is masked is {value:g}", lambda v=value: call.again(value=v),
                    jax=f"mask with {own:g}", torch=f"mask with {own:g}", torch_other=f"mask with {value:g}",
                )  # fmt: skip


@_convention("causal_offset", "tril", "triu")
def _causal(call: Called) -> Iterator[Way]:
    own = int(call.get("diagonal", 0))
    for other in (own - 1, own + 1):
        yield Way(
            f"{other - own:+d}", f"{own}", f"the mask's diagonal is {other}", lambda o=other: call.again(diagonal=o),
            jax=f"set k={own}", torch=f"set diagonal={own}", torch_other=f"set diagonal={other}",
        )  # fmt: skip


@_convention("causal_offset", "scaled_dot_product_attention")
def _is_causal(call: Called) -> Iterator[Way]:
    if call["is_causal"]:
        form = call["query"].shape[-2], call["key"].shape[-2]
        for offset in (-1, 1):
            mask = torch.ones(form, dtype=torch.bool).tril(offset)
            yield Way(
                f"{offset:+d}", "0", f"the mask's diagonal is {offset}",
                lambda mask=mask: call.again(is_causal=False, attn_mask=mask), jax="set k=0 in the causal mask",
                torch="set is_causal=True", torch_other=f"use a mask with diagonal={offset}",
            )  # fmt: skip
        yield Way(
            "none", "it is there", "the causal mask is left out", lambda: call.again(is_causal=False),
            jax="pass a causal mask", torch="set is_causal=True", torch_other="set is_causal=False",
        )  # fmt: skip


@_convention("qkv_order", "chunk", "split", "unbind")
def _qkv(call: Called) -> Iterator[Way]:
    parts = call.again()
    if 2 <= len(parts) <= 4 and len({each.shape for each in parts}) == 1:
        for order in list(permutations(range(len(parts))))[1:]:
            yield Way(
                f"{order}", f"{tuple(range(len(parts)))}", f"what is packed is taken in the order {order}",
                lambda order=order: tuple(parts[each] for each in order),
                jax="take the parts in the reference's order", torch="take the parts in the reference's order",
                torch_other=f"take the parts in the order {order}",
            )  # fmt: skip


# shapes, positions and numbers


@_convention("flatten_order", "flatten")
def _flatten(call: Called) -> Iterator[Way]:
    x, start = call["input"], int(call.get("start_dim", 0))
    if x.ndim >= 3 and start == 1 and int(call.get("end_dim", -1)) in (-1, x.ndim - 1):
        yield Way(
            "second axis last", "second", "of what is flattened the second axis (channels) comes last",
            lambda: x.movedim(1, -1).flatten(1), jax="transpose to (batch, channels, ...) before it is flattened",
            torch="flatten (batch, channels, ...)", torch_other="use x.movedim(1, -1).flatten(1)",
        )  # fmt: skip


@_convention("position_offset", "arange")
def _positions(call: Called) -> Iterator[Way]:
    for offset in (-1, 1, 2):
        yield Way(
            f"{offset:+d}", "0", f"positions begin {offset:+d} further on", lambda o=offset: call.again() + o,
            jax="let positions begin where the reference's do", torch="let positions begin where the reference's do",
            torch_other=f"add {offset} to the positions",
        )  # fmt: skip


@_convention("extra_scale", "embedding")
def _scale(call: Called) -> Iterator[Way]:
    yield Way(
        "factor", "it is not", "the embedding is multiplied by {value:.6g}", lambda value: value * call.again(), 1.0,
        jax="leave the factor out, or have it twice", torch="leave the factor out, or have it twice",
        torch_other="multiply the embedding by {value:.6g}",
    )  # fmt: skip


@_convention("embedding_padding", "embedding")
def _padding_row(call: Called) -> Iterator[Way]:
    if call["padding_idx"] is not None:
        yield Way(
            "none", "it has none", "the padding row has a gradient",
            lambda: call.again(padding_idx=None), jax="stop the gradient of the padding row",
            torch=f"set padding_idx={call['padding_idx']}", torch_other="set padding_idx=None",
        )  # fmt: skip


@_convention("standard_deviation", "std", "var")
def _deviation(call: Called) -> Iterator[Way]:
    """PyTorch's two ways to say it: `correction`, or `unbiased`, which may also be given by place."""
    dim, second = call["dim"], call["2"]
    own = int(call.get("correction", call.get("unbiased", True if second is None else second)))
    if isinstance(dim, bool):
        own, dim = int(dim), None
    keep = bool(call.get("keepdim", call.get("3", False)))
    other = 1 - own
    function = getattr(torch, call.name)
    yield Way(
        f"{other}", f"n - {own}", f"the sum of squares is divided by n - {other}",
        lambda: function(call["input"], dim=dim, correction=other, keepdim=keep), jax=f"set ddof={own}",
        torch=f"set correction={own}", torch_other=f"set correction={other}",
    )  # fmt: skip


@_convention("resize_kernel", "interpolate")
def _resize(call: Called) -> Iterator[Way]:
    own = call.get("mode", "nearest")
    for other in ("nearest", "nearest-exact", "bilinear", "bicubic"):
        if other != own and call["input"].ndim == 4:
            changed = {"align_corners": None, "antialias": False} if "nearest" in other else {}
            yield Way(
                other, own, f"it is resized by {other}", lambda m=other, c=changed: call.again(mode=m, **c),
                jax=f"resize by {own}", torch=f"set mode='{own}'", torch_other=f"set mode='{other}'",
            )  # fmt: skip


@_convention("resize_antialias", "interpolate")
def _antialias(call: Called) -> Iterator[Way]:
    own = bool(call["antialias"])
    if call.get("mode", "nearest") in ("bilinear", "bicubic"):
        yield Way(
            f"{not own}", f"{own}", f"antialias is {not own}", lambda: call.again(antialias=not own),
            jax=f"set antialias={own}", torch=f"set antialias={own}", torch_other=f"set antialias={not own}",
        )  # fmt: skip


@_convention("align_corners", "interpolate")
def _corners(call: Called) -> Iterator[Way]:
    own = bool(call["align_corners"])
    if call.get("mode", "nearest") in ("linear", "bilinear", "bicubic", "trilinear"):
        yield Way(
            f"{not own}", f"{own}", f"align_corners is {not own}", lambda: call.again(align_corners=not own),
            jax="map the corners of pixels to corners" if not own else "map the centers of the corner pixels",
            torch=f"set align_corners={own}", torch_other=f"set align_corners={not own}",
        )  # fmt: skip


# sums, factors and parts


@_convention("missing_residual", "add", "__add__", "__radd__", "add_", "__iadd__")
def _residual(call: Called) -> Iterator[Way]:
    for key, kept in _whole_terms(call):
        yield Way(
            key, "both are", f"of a sum the {key} term alone is there", lambda kept=kept: kept * 1.0,
            jax="add the other term", torch="add the other term", torch_other="leave the other term out",
        )  # fmt: skip


def _whole_terms(call: Called) -> Iterator[tuple[str, Tensor]]:
    """The terms of a sum or a product that have its form, so that they can stand for it."""
    terms = {"first": call["input"], "second": call["other"]}
    shape = torch.broadcast_shapes(*(each.shape if isinstance(each, Tensor) else () for each in terms.values()))
    for key, kept in terms.items():
        if isinstance(kept, Tensor) and kept.is_floating_point() and kept.shape == shape:
            yield key, kept


@_convention("missing_scale", "mul", "__mul__", "__rmul__", "div", "__truediv__")
def _factor(call: Called) -> Iterator[Way]:
    words = "divisor" if "div" in call.name else "factor"
    for key, kept in _whole_terms(call):
        if key == "first" or words == "factor":
            yield Way(
                f"{key} and no {words}", "it is there", f"the {words} is left out", lambda kept=kept: kept * 1.0,
                jax=f"do not leave the {words} out", torch=f"do not leave the {words} out",
                torch_other=f"leave the {words} out",
            )  # fmt: skip


@_convention("missing_bias", "linear", *(f"conv{n}d" for n in (1, 2, 3)))
def _bias(call: Called) -> Iterator[Way]:
    if call["bias"] is not None:
        yield Way(
            call.name, "it is there", f"the bias of {call.name} is left out", lambda: call.again(bias=None),
            jax="add the bias", torch="add the bias", torch_other="leave the bias out",
        )  # fmt: skip


@_convention("concatenation_order", "cat")
def _concatenation(call: Called) -> Iterator[Way]:
    tensors = list(call["tensors"])
    if 2 <= len(tensors) <= 4:
        for order in list(permutations(range(len(tensors))))[1:]:
            yield Way(
                f"{order}", f"{tuple(range(len(tensors)))}", f"what is joined stands in the order {order}",
                lambda order=order: call.again(tensors=[tensors[each] for each in order]),
                jax="join in the reference's order", torch="join in the reference's order",
                torch_other=f"join in the order {order}",
            )  # fmt: skip


@_convention("taken_position", "__getitem__")
def _taken(call: Called) -> Iterator[Way]:
    """One position along an axis that is not the first: another, or all of them."""
    x, index = call["input"], call["index"]
    index = index if isinstance(index, tuple) else (index,)
    places = [axis for axis, each in enumerate(index) if isinstance(each, int) and not isinstance(each, bool)]
    if len(places) != 1 or places[0] == 0 or not x.is_floating_point():
        return
    if any(not (isinstance(each, int) or each == slice(None)) for each in index):
        return
    (axis,) = places
    own, size = int(index[axis]) % x.shape[axis], x.shape[axis]
    for other in {0, 1, size - 2, size - 1} - {own}:
        if 0 <= other < size:
            yield Way(
                f"{other - size if other > 1 else other}", f"{index[axis]}", f"position {other} of {size} is taken",
                lambda o=other: x.select(axis, o), jax=f"take position {index[axis]}",
                torch=f"take position {index[axis]}", torch_other=f"take position {other}",
            )  # fmt: skip
    for words, run in (("mean", lambda: x.mean(axis)), ("maximum", lambda: x.amax(axis))):
        yield Way(
            words, f"{index[axis]}", f"the {words} of all positions is taken", run,
            jax=f"take position {index[axis]}", torch=f"take position {index[axis]}", torch_other=f"take the {words}",
        )  # fmt: skip


@_convention("tied_weights", "linear", "embedding")
def _tied(call: Called) -> Iterator[Way]:
    yield Way(
        call.name, "it does", f"the tensor gets no gradient from its use by {call.name}",
        lambda: call.again(weight=call["weight"].detach()), jax="use one parameter in both places, and do not stop it",
        torch="use one parameter in both places", torch_other="detach it in one place",
    )  # fmt: skip


# recurrent layers


@_convention("sequence_direction", "lstm", "gru")
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


@_convention("gate_order", "lstm", "lstm_cell", "gru", "gru_cell")
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


# losses

LOSSES = ("cross_entropy", "nll_loss", "mse_loss", "l1_loss")


@_convention("loss_reduction", *LOSSES)
def _reduction(call: Called) -> Iterator[Way]:
    own = call.get("reduction", "mean")
    other = {"mean": "sum", "sum": "mean"}.get(own)
    if other is not None:
        yield Way(
            f"{call.name} {other}", f"the {own}", f"{call.name} takes the {other}",
            lambda: call.again(reduction=other), jax=f"take the {own}", torch=f"set reduction='{own}'",
            torch_other=f"set reduction='{other}'",
        )  # fmt: skip


@_convention("loss_reduction", "mean", "sum")
def _mean_or_sum(call: Called) -> Iterator[Way]:
    other = {"mean": "sum", "sum": "mean"}[call.name]
    if call["dim"] is None and call["input"].is_floating_point():
        yield Way(
            f"{call.name} {other}", f"the {call.name}", f"the {other} of all is taken",
            lambda: getattr(torch, other)(call["input"]), jax=f"take the {call.name}", torch=f"take the {call.name}",
            torch_other=f"take the {other}",
        )  # fmt: skip


@_convention("half_square", "mse_loss")
def _half(call: Called) -> Iterator[Way]:
    yield Way(
        "half", "the whole", "the squared error is halved, as optax's l2_loss is", lambda: 0.5 * call.again(),
        jax="use optax.squared_error", torch="use mse_loss", torch_other="halve it",
    )  # fmt: skip


@_convention("label_smoothing", "cross_entropy")
def _smoothing(call: Called) -> Iterator[Way]:
    own = float(call.get("label_smoothing", 0.0))
    yield Way(
        "smoothing", f"{own:g}", "label_smoothing is {value:g}",
        lambda value: call.again(label_smoothing=min(max(value, 0.0), 1.0)), own,
        jax=f"smooth the labels by {own:g}", torch=f"set label_smoothing={own:g}",
        torch_other="set label_smoothing={value:g}",
    )  # fmt: skip


@_convention("class_weights", "cross_entropy", "nll_loss")
def _class_weights(call: Called) -> Iterator[Way]:
    if call["weight"] is not None:
        yield Way(
            "none", "they have", "the classes have no weights", lambda: call.again(weight=None),
            jax="weight the classes", torch="pass weight", torch_other="pass no weight",
        )  # fmt: skip
        if call.get("reduction", "mean") == "mean":
            yield Way(
                "by count", "by the sum of the weights", "the weighted losses are divided by their number",
                lambda: call.again(reduction="none").mean(), jax="divide by the sum of the weights of the labels",
                torch="use reduction='mean'", torch_other="use reduction='none', and take the mean",
            )  # fmt: skip


@_convention("ignored_index", "cross_entropy", "nll_loss")
def _ignored(call: Called) -> Iterator[Way]:
    ignored = int(call.get("ignore_index", -100))
    target = call["target"]
    if not target.is_floating_point() and bool((target == ignored).any()) and ignored >= 0:
        yield Way(
            "counted", f"{ignored} is ignored", f"label {ignored} counts as any other",
            lambda: call.again(ignore_index=-100), jax=f"leave label {ignored} out, and divide by the rest",
            torch=f"set ignore_index={ignored}", torch_other="set no ignore_index",
        )  # fmt: skip


# rules at special inputs


@_convention("rounding_rule", "round")
def _rounding(call: Called) -> Iterator[Way]:
    x = call["input"]
    yield Way(
        "away", "half to even", "a half is rounded away from 0", lambda: x.sign() * (x.abs() + 0.5).floor(),
        jax="use jnp.round", torch="use torch.round", torch_other="use sign(x) * floor(abs(x) + 0.5)",
    )  # fmt: skip
