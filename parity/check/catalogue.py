"""The fault catalogue: what goes wrong when a batch-norm network is ported, and the trace that it leaves.

The order is the order in which the diagnosis prefers one name to another that explains as much: a special case stands
before the general one.
"""

from parity.check.fault_entry import FaultEntry, always, biased, square_kernel, unbiased, with_dropout
from parity.check.port_faults import PORT_FAULTS

_ROWS = (
    # What is presented before any step.
    FaultEntry(
        name="biased_pixel_std",
        what="pixels standardized with ddof 0",
        signature="inputs scaled by sqrt(n/(n-1))",
        remedy="divide by n - 1 in the pixels' standard deviation (ddof=1; NumPy's default is 0, Torch's is 1)",
        possible=always,
        shows_in="inputs",
    ),
    FaultEntry(
        name="test_statistics_leak",
        what="test set standardized by its own statistics",
        signature="training inputs agree, test inputs differ",
        remedy="standardize the test set by the training set's mean and standard deviation",
        possible=always,
        shows_in="inputs",
    ),
    FaultEntry(
        name="shifted_batches",
        what="index stream off by one minibatch",
        signature="the indices of update t are the other's of update t+1",
        remedy="begin with the first minibatch of the index stream; do not draw one before training",
        possible=always,
        shows_in="inputs",
    ),
    FaultEntry(
        name="misaligned_labels",
        what="labels not permuted with the images",
        signature="inputs agree, labels differ",
        remedy="take images and labels by the same indices",
        possible=always,
        shows_in="inputs",
    ),
    FaultEntry(
        name="zero_initial_scale",
        what="gamma starts at 0",
        signature="the initial state differs before any step",
        remedy="start gamma at 1",
        shows_in="inputs",
    ),
    FaultEntry(
        name="polluted_initial_statistics",
        what="an initialization batch updates the statistics",
        signature="statistics differ from 0 and 1 before step 0",
        remedy=(
            "start the running mean at 0 and the running variance at 1; do not pass a batch through in "
            "training mode first"
        ),
        shows_in="inputs",
    ),
    # How weights enter.
    FaultEntry(
        name="swapped_mean_variance",
        what="running mean and variance exchanged on load",
        signature="the running mean of one equals the running variance of the other",
        remedy="load the running mean as mean and the running variance as variance; check the order of the names",
    ),
    FaultEntry(
        name="transposed_kernel",
        what="a square hidden kernel loaded transposed (and exported transposed back)",
        signature="that layer's output fits the transposed kernel",
        remedy="load the kernel in the framework's own orientation (Torch holds (out, in), Flax (in, out))",
        possible=square_kernel,
    ),
    # Forward.
    FaultEntry(
        name="missing_bias",
        what="a bias not applied",
        signature="a layer's output is off by the bias; its gradient is 0",
        remedy="add the bias after the matrix product",
        possible=always,
        is_of_a_layer=True,
    ),
    FaultEntry(
        name="norm_before_activation",
        what="Linear, BatchNorm, ReLU instead of Linear, ReLU, BatchNorm (or the reverse)",
        signature="first divergence at the first hidden layer",
        remedy=(
            "put batch norm where the spec's block order says, or check with the other --block-order "
            "(activation_first, norm_first)"
        ),
    ),
    FaultEntry(
        name="unscaled_dropout",
        what="units that dropout keeps not divided by 1 - rate",
        signature="training's dropout output is 1 - rate times what it should be; evaluation agrees",
        remedy="divide the units that dropout keeps by 1 - rate, in training",
        possible=with_dropout,
    ),
    FaultEntry(
        name="train_uses_running_statistics",
        what="training in evaluation mode",
        signature="first divergence at the first norm's output in train mode",
        remedy="normalize by the batch's statistics in training (train() in Torch, use_running_average=False in Flax)",
    ),
    FaultEntry(
        name="unbiased_normalizer",
        what="n/(n-1) also in the normalizer",
        signature="train output scaled by sqrt((n-1)/n)",
        is_of_a_layer=True,
        remedy=(
            "normalize by the biased batch variance, the sum of squares over n; n/(n-1) belongs into the "
            "running variance only"
        ),
    ),
    FaultEntry(
        name="epsilon_outside_sqrt",
        what="x / (sqrt(v) + eps)",
        signature="ratio sqrt(v+eps)/(sqrt(v)+eps), large on channels of low variance",
        is_of_a_layer=True,
        remedy="add epsilon to the variance inside the square root: x / sqrt(v + eps)",
    ),
    FaultEntry(
        name="wrong_epsilon",
        what="another epsilon, 1e-3 say",
        signature="per-channel ratio sqrt((v+e1)/(v+e2)) fits e2",
        remedy="use the spec's epsilon (1e-5 unless given; `eps` in Torch, `epsilon` in Flax), or check with --eps",
        none_at={"eps": (1e-3,)},
        is_of_a_layer=True,
    ),
    FaultEntry(
        name="wrong_axis",
        what="the normalizer's statistics over features instead of the batch",
        signature="the per-feature mean of the output is not beta",
        is_of_a_layer=True,
        remedy="take mean and variance over the batch, one for each feature",
    ),
    FaultEntry(
        name="scale_plus_one",
        what="gamma read as 1 + gamma",
        signature="the output of the first norm doubles at initialization",
        is_of_a_layer=True,
        remedy="multiply by gamma itself, not by 1 + gamma",
    ),
    FaultEntry(
        name="padded_batch",
        what="a partial batch padded with zero rows that enter the statistics",
        signature="only on partial batches; changes with the padding length",
        remedy="keep padded rows out of the mean and the variance, or do not pad",
    ),
    FaultEntry(
        name="fast_variance",
        what="variance as E[x^2] - E[x]^2",
        signature="error grows with mean^2/variance; in float64 only on the large-mean probe",
        remedy="take the variance in two passes, as the mean of (x - mean)^2 (use_fast_variance=False in Flax)",
        random=True,
        starts_at=(".norm", ".running_var"),
    ),
    # Running statistics.
    FaultEntry(
        name="biased_running_variance",
        what="running variance updated with the biased batch variance",
        signature="increment ratio (n-1)/n; train outputs, gradients and running mean agree",
        remedy=(
            "average n/(n-1) times the batch variance (stock Flax averages the biased one), or check with "
            "--running-variance biased"
        ),
        possible=unbiased,
        is_of_a_layer=True,
    ),
    FaultEntry(
        name="unbiased_running_variance",
        what="running variance updated with the unbiased batch variance where the spec says biased",
        signature="increment ratio n/(n-1); train outputs, gradients and running mean agree",
        remedy=(
            "average the biased batch variance (stock Torch averages n/(n-1) times it), or check with "
            "--running-variance unbiased"
        ),
        possible=biased,
        is_of_a_layer=True,
    ),
    FaultEntry(
        name="frozen_running_statistics",
        what="statistics never written",
        signature="running mean and variance stay as they were",
        is_of_a_layer=True,
        remedy=(
            'write the new running mean and variance after each training step (mutable=["batch_stats"] in '
            "Flax, train() in Torch)"
        ),
    ),
    FaultEntry(
        name="last_batch_statistics",
        what="decay 0",
        signature="statistics equal the last batch's",
        remedy=(
            "keep a share of the old statistics (momentum is 1 - decay in Torch and decay in Flax), or check "
            "with --decay 0"
        ),
        none_at={"decay": (0.0,)},
        general="decay",
        is_of_a_layer=True,
    ),
    FaultEntry(
        name="cumulative_average",
        what="plain average instead of exponential",
        signature="effective decay 1 - 1/t",
        remedy="average exponentially with a constant decay (Torch's momentum=None is the plain average)",
    ),
    FaultEntry(
        name="debiased_statistics",
        what="zero-debiased moving average (both averages start at 0)",
        signature="ratio 1/(1 - decay^t), towards 1",
        remedy="do not divide the averages by 1 - decay^t; start them at 0 and 1",
        none_at={"decay": (0.0,)},
    ),
    FaultEntry(
        name="stale_statistics",
        what="new statistics dropped between steps",
        signature="step 1 agrees, then the increment restarts from the initial value",
        remedy="carry the new statistics into the next step (the updated batch_stats in Flax)",
        none_at={"decay": (0.0,)},
    ),
    FaultEntry(
        name="swapped_momentum",
        what="decay taken for Torch's momentum, or the reverse",
        signature="decay solved from one step: 1 - decay (no fault at 0.5)",
        remedy="give each framework its own meaning of momentum: 1 - decay in Torch, decay in Flax",
        none_at={"decay": (0.5, 0.0)},
        general="decay",
        is_of_a_layer=True,
    ),
    FaultEntry(
        name="default_momentum",
        what="Flax's default decay 0.99 left in place",
        signature="decay solved from one step: 0.99",
        remedy=(
            "set the decay of the running statistics (momentum in Flax, whose default is 0.99), or check "
            "with --decay 0.99"
        ),
        none_at={"decay": (0.99,)},
        general="decay",
        is_of_a_layer=True,
    ),
    FaultEntry(
        name="double_update",
        what="statistics written twice per step",
        signature="effective decay squared; outputs and gradients equal",
        remedy="update the running statistics once a step; do not run the forward pass twice in training mode",
        none_at={"decay": (0.0,)},
        general="decay",
    ),
    FaultEntry(
        name="float32_statistics",
        what="statistics cast to float32 after each update under float64",
        signature="running statistics agree to 1e-8 only",
        remedy=(
            "keep running statistics in float64 under float64 (param_dtype and force_float32_reductions=False in Flax)"
        ),
    ),
    FaultEntry(
        name="wrong_decay",
        what="a decay that no other row predicts, 0.95 say",
        signature="decay solved from one step",
        remedy="use the spec's decay (momentum is 1 - decay in Torch and decay in Flax), or check with --decay",
        none_at={"decay": (0.95,)},
        general="decay",
        is_of_a_layer=True,
    ),
    # Loss and backward.
    FaultEntry(
        name="summed_loss",
        what="sum instead of mean",
        signature="all gradients scaled by n",
        remedy='take the mean of the loss over the batch (reduction="mean" in Torch)',
        possible=always,
    ),
    FaultEntry(
        name="double_softmax",
        what="softmax before cross entropy",
        signature="loss differs, logits agree",
        remedy="give the loss the logits; do not apply softmax before it",
        possible=always,
    ),
    FaultEntry(
        name="label_smoothing",
        what="smoothing left on",
        signature="loss differs by a term in the mean log-probability",
        remedy="turn label smoothing off (label_smoothing=0)",
        possible=always,
    ),
    FaultEntry(
        name="detached_statistics",
        what="backward ignores mean and variance",
        signature="forward equal; column sums of the input gradient are not 0",
        is_of_a_layer=True,
        remedy="let the gradient flow through the batch's mean and variance (no detach or stop_gradient on them)",
    ),
    # Update.
    FaultEntry(
        name="untrained_affine",
        what="gamma and beta never updated",
        signature="their increments are 0",
        remedy="give gamma and beta to the optimizer",
    ),
    FaultEntry(
        name="weight_decay",
        what="decay added to the update",
        signature="update minus lr*gradient is proportional to the weight",
        remedy="set weight decay to 0 in the optimizer",
        possible=always,
        general="momentum and decay",
    ),
    FaultEntry(
        name="heavy_ball",
        what="momentum in the optimizer",
        signature="step 1 agrees; from step 2 the update holds the previous one",
        remedy="set momentum to 0 in the optimizer",
        possible=always,
        general="momentum and decay",
    ),
    FaultEntry(
        name="scaled_learning_rate",
        what="learning rate off by a factor",
        signature="update ratio constant over all tensors",
        remedy="multiply the gradient by the learning rate that is given, and by nothing else",
        possible=always,
    ),
    *PORT_FAULTS,
    # Evaluation.
    FaultEntry(
        name="epsilon_twice_in_eval",
        what="evaluation divides by sqrt(v + 2 eps)",
        signature="train and stored variance agree; eval output fits 2 eps",
        is_of_a_layer=True,
        remedy="add epsilon once in evaluation: x / sqrt(running variance + eps)",
    ),
    FaultEntry(
        name="eval_uses_batch_statistics",
        what="evaluation in training mode",
        signature="one sample's output depends on its batch-mates",
        remedy="normalize by the running statistics in evaluation (eval() in Torch, use_running_average=True in Flax)",
    ),
    FaultEntry(
        name="eval_updates_statistics",
        what="evaluation writes the running statistics",
        signature="the state after evaluation differs",
        remedy="leave the running statistics alone in evaluation (eval() in Torch, no mutable batch_stats in Flax)",
    ),
    # Elsewhere.
    FaultEntry(
        name="forgotten_eval",
        what="a forgotten eval(): evaluation as in training",
        signature="evaluation depends on batch-mates, and updates the running statistics",
        remedy="switch to evaluation mode before evaluating (eval() in Torch, use_running_average=True in Flax)",
    ),
    FaultEntry(
        name="batch_of_one",
        what="one sample accepted in training mode",
        signature="one side raises, the other returns beta",
        remedy="refuse a training batch of one sample with a ValueError where there is batch norm",
    ),
    FaultEntry(
        name="population_leak",
        what="statistics taken over the population axis too",
        signature="a member's step depends on its neighbours",
        remedy="take each member's statistics over its own batch only",
    ),
    FaultEntry(
        name="bfloat16_matmul",
        what="matrix products of operands rounded to bfloat16 by default",
        signature="relative error near 2^-8 at the first product",
        remedy=(
            "compute float32 products in full precision (highest matmul precision in either framework), or "
            "check with --precision bfloat16"
        ),
        possible=always,
        shows_in="precision",
        is_exact=True,
        starts_at=(".linear", "head.logits"),
    ),
    FaultEntry(
        name="tf32_matmul",
        what="matrix products of operands rounded to TF32 by default",
        signature="relative error near 2^-11 at the first product",
        remedy=(
            "compute float32 products in full precision (highest matmul precision in either framework), or "
            "check with --precision tf32"
        ),
        possible=always,
        shows_in="precision",
        is_exact=True,
        starts_at=(".linear", "head.logits"),
    ),
)

CATALOGUE: dict[str, FaultEntry] = {row.name: row for row in _ROWS}
