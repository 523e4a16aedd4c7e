"""Both sides of a model of transformers, made of one small configuration; nothing is downloaded.

The Flax side is called as its users call it, `FlaxBertModel(config)(input_ids, attention_mask, train=...)`, so that
what the class does around its module (positions, masks, the order of an image's axes) is compared too.
"""

import copy
import inspect
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from published.entry import Entry

SEED = 0


def entry(
    model: str,
    configuration: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    *,
    outputs: Sequence[str] = ("last_hidden_state",),
    known: Sequence[str] = (),
    weakness: str = "",
    is_converted: bool = False,
    is_shimmed: bool = False,
    **options: Any,
) -> Entry:
    """Return the row of a class of transformers and its Flax class.

    Args:
        model: the name of PyTorch's class, as BertModel; Flax's is FlaxBertModel.
        configuration: what is special about it, in a few words.
        config: arguments of the configuration's class.
        inputs: by the names that the models have for them; `target` is what the output is held against by the loss.
        outputs: which of them is compared, those of the first name that is there.
        known: see `Entry`.
        weakness: see `Entry`.
        is_converted: whether the package's own converter makes the weights, and what it leaves out stays random.
        is_shimmed: whether names that JAX no longer has, or never had, stand in for what is meant: see `shim`.
        options: more of `parity.compare`.
    """
    return Entry(
        architecture=model,
        package="transformers",
        configuration=configuration,
        sides=partial(sides, model, config, outputs, is_shimmed),
        inputs=inputs,
        options={
            "lift_float32": True,
            **({"weights": partial(converted, model, config)} if is_converted else {}),
            **options,
        },
        known=tuple(known),
        weakness=weakness,
    )


def sides(model: str, config: Mapping[str, Any], outputs: Sequence[str], is_shimmed: bool) -> tuple[Any, Any]:
    """Return a port of each side."""
    if is_shimmed:
        shim()
    import jax.numpy as jnp
    import torch
    import transformers

    import bnjax
    import bntorch

    torch.manual_seed(SEED)
    theirs, ours = getattr(transformers, f"Flax{model}"), getattr(transformers, model)
    settings = without_dropout(ours.config_class(attn_implementation="eager", **config))
    reference = with_larger_weights(ours(settings))
    flax = theirs(copy.deepcopy(settings), _do_init=False, dtype=jnp.float64)
    return (
        bntorch.port(reference, loss=squared, call=partial(call_torch, outputs)),
        bnjax.port(flax.module, loss=squared, call=partial(call_flax, flax, outputs)),
    )


def shim() -> None:
    """Let `jax.numpy` have `cat`, and `clip` its old names, in this process: what raises is so seen further on."""
    import jax.numpy as jnp

    clip, own = jnp.clip, {"a_min": "min", "a_max": "max"}
    jnp.clip = lambda x, *given, **named: clip(x, *given, **{own.get(name, name): v for name, v in named.items()})
    jnp.cat = jnp.concatenate  # type: ignore[attr-defined]


def converted(model: str, config: Mapping[str, Any], state: Mapping[str, Any]) -> Any:
    """Return what `from_pretrained(..., from_pt=True)` makes of a state of PyTorch's model."""
    import jax
    import torch
    import transformers
    from flax.traverse_util import flatten_dict, unflatten_dict
    from transformers.modeling_flax_pytorch_utils import convert_pytorch_state_dict_to_flax

    theirs = getattr(transformers, f"Flax{model}")
    flax = theirs(theirs.config_class(**config))
    with jax.enable_x64(True):
        made = convert_pytorch_state_dict_to_flax({n: torch.from_numpy(v.copy()) for n, v in state.items()}, flax)
    given = flatten_dict(made)
    return unflatten_dict({path: given.get(path, own) for path, own in flatten_dict(flax.params).items()})


def without_dropout(settings: Any) -> Any:
    """Set every rate of dropout to 0: what an attention drops is drawn within it, and cannot be shared."""
    for name in vars(settings):
        if re.search(r"drop(out|path|_path|layer)|pdrop|layerdrop", name) and isinstance(vars(settings)[name], float):
            setattr(settings, name, 0.0)
    return settings


def with_larger_weights(model: Any) -> Any:
    """Draw matrices anew, so that what is computed of them is not nearly 0."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1 and parameter.requires_grad:  # what is frozen is a table of angles
                parameter.normal_(0, (parameter[0].numel()) ** -0.5)
    return model


def squared(output: Any, target: Any) -> Any:
    """Return the mean square of an output's distance from a target."""
    return ((output - target) ** 2).mean()


def call_torch(outputs: Sequence[str], model: Any, batch: Mapping[str, Any], train: bool) -> Any:
    """Call a model of PyTorch on all of a batch but the target."""
    return taken(model(**{name: batch[name] for name in batch if name != "target"}), outputs)


def call_flax(flax: Any, outputs: Sequence[str], module: Any, batch: Mapping[str, Any], train: bool) -> Any:
    """Call a Flax class on a batch, with the module that is at work for its own."""
    own = copy.copy(flax)
    own._module = Bound(module)
    own._is_initialized = True
    given = {name: batch[name] for name in batch if name != "target"}
    takes_train = "train" in inspect.signature(own.__call__).parameters
    mode = {"train": train} if takes_train else {"deterministic": not train}
    return taken(own(**given, params={"params": {}, "batch_stats": {}}, **mode), outputs)


class Bound:
    """A module that has its variables already, where one without is expected."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def apply(self, variables: Any, *inputs: Any, rngs: Any = None, mutable: Any = False, **named: Any) -> Any:
        """Call it."""
        found = self._module(*inputs, **named)
        return (found, {}) if mutable else found


def taken(found: Any, outputs: Sequence[str]) -> Any:
    """Return the first output that there is."""
    if type(found) is tuple:  # with the statistics
        found = found[0]
    return next(found[name] for name in outputs if name in found)
