"""Plain JAX with something wrong in the network, its norm, or the loss."""

import jax
import jax.numpy as jnp
from jax import Array as Tensor
from jax.nn import one_hot

from parity import Step
from parity.weights import Array

from .collection import FIRST, LATER, PROBE, factory, fault
from .plain_jax import PlainJax, PlainModel, Tree

__getattr__ = factory

STATISTICS = ("0 running *", "0 increment of running *")


def ported(model: type[PlainModel]) -> type[PlainJax]:
    """The port with another model."""
    return type(model.__name__, (PlainJax,), {"model_class": model, "__module__": model.__module__})


def model_fault(kind: str, wrong: str, **options):
    """`fault`, for a model's class."""

    def register(model: type[PlainModel]) -> type[PlainModel]:
        fault(kind, wrong, **options)(ported(model))
        return model

    return register


@model_fault("never played", "ReLU has derivative 1/2 at 0", where="* gradient of *", when=(PROBE,),
             names=("relu_at_zero",))  # fmt: skip
class ReluDerivativeHalf(PlainModel):
    def relu(self, x: Tensor) -> Tensor:
        return jnp.maximum(x, 0)


@model_fault("never played", "softmax without subtracting the maximum", where=("* loss", "head gradient of *"),
             when=(PROBE,), names=("naive_softmax",))  # fmt: skip
class SoftmaxWithoutMaximum(PlainModel):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        probabilities = jnp.exp(logits) / jnp.exp(logits).sum(axis=-1, keepdims=True)
        return -jnp.log(jnp.take_along_axis(probabilities, labels[:, None], axis=-1)).mean()


@model_fault("wrong names", "another epsilon in the first norm only", where="0 norm output", names=("wrong_epsilon",),
             float32_only=True, needs_norm=True)  # fmt: skip
class FirstEpsilon(PlainModel):
    def epsilon(self, layer: str) -> float:
        return 1e-3 if layer == "hidden.0" else self.spec.eps


@model_fault("more names", "biased running variance in the first layer only", where="0 running variance",
             names=("biased_running_variance",), needs_norm=True)  # fmt: skip
class FirstVarianceBiased(PlainModel):
    def correction(self, layer: str, n: int) -> float:
        return 1.0 if layer == "hidden.0" else super().correction(layer, n)


@model_fault("more names", "the second norm's running statistics are the first's", where="1 running *", min_depth=2,
             names=("statistics_of_another_layer", "statistics_from_another_layer"), needs_norm=True)  # fmt: skip
class SecondStatisticsOfFirst(PlainModel):
    def forward(self, p: Tree, stats: Tree, x: Tensor, train: bool) -> tuple[Tensor, Tree, Tree]:
        logits, new, shown = super().forward(p, stats, x, train)
        if train and self.spec.num_hidden_layers > 1 and self.spec.use_batch_norm:
            new |= {f"hidden.1.running_{leaf}": new[f"hidden.0.running_{leaf}"] for leaf in ("mean", "var")}
        return logits, new, shown


# In no list.


@model_fault("new", "softmax over the batch", where="* loss")
class SoftmaxOverBatch(PlainModel):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return -(jax.nn.log_softmax(logits, axis=0) * one_hot(labels, logits.shape[1])).sum(axis=1).mean()


@model_fault("new", "the loss is averaged over classes, too", where="* loss", float32_only=True)
class LossOverClasses(PlainModel):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return -(jax.nn.log_softmax(logits) * one_hot(labels, logits.shape[1])).mean()


@model_fault("new", "the loss is in bits", where="* loss", float32_only=True)
class LossInBits(PlainModel):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super().loss(logits, labels) / jnp.log(2)


@model_fault("new", "logits divided by a temperature of 2 in the loss", where="* loss")
class Temperature(PlainModel):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super().loss(logits / 2, labels)


@model_fault("new", "logits clipped to 20 in the loss", where=("* loss", "* gradient of *"), when=(PROBE,))
class LogitsClipped(PlainModel):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super().loss(jnp.clip(logits, -20, 20), labels)


@model_fault("new", "the batch is halved by integer division: the mean of an odd batch divides by n - 1",
             where="* loss", when=(LATER, PROBE))  # fmt: skip
class OddBatch(PlainModel):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super().loss(logits, labels) * len(labels) / max(1, len(labels) // 2 * 2)


@model_fault("new", "epsilon is part of the running variance", where="0 running variance", needs_norm=True)
class EpsInRunningVariance(PlainModel):
    def moved(self, layer, old, mean, var, n):
        return super().moved(layer, old, mean, var + self.spec.eps, n)


@model_fault("new", "n/(n-1) of a batch of 32, whatever the batch", where="* running variance", when=(LATER, PROBE),
             needs_norm=True)  # fmt: skip
class CorrectionOfFullBatch(PlainModel):
    def correction(self, layer: str, n: int) -> float:
        return super().correction(layer, 32)


@model_fault("new", "the running variance is taken about the running mean", where="0 running variance",
             needs_norm=True)  # fmt: skip
class VarianceAboutRunningMean(PlainModel):
    def moved(self, layer, old, mean, var, n):
        return super().moved(layer, old, mean, var + (mean - old[0]) ** 2, n)


@model_fault("new", "statistics over virtual batches of 16", where=("0 norm output", "0 running *"), needs_norm=True)
class GhostBatches(PlainModel):
    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().moments(x[:16])


@model_fault("new", "gamma's absolute value is applied", where=("* norm output", "* evaluated norm output"),
             when=(PROBE,), needs_norm=True)  # fmt: skip
class AbsoluteGamma(PlainModel):
    def normalize(self, p: Tree, layer: str, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        return super().normalize({**p, f"{layer}.gamma": jnp.abs(p[f"{layer}.gamma"])}, layer, x, mean, var)


@model_fault("new", "normalized values are clipped to 3 standard deviations", where="0 norm output", needs_norm=True)
class NormClipped(PlainModel):
    def normalize(self, p: Tree, layer: str, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        deviation = jnp.sqrt(var + self.spec.eps)
        return super().normalize(p, layer, jnp.clip(x, mean - 3 * deviation, mean + 3 * deviation), mean, var)


@model_fault("new", "the last block has no norm", where="* norm output", needs_norm=True)
class NoLastNorm(PlainModel):
    def norm(self, p: Tree, stats: Tree, layer: str, x: Tensor, train: bool) -> tuple[Tensor, Tree]:
        y, new = super().norm(p, stats, layer, x, train)
        return (x if layer == f"hidden.{self.spec.num_hidden_layers - 1}" else y), new


@model_fault("new", "the variance is a constant to the gradient, the mean is not",
             where=("* gradient of bias", "* gradient of kernel", "* gradient of gamma"), needs_norm=True)  # fmt: skip
class VarianceIsConstant(PlainModel):
    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, var = super().moments(x)
        return mean, jax.lax.stop_gradient(var)


@fault("new", "evaluation leaves the context of float64", where="* evaluated *", names=("float32_evaluation",))
class EvaluationOutsideX64(PlainJax):
    def evaluate(self, inputs: Array) -> Array:
        kept, self.state = self.state, jax.tree.map(lambda leaf: leaf.astype("float32"), self.state)
        with jax.enable_x64(False):
            logits = jax.numpy.asarray(self.model.evaluated(self.state, inputs.astype("float32"))[0])
        self.state = kept
        return jax.device_get(logits).copy()


@fault("more names", "float64 is never enabled: JAX computes in float32, whatever it is asked",
       where=("0 loaded *", "0 pre-activation", "0 running *", "0 updated *"), when=(FIRST,),
       names=("float32_throughout", "float32_computation"))  # fmt: skip
class X64NeverEnabled(PlainJax):
    def precision(self):
        return jax.enable_x64(False)

    def train_step(self, inputs: Array, labels: Array, learning_rate: float) -> Step:
        self.dtype = "float32"
        return super().train_step(inputs, labels, learning_rate)
