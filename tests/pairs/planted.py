"""Kinds of models, each written by hand in two frameworks, and faults that are planted in the candidate."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

import parity
from parity.pair.findings import FindingKind
from parity.pair.records import Finding
from parity.verdict.verdict import UNEXPLAINED

KINDS = (
    "siblings",
    "cnn",
    "resnet",
    "unet",
    "encoder",
    "decoder",
    "lstm",
    "plain",
    "scanned",
    "several",
    "equinox_cnn",
    "partly_float32",
)


def kind(name: str) -> Any:
    return importlib.import_module(f"kinds.{name}")


def compare(name: str, fault: str = "", is_reversed: bool = False, **options: Any) -> parity.CompareReport:
    """Compare a kind's two models; with JAX's as the reference, if it is reversed."""
    torch.manual_seed(options.get("seed", 0))
    pair = kind(name)
    planted = PLANTED[name, fault].options if fault else {}
    own = {name: getattr(pair, name) for name in ("accept", "lift_float32") if hasattr(pair, name)}
    reference = pair.reference(*((fault,) if fault in getattr(pair, "OPTIMIZERS", {}) else ()))
    ports = (pair.candidate(fault), reference) if is_reversed else (reference, pair.candidate(fault))
    return parity.compare(*ports, inputs=pair.inputs, **{**own, **options, **planted})


@dataclass(frozen=True)
class Planted:
    """A fault, and where it is to be found: the kind of finding, and a path of the reference that it names.

    Args:
        kind: of finding.
        reference: a path.
        between: of a stretch of code, the path that it comes from.
        cause: that is to be named.
        also: further paths, where several modules share the fault.
        options: of the comparison that shows it.
    """

    kind: FindingKind
    reference: str
    between: str | None = None
    cause: str = UNEXPLAINED
    also: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def is_all_of(self, findings: Sequence[Finding]) -> bool:
        """Whether these findings are this fault, at its place, and nothing else."""
        found = [(f.kind, f.reference, None if f.between is None else f.between[0]) for f in findings]
        return found == [(self.kind, place, self.between) for place in (self.reference, *self.also)]


FORWARD, STATISTICS, UPDATE = FindingKind.FORWARD, FindingKind.STATISTICS, FindingKind.UPDATE
ONE_ACCEPTED = {"accept": ("biased_running_variance@features.1",)}
OF_OPTIMIZERS = {"questions": ("optimizer",)}
PLANTED = {
    ("siblings", "norm_epsilon"): Planted(FORWARD, "norms.0", cause="norm_epsilon", also=("norms.1", "norms.2")),
    ("cnn", "norm_epsilon"): Planted(FORWARD, "features.5", cause="norm_epsilon"),
    ("cnn", "missing_relu"): Planted(FORWARD, "features.4", "features.1", cause="missing_module"),
    ("cnn", "pool"): Planted(FORWARD, "features.4", "features.1", cause="pool_kind"),
    ("cnn", "flatten_order"): Planted(FORWARD, "head", "features.5", cause="flatten_order"),
    ("cnn", "missing_bias"): Planted(FindingKind.WEIGHTS, "features.4", cause="missing_bias"),
    ("cnn", "default_momentum"): Planted(STATISTICS, "features.1", cause="default_momentum"),
    ("cnn", "biased_running_variance"): Planted(
        STATISTICS, "features.5", cause="biased_running_variance", options=ONE_ACCEPTED
    ),
    ("cnn", "nesterov"): Planted(UPDATE, "", cause="nesterov_form", options=OF_OPTIMIZERS),
    ("cnn", "adamw_decay"): Planted(UPDATE, "", cause="weight_decay", options=OF_OPTIMIZERS),
    ("cnn", "rmsprop_epsilon"): Planted(UPDATE, "", cause="rmsprop_epsilon", options=OF_OPTIMIZERS),
    ("cnn", "clip"): Planted(UPDATE, "", cause="missing_clip", options=OF_OPTIMIZERS),
    ("resnet", "same_padding"): Planted(FORWARD, "layer2.conv1", cause="same_padding"),
    ("resnet", "missing_relu"): Planted(FORWARD, "layer1", "layer1.bn2", cause="missing_module"),
    ("resnet", "missing_shortcut"): Planted(FORWARD, "layer1", "layer1.bn2", cause="missing_residual"),
    ("resnet", "pool"): Planted(FORWARD, "fc", "layer2", cause="pool_kind"),
    ("unet", "gelu_form middle"): Planted(FORWARD, "up", "middle", cause="gelu_form"),
    ("unet", "concatenation"): Planted(FORWARD, "out", "up", cause="concatenation_order"),
    ("unet", "flipped_kernel"): Planted(FindingKind.WEIGHTS, "middle", cause="kernel_axes"),
    ("encoder", "norm_epsilon"): Planted(FORWARD, "layers.1.norm1", cause="norm_epsilon"),
    ("encoder", "mask_polarity"): Planted(FORWARD, "layers.1.attention", cause="mask_polarity"),
    ("encoder", "gelu_form"): Planted(FORWARD, "layers.1.linear2", "layers.1.linear1", cause="gelu_form"),
    ("encoder", "missing_residual"): Planted(FORWARD, "layers.1", "layers.1.linear2", cause="missing_residual"),
    ("encoder", "last_token"): Planted(FORWARD, "head", "norm", cause="taken_position"),
    ("decoder", "attention_scale"): Planted(FORWARD, "layers.1.out", "layers.1.v", cause="attention_scale"),
    ("decoder", "causal_offset"): Planted(FORWARD, "layers.1.out", "layers.1.v", cause="causal_offset"),
    ("decoder", "softmax_axis"): Planted(FORWARD, "layers.1.out", "layers.1.v", cause="softmax_axis"),
    ("lstm", "gate"): Planted(FORWARD, "lstm"),
    ("lstm", "reversed"): Planted(FORWARD, "lstm", cause="sequence_direction"),
    ("lstm", "pool"): Planted(FORWARD, "head", "lstm", cause="taken_position"),
    ("decoder", "exchanged"): Planted(FindingKind.WEIGHTS, "layers.1.q"),
    ("decoder", "untied"): Planted(FindingKind.GRADIENT, "embed", cause="tied_weights"),
    ("plain", "activation"): Planted(FORWARD, "", "layers.1", cause="other_activation"),
    ("plain", "missing_bias"): Planted(FORWARD, "", "layers.1", cause="missing_bias"),
    ("scanned", "missing_relu"): Planted(FORWARD, "head", "again", cause="missing_module"),
    ("several", "missing_scale"): Planted(FORWARD, "", "value", cause="missing_scale"),
    ("several", "loss_reduction"): Planted(FORWARD, "the loss", "", cause="loss_reduction"),
    ("equinox_cnn", "activation"): Planted(FORWARD, "pool", "norm", cause="other_activation"),
    ("equinox_cnn", "pool_padding"): Planted(FORWARD, "head", "pool"),
    ("partly_float32", "norm_epsilon"): Planted(FORWARD, "norm", cause="norm_epsilon"),
}
