"""The weights in a checkpoint, beside which training programs store other things."""

from collections.abc import Collection, Mapping
from typing import Any

from parity.errors import InputError

HOLDERS = (
    "state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "weights", "variables",
    "state", "train_state", "params",
)  # fmt: skip
"""Keys under which programs store a network's weights."""
RUN_STATE = frozenset({
    "epoch", "epochs", "step", "global_step", "iteration", "iter", "optimizer", "optimizers", "optimizer_state",
    "optimizer_state_dict", "optimizer_states", "optim", "opt_state", "scheduler", "schedulers", "scheduler_state_dict",
    "lr_scheduler", "lr_schedulers", "scaler", "amp", "amp_scaler", "loss", "losses", "train_loss", "val_loss",
    "best_loss", "acc", "accuracy", "best_acc", "best_acc1", "best_accuracy", "metric", "metrics", "history", "args",
    "config", "cfg", "arch", "hparams", "hparams_name", "hyper_parameters", "rng", "rng_state", "seed", "version",
    "date", "pytorch-lightning_version", "loops", "callbacks",
})  # fmt: skip
"""Keys of a checkpoint that say how training went, and no number of the network. They are ignored."""


def unwrap(native: Any, holders: Collection[str] = HOLDERS) -> Any:
    """Return the weights in a checkpoint such as `{"epoch", "state_dict", "optimizer"}`; weights alone as they are.

    What stands beside the weights is ignored if it is in `RUN_STATE`, and refused otherwise.

    Raises:
        InputError: the checkpoint has several sets of weights, or something unknown beside them.

    >>> unwrap({"epoch": 3, "state_dict": {"head.bias": 0.0}, "optimizer": {}})
    {'head.bias': 0.0}
    """
    while isinstance(native, Mapping):
        found = [key for key in native if key in holders and _holds_weights(native[key])]
        if not found:
            break
        beside = [key for key in native if key not in RUN_STATE and key != found[0]]
        if beside:
            raise InputError(
                f"the checkpoint has {beside[0]!r} beside {found[0]!r}; "
                f"give the weights alone, for example checkpoint[{found[0]!r}]"
            )
        native = native[found[0]]
    return native


def _holds_weights(value: Any) -> bool:
    return isinstance(value, Mapping) or callable(value)  # a module is called; a tensor is not
