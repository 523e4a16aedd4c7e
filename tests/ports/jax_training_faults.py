"""Plain JAX with something wrong in the optimizer, between updates, or in evaluation."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array as Tensor

from parity import Step
from parity.weights import Array, Weights

from .collection import FIRST, LATER, PROBE, factory, fault
from .jax_model_faults import model_fault
from .plain_jax import PlainJax, PlainModel, Shown, State

__getattr__ = factory

UPDATE = ("* updated *", "* increment of *")
EVALUATED = "* evaluated *"


# Between updates.


@fault("never played", "the loss is divided by the size of the first batch", where=("* loss", "* gradient of *"),
       when=(LATER, PROBE), names=("cached_batch_size",), float32_only=True)  # fmt: skip
class CachedBatchSize(PlainJax):
    size: int | None = None

    def train_step(self, inputs: Array, labels: Array, learning_rate: float) -> Step:
        self.size = self.size or len(inputs)
        self.model = sized(self.model_class, len(inputs) / self.size)(self.spec)
        return super().train_step(inputs, labels, learning_rate)


SIZED: dict[Any, type[PlainModel]] = {}


def sized(model: type[PlainModel], factor: float) -> type[PlainModel]:
    """A model whose loss is multiplied by a factor; the same class for the same factor."""

    def loss(self: PlainModel, logits: Tensor, labels: Tensor) -> Tensor:
        return model.loss(self, logits, labels) * factor

    return SIZED.setdefault((model, factor), type("Sized", (model,), {"loss": loss}))


@fault("never played", "every seventh update is skipped", where=UPDATE, when=(LATER,), names=("skipped_update",))
class EverySeventhSkipped(PlainJax):
    count = 0

    def take_step(self, x: Array, labels: Array, rate: Array) -> tuple[State, Shown]:
        self.count += 1
        return super().take_step(x, labels, rate if self.count % 7 else np.zeros_like(rate))


@fault("wrong names", "running statistics take in the batch before", where=("0 running *", "0 increment of running *"),
       names=("late_statistics", "statistics_a_step_late"), needs_norm=True, float32_only=True)  # fmt: skip
class StatisticsOfTheBatchBefore(PlainJax):
    pending: Any = None

    def take_step(self, x: Array, labels: Array, rate: Array) -> tuple[State, Shown]:
        before = self.state.stats
        new, shown = super().take_step(x, labels, rate)
        decay = self.spec.decay
        incoming = {name: new.stats[name] - decay * value for name, value in before.items()}
        pending, self.pending = self.pending, incoming
        stats = before if pending is None else {name: decay * before[name] + pending[name] for name in before}
        return new._replace(stats=stats), shown


# The optimizer.


@model_fault("never played", "momentum 0.9", where=UPDATE, when=(LATER,), names=("heavy_ball",), float32_only=True,
             float64=False)  # fmt: skip
class OptaxMomentum(PlainModel):
    def optimizer(self, rate: Tensor | float) -> optax.GradientTransformation:
        return optax.sgd(rate, momentum=0.9)


@model_fault("wrong names", "Nesterov momentum", where=UPDATE, names=("nesterov", "nesterov_momentum"),
             float32_only=True)  # fmt: skip
class OptaxNesterov(PlainModel):
    def optimizer(self, rate: Tensor | float) -> optax.GradientTransformation:
        return optax.sgd(rate, momentum=0.9, nesterov=True)


@model_fault("wrong names", "the rate grows linearly over the first 10 updates", where=UPDATE, float32_only=True,
             names=("warmup", "learning_rate_warmup"))  # fmt: skip
class OptaxWarmUp(PlainModel):
    def optimizer(self, rate: Tensor | float) -> optax.GradientTransformation:
        return optax.chain(optax.scale_by_schedule(lambda count: jnp.minimum(1.0, (count + 1) / 10)), optax.sgd(rate))


@model_fault("wrong names", "gradients clipped to a norm of 0.5", where=UPDATE, when=(FIRST, LATER, PROBE),
             names=("clipped_gradients", "gradient_clipping_by_norm"), float32_only=True)  # fmt: skip
class OptaxClipByNorm(PlainModel):
    def optimizer(self, rate: Tensor | float) -> optax.GradientTransformation:
        return optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(rate))


@model_fault("more names", "AdamW instead of SGD", where=UPDATE, names=("adam", "adamw"))
class OptaxAdamw(PlainModel):
    def optimizer(self, rate: Tensor | float) -> optax.GradientTransformation:
        return optax.adamw(rate)


@model_fault("new", "a trust ratio for each layer (LARS)", where=UPDATE)
class TrustRatio(PlainModel):
    def optimizer(self, rate: Tensor | float) -> optax.GradientTransformation:
        return optax.chain(optax.scale_by_trust_ratio(), optax.sgd(rate))


@model_fault("new", "gradients are centred: the mean of each kernel's is taken off", where="* updated kernel",
             float32_only=True)  # fmt: skip
class CentredGradients(PlainModel):
    def optimizer(self, rate: Tensor | float) -> optax.GradientTransformation:
        return optax.chain(optax.centralize(), optax.sgd(rate))


@model_fault("new", "the first update is taken twice as far", where=UPDATE)
class FirstGradientTwice(PlainModel):
    def optimizer(self, rate: Tensor | float) -> optax.GradientTransformation:
        return optax.chain(optax.scale_by_schedule(lambda count: 1.0 + (count == 0)), optax.sgd(rate))


@model_fault("new", "gradients rounded to bfloat16 for the all-reduce", where=UPDATE, float32_only=True)
class GradientsInBfloat16(PlainModel):
    def optimizer(self, rate: Tensor | float) -> optax.GradientTransformation:
        narrow = optax.stateless(lambda g, p: jax.tree.map(lambda a: a.astype("bfloat16").astype(a.dtype), g))
        return optax.chain(narrow, optax.sgd(rate))


@model_fault("new", "weight decay on gamma and beta only", where=("* updated gamma", "* updated beta"),
             names=("weight_decay",), needs_norm=True)  # fmt: skip
class WeightDecayOnAffine(PlainModel):
    def optimizer(self, rate: Tensor | float) -> optax.GradientTransformation:
        def affine(params: Any) -> Any:
            return {name: name.endswith(("gamma", "beta")) for name in params}

        return optax.chain(optax.add_decayed_weights(1e-2, mask=affine), optax.sgd(rate))


# Evaluation.


@fault("never played", "only the first 32 evaluated samples are right", where="head evaluated *", when=(LATER, PROBE))
class FirstThirtyTwoRight(PlainJax):
    def evaluate(self, inputs: Array) -> Array:
        logits = super().evaluate(inputs)
        logits[32:] = 0
        return logits


@fault("new", "what is evaluated is the state before the last update", where=EVALUATED, when=(FIRST, LATER))
class EvaluatesTheStateBefore(PlainJax):
    before: State | None = None

    def take_step(self, x: Array, labels: Array, rate: Array) -> tuple[State, Shown]:
        self.before = self.state
        return super().take_step(x, labels, rate)

    def evaluate(self, inputs: Array) -> Array:
        kept, self.state = self.state, self.before or self.state
        logits = super().evaluate(inputs)
        self.state = kept
        return logits


@fault("new", "the shown weights are those before the last update", where=UPDATE)
class ShowsTheWeightsBefore(PlainJax):
    before: Weights | None = None

    def train_step(self, inputs: Array, labels: Array, learning_rate: float) -> Step:
        self.before = super().weights()
        return super().train_step(inputs, labels, learning_rate)

    def weights(self) -> Weights:
        now = super().weights()
        return (
            now if self.before is None else {name: (now if "running_" in name else self.before)[name] for name in now}
        )
