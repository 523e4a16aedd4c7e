"""What libraries have otherwise: the conventions that a model may be run without, one at a time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

# How strong a cause is as an explanation: what is weaker is not named beside what is not. A fitted number may explain
# what it is not made for, a factor of any values almost anything, and what differs in rounding alone tells no more than
# the size of an error.
EXACT, FITTED, GENERAL, ROUNDING = range(4)
# Conventions that libraries have otherwise: the names of the causes, and what differs.
CONVENTIONS = {
    "norm_epsilon": "the epsilon within the square root of a norm",
    "statistics_never_used": "a norm takes the batch's statistics in evaluation too",
    "statistics_always_used": "a norm takes its running statistics in training too",
    "averaged_statistics": "whether a norm takes its running averages in training, brought up to date",
    "debiased_statistics": "whether running averages are divided by what they lack to 1",
    "fast_variance": "a variance that is the mean of the squares less the square of the mean",
    "per_shard_statistics": "whether each part of a batch has its own statistics",
    "gelu_form": "GELU by the error function, by tanh or by the sigmoid",
    "activation_slope": "the slope of a leaky ReLU, alpha of an ELU, beta of softplus",
    "relu_at_zero": "the derivative of ReLU at 0",
    "other_activation": "another activation in its place",
    "missing_module": "an activation or a norm is left out",
    "missing_bias": "the bias of a layer is left out",
    "missing_residual": "a term of a sum is left out",
    "missing_scale": "a factor is left out",
    "same_padding": "which end has more padding, where the stride is not 1",
    "flipped_kernel": "a kernel that is flipped along its spatial axes",
    "transpose_padding": "where the output of a transposed convolution begins",
    "kernel_axes": "the order of a kernel's axes",
    "pool_kind": "the maximum or the average",
    "pool_padding": "what a pool's padding holds, and whether an average counts it",
    "softmax_axis": "the axis of a softmax",
    "attention_scale": "by what scores are multiplied",
    "mask_polarity": "whether a mask keeps or drops",
    "mask_constant": "what stands where something is masked",
    "causal_offset": "the diagonal of a causal mask",
    "sliding_window": "how many words a word sees",
    "concatenation_order": "the order of what is joined",
    "taken_position": "which position of a sequence is taken",
    "stopped_gradient": "whether a term, or what enters a function, gets a gradient",
    "tied_weights": "whether a tensor that is used twice gets the gradient of both uses",
    "sequence_direction": "from which end a sequence is read",
    "qkv_order": "the order in which packed projections are taken apart",
    "head_axes": "in which order the last axis is split, as into heads, and joined",
    "flatten_order": "whether channels come first or last in what is flattened",
    "position_offset": "where positions begin",
    "extra_scale": "a factor of an embedding",
    "embedding_padding": "whether the padding row of a table has a gradient",
    "standard_deviation": "n or n - 1 under a sum of squares",
    "median_rule": "which value of an even number is in the middle",
    "tie_rule": "whether equal values share a gradient",
    "resize_kernel": "by which kernel an image is resized",
    "resize_antialias": "whether it is smoothed before it is made smaller",
    "align_corners": "whether corners or centers of pixels are kept",
    "gate_order": "the order of a recurrent layer's gates",
    "recurrent_biases": "where a recurrent layer's biases and its reset gate stand",
    "float32_island": "whether narrower numbers are computed in float64",
    "loss_reduction": "sum or mean",
    "half_square": "a squared error, or half of it",
    "label_smoothing": "how much labels are smoothed",
    "class_weights": "whether classes have weights, and by what their sum is divided",
    "ignored_index": "whether a label is left out",
    "learning_rate": "the rate of a step",
    "optimizer_momentum": "the momentum of a step",
    "sgd_dampening": "the part of a gradient that momentum leaves out",
    "nesterov_form": "whether a step looks ahead",
    "momentum_times_rate": "whether the rate is a factor of what momentum keeps",
    "schedule_offset": "with which step a schedule begins",
    "average_of_weights": "whether the parameters are an average of those that take the steps",
    "weight_decay_mask": "which parameters decay",
    "weight_decay": "the decay of parameters, and whether it is apart from the gradient",
    "optimizer_epsilon": "the epsilon of Adam, RMSprop or Adagrad",
    "adam_betas": "the decays of Adam's averages",
    "adam_epsilon": "the epsilon within Adam's square root, or after it",
    "adam_debias": "whether Adam's averages are corrected for their start",
    "amsgrad": "whether Adam keeps the largest average",
    "rmsprop_decay": "the decay of RMSprop's average, and whether it is centered",
    "rmsprop_epsilon": "the epsilon within RMSprop's square root, or after it",
    "rmsprop_initial": "where RMSprop's average begins",
    "adagrad_defaults": "the start and the decay of Adagrad",
    "nadam_schedule": "the schedule of NAdam's momentum",
    "missing_clip": "whether gradients are clipped",
    "clip_epsilon": "the epsilon by which PyTorch makes the norm larger that it clips by",
}


class Change(NamedTuple):
    """A convention of a model that is followed otherwise in a run.

    Args:
        name: of `CONVENTIONS`.
        key: which other way, where there are several.
        value: of the number that is otherwise; None if none is.
    """

    name: str
    key: str
    value: float | None = None


FLOAT32_ISLAND = "float32_island"
LARGEST_EPSILON = 0.1  # that is taken for one of a norm; a variance that is too large by as much looks like it
LIFTED = Change(FLOAT32_ISLAND, "lifted")


@dataclass(frozen=True, kw_only=True)
class Option:
    """A way in which a model might compute something otherwise.

    Args:
        change: to that way; its value, if it has one, is what the model has.
        own: how the model does it, in words.
        other: how it would; `{value}` is the number, `{rest}` what it lacks to 1.
        is_reference: whether it is the reference's.
        weakness: EXACT, FITTED, GENERAL or ROUNDING.
        writes: what to write to have it as the model does in "jax" and in "torch", and in the model's own framework to
            have it the "other" way.
    """

    change: Change
    own: str
    other: str
    writes: Mapping[str, str]
    is_reference: bool = True
    weakness: int = EXACT


def of_islands(islands: Sequence[Any]) -> tuple[Option, ...]:
    """Return that everything is computed in float64, where some is not.

    Args:
        islands: what is computed in narrower numbers.
    """
    if not islands:
        return ()
    rest = f" (and {len(islands) - 1} more)" if islands[1:] else ""
    remedy = "compute it in the same precision on both sides, or pass --lift-float32 if this is meant"
    return (
        Option(
            change=LIFTED,
            own=f"{islands[0]}{rest}",
            other="all is computed in float64",
            writes={"": remedy, "other": remedy},
        ),
    )


def is_lifted_by(change: Change | None) -> bool:
    """Whether a change is that all is computed in float64."""
    return change == LIFTED


def of_both(ours: Iterable[Option], theirs: Iterable[Option]) -> tuple[Option, ...]:
    """Return the reference's options, and of the candidate's those of names that the reference has none of."""
    own = tuple(ours)
    names = {each.change.name for each in own}
    return own + tuple(replace(each, is_reference=False) for each in theirs if each.change.name not in names)
