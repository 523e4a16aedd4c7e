"""Kinds of models, each written by hand in two frameworks, and faults that are planted in the candidate."""

import importlib
from dataclasses import dataclass
from typing import Any

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
)


def kind(name: str) -> Any:
    return importlib.import_module(f"kinds.{name}")


def compare(name: str, fault: str = "", **options: Any) -> parity.CompareReport:
    pair = kind(name)
    options = {name: getattr(pair, name) for name in ("accept", "lift_float32") if hasattr(pair, name)} | options
    return parity.compare(pair.reference(), pair.candidate(fault), inputs=pair.inputs, **options)


@dataclass(frozen=True)
class Planted:
    """A fault, and where it is to be found: the kind of finding, and a path of the reference that it names."""

    kind: FindingKind
    reference: str
    between: str | None = None
    cause: str = UNEXPLAINED

    def is_found(self, finding: Finding) -> bool:
        """Whether a finding is this fault, at its place."""
        between = None if finding.between is None else finding.between[0]
        return (finding.kind, finding.reference, between) == (self.kind, self.reference, self.between)


FORWARD, BACKWARD, STATISTICS = FindingKind.FORWARD, FindingKind.BACKWARD, FindingKind.STATISTICS
PLANTED = {
    ("cnn", "norm_epsilon"): Planted(FORWARD, "features.5", cause="norm_epsilon"),
    ("cnn", "missing_relu"): Planted(FORWARD, "features.4", "features.1"),
    ("cnn", "pool"): Planted(FORWARD, "features.4", "features.1"),
    ("cnn", "flatten_order"): Planted(FORWARD, "head", "features.5"),
    ("cnn", "missing_bias"): Planted(FindingKind.WEIGHTS, "features.4", cause="missing_bias"),
    ("cnn", "default_momentum"): Planted(STATISTICS, "features.1", cause="default_momentum"),
    ("resnet", "same_padding"): Planted(FORWARD, "layer2.conv1"),
    ("resnet", "missing_relu"): Planted(FORWARD, "layer1", "layer1.bn2"),
    ("resnet", "missing_shortcut"): Planted(FORWARD, "layer1", "layer1.bn2"),
    ("resnet", "pool"): Planted(FORWARD, "fc", "layer2"),
    ("unet", "gelu_form middle"): Planted(FORWARD, "up", "middle", cause="gelu_form"),
    ("encoder", "norm_epsilon"): Planted(FORWARD, "layers.1.norm1", cause="norm_epsilon"),
    ("encoder", "mask_polarity"): Planted(FORWARD, "layers.1.attention"),
    ("encoder", "gelu_form"): Planted(FORWARD, "layers.1.linear2", "layers.1.linear1", cause="gelu_form"),
    ("encoder", "missing_residual"): Planted(FORWARD, "layers.1", "layers.1.linear2"),
    ("encoder", "last_token"): Planted(FORWARD, "head", "norm"),
    ("decoder", "attention_scale"): Planted(FORWARD, "layers.1.out", "layers.1.v"),
    ("decoder", "causal_offset"): Planted(FORWARD, "layers.1.out", "layers.1.v"),
    ("decoder", "softmax_axis"): Planted(FORWARD, "layers.1.out", "layers.1.v"),
    ("lstm", "gate"): Planted(FORWARD, "lstm"),
    ("lstm", "reversed"): Planted(FORWARD, "lstm"),
    ("lstm", "pool"): Planted(FORWARD, "head", "lstm"),
    ("decoder", "untied"): Planted(FindingKind.GRADIENT, "embed"),
    ("plain", "activation"): Planted(FORWARD, "", "layers.1"),
    ("plain", "missing_bias"): Planted(FORWARD, "", "layers.1"),
    ("scanned", "missing_relu"): Planted(FORWARD, "head", "again"),
    ("several", "missing_scale"): Planted(FORWARD, "", "value"),
    ("several", "loss_reduction"): Planted(FORWARD, "the loss", ""),
    ("equinox_cnn", "activation"): Planted(FORWARD, "pool", "norm"),
    ("equinox_cnn", "pool_padding"): Planted(FORWARD, "head", "pool"),
}
