"""The pairs of models by which `compare` is tested, and the faults that are planted in their candidates.

The models are the backends' own (`Backend.specimen`), written by hand in each framework as people write them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity.pair.findings import FindingKind
from parity.pair.inputs import integers, normal
from parity.pair.records import Finding
from parity.verdict.verdict import UNEXPLAINED


@dataclass(frozen=True)
class Specimen:
    """A kind of model.

    Args:
        inputs: of both.
        options: of a comparison of them.
        is_mutual: whether the inputs have one layout in both, so that either can be the reference.
        needs: the package, beside the frameworks, that it is written with.
    """

    inputs: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    is_mutual: bool = False
    needs: str = ""


BIASED = {"accept": ("biased_running_variance@*",)}
WORDS_OF_THREE = np.arange(7) < np.array([[7], [5], [4]])  # True: a word; False: padding
SPECIMENS = {
    "siblings": Specimen({"x": normal(6, 9), "labels": integers(6, below=5)}, is_mutual=True),
    "cnn": Specimen({"x": normal(4, 3, 8, 8), "labels": integers(4, below=5)}, BIASED),
    "resnet": Specimen({"x": normal(4, 3, 8, 8), "labels": integers(4, below=5)}, BIASED),
    "unet": Specimen({"x": normal(2, 3, 8, 8), "target": normal(2, 8, 8, 1)}),
    "encoder": Specimen(
        {"ids": integers(3, 7, below=17), "mask": WORDS_OF_THREE, "labels": np.array([1, 0, 3])}, is_mutual=True
    ),
    "decoder": Specimen(
        {"ids": integers(3, 6, below=19), "labels": integers(3, 6, below=19)},
        {"lift_float32": True},  # the dtype of an `nnx.Embed` is that of its first weights
        is_mutual=True,
    ),
    "lstm": Specimen({"ids": integers(3, 7, below=13), "labels": integers(3, below=4)}, is_mutual=True),
    "cell": Specimen({"ids": integers(3, 4, below=9), "labels": integers(3, 4, below=9)}, is_mutual=True),
    "gru": Specimen({"ids": integers(3, 4, below=9), "labels": integers(3, 4, below=9)}, is_mutual=True),
    "patches": Specimen({"x": normal(3, 3, 8, 8), "labels": integers(3, below=3)}),
    "plain": Specimen({"x": normal(5, 6), "labels": integers(5, below=4)}, is_mutual=True),
    "scanned": Specimen({"x": normal(5, 3, 6), "labels": integers(5, 3, below=4)}, is_mutual=True),
    "several": Specimen(
        {
            "features": {"numbers": normal(5, 4), "word": integers(5, below=9)},
            "scale": normal(5, 1),
            "labels": integers(5, below=3),
        },
        is_mutual=True,
    ),
    "equinox_cnn": Specimen({"x": normal(4, 2, 6, 6), "labels": integers(4, below=3)}, BIASED, needs="equinox"),
    "partly_float32": Specimen({"x": normal(5, 6), "labels": integers(5, below=4)}, {"lift_float32": True}),
    "functions": Specimen({"x": normal(4, 5, 6), "labels": integers(4, below=3)}, is_mutual=True),
    "images": Specimen({"x": normal(3, 3, 8, 8), "labels": integers(3, below=3)}),
    "layers": Specimen({"x": normal(3, 3, 8, 8), "labels": integers(3, below=3)}, BIASED),
    "words": Specimen({"ids": integers(3, 4, below=5), "labels": np.arange(3)}, is_mutual=True),
    "optimizers": Specimen({"x": normal(4, 6), "labels": integers(4, below=3)}, is_mutual=True),
}


@dataclass(frozen=True)
class Planted:
    """A fault, and where it is to be found: the kind of finding, and a path of the reference that it names.

    Args:
        kind: of finding.
        reference: a path.
        between: of a stretch of code, the path that it comes from.
        cause: that is to be named.
        also: further paths, where several modules share the fault.
        options: of the comparison that shows it, beside those of its kind.
        is_mutual: whether it is one too if it is the reference that has it; what rounds more is its own measure there.
    """

    kind: FindingKind
    reference: str
    between: str | None = None
    cause: str = UNEXPLAINED
    also: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    is_mutual: bool = True

    def is_all_of(self, findings: Sequence[Finding], is_reversed: bool = False) -> bool:
        """Whether these findings are this fault, at its place, and nothing else; the path may be the candidate's."""
        found = []
        for each in findings:
            path, between = each.reference, each.between
            if is_reversed:
                path, between = each.candidate, each.candidate_between
            found.append((each.kind, path, None if between is None else between[0]))
        return found == [(self.kind, place, self.between) for place in (self.reference, *self.also)]

    def is_cause_of(self, findings: Sequence[Finding]) -> bool:
        """Whether the cause of each is the one that is to be told; "unexplained" where none is known."""
        return {finding.cause.name for finding in findings} == {self.cause}


FORWARD, STATISTICS, UPDATE = FindingKind.FORWARD, FindingKind.STATISTICS, FindingKind.UPDATE
ONE_ACCEPTED = {"accept": ("biased_running_variance@features.1",)}
NONE_ACCEPTED: Mapping[str, Any] = {"accept": ()}
OF_OPTIMIZERS = {"questions": ("optimizer",)}
OF_IMAGES = (
    "gelu_form", "activation_slope", "other_activation", "missing_module", "softmax_axis", "attention_scale",
    "standard_deviation", "pool_kind", "pool_padding", "pool_padding maximum", "resize_kernel", "align_corners",
    "resize_antialias", "missing_residual", "missing_scale", "extra_scale", "mask_polarity", "mask_constant",
    "concatenation_order", "qkv_order", "median_rule", "sliding_window",
)  # fmt: skip
OF_LAYERS = (
    "norm_epsilon batch", "norm_epsilon group", "norm_epsilon layer", "norm_epsilon instance", "statistics_never_used",
    "statistics_always_used", "per_shard_statistics", "debiased_statistics", "averaged_statistics", "same_padding",
    "transpose_padding", "kernel_axes",
)  # fmt: skip
OF_FUNCTIONS = (
    "gelu_form", "activation_slope", "other_activation", "missing_module", "softmax_axis", "attention_scale",
    "standard_deviation", "pool_kind", "taken_position", "missing_residual", "missing_scale", "extra_scale",
    "mask_polarity", "mask_constant", "causal_offset", "qkv_order", "norm_epsilon", "head_axes", "fast_variance",
    "median_rule", "sliding_window",
)  # fmt: skip
OF_LOSSES = (
    "class_weights", "class_weights left out", "ignored_index", "half_square", "loss_reduction",
    "loss_reduction square", "label_smoothing",
)  # fmt: skip
OF_STEPS = (
    "learning_rate", "optimizer_momentum", "nesterov_form", "sgd_dampening", "missing_clip", "optimizer_epsilon",
    "adam_betas", "amsgrad", "nadam_schedule", "weight_decay", "weight_decay coupled", "rmsprop_epsilon",
    "rmsprop_decay", "adagrad_defaults", "clip_epsilon", "missing_clip left out", "schedule_offset ahead",
    "schedule_offset behind", "momentum_times_rate", "average_of_weights", "weight_decay_mask", "weight_decay_mask all",
    "adam_epsilon root", "adam_epsilon early", "adam_debias", "rmsprop_initial",
)  # fmt: skip


def _named(fault: str) -> str:
    """The cause of a fault that is called by it: its first word."""
    return fault.partition(" ")[0]


def _of_layer(fault: str) -> Planted:
    has_statistics = "statistics" in fault or "batch" in fault
    options: Mapping[str, Any] = {} if has_statistics else NONE_ACCEPTED
    return Planted(FORWARD, "branches.0.layer", cause=_named(fault), options=options)


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
    ("cnn", "per_shard_statistics"): Planted(FORWARD, "features.5", cause="per_shard_statistics"),
    ("cnn", "debiased_statistics"): Planted(FORWARD, "features.5", cause="debiased_statistics"),
    ("cnn", "statistics_never_used"): Planted(FORWARD, "features.5", cause="statistics_never_used"),
    ("cnn", "statistics_always_used"): Planted(FORWARD, "features.5", cause="statistics_always_used"),
    ("resnet", "same_padding"): Planted(FORWARD, "layer2.conv1", cause="same_padding"),
    ("resnet", "default_momentum"): Planted(STATISTICS, "bn", cause="default_momentum"),
    ("resnet", "biased_running_variance"): Planted(
        STATISTICS, "bn", cause="biased_running_variance", options={"accept": ("biased_running_variance@layer*",)}
    ),
    ("resnet", "missing_relu"): Planted(FORWARD, "layer1", "layer1.bn2", cause="missing_module"),
    ("resnet", "missing_shortcut"): Planted(FORWARD, "layer1", "layer1.bn2", cause="missing_residual"),
    ("resnet", "pool"): Planted(FORWARD, "fc", "layer2", cause="pool_kind"),
    ("unet", "gelu_form middle"): Planted(FORWARD, "up", "middle", cause="gelu_form"),
    ("unet", "concatenation"): Planted(FORWARD, "out", "up", cause="concatenation_order"),
    ("unet", "flipped_kernel"): Planted(FindingKind.WEIGHTS, "middle", cause="flipped_kernel"),
    ("unet", "kernel_axes"): Planted(FORWARD, "middle", cause="kernel_axes"),
    ("unet", "transpose_padding"): Planted(FORWARD, "up", cause="transpose_padding"),
    ("encoder", "norm_epsilon"): Planted(FORWARD, "layers.1.norm1", cause="norm_epsilon"),
    ("encoder", "mask_polarity"): Planted(FORWARD, "layers.1.attention", cause="mask_polarity"),
    ("encoder", "gelu_form"): Planted(FORWARD, "layers.1.linear2", "layers.1.linear1", cause="gelu_form"),
    ("encoder", "missing_residual"): Planted(FORWARD, "layers.1", "layers.1.linear2", cause="missing_residual"),
    ("encoder", "last_token"): Planted(FORWARD, "head", "norm", cause="taken_position"),
    ("decoder", "attention_scale"): Planted(FORWARD, "layers.1.out", "layers.1.v", cause="attention_scale"),
    ("decoder", "causal_offset"): Planted(FORWARD, "layers.1.out", "layers.1.v", cause="causal_offset"),
    ("decoder", "softmax_axis"): Planted(FORWARD, "layers.1.out", "layers.1.v", cause="softmax_axis"),
    ("decoder", "exchanged"): Planted(FindingKind.WEIGHTS, "layers.1.q"),
    ("decoder", "head_axes"): Planted(FORWARD, "layers.1.out", "layers.1.v", cause="head_axes"),
    ("decoder", "position_offset"): Planted(FORWARD, "places", cause="position_offset"),
    ("decoder", "untied"): Planted(FindingKind.GRADIENT, "embed", cause="tied_weights"),
    ("lstm", "gate"): Planted(FORWARD, "lstm"),
    ("lstm", "reversed"): Planted(FORWARD, "lstm", cause="sequence_direction"),
    ("lstm", "embedding_padding"): Planted(FindingKind.GRADIENT, "embed", cause="embedding_padding"),
    ("lstm", "pool"): Planted(FORWARD, "head", "lstm", cause="taken_position"),
    ("cell", "gate_order"): Planted(FORWARD, "", "emb", cause="gate_order"),
    ("cell", "recurrent_biases"): Planted(FORWARD, "", "cell", cause="recurrent_biases"),
    ("gru", "gate_order"): Planted(FORWARD, "", "table", cause="gate_order"),
    ("gru", "recurrent_biases reset"): Planted(FORWARD, "", "table", cause="recurrent_biases"),
    ("gru", "recurrent_biases outside"): Planted(FORWARD, "", "table", cause="recurrent_biases"),
    ("gru", "sequence_direction"): Planted(FORWARD, "", "table", cause="sequence_direction"),
    ("gru", "tied_weights"): Planted(FindingKind.GRADIENT, "table", cause="tied_weights"),
    **{
        ("patches", each): Planted(FORWARD, "norm1", "patch", cause=each)
        for each in ("resize_kernel", "resize_antialias", "align_corners")
    },
    ("patches", "head_axes"): Planted(FORWARD, "proj", "qkv", cause="head_axes"),
    ("patches", "qkv_order"): Planted(FORWARD, "proj", "qkv", cause="qkv_order"),
    ("plain", "activation"): Planted(FORWARD, "", "layers.1", cause="other_activation"),
    ("plain", "missing_bias"): Planted(FORWARD, "", "layers.1", cause="missing_bias"),
    ("scanned", "missing_relu"): Planted(FORWARD, "head", "again", cause="missing_module"),
    ("several", "missing_scale"): Planted(FORWARD, "", "value", cause="missing_scale"),
    ("several", "loss_reduction"): Planted(FORWARD, "the loss", "", cause="loss_reduction"),
    ("equinox_cnn", "activation"): Planted(FORWARD, "pool", "norm", cause="other_activation"),
    ("equinox_cnn", "flatten_order"): Planted(FORWARD, "head", "pool", cause="flatten_order"),
    ("equinox_cnn", "averaged_statistics"): Planted(FORWARD, "norm", cause="averaged_statistics"),
    ("equinox_cnn", "pool_padding"): Planted(FORWARD, "pool", cause="pool_padding"),
    ("partly_float32", "norm_epsilon"): Planted(FORWARD, "norm", cause="norm_epsilon"),
    **{
        ("functions", each): Planted(
            FORWARD, f"branches.{each}.head", f"branches.{each}.first", cause=each, is_mutual=each != "fast_variance"
        )
        for each in OF_FUNCTIONS
    },
    **{
        ("images", each): Planted(FORWARD, "branches.0.head", "branches.0.conv", cause=_named(each))
        for each in OF_IMAGES
    },
    **{
        ("functions", each): Planted(
            FindingKind.BACKWARD, f"branches.{each}.head", f"branches.{each}.first", cause=each
        )
        for each in ("stopped_gradient", "relu_at_zero", "tie_rule")
    },
    **{
        ("images", each): Planted(FindingKind.BACKWARD, "branches.0.head", "branches.0.conv", each)
        for each in ("stopped_gradient", "relu_at_zero", "tie_rule")
    },
    **{("layers", each): _of_layer(each) for each in OF_LAYERS},
    ("layers", "fast_variance"): Planted(FORWARD, "branches.0.layer.1", cause="fast_variance"),
    **{
        ("layers", each): Planted(FindingKind.WEIGHTS, "branches.0.layer", cause=each, options=NONE_ACCEPTED)
        for each in ("missing_bias", "flipped_kernel")
    },
    ("words", "position_offset"): Planted(FORWARD, "places", cause="position_offset"),
    ("words", "extra_scale"): Planted(FORWARD, "head", "places", cause="extra_scale"),
    ("words", "embedding_padding"): Planted(FindingKind.GRADIENT, "table", cause="embedding_padding"),
    **{
        (kind, each): Planted(FORWARD, "the loss", "", cause=_named(each))
        for kind in ("words", "encoder")
        for each in OF_LOSSES
    },
    **{
        (kind, each): Planted(UPDATE, "", cause=_named(each), options=OF_OPTIMIZERS)
        for kind in ("optimizers", "cnn")
        for each in OF_STEPS
    },
}
