"""The order in which a Torch module runs its layers, seen in a forward pass."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parallel import DistributedDataParallel
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from bntorch.checkpoint import find_module, read_arrays
from bntorch.parts import mode
from parity.errors import InputError
from parity.spec import ModelSpec
from parity.weights.order import STATE_DICT, find_layers, make_table, order_by_name, order_by_pass, split_key


def layer_names(native: Any, spec: ModelSpec) -> dict[str, Any]:
    """Return the table from neutral names to the keys of a module's `state_dict`.

    A module shows the order of its layers in a forward pass; a dictionary must prove it by numbers and shapes (see
    `parity.registration_order_names`).

    Args:
        native: an `nn.Module` that takes inputs of shape (batch, input_dim), a `state_dict` or a checkpoint.
        spec: the network.

    Raises:
        InputError: the layers are not those of the spec, or their order is not proven.

    >>> module = nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    >>> layer_names(module, ModelSpec(num_hidden_layers=1, use_batch_norm=False))["head.kernel"]
    '2.weight'
    """
    arrays = read_arrays(native)
    layers = find_layers({key: array.shape[::-1] for key, array in arrays.items()}, split_key, STATE_DICT, spec)
    module = find_module(native)
    if module is None:
        return make_table(order_by_name(layers, spec))
    return make_table(order_by_pass(layers, reading_depths(module, spec)))


def reading_depths(module: nn.Module, spec: ModelSpec) -> dict[str, int]:
    """Return how many other tensors the data has met before it meets each tensor of a module.

    One forward pass in evaluation mode on copies of the tensors: the module's tensors, its mode and the random streams
    stay as they are. Its hooks are called.

    Raises:
        InputError: the forward pass fails, or applies a kernel to what it has made with that kernel.
    """
    module, prefix = _unwrap(module)
    state = dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers(remove_duplicate=False))
    copies = {id(tensor): tensor.detach().clone() for tensor in state.values()}  # tied tensors stay tied
    state = {key: copies[id(tensor)] for key, tensor in state.items()}
    kernel = next(tensor for tensor in state.values() if tensor.is_floating_point() and tensor.ndim == 2)
    inputs = torch.ones(2, spec.input_dim, dtype=kernel.dtype, device=kernel.device)
    flow = _Dataflow(state, inputs)
    try:
        with mode(module, train=False), torch.no_grad(), torch.random.fork_rng(), flow:
            functional_call(module, state, (inputs,))
    except Exception as error:  # whatever a module raises
        raise InputError(
            f"the module's forward pass on inputs of shape {tuple(inputs.shape)} fails with {type(error).__name__}: "
            f"{error}; give its state_dict and a table source_names="
        ) from error
    for key, befores in flow.met.items():
        if state[key].ndim == 2 and any(key in before for before in befores):
            raise InputError(f"the forward pass applies {key} more than once; the network applies each kernel once")
    return {f"{prefix}{key}": len(befores[0]) for key, befores in flow.met.items()}


def _unwrap(module: nn.Module) -> tuple[nn.Module, str]:
    """Return the module in a compiled or parallel one, as it is written, and the prefix of its keys there."""
    prefix = ""
    while isinstance(module, nn.DataParallel | DistributedDataParallel) or hasattr(module, "_orig_mod"):
        name = "_orig_mod" if hasattr(module, "_orig_mod") else "module"
        module, prefix = getattr(module, name), f"{prefix}{name}."
    return module, prefix


class _Dataflow(TorchFunctionMode):
    """Follows the data through operations, and notes where it meets which tensor of the state.

    A tensor that is computed from the state alone (a transposed kernel, say) carries the keys that it comes from; one
    that is computed from data carries the keys that the data has met.
    """

    def __init__(self, state: dict[str, Tensor], inputs: Tensor) -> None:
        super().__init__()
        self.met: dict[str, list[frozenset[str]]] = {}
        self._kept: list[Any] = [inputs]  # an id is a tensor's own while the tensor lives
        self._sources: dict[int, frozenset[str]] = {}
        for key, tensor in state.items():
            self._sources[id(tensor)] = self._sources.get(id(tensor), frozenset()) | {key}
        self._data = {id(inputs): frozenset[str]()}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        operands = [id(value) for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        sources = frozenset[str]().union(*(self._sources.get(operand, ()) for operand in operands))
        data = [self._data[operand] for operand in operands if operand in self._data]
        before = frozenset[str]().union(*data)
        if data:
            for key in sources:
                self.met.setdefault(key, []).append(before)
        for output in tree_leaves(result):
            if isinstance(output, Tensor):
                self._kept.append(output)
                if data:
                    self._data[id(output)] = before | sources
                elif sources:
                    self._sources[id(output)] = sources
        return result
