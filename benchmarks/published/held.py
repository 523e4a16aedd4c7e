"""Modules of PyTorch that torch2jax and torchax run, with parameters and buffers held by a linen module."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import torch
from flax import linen

Arrays = dict[str, Any]
Run = Callable[[Arrays, Arrays, Any, bool], tuple[Any, Arrays]]
# torchax 0.0.13 names these operations, which PyTorch 2.13 no longer has, and cannot be imported without them. Once it
# is imported, `torch.random.fork_rng` raises, since torchax's device cannot be asked for its state of random numbers.
GONE = """all.dimname all.dimname_out index_add.dimname index_copy.dimname index_copy_.dimname
    index_fill.Dimname_Scalar index_fill.Dimname_Tensor index_fill_.Dimname_Scalar index_fill_.Dimname_Tensor
    norm.names_ScalarOpt_dim norm.names_ScalarOpt_dim_dtype norm.names_dtype_out norm.names_out prod.dim_Dimname
    std.correction_names std.correction_names_out std.names_dim std.names_out std_mean.correction_names
    std_mean.names_dim unbind.Dimname"""


def by_torch2jax(module: Any) -> linen.Module:
    """Return what torch2jax makes of a module; it gives no buffers back."""
    from torch2jax import t2j

    own = copy.deepcopy(module)  # since it writes into the module

    def run(parameters: Arrays, buffers: Arrays, x: Any, train: bool) -> tuple[Any, Arrays]:
        return t2j(own.train(train))(x, state_dict={**parameters, **buffers}), buffers

    return _held(module, run)


def by_torchax(module: Any) -> linen.Module:
    """Return what torchax makes of a module, with its buffers as they are afterwards."""
    for each in GONE.split():
        packet, name = each.split(".")
        known = getattr(torch.ops.aten, packet)
        if name not in known.overloads():  # another stands in for it, in lists where it is named
            setattr(known, name, getattr(known, known.overloads()[0]))
    import torchax
    from torchax.interop import JittableModule

    torchax.device_module.get_rng_state = lambda device=None: torch.empty(0)
    torchax.device_module.set_rng_state = lambda state, device=None: None
    env, jitted = torchax.default_env(), JittableModule(copy.deepcopy(module))

    def run(parameters: Arrays, buffers: Arrays, x: Any, train: bool) -> tuple[Any, Arrays]:
        given = env.j2t_iso((parameters, buffers, x))
        jitted._model.train(train)
        with env:
            y = jitted.functional_call("forward", *given)
        return env.t2j_iso(y), {name: env.t2j_iso(each) for name, each in given[1].items()}

    return _held(module, run)


def _held(module: Any, run: Run) -> linen.Module:
    tensors = (module.named_parameters(), module.named_buffers())
    parameters, buffers = ({name: _wide(value) for name, value in each} for each in tensors)
    return _Held(run=run, parameters=parameters, buffers=buffers)


def _wide(tensor: Any) -> Any:
    """A tensor in NumPy; JAX narrows it where float64 is switched off."""
    return (tensor.detach().double() if tensor.is_floating_point() else tensor).numpy()


class _Held(linen.Module):
    run: Run
    parameters: Mapping[str, Any]
    buffers: Mapping[str, Any]

    @linen.compact
    def __call__(self, x: Any, train: bool) -> Any:
        parameters = {
            name: self.param(_flat(name), lambda _, v=v: jnp.asarray(v)) for name, v in self.parameters.items()
        }
        held = {n: self.variable("batch_stats", _flat(n), lambda v=v: jnp.asarray(v)) for n, v in self.buffers.items()}
        y, buffers = self.run(parameters, {name: each.value for name, each in held.items()}, x, train)
        for name, each in held.items():
            if not self.is_initializing():
                each.value = buffers[name]
        return y


def _flat(name: str) -> str:
    return name.replace(".", "_")
