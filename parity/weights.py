"""The neutral weight dictionary, in which every framework's weights meet.

Names, for hidden layer `i` from 0 (the norm's only with batch norm)::

    hidden.i.kernel        (fan_in, hidden_width)   z = x @ kernel + bias
    hidden.i.bias          (hidden_width,)
    hidden.i.gamma         (hidden_width,)          batch norm's scale
    hidden.i.beta          (hidden_width,)          batch norm's shift
    hidden.i.running_mean  (hidden_width,)
    hidden.i.running_var   (hidden_width,)
    head.kernel            (hidden_width, output_dim)
    head.bias              (output_dim,)
"""

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from parity.errors import InputError
from parity.files import replace_file
from parity.spec import BlockOrder, Initialization, ModelSpec, child_seeds

Array = NDArray[np.floating]
Weights = dict[str, Array]

LINEAR = ("kernel", "bias")
AFFINE = ("gamma", "beta")
STATISTICS = ("running_mean", "running_var")
# What safetensors calls the dtypes that weights have, or may have by mistake.
_DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64", "I32": "int32", "I64": "int64"}


def weight_shapes(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a network, in the order of the forward pass.

    >>> list(weight_shapes(ModelSpec(num_hidden_layers=1, use_batch_norm=False)).values())
    [(784, 64), (64,), (64, 10), (10,)]
    """
    shapes: dict[str, tuple[int, ...]] = {}
    fan_in, width = spec.input_dim, spec.hidden_width
    for i in range(spec.num_hidden_layers):
        shapes[f"hidden.{i}.kernel"] = (fan_in, width)
        shapes[f"hidden.{i}.bias"] = (width,)
        if spec.use_batch_norm:
            shapes |= {f"hidden.{i}.{leaf}": (width,) for leaf in AFFINE + STATISTICS}
        fan_in = width
    return shapes | {"head.kernel": (width, spec.output_dim), "head.bias": (spec.output_dim,)}


def activation_names(spec: ModelSpec) -> list[str]:
    """What a hidden layer shows, in the order of the forward pass: `hidden.i.linear`, `.relu`, `.norm`, `.dropout`, and
    of a residual block their sum with its input, `.sum`.

    >>> activation_names(ModelSpec(num_hidden_layers=1))
    ['hidden.0.linear', 'hidden.0.relu', 'hidden.0.norm']
    """
    parts = ["relu", "norm"] if spec.block_order is BlockOrder.ACTIVATION_FIRST else ["norm", "relu"]
    if not spec.use_batch_norm:
        parts = ["relu"]
    parts += ["dropout"] if spec.dropout_rate else []
    blocks = [["linear", *parts, *(["sum"] if spec.residual and i else [])] for i in range(spec.num_hidden_layers)]
    return [f"hidden.{i}.{part}" for i, parts in enumerate(blocks) for part in parts]


def is_statistic(name: str) -> bool:
    """Whether a tensor is a running statistic, which no gradient updates."""
    return name.endswith(STATISTICS)


def draw_weights(spec: ModelSpec, seed: int) -> Weights:
    """Draw the initial weights of a trial.

    Drawn in float64 and rounded once to float32, so that every dtype starts at the same point. With `b = 1 /
    sqrt(fan_in)`::

        uniform_fan_in   kernel, bias ~ U(-b, b)           torch.nn.Linear's default
        he_normal        kernel ~ N(0, 2 / fan_in)         bias 0; He et al., 2015
        lecun_normal     kernel ~ N(0, 1 / fan_in)         bias 0; LeCun et al., 1998
        orthogonal       kernel.T @ kernel = I, or kernel @ kernel.T = I where it is wide
                                                           bias 0; Saxe et al., 2014

    and gamma 1, beta 0, running mean 0, running variance 1.

    Args:
        spec: the network.
        seed: the trial's seed; the weights come from its first child.

    Returns:
        float32 arrays by neutral name.

    >>> draw_weights(ModelSpec(), seed=0)["hidden.0.kernel"].shape
    (784, 64)
    """
    rng = np.random.default_rng(child_seeds(seed).weights)
    constant = {"gamma": 1.0, "beta": 0.0, "running_mean": 0.0, "running_var": 1.0}
    weights: Weights = {}
    fan_in = spec.input_dim
    for name, shape in weight_shapes(spec).items():
        leaf = name.rpartition(".")[2]
        if leaf == "kernel":
            fan_in = shape[0]
            value = _draw_kernel(rng, shape, spec.initialization)
        elif leaf == "bias" and spec.initialization is Initialization.UNIFORM_FAN_IN:
            value = rng.uniform(-1, 1, shape) / np.sqrt(fan_in)
        else:
            value = np.full(shape, constant.get(leaf, 0.0))
        weights[name] = value.astype(np.float32)
    return weights


def _draw_kernel(rng: np.random.Generator, shape: tuple[int, ...], scheme: Initialization) -> Array:
    fan_in, fan_out = shape
    match scheme:
        case Initialization.UNIFORM_FAN_IN:
            return rng.uniform(-1, 1, shape) / np.sqrt(fan_in)
        case Initialization.HE_NORMAL:
            return rng.standard_normal(shape) * np.sqrt(2 / fan_in)
        case Initialization.LECUN_NORMAL:
            return rng.standard_normal(shape) / np.sqrt(fan_in)
        case Initialization.ORTHOGONAL:
            tall = rng.standard_normal((max(shape), min(shape)))
            q, r = np.linalg.qr(tall)
            q *= np.sign(np.diag(r))  # without this the draw is not uniform over orthogonal matrices
            return q if fan_in >= fan_out else q.T


def check_weights(weights: Mapping[str, Array], spec: ModelSpec, source: str = "weights") -> None:
    """Check names, shapes and dtypes against a spec.

    Raises:
        InputError: lists everything missing, unexpected, misshapen or of a wrong dtype.
    """
    arrays = {name: np.asarray(array) for name, array in weights.items()}
    _check_forms({name: (array.shape, str(array.dtype)) for name, array in arrays.items()}, spec, source)


def _check_forms(forms: Mapping[str, tuple[tuple[int, ...], str]], spec: ModelSpec, source: str) -> None:
    """As `check_weights`, from each tensor's shape and dtype alone."""
    expected = weight_shapes(spec)
    problems = [f"missing {name}" for name in expected if name not in forms]
    problems += [f"unexpected {name}" for name in forms if name not in expected]
    dtypes: set[str] = set()
    for name in expected.keys() & forms.keys():
        shape, dtype = forms[name]
        dtypes.add(dtype)
        if shape != expected[name]:
            problems.append(f"{name} has shape {shape} instead of {expected[name]}")
        if dtype not in ("float32", "float64"):
            problems.append(f"{name} has dtype {dtype} instead of float32 or float64")
    if dtypes == {"float32", "float64"}:
        problems.append("the dtypes float32 and float64 are mixed")
    if problems:
        raise InputError(f"{source} do not fit the network: {'; '.join(sorted(problems))}")


def save_weights(path: str | Path, weights: Mapping[str, Array], spec: ModelSpec) -> None:
    """Write weights as a safetensors file, replacing it whole or not at all.

    Raises:
        InputError: the weights do not fit the spec, or the file cannot be written.
    """
    check_weights(weights, spec)
    replace_file(Path(path), save({name: np.ascontiguousarray(array) for name, array in weights.items()}))


def load_weights(path: str | Path, spec: ModelSpec) -> Weights:
    """Read weights from a safetensors file and check them against a spec.

    Raises:
        InputError: the file cannot be read, is no safetensors file, or does not fit the spec.
    """
    named = repr(str(path))
    try:
        _check_header(Path(path), spec)
        with safe_open(path, framework="numpy") as file:
            # By the header alone, so that what does not fit the network is refused before it takes any memory.
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
            forms = {name: (tuple(found.get_shape()), _dtype(found)) for name, found in slices.items()}
            _check_forms(forms, spec, f"weights in {named}")
            return {name: file.get_tensor(name) for name in forms}
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"no weights at {named}: there is no such file; write it with save_weights") from None
    except (OSError, SafetensorError, ValueError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {named} as safetensors: {reason}; write it with save_weights") from error


def _dtype(found: Any) -> str:
    name = str(found.get_dtype())
    return _DTYPES.get(name, name)


def _check_header(path: Path, spec: ModelSpec) -> None:
    """Refuse a file that would be waited for for ever, or whose table of contents alone would fill the memory."""
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe waits for its writer
        raise ValueError("it is no regular file")
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    most = 2**20 + 2**10 * len(weight_shapes(spec))  # bytes for what else it says, and for each tensor
    if size > most:
        raise ValueError(f"it gives its header {size} bytes, and this network needs no more than {most}")


def cast_weights(weights: Mapping[str, Array], dtype: str) -> Weights:
    """A copy of the weights in another dtype; nothing is shared with the original."""
    return {name: np.array(array, dtype=dtype) for name, array in weights.items()}


def check_names(names: Mapping[str, Any], spec: ModelSpec) -> None:
    """Check that a table names every tensor of a network once.

    Raises:
        InputError: lists what is missing, unexpected or named twice.
    """
    expected, own = weight_shapes(spec), list(names.values())
    problems = [f"missing {name}" for name in expected if name not in names]
    problems += [f"unexpected {name}" for name in names if name not in expected]
    problems += [f"{name} twice" for name in dict.fromkeys(own) if own.count(name) > 1]
    if problems:
        raise InputError(f"the table of names does not fit the network: {'; '.join(problems)}")


def select_arrays(native: Mapping[Any, Any], names: Mapping[str, Any]) -> Weights:
    """Copy a framework's arrays into the neutral dictionary, by an explicit table from neutral names to its own.

    Raises:
        InputError: lists every name of the table that is missing and every array that the table does not name.
    """
    problems = [f"missing {own}" for own in names.values() if own not in native]
    problems += [f"unexpected {own}" for own in native.keys() - set(names.values())]
    if problems:
        raise InputError(f"weights do not fit the table of names: {'; '.join(sorted(problems))}")
    return {neutral: np.array(native[own]) for neutral, own in names.items()}


def registration_order_names(state_dict: Mapping[str, object], spec: ModelSpec) -> dict[str, str]:
    """The table from neutral names to the keys of a Torch `state_dict`, by order of registration.

    For a module that registers its layers in the order in which it applies them, whatever it calls them (an
    `nn.Sequential`, lists of linear layers and of norms, named attributes): the i-th linear layer and the i-th norm
    are hidden layer i's, and the last linear layer is the head. A norm is known by its `running_mean`.

    Raises:
        InputError: the numbers of layers do not fit the spec.
    """
    modules = list(dict.fromkeys(key.rpartition(".")[0] for key in state_dict))

    def key(module: str, leaf: str) -> str:
        return f"{module}.{leaf}" if module else leaf

    norms = [module for module in modules if key(module, "running_mean") in state_dict]
    linears = [module for module in modules if module not in norms]
    depth = spec.num_hidden_layers
    expected = (depth + 1, depth * spec.use_batch_norm)
    if (len(linears), len(norms)) != expected:
        raise InputError(
            f"the state_dict has {len(linears)} linear layers and {len(norms)} norms; "
            f"the network has {expected[0]} and {expected[1]}"
        )
    names = {}
    for layer, linear in zip([f"hidden.{i}" for i in range(depth)] + ["head"], linears, strict=True):
        names |= {f"{layer}.kernel": key(linear, "weight"), f"{layer}.bias": key(linear, "bias")}
    for i, norm in enumerate(norms):
        leaves = zip(AFFINE + STATISTICS, ("weight", "bias", *STATISTICS), strict=True)
        names |= {f"hidden.{i}.{neutral}": key(norm, leaf) for neutral, leaf in leaves}
    return names
