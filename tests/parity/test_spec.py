"""The specs: every field's rule and message, and the seeds."""

from dataclasses import FrozenInstanceError, asdict, fields
from typing import Any

import numpy as np
import pytest

from parity.errors import InputError
from parity.spec import (
    BlockOrder,
    Initialization,
    ModelSpec,
    RunningVariance,
    TrainSpec,
    check_count,
    check_fraction,
    check_real,
    check_training_batch,
    child_seeds,
)

COUNTS = [
    (ModelSpec, "input_dim", 1, "a network needs an input"),
    (ModelSpec, "output_dim", 2, "classification needs at least two classes"),
    (ModelSpec, "num_hidden_layers", 1, "the depth counts hidden layers"),
    (ModelSpec, "hidden_width", 1, "a layer needs a unit"),
    (TrainSpec, "batch_size", 1, "an update needs a sample"),
    (TrainSpec, "num_passes", 1, "training needs a pass"),
    (TrainSpec, "seed", 0, "NumPy's seeds are not negative"),
]
ENUMS = [
    ("running_variance", RunningVariance, "unbiased, biased"),
    ("block_order", BlockOrder, "activation_first, norm_first"),
    ("initialization", Initialization, "uniform_fan_in, he_normal, lecun_normal, orthogonal"),
]


def refusal(kind: type, **values: Any) -> str:
    with pytest.raises(InputError) as caught:
        kind(**values)
    return str(caught.value)


@pytest.mark.parametrize(("kind", "name", "minimum", "why"), COUNTS)
def test_a_count_is_an_integer_of_at_least_its_minimum(kind: type, name: str, minimum: int, why: str) -> None:
    assert getattr(kind(**{name: minimum}), name) == minimum
    assert getattr(kind(**{name: np.int64(minimum + 1)}), name) == minimum + 1
    for value in (minimum - 1, -7, minimum + 0.5, float(minimum), True, "3", None):
        message = refusal(kind, **{name: value})
        assert message == f"{name} must be an integer of at least {minimum} ({why}), got {value!r}"


def test_every_field_has_a_test_of_its_rule() -> None:
    checked = {(kind, name) for kind, name, *_ in COUNTS} | {(ModelSpec, name) for name, *_ in ENUMS}
    checked |= {(TrainSpec, "dtype")}
    checked |= {(ModelSpec, name) for name in ("use_batch_norm", "residual", "eps", "decay", "dropout_rate")}
    assert checked == {(kind, field.name) for kind in (ModelSpec, TrainSpec) for field in fields(kind)}


@pytest.mark.parametrize("name", ["use_batch_norm", "residual"])
@pytest.mark.parametrize("value", [0, 1, "on", None])
def test_a_switch_is_a_bool(name: str, value: Any) -> None:
    assert refusal(ModelSpec, **{name: value}) == f"{name} must be True or False, got {value!r}"


@pytest.mark.parametrize("value", [-0.1, 1, 1.5, np.nan, np.inf, True, "0.5", None])
def test_a_dropout_rate_is_a_chance_below_one(value: Any) -> None:
    assert refusal(ModelSpec, dropout_rate=value) == (
        f"dropout_rate must be at least 0 and below 1 (it is the chance that a unit is dropped), got {value!r}"
    )
    assert ModelSpec(dropout_rate=0.999).dropout_rate == 0.999


@pytest.mark.parametrize("value", [0, -1e-5, float("inf"), float("nan"), True, "1e-5", None])
def test_eps_is_positive_and_finite(value: Any) -> None:
    message = refusal(ModelSpec, eps=value)
    assert message == f"eps must be a finite number above 0 (a constant feature has variance 0), got {value!r}"


@pytest.mark.parametrize("value", [-0.1, 1, 1.0, float("nan"), True, "0.9", None])
def test_decay_is_a_share_below_1(value: Any) -> None:
    assert refusal(ModelSpec, decay=value) == (
        f"decay must be at least 0 and below 1 (it is the share of the old statistic that is kept), got {value!r}"
    )


def test_decay_may_be_0() -> None:
    assert ModelSpec(decay=0).decay == 0


@pytest.mark.parametrize(("name", "kind", "choices"), ENUMS)
def test_an_enum_is_given_by_its_string(name: str, kind: Any, choices: str) -> None:
    for member in kind:
        values: dict[str, Any] = {name: member.value}
        spec = ModelSpec(**values)
        assert getattr(spec, name) is member
        assert spec == ModelSpec(**{name: member})
    for value in ("other", "", None, []):
        assert refusal(ModelSpec, **{name: value}) == f"{name} must be one of {choices}, got {value!r}"


@pytest.mark.parametrize("value", ["float16", "", None, np.float32])
def test_the_working_dtype_is_one_of_three(value: Any) -> None:
    assert TrainSpec(dtype="bfloat16").dtype == "bfloat16"
    assert refusal(TrainSpec, dtype=value) == f"dtype must be one of float32, float64, bfloat16, got {value!r}"


@pytest.mark.parametrize("spec", [ModelSpec(), TrainSpec()])
def test_a_spec_is_frozen_keyword_only_and_hashable(spec: Any) -> None:
    name = fields(spec)[0].name
    with pytest.raises(FrozenInstanceError):
        setattr(spec, name, 1)
    with pytest.raises(TypeError):
        type(spec)(getattr(spec, name))
    same, other = type(spec)(**asdict(spec)), type(spec)(**asdict(spec) | {name: 5})
    assert {spec: "compiled"}[same] == "compiled"
    assert other not in {spec}


def test_the_defaults_are_the_lab_s() -> None:
    assert asdict(ModelSpec()) == {
        "input_dim": 784,
        "output_dim": 10,
        "num_hidden_layers": 3,
        "hidden_width": 64,
        "use_batch_norm": True,
        "eps": 1e-5,
        "decay": 0.9,
        "running_variance": "unbiased",
        "block_order": "activation_first",
        "initialization": "uniform_fan_in",
        "dropout_rate": 0.0,
        "residual": False,
    }
    assert asdict(TrainSpec()) == {"batch_size": 32, "num_passes": 5, "seed": 0, "dtype": "float32"}


@pytest.mark.parametrize("size", [0, 1])
def test_a_training_batch_needs_two_samples(size: int) -> None:
    with pytest.raises(InputError) as caught:
        check_training_batch(size)
    assert str(caught.value) == (
        f"training with batch norm needs a batch of at least 2 (one sample has no variance), got {size}"
    )
    check_training_batch(2)


def test_the_children_of_a_seed_are_stable() -> None:
    weights, batches, masks = child_seeds(0)
    assert masks.generate_state(4).tolist() == [3241444873, 3830689794, 285037786, 2342166964]
    assert weights.generate_state(4).tolist() == [3757552657, 2018376492, 1456443223, 3395645823]
    assert batches.generate_state(4).tolist() == [673228719, 1136656250, 1681278441, 3264002610]
    assert child_seeds(0).weights.generate_state(4).tolist() == weights.generate_state(4).tolist()


def test_the_children_of_different_seeds_differ() -> None:
    # The parent's own stream counts too: whoever seeds with the bare number must not meet a child's numbers.
    states = [child.generate_state(4).tolist() for seed in range(50) for child in child_seeds(seed)]
    states += [np.random.SeedSequence(seed).generate_state(4).tolist() for seed in range(50)]
    assert len({tuple(state) for state in states}) == 200


def test_the_children_are_uncorrelated() -> None:
    # For independent uniform numbers the correlation of n pairs has standard error 1 / sqrt(n).
    n = 100_000
    streams = [np.random.default_rng(child).random(n) for child in child_seeds(0)]
    correlations = np.asarray(np.corrcoef(streams))[np.triu_indices(3, 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(n)


def test_an_integer_from_numpy_counts_as_an_integer() -> None:
    check_count("depth", np.uint8(1), 1, "why")  # pyright: ignore[reportArgumentType]


def test_an_integer_of_more_digits_than_python_writes_is_one_line() -> None:
    huge = 10**5000
    for refuse in (
        lambda: check_count("depth", -huge, 1, "why"),
        lambda: check_count("depth", huge, 1, "why", 10),
        lambda: check_real("eps", -huge, above=0, why="why"),
        lambda: check_fraction(huge),
    ):
        with pytest.raises(InputError, match="got an integer that is too long to be shown"):
            refuse()
