"""Options that several commands share."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro

from parity.backend import backend_names, sibling_names
from parity.data import DATASETS

DatasetName = Annotated[str, tyro.conf.arg(metavar="|".join(DATASETS))]
DataDir = Annotated[str, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: the usual places)")]
Device = Annotated[str, tyro.conf.arg(metavar="cpu|gpu|tpu", help_behavior_hint="(default: the framework's)")]


def _framework(names: tuple[str, ...]) -> Any:
    hint = f"(default: {' and '.join(sibling_names())}, as installed)"
    return tyro.conf.arg(metavar="|".join((*names, "both")), help_behavior_hint=hint)


Framework = Annotated[str, _framework(backend_names())]
Sibling = Annotated[str, _framework(sibling_names())]  # where the reference will not do


@dataclass(frozen=True, kw_only=True)
class Conventions:
    """What two networks must share for their numbers to be comparable: fields of `parity.ModelSpec`, by its names."""

    running_variance: Literal["unbiased", "biased"] = "unbiased"
    """The batch variance that enters the running variance: unbiased as in Torch, or biased as in stock Flax."""
    block_order: Literal["activation_first", "norm_first"] = "activation_first"
    """Where batch norm stands: Linear, ReLU, BatchNorm as in the lab, or Linear, BatchNorm, ReLU."""
    eps: float = 1e-5
    """Added to the variance, inside the square root."""
    decay: float = 0.9
    """Share of the old running statistic that is kept (`momentum` in Flax, 1 - `momentum` in Torch)."""
    hidden_width: Annotated[int, tyro.conf.arg(metavar="N")] = 64
    """Units in each hidden layer."""
    initialization: Literal["uniform_fan_in", "he_normal", "lecun_normal", "orthogonal"] = "uniform_fan_in"
    """How kernels and biases start."""
    residual: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Residual blocks: each but the first adds its input to what it gives."""
    dropout_rate: float = 0.0
    """The chance that training drops a unit; both sides drop the same ones."""
