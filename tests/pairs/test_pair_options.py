"""What a user says of a pair: weights, accepted differences, optimizers, a file; and what goes wrong."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bnjax
import bntorch
import parity
from bnjax.specimens.losses import cross_entropy
from parity.backend.port import Mode
from parity.errors import InputError
from parity.pair.findings import FindingKind
from parity.pair.output import write_json, write_junit
from parity.pair.screen import format_report
from parity.pair.self_test import Case, compare_specimen
from parity.report.compare_page import write_compare_report
from parity.verdict.verdict import UNEXPLAINED, Verdict

INPUTS = {"x": parity.normal(6, 4), "labels": parity.integers(6, below=4)}
FORCED = ("forced",)
NAME: Any = "sgd"  # of what a function is asked for


class TorchNet(nn.Module):
    """Two square layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(x)))


class Dense(fnn.Module):
    """As people write it by hand, with its kernel as it is or transposed."""

    transposed: bool = False

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", fnn.initializers.lecun_normal(), (4, 4))
        return x @ (kernel.T if self.transposed else kernel) + self.param("bias", fnn.initializers.zeros, (4,))


class FlaxNet(fnn.Module):
    transposed: bool = False
    names: tuple[str, str] = ("first", "second")

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        first, second = (Dense(self.transposed, name=name) for name in self.names)
        return second(jnp.tanh(first(x)))


def reference(**options: Any) -> Any:
    return bntorch.port(TorchNet(), loss=F.cross_entropy, **options)


def candidate(model: Any = None, **options: Any) -> Any:
    return bnjax.port(FlaxNet() if model is None else model, **{"loss": cross_entropy, **options})


def compare(ours: Any = None, theirs: Any = None, **options: Any) -> parity.CompareReport:
    ports = reference() if ours is None else ours, candidate() if theirs is None else theirs
    return parity.compare(*ports, **{"inputs": INPUTS, "questions": FORCED, **options})


# weights


def test_a_kernel_that_lies_against_convention_is_a_difference() -> None:
    report = compare(theirs=candidate(FlaxNet(transposed=True)))
    assert [(f.kind, f.reference, f.cause.name) for f in report.findings] == [
        (FindingKind.WEIGHTS, "first", "kernel_axes"),
        (FindingKind.WEIGHTS, "second", "kernel_axes"),
    ]


@pytest.mark.parametrize("order", [(), ("first", "second"), ("second", "first")])
def test_modules_that_do_what_others_are_called_are_a_difference(order: tuple[str, ...]) -> None:
    model = FlaxNet(names=("second", "first"))
    drawn = model.init(jax.random.key(0), jnp.zeros((1, 4)))["params"]
    variables = {"params": {name: drawn[name] for name in order}} if order else None
    report = compare(theirs=candidate(model, variables=variables))
    (finding,) = report.findings
    assert (finding.kind, finding.reference) == (FindingKind.WEIGHTS, "first")
    assert "first does what second does, and second first" in finding.value


class TorchNamed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn_norm, self.ffn_norm = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.ffn_norm(torch.tanh(self.attn_norm(x)))


def test_names_that_are_a_little_alike_accuse_nobody() -> None:
    names = ("input_layernorm", "post_attention_layernorm")
    report = compare(bntorch.port(TorchNamed(), loss=F.cross_entropy), candidate(FlaxNet(names=names)))
    assert report.verdict is Verdict.AGREE, report.findings


def test_modules_without_names_are_told_apart_by_what_they_compute() -> None:
    report = compare(theirs=candidate(FlaxNet(names=("Dense_1", "Dense_0"))))
    assert report.verdict is Verdict.AGREE
    assert report.weights["first.weight"].candidate == "Dense_1.kernel"


def test_weights_are_pinned_by_name() -> None:
    wrong = {"first.weight": ("second/kernel", parity.transposed), "second.weight": ("first.kernel", np.transpose)}
    assert compare(weights=wrong).verdict is Verdict.DISAGREE
    right = {"first.weight": ("first.kernel", parity.transposed), "first.bias": "first/bias"}
    assert compare(weights=right).verdict is Verdict.AGREE
    plain = {f"{name}.weight": f"{name}.kernel" for name in ("first", "second")}
    assert compare(theirs=candidate(FlaxNet(transposed=True)), weights=plain).verdict is Verdict.AGREE


def converter(state: Mapping[str, Any]) -> Any:
    layers = {n: {"kernel": state[f"{n}.weight"].T, "bias": state[f"{n}.bias"]} for n in ("first", "second")}
    return {"params": layers}


def test_a_converter_is_what_is_checked() -> None:
    assert compare(weights=converter).verdict is Verdict.AGREE
    forgetful = compare(weights=lambda state: converter({**state, "second.weight": state["second.weight"].T}))
    assert [(f.kind, f.reference) for f in forgetful.findings] == [(FindingKind.FORWARD, "second")]


class Half(fnn.Module):
    """Its kernel is kept at twice its size."""

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", fnn.initializers.lecun_normal(), (4, 4))
        return x @ (0.5 * kernel) + self.param("bias", fnn.initializers.zeros, (4,))


class Halved(fnn.Module):
    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return Half(name="second")(jnp.tanh(Half(name="first")(x)))


def test_a_gradient_that_cannot_be_compared_is_no_agreement() -> None:
    def doubled(array: Any) -> Any:
        return 2 * array.T

    pins = {f"{name}.weight": (f"{name}.kernel", doubled) for name in ("first", "second")}
    report = compare(theirs=candidate(Halved()), weights=pins)
    assert report.verdict is Verdict.INCOMPLETE, report.findings
    assert any(line.startswith("gradient of first.weight") for line in report.not_compared)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"nowhere": "first.kernel"}, "weights name 'nowhere', which the reference has not; it has first.weight"),
        ({"first.weight": "nowhere"}, "weights name 'nowhere', which the candidate has not"),
        ({"first.weight": "first.bias"}, r"weights make \(4, 4\) of 'first.weight' for 'first.bias', .* \(4,\)"),
        (3, "weights must be names of tensors, or a function of the state, got 3"),
        (lambda state: {"params": {"first": {}}}, "the converter gives no first.kernel, first.bias, second"),
        (lambda state: {"nowhere": 1}, "the converter gives 'nowhere', which the candidate has not"),
    ],
)
def test_weights_that_are_none_are_one_line(weights: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        compare(weights=weights)


# what counts, and how it lies


class Padded(fnn.Module):
    """Gives another number than the reference where the mask is false."""

    fault: bool = False

    @fnn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        y = fnn.Dense(4, name="first")(x)
        return jnp.where(mask[..., None] != self.fault, y, -7.0)


class TorchPadded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return torch.where(mask[..., None], self.first(x), torch.zeros((), dtype=x.dtype))


MASK = np.arange(5) < np.array([[5], [3]])
PADDED = {"x": parity.normal(2, 5, 4), "mask": MASK}


@pytest.mark.parametrize("where", ["mask", MASK])
def test_positions_that_do_not_count_decide_nothing(where: Any) -> None:
    def at(fault: bool = False, **options: Any) -> parity.CompareReport:
        ports = bntorch.port(TorchPadded()), bnjax.port(Padded(fault))
        return parity.compare(*ports, inputs=PADDED, questions=("forced", "free"), **options)

    assert at().verdict is Verdict.DISAGREE
    report = at(where=where)
    assert report.verdict is Verdict.AGREE, report.findings
    assert "2 of 10 positions, which do not count" in report.not_compared
    assert at(fault=True, where=where).verdict is Verdict.DISAGREE


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("masks", "where is 'masks', and there is no such input; there are x, mask"),
        ([0.5], "where must be truth values of which some are true, or the name of an input of such"),
        ([False], "where must be truth values of which some are true, or the name of an input of such"),
    ],
)
def test_positions_that_are_none_are_one_line(where: Any, words: str) -> None:
    with pytest.raises(InputError) as error:
        parity.compare(bntorch.port(TorchPadded()), bnjax.port(Padded()), inputs=PADDED, where=where)
    assert str(error.value) == words


class Square(fnn.Module):
    """Takes (batch, height, width, channels), of which all sizes are the same."""

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return fnn.Conv(3, (1, 1), name="conv")(x)


def test_a_layout_that_shapes_do_not_tell_can_be_given() -> None:
    def at(**options: Any) -> parity.CompareReport:
        ports = bntorch.port(nn.Sequential(nn.Conv2d(3, 3, 1))), bnjax.port(Square())
        return parity.compare(*ports, inputs={"x": parity.normal(3, 3, 3, 3)}, questions=("forced",), **options)

    assert at(layouts={"x": (0, 2, 3, 1)}).verdict is Verdict.AGREE
    assert at(layouts={"x": (0, 2, 3, 1), "0": (0, 2, 3, 1)}).verdict is Verdict.AGREE
    assert at(layouts={"x": (0, 1, 2, 3)}).verdict is Verdict.DISAGREE
    assert at(layouts={"x": (0, 2, 3, 1), "0": (0, 3, 2, 1)}).verdict is Verdict.DISAGREE


@pytest.mark.parametrize(
    ("layouts", "words"),
    [
        ({"y": (0, 1)}, "layouts: 'y' is no input and no module of the reference"),
        ({"x": (0, 2)}, "layouts: the axes of 'x' must be an order of 0, 1, 2 and so on, got (0, 2)"),
        ([1], "layouts must be a dictionary of axes by name, got [1]"),
    ],
)
def test_layouts_that_are_none_are_one_line(layouts: Any, words: str) -> None:
    with pytest.raises(InputError) as error:
        compare(layouts=layouts)
    assert str(error.value) == words


@pytest.mark.parametrize("steps", [-1, 1.5, True])
def test_steps_that_are_none_are_one_line(steps: Any) -> None:
    with pytest.raises(InputError, match="steps must be a whole number from 0 on"):
        compare(steps=steps)


def test_steps_say_how_often_statistics_are_carried() -> None:
    def comparisons(steps: int) -> int:
        ours = bntorch.port(nn.Sequential(nn.BatchNorm1d(4, affine=False)))
        theirs = bnjax.port(fnn.BatchNorm(momentum=0.9, use_scale=False, use_bias=False))
        options = {"accept": ["biased_running_variance"], "questions": ("forced", "statistics")}
        return parity.compare(ours, theirs, inputs={"x": parity.normal(6, 4)}, steps=steps, **options).comparisons

    assert comparisons(4) - comparisons(2) == 2 * 2  # a mean and a variance each


# optimizers


def sgd(rate: float = 0.1, **options: Any) -> Callable[[Any], Any]:
    return lambda parameters: torch.optim.SGD(parameters, rate, **options)


def adamw(**options: Any) -> Callable[[Any], Any]:
    return lambda parameters: torch.optim.AdamW(parameters, 1e-2, **options)


@pytest.mark.parametrize(
    ("ours", "theirs", "step"),
    [
        (sgd(momentum=0.9), optax.sgd(0.1, momentum=0.9), None),
        (adamw(weight_decay=1e-4), optax.adamw(1e-2), None),
        (sgd(), optax.sgd(0.11), 0),
        (sgd(momentum=0.9), optax.sgd(0.1, momentum=0.9, nesterov=True), 0),
        (sgd(momentum=0.9, dampening=0.1), optax.sgd(0.1, momentum=0.9), 1),
        (adamw(), optax.adamw(1e-2), 0),  # PyTorch decays by 1e-2, optax by 1e-4
        (sgd(), optax.chain(optax.clip_by_global_norm(50.0), optax.sgd(0.1)), 2),
        (lambda p: torch.optim.RMSprop(p, 0.1, alpha=0.9), optax.rmsprop(0.1, decay=0.9), 0),
    ],
)
def test_optimizers_are_compared_step_by_step(ours: Any, theirs: Any, step: int | None) -> None:
    report = compare(reference(optimizer=ours), candidate(optimizer=theirs), questions=("optimizer",))
    if step is None:
        assert report.verdict is Verdict.AGREE, report.findings
    else:
        (finding,) = report.findings
        assert (finding.kind, finding.reference, finding.step) == (FindingKind.UPDATE, "", step)


def test_a_parameter_that_alone_is_updated_otherwise_is_named() -> None:
    def no_decay(parameters: Any) -> Any:
        first, *rest = parameters
        return torch.optim.AdamW([{"params": [first], "weight_decay": 0.0}, {"params": rest}], 1e-2, weight_decay=1e-4)

    report = compare(reference(optimizer=no_decay), candidate(optimizer=optax.adamw(1e-2)), questions=("optimizer",))
    (finding,) = report.findings
    assert (finding.kind, finding.reference, finding.value) == (
        FindingKind.UPDATE, "first", "the change of first.weight",
    )  # fmt: skip


# what is not compared


def test_without_a_loss_or_an_optimizer_that_is_said() -> None:
    report = compare(theirs=candidate(loss=None), questions=("optimizer",))
    assert report.verdict is Verdict.AGREE
    assert "nothing backward: give both ports a loss" in report.not_compared
    assert "no update: neither side has an optimizer" in report.not_compared
    report = compare(reference(optimizer=sgd()), questions=("optimizer",))
    assert "no update: the candidate has no optimizer" in report.not_compared


def test_narrow_numbers_are_told_and_lifted() -> None:
    def at(fault: str = "", lift_float32: bool = False) -> parity.CompareReport:
        case = Case(kind="partly_float32", fault=fault)
        return compare_specimen(case, questions=FORCED, lift_float32=lift_float32)

    report = at()
    assert report.verdict is Verdict.INCOMPLETE
    sides = {(each["side"], Path(each["source"].partition(":")[0]).name) for each in report.islands}
    assert sides == {(side, "partly_float32.py") for side in ("reference", "candidate")}
    assert report.as_json()["findings"] == []
    assert at(lift_float32=True).verdict is Verdict.AGREE
    (finding,) = at("norm_epsilon", lift_float32=True).findings
    assert (finding.reference, finding.kind) == ("norm", FindingKind.FORWARD)
    assert at("norm_epsilon").verdict is Verdict.DISAGREE


def test_an_accepted_difference_that_is_gone_is_told() -> None:
    report = compare(accept=["biased_running_variance@*"])
    (finding,) = report.findings
    assert finding.cause.name == "accepted_difference_gone"
    assert "biased_running_variance@*" in finding.cause.evidence


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"accept": ["nothing@*"]},
            "'nothing@\\*' cannot be accepted: no difference is named 'nothing'; choose one of",
        ),
        ({"questions": ("why",)}, "questions must be of forced, free, statistics, optimizer, precision, got 'why'"),
        ({"dtypes": ("float16",)}, "dtypes must be of float32, bfloat16, got 'float16'"),
        ({"inputs": 3}, "inputs must be a dictionary of inputs by name, or a list of such; got 3"),
        ({"inputs": {"x": "text"}}, "input 'x' holds <U4 and not numbers"),
    ],
)
def test_options_that_are_none_are_one_line(options: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        compare(**options)


# what goes wrong in a model


class Random(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.rng = nn.Linear(4, 4), np.random.default_rng(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(x) * float(self.rng.normal())


class Raises(fnn.Module):
    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        raise ValueError("no such thing")


def test_a_model_that_draws_its_own_numbers_is_told_as_that() -> None:
    with pytest.raises(InputError, match="the reference is not repeatable: it gives two answers to one batch"):
        compare(bntorch.port(Random(), loss=F.cross_entropy))
    report = compare(candidate(), bntorch.port(Random(), loss=F.cross_entropy))
    assert report.findings[0].cause.evidence.startswith("is not repeatable")


def test_a_candidate_that_raises_is_a_finding_with_the_line_in_the_users_file() -> None:
    report = compare(theirs=candidate(Raises()))
    (finding,) = report.findings
    assert (report.verdict, finding.kind) == (Verdict.DISAGREE, FindingKind.CRASH)
    assert "raised ValueError: no such thing (at " in finding.cause.evidence
    assert "test_pair_options.py:" in finding.cause.evidence


def test_a_reference_that_raises_is_bad_input() -> None:
    with pytest.raises(InputError, match="the reference cannot be run: it raised ValueError: no such thing"):
        compare(candidate(Raises()), reference())


# reports and files


PAIR = '''
"""Two layers."""
import parity
inputs = {"x": parity.normal(6, 4), "labels": parity.integers(6, below=4)}

def reference():
    import test_pair_options as t
    return t.reference()

def candidate():
    import test_pair_options as t
    return t.candidate(t.FlaxNet(transposed=%s))
'''


@pytest.fixture
def pair(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "pair.py"
        path.write_text(text)
        return str(path)

    return write


@pytest.mark.parametrize("transposed", [False, True])
def test_a_pairs_file_is_compared_in_two_processes(pair: Any, tmp_path: Path, transposed: bool) -> None:
    report = parity.compare(pair(PAIR % transposed), questions=FORCED)
    assert (report.title, report.agrees) == ("Two layers", not transposed)
    write_json(report, tmp_path / "r.json")
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["schema"] == 1
    assert found["verdict"] == str(report.verdict)
    assert [f["cause"]["name"] for f in found["findings"]] == ["kernel_axes"] * 2 * transposed
    assert found["weights"]["first.weight"]["candidate"] == "first.kernel"
    assert found["coverage"]["parameters"] == [4, 4]
    write_junit(report, tmp_path / "r.xml")
    assert (tmp_path / "r.xml").read_text().count("<failure") == 2 * transposed
    write_compare_report(report, tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert f"{report.verdict.upper()}" in page
    assert "first.weight" in page
    text = format_report(report)
    assert text.startswith(f"{report.verdict.upper()}: ")
    assert ("kernel_axes" in text) is transposed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1 / 0", r"pair.py cannot be read: it raised ZeroDivisionError: division by zero \(at .*pair.py:1"),
        ("inputs = {}", "has no function 'reference'; a pair has reference\\(\\) and candidate\\(\\)"),
        ("def reference(): 0\ndef candidate(): 0", "has no inputs; give a dictionary"),
        ("def reference(): return 3\ndef candidate(): 0\ninputs = {'x': [1.0]}", "returned int; it must return a port"),
        (
            "def reference(): import nothing_of_that_name\ndef candidate(): 0\ninputs = {'x': [1.0]}",
            "needs nothing_of_that_name, which is not installed",
        ),
        (PAIR % False + "\naccept = 'x'", "accept must be a list of NAME@PLACE, got 'x'"),
        (PAIR % False + "\ninputs = {'x': parity.normal(0)}", r"a shape of \(0,\) has 0 in it"),
    ],
)
def test_a_pairs_file_that_is_none_is_one_line(pair: Any, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parity.compare(pair(text))


def test_no_such_file_or_module_is_one_line() -> None:
    with pytest.raises(InputError, match=r"there is no file 'nowhere.py'"):
        parity.compare("nowhere.py")
    with pytest.raises(InputError, match="there is no module 'nowhere'"):
        parity.compare("nowhere")


def test_the_fixture_takes_both_forms(assert_parity: Any, pair: Any) -> None:
    assert assert_parity(reference(), candidate(), inputs=INPUTS, questions=FORCED).agrees
    with pytest.raises(AssertionError, match="DISAGREE: the two part at 2 places"):
        assert_parity(pair(PAIR % True), questions=FORCED)


# the user's models


def test_the_users_models_are_as_they_were() -> None:
    model = TorchNet()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    stream, x64 = torch.get_rng_state(), jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]
    compare(bntorch.port(model, loss=F.cross_entropy, optimizer=sgd()), candidate(optimizer=optax.sgd(0.1)),
            questions=("free", "statistics", "optimizer", "precision"))  # fmt: skip
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), stream)
    assert jax.config.jax_enable_x64 == x64  # pyright: ignore[reportAttributeAccessIssue]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_unexplained_is_said() -> None:
    class Scaled(fnn.Module):
        @fnn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return Dense(name="second")(jnp.tanh(1.001 * Dense(name="first")(x)))

    (finding,) = compare(theirs=candidate(Scaled())).findings
    assert (finding.between, finding.cause.name) == (("first", "second"), UNEXPLAINED)
    assert finding.relative == pytest.approx(1e-3, rel=0.9)


# what the models as a whole give


class TwoOutputs(nn.Module):
    def __init__(self, second: Callable[[torch.Tensor], Any], name: bool = False) -> None:
        super().__init__()
        self.first, self.then, self.name = nn.Linear(4, 4), second, name

    def forward(self, x: torch.Tensor) -> Any:
        z = self.first(x)
        return {"logits": z, "then": self.then(z)} if self.name else (z, self.then(z))


class TwoFlaxOutputs(fnn.Module):
    second: Callable[[jax.Array], Any]
    name_of: Any = None

    @fnn.compact
    def __call__(self, x: jax.Array, train: bool) -> Any:
        z = fnn.Dense(4, name="first")(x)
        return self.second(z) if self.name_of is None else self.name_of(z, self.second(z))


@pytest.mark.parametrize(
    ("ours", "theirs", "is_found"),
    [
        (torch.sigmoid, lambda z: (z, jax.nn.sigmoid(z)), False),
        (lambda z: z + 0, lambda z: (z, z + 0), False),  # twice the same
        (lambda z: z + 0, lambda z: (z, 2 * z), True),
        (torch.sigmoid, lambda z: (z,), True),
        (torch.sigmoid, lambda z: (z, jax.nn.sigmoid(z)[:, :3]), True),
        (torch.sigmoid, lambda z: (jax.nn.sigmoid(z), z), True),
        (lambda z: z.argmax(-1), lambda z: (z, z.argmax(-1)), False),
        (lambda z: z.argmax(-1), lambda z: (z, z.argmin(-1)), True),
        (lambda z: z > 0, lambda z: (z, z < 0), True),
    ],
)
def test_an_output_that_the_candidate_lacks_is_a_difference(ours: Any, theirs: Any, is_found: bool) -> None:
    ports = bntorch.port(TwoOutputs(ours)), bnjax.port(TwoFlaxOutputs(theirs))
    report = parity.compare(*ports, inputs={"x": parity.normal(6, 4)}, questions=FORCED)
    assert report.verdict is (Verdict.DISAGREE if is_found else Verdict.AGREE), (report.findings, report.not_compared)


def test_outputs_of_a_dictionary_go_by_their_names() -> None:
    def at(theirs: Any) -> parity.CompareReport:
        ports = bntorch.port(TwoOutputs(torch.tanh, name=True)), bnjax.port(TwoFlaxOutputs(jnp.tanh, theirs))
        return parity.compare(*ports, inputs={"x": parity.normal(6, 4)}, questions=FORCED)

    assert at(lambda z, then: {"then": then, "logits": z}).verdict is Verdict.AGREE
    assert at(lambda z, then: {"then": z, "logits": then}).verdict is Verdict.DISAGREE


class OtherInEvaluation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> Any:
        z = self.first(x)
        return (z, 2 * z) if self.training else z.softmax(-1)


class OtherInFlaxEvaluation(fnn.Module):
    @fnn.compact
    def __call__(self, x: jax.Array, train: bool) -> Any:
        z = fnn.Dense(4, name="first")(x)
        return (z, 2 * z) if train else jax.nn.sigmoid(z)


def test_an_output_that_only_evaluation_has_is_no_agreement() -> None:
    ports = bntorch.port(OtherInEvaluation()), bnjax.port(OtherInFlaxEvaluation())
    report = parity.compare(*ports, inputs={"x": parity.normal(6, 4)}, questions=FORCED)
    assert report.verdict is Verdict.INCOMPLETE
    assert any("of another structure" in each or "has another structure" in each for each in report.not_compared)


class TorchDropouts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.attention = nn.Linear(4, 4), nn.MultiheadAttention(4, 2, dropout=0.5, batch_first=True)
        self.lstm = nn.LSTM(4, 4, num_layers=2, dropout=0.5, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.dropout(self.first(x), 0.5, self.training)
        return self.lstm(self.attention(y, y, y, need_weights=False)[0])[0]


def test_a_dropout_that_is_no_module_drops_nothing_too() -> None:
    model = TorchDropouts()
    port = bntorch.port(model)
    one, other = (port.play({"x": np.ones((2, 3, 4))}, Mode.TRAIN) for _ in range(2))
    assert all(np.array_equal(array, other.values[key]) for key, array in one.values.items())
    assert model.lstm.dropout == 0.5


def test_dropout_is_told_as_not_compared() -> None:
    ours = bntorch.port(nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Dropout(0.5)))
    report = compare(ours, candidate(loss=None), inputs={"x": INPUTS["x"]})
    assert report.verdict is Verdict.AGREE, report.findings
    (line,) = (each for each in report.not_compared if each.startswith("dropout"))
    assert "3 of the reference" in line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seed": -1}, "seed must be a whole number from 0 on, got -1"),
        ({"accept": 3}, "accept must be a list of NAME@PLACE, got 3"),
        ({"questions": "forced"}, "questions must be a list of"),
        ({"inputs": {"x": np.full((2, 4), np.nan)}}, "input 'x' holds NaN"),
        ({"inputs": {"x": parity.normal(6, 4, std=-1.0)}}, "input 'x' cannot be drawn"),
        ({"inputs": [INPUTS, {"y": parity.normal(6, 4)}]}, "every set of inputs must have the same names"),
        ({"weights": {"first.weight": 3}}, "weights must be names, as"),
        ({"weights": lambda state: state["nope"]}, "weights raised KeyError"),
    ],
)
def test_what_cannot_be_used_is_one_line(options: Any, words: str) -> None:
    with pytest.raises(InputError) as error:
        compare(**options)
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: bntorch.port(TorchNet(), optimizer=NAME), "optimizer='sgd'"),
        (lambda: bntorch.port(TorchNet(), loss=nn.CrossEntropyLoss), "loss="),
        (lambda: bnjax.port(FlaxNet(), optimizer=optax.sgd), "optimizer="),
        (lambda: bnjax.port(FlaxNet(), loss=NAME), "loss='sgd'"),
        (lambda: parity.compare("pair.py", candidate()), "a pair's file has both sides"),
        (lambda: compare(ours=nn.Linear(2, 2)), "the reference is Linear; give a port"),
    ],
)
def test_what_is_no_port_or_no_part_of_one_is_one_line(make: Any, words: str) -> None:
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value).startswith(words)


def test_a_pairs_file_that_exits_is_no_agreement(tmp_path: Path) -> None:
    path = tmp_path / "pair.py"
    path.write_text("inputs = {}\nraise SystemExit(0)\n")
    with pytest.raises(InputError, match="cannot be read: it raised SystemExit"):
        parity.compare(str(path))


def test_a_sequence_of_layers_is_given_the_first_input() -> None:
    ours = bntorch.port(nn.Sequential(nn.Linear(4, 4), nn.Tanh()), loss=F.cross_entropy)
    report = parity.compare(ours, candidate(fnn.Sequential([fnn.Dense(4), jnp.tanh])), inputs=INPUTS, questions=FORCED)
    assert report.verdict is Verdict.AGREE, report.findings


class Images(fnn.Module):
    @fnn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        return fnn.Dense(4)(images)


def test_inputs_of_other_names_go_in_order() -> None:
    report = compare(bntorch.port(nn.Linear(4, 4), loss=F.cross_entropy), candidate(Images()))
    assert report.verdict is Verdict.AGREE, report.findings


class Stream(fnn.Module):
    is_cut: bool = False

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = fnn.Dense(4, name="2")(jnp.tanh(fnn.Dense(4, name="0")(x)))
        return fnn.Dense(4, name="head")(x + (jax.lax.stop_gradient(y) if self.is_cut else y))


class TorchStream(nn.Module):
    def __init__(self, is_cut: bool = False) -> None:
        super().__init__()
        self.is_cut = is_cut
        self.first, self.head = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        return self.head(x + (y.detach() if self.is_cut else y))


def test_a_gradient_that_is_stopped_is_one_finding() -> None:
    ours = bntorch.port(TorchStream(), loss=F.cross_entropy)
    assert compare(ours, candidate(Stream())).verdict is Verdict.AGREE
    (finding,) = compare(ours, candidate(Stream(is_cut=True))).findings
    assert (finding.kind, finding.between) == (FindingKind.BACKWARD, ("first.2", "head"))
    (finding,) = compare(candidate(Stream()), bntorch.port(TorchStream(is_cut=True), loss=F.cross_entropy)).findings
    assert (finding.kind, finding.between) == (FindingKind.BACKWARD, ("2", "head"))


@pytest.mark.filterwarnings("ignore:Casting complex values")
def test_complex_numbers_are_no_agreement() -> None:
    ports = (
        bntorch.port(TwoOutputs(lambda z: torch.complex(z, 2 * z))),
        bnjax.port(TwoFlaxOutputs(lambda z: (z, z + 3j * z))),
    )
    report = parity.compare(*ports, inputs={"x": parity.normal(6, 4)}, questions=FORCED)
    assert report.verdict is not Verdict.AGREE
    assert any("of complex numbers only the real parts" in each for each in report.not_compared)


def test_an_input_that_neither_a_model_nor_a_loss_takes_is_no_agreement() -> None:
    inputs = {**INPUTS, "mask": parity.uniform(6, 4)}
    ports = bntorch.port(TorchNet()), bnjax.port(FlaxNet())
    report = parity.compare(*ports, inputs=inputs, questions=FORCED)
    assert report.verdict is Verdict.INCOMPLETE, report.findings
    assert "what the inputs labels, mask do: neither model takes them, and there is no loss that could" in (
        report.not_compared
    )
    report = parity.compare(*ports, inputs={"x": INPUTS["x"]}, questions=FORCED)
    assert report.verdict is Verdict.AGREE, report.not_compared


@pytest.mark.parametrize(
    ("loss", "rule"),
    [
        (lambda z: z.mean(), r"the loss \(z\) is given the model's output and the inputs .* 1 here: too many"),
        (lambda z, y, w: z.mean(), "missing a required argument: 'w'"),
        (lambda z, y: z, r"must give one number, an array of shape \(\), and gives an array of shape \(6, 4\)"),
        (lambda z, y: None, "and gives None: take its mean"),
    ],
)
def test_a_loss_that_cannot_be_used_is_told_in_one_line(loss: Any, rule: str) -> None:
    for side, ports in (
        ("candidate", (bntorch.port(TorchNet(), loss=F.cross_entropy), bnjax.port(FlaxNet(), loss=loss))),
        ("reference", (bntorch.port(TorchNet(), loss=loss), bnjax.port(FlaxNet(), loss=cross_entropy))),
    ):
        with pytest.raises(InputError, match=rule) as raised:
            parity.compare(*ports, inputs=INPUTS, questions=FORCED)
        assert str(raised.value).startswith(f"the {side}: the loss")
        assert "\n" not in str(raised.value)


def test_frozen_parameters_are_told() -> None:
    model = TorchNet()
    model.first.requires_grad_(False)
    report = compare(bntorch.port(model, loss=F.cross_entropy))
    assert any("of the reference are frozen: first.weight, first.bias" in each for each in report.not_compared)


class StructureInEvaluation(fnn.Module):
    @fnn.compact
    def __call__(self, x: jax.Array, train: bool) -> Any:
        z = fnn.Dense(4, name="first")(x)
        return z if train else {"z": jax.nn.sigmoid(z)}


def test_an_output_that_the_candidate_has_in_training_alone_is_no_agreement() -> None:
    ours = bntorch.port(nn.Sequential(nn.Linear(4, 4)))
    report = parity.compare(ours, bnjax.port(StructureInEvaluation()), inputs={"x": parity.normal(6, 4)},
                            questions=FORCED)  # fmt: skip
    assert report.verdict is Verdict.INCOMPLETE, report.findings
    assert "the model output in evaluation, where the candidate has no such value" in report.not_compared


class TorchConstant(nn.Module):
    """Holds a tensor that is no parameter and no buffer, and gives it to a module."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.table = nn.Linear(4, 4), torch.linspace(0.1, 1.0, 24, dtype=torch.float64).reshape(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(self.table) + x


class FlaxConstant(fnn.Module):
    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return fnn.Dense(4, name="first")(jnp.linspace(0.1, 1.0, 24).reshape(6, 4)) + x


@pytest.mark.parametrize("is_reversed", [False, True])
def test_a_tensor_that_a_module_merely_holds_stays_as_it_was(is_reversed: bool) -> None:
    model = TorchConstant()
    before = model.table.clone()
    ports = [bntorch.port(model), bnjax.port(FlaxConstant())]
    parity.compare(*ports[:: -1 if is_reversed else 1], inputs={"x": parity.normal(6, 4)}, questions=FORCED)
    assert torch.equal(model.table, before)
