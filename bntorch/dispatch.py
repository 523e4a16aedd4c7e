"""Every operation's result moved by one ulp, forward and backward: what the noise floor is drawn from.

The floating-point results of an operation, as PyTorch dispatches it, are moved up or down at random. What only selects,
copies or rearranges numbers rounds nothing, and is left alone. A fused operation needs no taking apart, as long as what
goes in is moved too.
"""

import random
from collections.abc import Callable, Sequence
from functools import cache
from math import inf, prod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

from parity.backend.port import LARGEST, Island
from parity.source import caller_outside

# The results of these are numbers that went in (or 0, or an infinity), so nothing is rounded.
EXACT = frozenset({
    "_local_scalar_dense", "_to_copy", "abs", "adaptive_max_pool2d", "amax", "amin", "argmax", "argmin", "bernoulli",
    "bernoulli_", "cat", "ceil", "clamp", "clamp_", "clamp_max", "clamp_max_", "clamp_min", "clamp_min_", "clone",
    "constant_pad_nd", "copy", "copy_", "detach", "dropout", "embedding", "empty", "empty_like", "empty_strided",
    "eye", "fill", "fill_", "flip", "floor", "fmax", "fmin", "full", "full_like", "gather", "hardtanh", "hardtanh_",
    "hardtanh_backward", "index", "index_put", "index_put_", "index_select", "isfinite", "isinf", "isnan",
    "lift_fresh", "lift_fresh_copy", "masked_fill", "masked_fill_", "masked_scatter", "max",
    "max_pool2d_with_indices", "max_pool2d_with_indices_backward", "max_pool3d_with_indices", "maximum", "min",
    "minimum", "native_dropout", "ne", "neg", "neg_", "new_empty", "new_empty_strided", "new_full", "new_ones",
    "new_zeros", "normal_", "one_", "ones", "ones_like", "rand", "rand_like", "randn", "randn_like", "relu", "relu_",
    "repeat", "resize_", "roll", "round", "scalar_tensor", "scatter", "select_backward", "select_scatter", "set_",
    "sign", "slice_backward", "slice_scatter", "sort", "stack", "threshold", "threshold_backward", "topk", "tril",
    "triu", "trunc", "unfold_backward", "uniform_", "where", "zero_", "zeros", "zeros_like",
})  # fmt: skip
# These round nothing where all numbers are whole: positions are counted so, and a floor of them would jump. A product
# with a scalar is moved nevertheless, since by one each number that is given is moved once: see `as_result`.
EXACT_IN_WHOLE = frozenset({"add", "add_", "cumsum", "mul", "rsub", "sub", "sub_", "sum"})
LARGEST_WHOLE = 2.0**53
# These add up what is given first, and which of their results are the sums.
SUMS = {
    "sum": (0,), "mean": (0,), "convolution_backward": (2,), "native_batch_norm_backward": (1, 2),
    "native_layer_norm_backward": (1, 2), "native_group_norm_backward": (1, 2),
}  # fmt: skip
# These change the running statistics that they are given, fourth and fifth, and their schema does not say so.
UPDATING = frozenset({"native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm"})


DROPOUTS = frozenset(
    getattr(module, name)
    for module in (torch, torch.nn.functional)
    for name in ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")
    if hasattr(module, name)
)


SET_REQUIRES_GRAD = torch.Tensor.requires_grad.__set__  # pyright: ignore[reportAttributeAccessIssue]


class Calls(TorchFunctionMode):
    """Makes a model's calls as they are compared.

    A dropout that is called as a function drops nothing, nor does one within attention. And what a model asks for the
    gradient of may have one already, since its inputs have: PyTorch would refuse that of what is computed of them.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func == SET_REQUIRES_GRAD and args[0].requires_grad and args[1]:
            return None
        if func in DROPOUTS:
            return args[0] if args else kwargs["input"]
        if func is torch.nn.functional.scaled_dot_product_attention:
            args = (*args[:4], 0.0, *args[5:]) if len(args) > 4 else args
            kwargs |= {"dropout_p": 0.0} if "dropout_p" in kwargs else {}
        if func is torch.nn.functional.multi_head_attention_forward:
            kwargs["training"] = False  # which decides about dropout alone
        return func(*args, **kwargs)


class _Mode(TorchDispatchMode):
    """A mode that PyTorch does not wrap for its compiler, whose import alone takes seconds."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class _Kind(NamedTuple):
    """What the schema of an operation says, asked once: a model calls it thousands of times."""

    name: str
    is_view: bool
    is_mutable: bool
    takes_dtype: bool
    makes_dtype: bool


@cache
def _kind(func: Any) -> _Kind:
    schema = func._schema
    names = {argument.name for argument in schema.arguments}
    return _Kind(
        name=func.overloadpacket.__name__,
        is_view=any(r.alias_info is not None and not r.alias_info.is_write for r in schema.returns),
        is_mutable=schema.is_mutable,
        takes_dtype=any("dtype" in each for each in names),
        makes_dtype="dtype" in names,
    )


def _map_tensors(change: Callable[[Tensor], Tensor], result: Any) -> Any:
    return change(result) if type(result) is Tensor else tree_map_only(Tensor, change, result)


def _leaves(result: Any) -> list[Any]:
    return [result] if type(result) is Tensor else tree_leaves(result)


class Perturb(_Mode):
    """Within this context every operation's float64 results are moved by one ulp, at most two.

    Args:
        bits: of mantissa, of the rounding that is simulated.
        seed: of the signs.
    """

    def __init__(self, bits: int, seed: int) -> None:
        super().__init__()
        self._bits, self._signs = bits, _Signs(seed)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name, is_view, is_mutable, *_ = _kind(func)
        if is_view or name in EXACT or _is_maximum(name, args) or _is_of_whole(name, result, args):
            return result
        ulps = ulps_of_sum(name, args, result)
        if is_mutable:
            for value in _written(func._schema, args, kwargs):
                value.copy_(self.move(value, ulps))
            return result
        if name in UPDATING and args[5]:  # in training
            for value in args[3:5]:
                if isinstance(value, Tensor):
                    value.copy_(self.move(value, ulps))
        if name in SUMS:
            results = result if isinstance(result, tuple) else (result,)
            moved = tuple(
                each if each is None else self.move(each, ulps, size_of_sum(name, number, args[0], each))
                for number, each in enumerate(results)
            )
            return moved if isinstance(result, tuple) else moved[0]
        return _map_tensors(lambda value: self.move(value, ulps), result)

    def move(self, value: Tensor, ulps: float = 1.0, least: float = 0.0) -> Tensor:
        """Move every element by one ulp (or by some), up or down at random; 0, infinities and masks stay.

        Args:
            value: the elements.
            ulps: how many.
            least: the size of what these are ulps of, where an element is smaller.
        """
        if value.dtype is not torch.float64 or value.is_sparse or not value.numel():
            return value
        size = value.abs().clamp(min=least) if least else value
        moved = torch.addcmul(value, size, self._signs.like(value), value=ulps * 2.0**-self._bits)
        smallest, largest = (float(each) for each in torch.aminmax(value))
        is_usual = smallest > -LARGEST and largest < LARGEST  # no mask, no infinity, no NaN
        return moved if is_usual else moved.where(value.abs() < LARGEST, value)


def as_result(tensor: Tensor) -> Tensor:
    """The same numbers as the result of an operation, which simulated rounding moves: once each is exact."""
    return tensor * 1.0 if tensor.dtype is torch.float64 else tensor


def _is_maximum(name: str, args: Sequence[Any]) -> bool:
    """Whether an operation gives one of its numbers, as a norm of infinite order does."""
    return name == "linalg_vector_norm" and len(args) > 1 and abs(args[1]) == inf


def _is_of_whole(name: str, result: Any, args: Sequence[Any]) -> bool:
    """Whether an operation has whole numbers alone, and holds them exactly."""
    if name not in EXACT_IN_WHOLE or (name == "mul" and not all(isinstance(each, Tensor) for each in args)):
        return False
    floats = [
        each for each in (result, *args) if isinstance(each, Tensor) and each.is_floating_point() and each.numel()
    ]
    firsts = [float(each[(0,) * each.ndim]) for each in floats]  # which tells most tensors at once
    scalars = [each for each in args if isinstance(each, float)]
    return all(map(float.is_integer, (*firsts, *scalars))) and all(
        bool((each == each.round()).all() and (each.abs() < LARGEST_WHOLE).all()) for each in floats
    )


class _Signs:
    """Random signs: slices of one array of them, since to draw them anew takes longer than what they are drawn for."""

    def __init__(self, seed: int) -> None:
        self._generator, self._rng = torch.Generator().manual_seed(seed), random.Random(seed)
        self._drawn: dict[torch.device, Tensor] = {}

    def like(self, value: Tensor) -> Tensor:
        """Return 1 or -1 for each element."""
        drawn = self._drawn.get(value.device)
        if drawn is None or len(drawn) < 2 * value.numel():
            size = max(1 << 16, 4 * value.numel())
            ups = torch.randint(0, 2, (size,), generator=self._generator, dtype=torch.int8, device="cpu")
            drawn = self._drawn[value.device] = (2.0 * ups - 1.0).to(value.device, torch.float64)
        start = self._rng.randrange(len(drawn) - value.numel())
        return drawn[start : start + value.numel()].view(value.shape)


class Narrow(_Mode):
    """Within this context every operation forward is noted that gives numbers narrower than float64."""

    def __init__(self) -> None:
        super().__init__()
        self.islands: dict[Island, None] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        is_backward = torch._C._current_graph_task_id() != -1
        name = _kind(func).name
        if name in EXACTLY:
            self.islands[Island("", name, "float32")] = None
        for value in () if is_backward else _leaves(result):
            if _is_narrow(value):
                dtype = str(value.dtype).removeprefix("torch.")
                self.islands[Island(caller_outside("bntorch", "torch"), name, dtype)] = None
        return result


def _hardsigmoid_backward(gradient: Tensor, x: Tensor) -> Tensor:
    return torch.where(x.abs() < 3, gradient / 6, 0.0)


# In float64 too PyTorch computes these with a constant that is rounded to float32: 1/6.
EXACTLY: dict[str, Callable[..., Tensor]] = {"hardsigmoid_backward": _hardsigmoid_backward}
OVERFLOW = "without overflow"  # what PyTorch says of a number that a dtype cannot hold
NARROW = (torch.float32, torch.float16, torch.bfloat16)


class Lift(_Mode):
    """Within this context what asks for narrower numbers is given float64."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, kind = kwargs or {}, _kind(func)
        exactly, makes_dtype = EXACTLY.get(kind.name), kind.makes_dtype
        if kind.takes_dtype:
            args, kwargs = tree_map(_widened, (args, kwargs))
        result: Any = None
        try:
            result = func(*args, **kwargs) if exactly is None else exactly(*args)
            is_narrow = makes_dtype and any(_is_narrow(value) for value in _leaves(result))
        except RuntimeError as error:  # the lowest float64, as a mask has it, in float32
            is_narrow = makes_dtype and OVERFLOW in str(error)
            if not is_narrow:
                raise
        if is_narrow:  # by default it is float32
            result = func(*args, **{**kwargs, "dtype": torch.float64})
        return _map_tensors(lambda value: value.double() if _is_narrow(value) else value, result)


def _widened(value: Any) -> Any:
    return torch.float64 if isinstance(value, torch.dtype) and value in NARROW else value


def _is_narrow(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype in NARROW


def ulps_of_sum(name: str, args: Sequence[Any], result: Any) -> float:
    """Return how many ulps rounding moves a sum of `count` numbers: `sqrt(count / 12)`, and at least 1.

    What gives fewer numbers than it is given has added them up: means, statistics of a norm, gradients of its scale.
    See `parity.verdict.noise.Unit.ulps_of_sum`.
    """
    tensors = [each for each in args if isinstance(each, Tensor)]
    match name:
        case "mm" | "bmm" | "mv" | "dot":
            count = tensors[0].shape[-1]
        case "addmm" | "baddbmm" | "addmv" | "addbmm":
            count = tensors[1].shape[-1]
        case "convolution" | "_convolution":
            count = prod(tensors[1].shape[1:])
        case "convolution_backward":
            output, weight = tensors[0], tensors[2]
            count = max(prod(output.shape) // output.shape[1], prod(weight.shape) // weight.shape[1])
        case "_softmax" | "_log_softmax" | "cumsum":
            count = args[0].shape[args[1]] if args[0].ndim else 1
        case "_softmax_backward_data" | "_log_softmax_backward_data":
            count = args[0].shape[args[2]] if args[0].ndim else 1
        case _:
            sizes = [each.numel() for each in _leaves(result) if isinstance(each, Tensor) and each.numel()]
            count = max((each.numel() for each in tensors), default=1) // min(sizes, default=1)
    return max(1.0, (count / 12) ** 0.5)


def size_of_sum(name: str, number: int, terms: Tensor, value: Tensor) -> float:
    """Return how large a sum of terms is whose signs are random, `sqrt(count) rms(terms)`; 0 of what adds up nothing.

    Terms that cancel, as those of a bias before batch norm do, are rounded on the way as such a sum is.

    Args:
        name: of the operation.
        number: of its result.
        terms: what it adds up.
        value: the result.
    """
    count = terms.numel() // max(1, value.numel())
    if number not in SUMS[name] or count < 2 or terms.dtype is not torch.float64:
        return 0.0
    size = float(torch.linalg.vector_norm(terms)) / value.numel() ** 0.5
    size = size / count if name == "mean" else size
    return size if size < LARGEST else 0.0


def _written(schema: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """The arguments that an operation writes to."""
    given = dict(zip((argument.name for argument in schema.arguments), args, strict=False)) | kwargs
    written = [
        given[argument.name]
        for argument in schema.arguments
        if argument.alias_info is not None and argument.alias_info.is_write and argument.name in given
    ]
    leaves = [leaf for each in written for leaf in (each if isinstance(each, list | tuple) else [each])]
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]
