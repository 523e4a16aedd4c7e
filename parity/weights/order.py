"""The order of the layers in a dictionary of another's weights."""

from collections.abc import Mapping

from parity.errors import InputError
from parity.spec import ModelSpec
from parity.weights.names import AFFINE, STATISTICS


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
