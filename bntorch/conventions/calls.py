"""Conventions that libraries have otherwise, and a model that is run with one of them changed.

A convention is changed where PyTorch's functions are called, within modules and elsewhere. So what a model would show
with another epsilon, padding or mask is computed by the model itself, forward and backward. The files
beside this one list them, and another is one more entry: the functions that it is about, and the ways in which a call
may be made otherwise.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from parity.backend.convention import EXACT, FITTED, Change, Option

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
    **dict.fromkeys(("mean", "sum", "median", "max", "min", "amax", "amin"), ("input", "dim", "keepdim")),
    **dict.fromkeys(("view", "reshape", "unflatten"), ("input",)),
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
        weakness: of it as an explanation, where it is more than that it is fitted.
    """

    key: str
    own: str
    other: str
    run: Callable[..., Any]
    start: float | None = None
    jax: str = ""
    torch: str = ""
    torch_other: str = ""
    weakness: int = EXACT

    @property
    def whole_key(self) -> str:
        """The way, and from what: of two norms with other epsilons each is changed and told by itself."""
        return f"{self.own}: {self.key}"

    def option(self, name: str) -> Option:
        """Return it as other processes have it."""
        writes = {"jax": self.jax, "torch": self.torch, "other": self.torch_other}
        change = Change(name, self.whole_key, self.start)
        weakness = max(self.weakness, EXACT if self.start is None else FITTED)
        return Option(change=change, own=self.own, other=self.other, writes=writes, weakness=weakness)


Ways = Callable[[Called], Iterator[Way]]
CONVENTIONS: dict[str, list[tuple[frozenset[str], Ways]]] = {}


def convention(name: str, *functions: str) -> Callable[[Ways], Ways]:
    """Enter the ways to make calls of some functions under a convention's name."""

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
                self.found.setdefault((name, way.whole_key), way.option(name))
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
            if way.whole_key == key:
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
