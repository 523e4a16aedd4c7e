"""The fault catalogue: what goes wrong when a batch-norm network is ported, and the trace that it leaves.

The order is the order in which the diagnosis prefers one name to another that explains as much: a special case stands
before the general one.
"""

from collections.abc import Callable
from dataclasses import dataclass

from parity.spec import ModelSpec, RunningVariance


def _always(spec: ModelSpec) -> bool:
    del spec
    return True


def _with_norm(spec: ModelSpec) -> bool:
    return spec.use_batch_norm


def _unbiased(spec: ModelSpec) -> bool:
    return spec.use_batch_norm and spec.running_variance is RunningVariance.UNBIASED


def _biased(spec: ModelSpec) -> bool:
    return spec.use_batch_norm and spec.running_variance is RunningVariance.BIASED


def _with_dropout(spec: ModelSpec) -> bool:
    return spec.dropout_rate > 0


def _but(**fields: tuple[float, ...]) -> Callable[[ModelSpec], bool]:
    """With batch norm, but where a field has one of these values, at which the fault is none."""
    return lambda spec: spec.use_batch_norm and all(getattr(spec, name) not in none for name, none in fields.items())


def _square_kernel(spec: ModelSpec) -> bool:
    return spec.hidden_width > 1 and (spec.num_hidden_layers > 1 or spec.input_dim == spec.hidden_width)


@dataclass(frozen=True, kw_only=True)
class FaultEntry:
    """One row of the catalogue.

    Args:
        name: as `--fault` takes it.
        what: what is wrong.
        signature: the trace that it leaves.
        applies: whether a network can have it.
        shows_in: the question that catches it.
        random: whether what it computes is itself rounding, so that it is reproduced in size and not in every digit.
        is_exact: whether it rounds, and each time alike: then it must be reproduced as exactly as if it did not.
        starts_at: the ends of the paths at which it must diverge; none for anywhere.
        is_of_a_layer: whether a hidden layer can have it alone.
        general: what it is a case of, together with others of which one is named first.
        is_injected: whether the siblings can be given it. What they cannot be given is tried on other ports.
    """

    name: str
    what: str
    signature: str
    applies: Callable[[ModelSpec], bool] = _with_norm
    shows_in: str = "semantic"
    random: bool = False
    is_exact: bool = False
    starts_at: tuple[str, ...] = ()
    is_of_a_layer: bool = False
    general: str = ""
    is_injected: bool = True

    @property
    def family(self) -> str:
        """What it is a case of: itself, if nothing else."""
        return self.general or self.name


_ROWS = (
    # What is presented before any step.
    FaultEntry(
        name="biased_pixel_std",
        what="pixels standardized with ddof 0",
        signature="inputs scaled by sqrt(n/(n-1))",
        applies=_always,
        shows_in="inputs",
    ),
    FaultEntry(
        name="test_statistics_leak",
        what="test set standardized by its own statistics",
        signature="training inputs agree, test inputs differ",
        applies=_always,
        shows_in="inputs",
    ),
    FaultEntry(
        name="shifted_batches",
        what="index stream off by one minibatch",
        signature="the indices of update t are the other's of update t+1",
        applies=_always,
        shows_in="inputs",
    ),
    FaultEntry(
        name="misaligned_labels",
        what="labels not permuted with the images",
        signature="inputs agree, labels differ",
        applies=_always,
        shows_in="inputs",
    ),
    FaultEntry(
        name="zero_initial_scale",
        what="gamma starts at 0",
        signature="the initial state differs before any step",
        shows_in="inputs",
    ),
    FaultEntry(
        name="polluted_initial_statistics",
        what="an initialization batch updates the statistics",
        signature="statistics differ from 0 and 1 before step 0",
        shows_in="inputs",
    ),
    # How weights enter.
    FaultEntry(
        name="swapped_mean_variance",
        what="running mean and variance exchanged on load",
        signature="the running mean of one equals the running variance of the other",
    ),
    FaultEntry(
        name="transposed_kernel",
        what="a square hidden kernel loaded transposed (and exported transposed back)",
        signature="that layer's output fits the transposed kernel",
        applies=_square_kernel,
    ),
    # Forward.
    FaultEntry(
        name="missing_bias",
        what="a bias not applied",
        signature="a layer's output is off by the bias; its gradient is 0",
        applies=_always,
        is_of_a_layer=True,
    ),
    FaultEntry(
        name="norm_before_activation",
        what="Linear, BatchNorm, ReLU instead of Linear, ReLU, BatchNorm (or the reverse)",
        signature="first divergence at the first hidden layer",
    ),
    FaultEntry(
        name="unscaled_dropout",
        what="units that dropout keeps not divided by 1 - rate",
        signature="training's dropout output is 1 - rate times what it should be; evaluation agrees",
        applies=_with_dropout,
    ),
    FaultEntry(
        name="train_uses_running_statistics",
        what="training in evaluation mode",
        signature="first divergence at the first norm's output in train mode",
    ),
    FaultEntry(
        name="unbiased_normalizer",
        what="n/(n-1) also in the normalizer",
        signature="train output scaled by sqrt((n-1)/n)",
        is_of_a_layer=True,
    ),
    FaultEntry(
        name="epsilon_outside_sqrt",
        what="x / (sqrt(v) + eps)",
        signature="ratio sqrt(v+eps)/(sqrt(v)+eps), large on channels of low variance",
        is_of_a_layer=True,
    ),
    FaultEntry(
        name="wrong_epsilon",
        what="another epsilon, 1e-3 say",
        signature="per-channel ratio sqrt((v+e1)/(v+e2)) fits e2",
        applies=_but(eps=(1e-3,)),
        is_of_a_layer=True,
    ),
    FaultEntry(
        name="wrong_axis",
        what="the normalizer's statistics over features instead of the batch",
        signature="the per-feature mean of the output is not beta",
        is_of_a_layer=True,
    ),
    FaultEntry(
        name="scale_plus_one",
        what="gamma read as 1 + gamma",
        signature="the output of the first norm doubles at initialization",
        is_of_a_layer=True,
    ),
    FaultEntry(
        name="padded_batch",
        what="a partial batch padded with zero rows that enter the statistics",
        signature="only on partial batches; changes with the padding length",
    ),
    FaultEntry(
        name="fast_variance",
        what="variance as E[x^2] - E[x]^2",
        signature="error grows with mean^2/variance; in float64 only on the large-mean probe",
        random=True,
        starts_at=(".norm", ".running_var"),
    ),
    # Running statistics.
    FaultEntry(
        name="biased_running_variance",
        what="running variance updated with the biased batch variance",
        signature="increment ratio (n-1)/n; train outputs, gradients and running mean agree",
        applies=_unbiased,
        is_of_a_layer=True,
    ),
    FaultEntry(
        name="unbiased_running_variance",
        what="running variance updated with the unbiased batch variance where the spec says biased",
        signature="increment ratio n/(n-1); train outputs, gradients and running mean agree",
        applies=_biased,
        is_of_a_layer=True,
    ),
    FaultEntry(
        name="frozen_running_statistics",
        what="statistics never written",
        signature="running mean and variance stay as they were",
        is_of_a_layer=True,
    ),
    FaultEntry(
        name="last_batch_statistics",
        what="decay 0",
        signature="statistics equal the last batch's",
        applies=_but(decay=(0.0,)),
        general="decay",
        is_of_a_layer=True,
    ),
    FaultEntry(
        name="cumulative_average",
        what="plain average instead of exponential",
        signature="effective decay 1 - 1/t",
    ),
    FaultEntry(
        name="debiased_statistics",
        what="zero-debiased moving average (both averages start at 0)",
        signature="ratio 1/(1 - decay^t), towards 1",
        applies=_but(decay=(0.0,)),
    ),
    FaultEntry(
        name="stale_statistics",
        what="new statistics dropped between steps",
        signature="step 1 agrees, then the increment restarts from the initial value",
        applies=_but(decay=(0.0,)),
    ),
    FaultEntry(
        name="swapped_momentum",
        what="decay taken for Torch's momentum, or the reverse",
        signature="decay solved from one step: 1 - decay (no fault at 0.5)",
        applies=_but(decay=(0.5, 0.0)),
        general="decay",
        is_of_a_layer=True,
    ),
    FaultEntry(
        name="default_momentum",
        what="Flax's default decay 0.99 left in place",
        signature="decay solved from one step: 0.99",
        applies=_but(decay=(0.99,)),
        general="decay",
        is_of_a_layer=True,
    ),
    FaultEntry(
        name="double_update",
        what="statistics written twice per step",
        signature="effective decay squared; outputs and gradients equal",
        applies=_but(decay=(0.0,)),
        general="decay",
    ),
    FaultEntry(
        name="float32_statistics",
        what="statistics cast to float32 after each update under float64",
        signature="running statistics agree to 1e-8 only",
    ),
    FaultEntry(
        name="wrong_decay",
        what="a decay that no other row predicts, 0.95 say",
        signature="decay solved from one step",
        applies=_but(decay=(0.95,)),
        general="decay",
        is_of_a_layer=True,
    ),
    # Loss and backward.
    FaultEntry(
        name="summed_loss",
        what="sum instead of mean",
        signature="all gradients scaled by n",
        applies=_always,
    ),
    FaultEntry(
        name="double_softmax",
        what="softmax before cross entropy",
        signature="loss differs, logits agree",
        applies=_always,
    ),
    FaultEntry(
        name="label_smoothing",
        what="smoothing left on",
        signature="loss differs by a term in the mean log-probability",
        applies=_always,
    ),
    FaultEntry(
        name="detached_statistics",
        what="backward ignores mean and variance",
        signature="forward equal; column sums of the input gradient are not 0",
        is_of_a_layer=True,
    ),
    # Update.
    FaultEntry(
        name="untrained_affine",
        what="gamma and beta never updated",
        signature="their increments are 0",
    ),
    FaultEntry(
        name="weight_decay",
        what="decay added to the update",
        signature="update minus lr*gradient is proportional to the weight",
        applies=_always,
        general="momentum and decay",
    ),
    FaultEntry(
        name="heavy_ball",
        what="momentum in the optimizer",
        signature="step 1 agrees; from step 2 the update holds the previous one",
        applies=_always,
        general="momentum and decay",
    ),
    FaultEntry(
        name="scaled_learning_rate",
        what="learning rate off by a factor",
        signature="update ratio constant over all tensors",
        applies=_always,
    ),
    # In no catalogue of the siblings: what other ports have.
    *(
        FaultEntry(name=name, what=what, signature=signature, applies=applies, **{"is_injected": False, **more})
        for name, what, signature, applies, more in (
            ("leaky_slope", "a leaky ReLU", "negative pre-activations are scaled", _always, {"is_of_a_layer": True}),
            (
                "clipped_activation",
                "an activation with a ceiling, such as ReLU6",
                "only where it is reached",
                _always,
                {"is_of_a_layer": True},
            ),
            (
                "relu_at_zero",
                "another derivative of ReLU at exactly 0",
                "gradients, only where an input is exactly 0",
                _always,
                {},
            ),
            ("naive_softmax", "softmax without its maximum", "overflow at large logits", _always, {}),
            (
                "clipped_log",
                "the logarithm of a share that is kept from 0",
                "only where the loss is large",
                _always,
                {},
            ),
            (
                "accumulated_gradients",
                "gradients not set to zero",
                "step 1 agrees; then each holds all before",
                _always,
                {},
            ),
            ("untrained_parameter", "a parameter without its gradient", "one gradient is 0", _always, {}),
            ("tied_kernels", "hidden kernels that are one tensor", "loaded kernels are equal", _square_kernel, {}),
            (
                "gradients_after_update",
                "gradients given after the update",
                "they are those at the new weights",
                _always,
                {},
            ),
            (
                "clipped_gradients",
                "gradients clipped by their norm",
                "updates scaled by one factor, step by step",
                _always,
                {},
            ),
            (
                "clipped_gradient_values",
                "gradients clipped element by element",
                "no element's update is larger",
                _always,
                {},
            ),
            ("nesterov", "Nesterov's momentum", "the first update is 1 + momentum times the gradient's", _always, {}),
            (
                "warmup",
                "a learning rate that rises over the first updates",
                "the factor rises from step to step",
                _always,
                {},
            ),
            (
                "momentum_and_decay",
                "weight decay and momentum together",
                "step 1 holds the decay, step 2 both",
                _always,
                {"general": "momentum and decay"},
            ),
            ("adam", "Adam in place of plain SGD", "the first update is the gradient's sign", _always, {}),
            ("late_statistics", "running statistics a step late", "each takes in the batch before", _with_norm, {}),
            (
                "statistics_of_output",
                "running statistics of the normalized input",
                "a mean of 0, a variance near 1",
                _with_norm,
                {},
            ),
            (
                "statistics_of_another_layer",
                "one layer's running statistics of another's batch",
                "its increments are the other's",
                _with_norm,
                {},
            ),
            (
                "forgotten_eval",
                "a forgotten eval(): evaluation as in training",
                "it depends on batch-mates, and updates the statistics",
                _with_norm,
                {"is_injected": True},
            ),
        )
    ),
    # Evaluation.
    FaultEntry(
        name="epsilon_twice_in_eval",
        what="evaluation divides by sqrt(v + 2 eps)",
        signature="train and stored variance agree; eval output fits 2 eps",
        is_of_a_layer=True,
    ),
    FaultEntry(
        name="eval_uses_batch_statistics",
        what="evaluation in training mode",
        signature="one sample's output depends on its batch-mates",
    ),
    FaultEntry(
        name="eval_updates_statistics",
        what="evaluation writes the running statistics",
        signature="the state after evaluation differs",
    ),
    # Elsewhere.
    FaultEntry(
        name="batch_of_one",
        what="one sample accepted in training mode",
        signature="one side raises, the other returns beta",
    ),
    FaultEntry(
        name="population_leak",
        what="statistics taken over the population axis too",
        signature="a member's step depends on its neighbours",
    ),
    FaultEntry(
        name="bfloat16_matmul",
        what="matrix products of operands rounded to bfloat16 by default",
        signature="relative error near 2^-8 at the first product",
        applies=_always,
        shows_in="precision",
        is_exact=True,
        starts_at=(".linear", "head.logits"),
    ),
    FaultEntry(
        name="tf32_matmul",
        what="matrix products of operands rounded to TF32 by default",
        signature="relative error near 2^-11 at the first product",
        applies=_always,
        shows_in="precision",
        is_exact=True,
        starts_at=(".linear", "head.logits"),
    ),
)

CATALOGUE: dict[str, FaultEntry] = {row.name: row for row in _ROWS}
