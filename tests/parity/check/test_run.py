"""What the check says of candidates that misbehave or show little, and of questions that compare nothing."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import misbehaving
import numpy as np
import pytest
from misbehaving import Bent, BiasedMinimal, Frozen, Minimal, Views, constant, doing, noisy

import parity
from parity import CheckConfig, CheckReport, InputError, ModelSpec
from parity.backend import as_backend
from parity.check import asking, lockstep, roles, run
from parity.check.findings import Findings
from parity.check.records import Question, Setting
from parity.check.screen import verdict_words
from parity.check.statistical import QUANTITIES, compare_paired
from parity.process import Side
from parity.reference import NumpyBackend, NumpyLearner
from parity.reference.backend import NumpyPopulation
from parity.sides import SideSpec, open_side
from parity.weights import Weights

CONFIG = CheckConfig(
    spec=ModelSpec(input_dim=12, output_dim=5, hidden_width=8),
    depths=(1,),
    batch_norm=(True,),
    sampled_steps=(0,),
    questions=("semantic",),
)
PRECISION = replace(CONFIG, questions=("precision",), dtypes=("float64",))
FREE_RUN = replace(CONFIG, questions=("free_run",), free_run_updates=5)
STATISTICAL = replace(CONFIG, spec=ModelSpec(hidden_width=4), questions=("statistical",), statistical_seeds=2)
FITTING = replace(CONFIG, spec=ModelSpec(hidden_width=4))


@pytest.fixture(scope="module")
def third() -> Iterator[Side]:
    with open_side(SideSpec(target="numpy", time_limit=None)) as side:
        yield side


@pytest.fixture(autouse=True)
def one_third(third: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    """All checks share the process of the NumPy reference, whose start takes most of their time."""

    @contextmanager
    def open_other(spec: SideSpec) -> Iterator[Side]:
        if spec.target == "numpy":
            yield third
            return
        with open_side(spec) as side:
            yield side

    monkeypatch.setattr(run, "open_side", open_other)


def judge(candidate: Any, reference: Any = None, config: CheckConfig = CONFIG) -> CheckReport:
    return run.check(reference or NumpyBackend(), candidate, config=config)


def of_step(**changes: Callable[[Any], Any]) -> Bent:
    """With attributes of what `train_step` returns changed."""
    return Bent(step=lambda step: replace(step, **{name: f(getattr(step, name)) for name, f in changes.items()}))


def of_inputs(**changes: Callable[[Any], Any]) -> Bent:
    """With attributes of what `inputs` returns changed."""
    return Bent(presented=lambda inputs: replace(inputs, **{n: f(getattr(inputs, n)) for n, f in changes.items()}))


def without_first(arrays: Weights) -> Weights:
    return dict(list(arrays.items())[1:])


def with_another(arrays: Weights) -> Weights:
    return {**arrays, "hidden.9.kernel": np.zeros(2)}


def nan_in_first(arrays: Weights) -> Weights:
    name = next(iter(arrays))
    return {
        **arrays,
        name: np.where(np.arange(arrays[name].size).reshape(arrays[name].shape) == 0, np.nan, arrays[name]),
    }


def overwrite(array: Any) -> None:
    array[...] = 0


# no answer

NO_ANSWER: dict[str, tuple[Bent, str]] = {
    "raises": (doing(misbehaving.raises), "raised RuntimeError: no licence for this machine"),
    "calls sys.exit": (doing(misbehaving.exits), "raised SystemExit: 0"),
    "no step": (Bent(step=lambda step: None), "returned NoneType without 'loss'"),
    "a dict for a step": (Bent(step=vars), "returned dict without 'loss'"),
    "no logits": (Bent(logits=lambda logits: None), r"shape \(\) instead of \(32, 5\)"),
    "no state": (Bent(state=lambda state: None), "weights must be a dict of arrays by neutral name, got NoneType"),
    "a list of activations": (Bent(shown=list), "activations must be a dict of arrays by neutral name, got list"),
    "transposed logits": (Bent(logits=np.transpose), r"shape \(5, 32\) instead of \(32, 5\)"),
    "loss of shape (1,)": (of_step(loss=np.atleast_1d), r"loss has shape \(1,\) instead of \(\)"),
    "ragged logits": (Bent(logits=lambda logits: [[1.0], [1.0, 2.0]]), "inhomogeneous shape"),
    "complex logits": (Bent(logits=np.complex128), "dtype complex128, which is no real number"),
    "objects": (Bent(logits=lambda logits: logits.astype(object)), "dtype object, which is no real number"),
    "text": (of_step(loss=str), "loss has dtype .*, which is no real number"),
    "missing gradient": (of_step(gradients=without_first), "gradients .*missing hidden.0.kernel"),
    "extra gradient": (of_step(gradients=with_another), "gradients .*unexpected hidden.9.kernel"),
    "missing weight": (Bent(state=without_first), "weights .*missing hidden.0.kernel"),
    "extra weight": (Bent(state=with_another), "weights .*unexpected hidden.9.kernel"),
    "missing activation": (of_step(activations=without_first), "activations .*missing hidden.0.linear"),
    "extra evaluated activation": (Bent(shown=with_another), "activations .*unexpected hidden.9.kernel"),
    "writes to the inputs": (Bent(given=lambda x, y: overwrite(x)), "wrote into the inputs that it was given"),
    "writes to the labels": (Bent(given=lambda x, y: overwrite(y)), "wrote into the inputs that it was given"),
    "writes to the evaluated": (Bent(evaluated=overwrite), "wrote into the inputs that it was given"),
    "no losses of a population": (Bent(losses=lambda record: None), "no attribute 'losses'"),
    "population without a weight": (Bent(member=without_first), "missing hidden.0.kernel"),
    "losses of another shape": (
        Bent(losses=lambda record: replace(record, losses=record.losses.T)),
        r"losses has shape \(3, 2\) instead of \(2, 3\)",
    ),
    "versions raise": (Bent(versions=misbehaving.raises), "raised RuntimeError: no licence"),
}


@pytest.mark.parametrize(("candidate", "words"), NO_ANSWER.values(), ids=NO_ANSWER)
def test_no_answer_is_a_verdict(candidate: Bent, words: str) -> None:
    report = judge(candidate)
    assert (report.verdict, report.failed_question) == ("disagree", Question.CRASH)
    assert report.cause is not None
    assert (report.cause.name, report.cause.side) == ("unexplained", "candidate")
    assert report.message.startswith("the candidate bent ")
    assert re.search(words, report.message)


@pytest.mark.parametrize("config", [CONFIG, PRECISION, FREE_RUN], ids=lambda config: config.questions[0])
def test_the_reference_may_be_who_gives_none(config: CheckConfig) -> None:
    report = judge(NumpyBackend(), doing(misbehaving.raises), config)
    assert report.failed_question is Question.CRASH
    assert report.message.startswith("the reference bent raised RuntimeError: no licence for this machine (at ")
    assert report.cause is not None
    assert report.cause.side == "reference"


# wrong answers

WRONG: dict[str, Any] = {
    "NaN in one gradient": of_step(gradients=nan_in_first),
    "NaN in one weight": Bent(state=nan_in_first),
    "NaN everywhere": constant(np.nan),
    "zero everywhere": constant(0.0),
    "one everywhere": constant(1.0),
    "float32": misbehaving.single(),
    "noise": noisy(1e-3),
    "never updates": Frozen(),
    "a population that lies about its weights": Bent(member=lambda w: {name: a + 1e-6 for name, a in w.items()}),
    "a population that lies about its losses": Bent(losses=lambda r: replace(r, losses=r.losses + 1e-6)),
    "a population of NaN": Bent(losses=lambda r: replace(r, losses=np.full(r.losses.shape, np.nan))),
    "minimal and biased": BiasedMinimal(),
}


@pytest.mark.parametrize("candidate", WRONG.values(), ids=WRONG)
def test_a_wrong_answer_is_a_disagreement(candidate: Any) -> None:
    report = judge(candidate)
    assert (report.verdict, report.failed_question) == ("disagree", Question.SEMANTIC)
    assert report.first_divergence is not None
    assert report.cause is not None
    assert report.cause.side == "candidate"


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_two_that_share_nonsense_disagree(value: float) -> None:
    report = judge(constant(value), constant(value))
    assert (report.verdict, report.failed_question) == ("disagree", Question.SEMANTIC)
    assert report.cause is not None
    assert {cause.side for cause in (report.cause, *report.other_causes)} == {"candidate", "reference"}


def test_a_shared_fault_is_told_of_both() -> None:
    report = judge(BiasedMinimal(), BiasedMinimal())
    assert report.cause is not None
    causes = [(cause.name, cause.side) for cause in (report.cause, *report.other_causes)]
    assert causes == [("biased_running_variance", "candidate"), ("biased_running_variance", "reference")]


def test_a_faulty_reference_is_told() -> None:
    report = judge(NumpyBackend(), BiasedMinimal())
    assert report.cause is not None
    assert (report.cause.name, report.cause.side) == ("biased_running_variance", "reference")


def test_two_answers_to_one_question_are_not_repeatable() -> None:
    cause = judge(noisy(1e-3)).cause
    assert cause is not None
    assert (cause.name, cause.side) == ("not_repeatable", "candidate")
    assert "gives two answers to one question" in cause.evidence


def test_nan_is_repeatable() -> None:
    cause = judge(constant(np.nan)).cause
    assert cause is not None
    assert cause.name != "not_repeatable"


def test_infinity_is_a_disagreement() -> None:
    assert not judge(of_step(logits=lambda logits: np.full(logits.shape, np.inf))).agrees


def test_writing_to_the_given_weights_is_a_disagreement() -> None:
    assert not judge(Bent(loaded=lambda weights: [overwrite(array) for array in weights.values()])).agrees


def test_a_population_that_lies_about_what_is_finite_is_a_disagreement() -> None:
    assert not judge(Bent(losses=lambda record: replace(record, finite=~record.finite))).agrees


# honest answers


def test_an_honest_object_agrees() -> None:
    report = judge(Bent())
    assert report.agrees
    assert report.not_compared == ("inputs: the network fits no data set, so each side was handed random ones",)


def test_one_object_may_be_both() -> None:
    both = Bent()
    assert judge(both, both).agrees


@pytest.mark.parametrize("candidate", [noisy(2.0**-52), Views()], ids=["noise of an ulp", "views"])
def test_what_is_only_unusual_agrees(candidate: Bent) -> None:
    assert judge(candidate).agrees


def test_the_least_that_a_candidate_must_have() -> None:
    report = judge(Minimal(), config=FITTING)
    assert report.agrees
    assert report.candidate == "Minimal"
    assert report.comparisons > 500
    assert report.not_compared == (
        "candidate Minimal does not present its own inputs",
        "the candidate does not show a population (many learning rates trained at once)",
        "the candidate does not show activations of the hidden layers",
        "the candidate does not show activations of the hidden layers in evaluation",
    )


# not asked


@pytest.mark.parametrize(
    ("candidate", "reference", "config", "words"),
    [
        (
            Bent(dtypes=("bfloat16",)), Bent(), CONFIG,
            "semantic was not asked of the candidate bent, which does not offer float64; let both sides offer float64",
        ),
        (
            Bent(dtypes=("float32",)), Bent(dtypes=("float64", "float32")), CONFIG,
            "semantic was not asked of the candidate .*; ask another question with "
            "--questions precision --dtype float32",
        ),
        (Bent(dtypes=()), Bent(), FITTING, "semantic was not asked of the candidate"),
        (Bent(), Bent(dtypes=("bfloat16",)), CONFIG, "semantic was not asked of the reference"),
        (
            Bent(), Bent(), replace(PRECISION, dtypes=("bfloat16",)),
            "precision was not asked of the candidate .* offer bfloat16; "
            "ask another question with --questions semantic",
        ),
        (
            Bent(), Bent(), replace(PRECISION, dtypes=("float64", "bfloat16")),
            "precision was not asked of the candidate .* bfloat16; ask for less with --dtype float64",
        ),
        (Bent(dtypes=("float32",)), Bent(), FREE_RUN, "free_run was not asked of the candidate"),
        (
            Bent(), Bent(), replace(STATISTICAL, dtypes=("float32",)),
            "statistical was not asked: the two do not both offer float32; ask another question with",
        ),
        (Bent(), Bent(), replace(STATISTICAL, spec=CONFIG.spec), "statistical was not asked: the network fits no data"),
    ],
)  # fmt: skip
def test_what_could_not_be_asked_makes_the_verdict_incomplete(
    candidate: Any, reference: Any, config: CheckConfig, words: str
) -> None:
    report = judge(candidate, reference, config)
    assert (report.verdict, report.failed_question, report.cause) == ("incomplete", None, None)
    assert not report.agrees
    assert re.match(words, report.not_asked[0])


def test_the_references_own_comparisons_earn_nothing() -> None:
    report = judge(Bent(dtypes=("float32",)), Bent())
    assert (report.comparisons, report.sensitivity()) == (0, 0.0)


def test_a_port_of_float32_alone_is_told_how_to_ask_for_less_and_then_agrees() -> None:
    port, reference = Bent(dtypes=("float32",)), Bent(dtypes=("float32",))
    both = replace(CONFIG, questions=("semantic", "precision"))
    report = judge(port, reference, both)
    assert report.verdict == "incomplete"
    assert report.not_asked[0].endswith("; ask for less with --questions precision")
    assert report.comparisons == sum(m.pair[0] == lockstep.CANDIDATE for m in report.measurements) > 0
    assert judge(port, reference, replace(both, questions=("precision",))).agrees


def test_a_failure_outweighs_what_was_not_asked() -> None:
    config = replace(FITTING, questions=("semantic", "precision"), dtypes=("bfloat16",))
    report = judge(BiasedMinimal(), Bent(), config)
    assert (report.verdict, report.failed_question) == ("disagree", Question.SEMANTIC)
    assert report.not_asked


def test_the_numpy_reference_needs_no_other_dtype() -> None:
    class Both(Minimal):
        dtypes = ("float64", "float32")

    report = judge(Both(), config=replace(FITTING, questions=("semantic", "precision")))
    assert (report.verdict, report.not_asked) == ("agree", ())


def test_a_numpy_reference_whose_process_ends_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_side(SideSpec(target="numpy", time_limit=None)) as mortal:

        @contextmanager
        def open_mortal(spec: SideSpec) -> Iterator[Side]:
            if spec.target == "numpy":
                yield mortal
                return
            with open_side(spec) as side:
                yield side

        monkeypatch.setattr(run, "open_side", open_mortal)
        with pytest.raises(InputError, match=r"^the witness numpy was ended by SIGKILL; .*run the check again$"):
            judge(doing(mortal.kill))  # pyright: ignore[reportAttributeAccessIssue]


# inputs


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        (Bent(presented=lambda inputs: misbehaving.raises()), "raised RuntimeError: no licence"),
        (Bent(presented=vars), "inputs returned dict without 'train_inputs'"),
        (of_inputs(weights=lambda weights: None), "initial weights must be a dict by neutral name, got NoneType"),
        (of_inputs(weights=without_first), "missing hidden.0.kernel"),
        (of_inputs(weights=lambda weights: weights | {"hidden.x.kernel": 0.0}), "unexpected hidden.x.kernel"),
        (of_inputs(weights=lambda weights: weights | {3: 0.0}), "unexpected 3"),
        (of_inputs(train_inputs=lambda a: a[:-1]), r"inputs has shape \(999, 784\) instead of \(1000, 784\)"),
        (of_inputs(train_inputs=np.complex128), "training inputs has dtype complex128, which is no real number"),
        (of_inputs(test_labels=lambda a: a.astype(str)), "test labels has dtype .*, which is no real number"),
        (of_inputs(batches=lambda a: a.astype(object)), "index stream has dtype object, which is no real number"),
    ],
)
def test_inputs_that_are_none(candidate: Bent, words: str) -> None:
    report = judge(candidate, config=FITTING)
    assert (report.verdict, report.failed_question) == ("disagree", Question.CRASH)
    assert re.search(words, report.message)


@pytest.mark.parametrize(
    "change",
    [
        {"train_inputs": np.zeros_like},
        {"test_inputs": lambda a: np.full(a.shape, np.nan)},
        {"train_labels": lambda a: (a + 1) % 10},
        {"batches": lambda a: a[::-1]},
        {"weights": lambda weights: {name: a + 1e-3 for name, a in weights.items()}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_wrong_inputs_are_a_disagreement(change: dict[str, Callable[[Any], Any]]) -> None:
    report = judge(of_inputs(**change), config=FITTING)
    assert (report.verdict, report.failed_question) == ("disagree", Question.INPUTS)
    assert report.cause is not None
    assert (report.cause.name, report.cause.side) == ("unexplained", "candidate")


def of_learner(learner: type[NumpyLearner]) -> Any:
    """The reference with another learner."""

    class Backend(NumpyBackend):
        def learner(self, spec, weights, dtype):
            return learner(spec, weights)

    return Backend()


def of_population(**methods: Callable[..., Any]) -> Any:
    """The reference with a population that cheats."""
    population = type("Cheat", (NumpyPopulation,), methods)

    class Backend(NumpyBackend):
        def population(self, spec, weights, learning_rates, inputs, labels, dtype):
            return population(spec, weights, learning_rates, inputs, labels)

    return Backend()


CHEATS = {
    "evaluates what it trained on": {
        "evaluate": lambda self, x, y: NumpyPopulation.evaluate(self, self._inputs, self._labels)
    },
    "ignores the indices": {
        "run_pass": lambda self, i: NumpyPopulation.run_pass(self, np.arange(i.size).reshape(i.shape))
    },
    "has no accuracy": {
        "evaluate": lambda self, x, y: replace(NumpyPopulation.evaluate(self, x, y), accuracy=np.full(3, np.nan))
    },
}


@pytest.mark.parametrize("methods", CHEATS.values(), ids=CHEATS)
def test_a_population_that_cheats_disagrees(methods: dict[str, Callable[..., Any]]) -> None:
    assert not judge(of_population(**methods)).agrees


class _Unsayable(BaseException):
    def __str__(self) -> str:
        raise ValueError("no words")


def _raise_unsayable() -> None:
    raise _Unsayable


def test_an_exception_without_words_is_a_verdict() -> None:
    report = judge(doing(_raise_unsayable))
    assert (report.verdict, report.failed_question) == ("disagree", Question.CRASH)
    assert report.message.startswith("the candidate bent raised _Unsayable (at ")


class _Overwrites(NumpyLearner):
    """Writes into the inputs whose activations it is asked for."""

    def activations(self, inputs, pattern=None):
        shown = super().activations(inputs, pattern)
        overwrite(inputs)
        return shown


def test_activations_that_write_to_their_inputs_are_a_verdict() -> None:
    report = judge(of_learner(_Overwrites))
    assert report.failed_question is Question.CRASH
    assert "wrote into the inputs that it was given" in report.message


def test_a_port_needs_no_dtypes_to_be_trained() -> None:
    assert not hasattr(Minimal(), "dtypes")
    report = judge(Minimal(), config=replace(STATISTICAL, dtypes=("float64",)))
    assert report.not_asked == ()
    assert [each.quantity for each in report.equivalences] == list(QUANTITIES)


class _Text(str):
    __slots__ = ()


def test_what_a_side_says_of_itself_is_plain_text() -> None:
    bent = Bent(versions=lambda: {_Text("bent"): _Text("1.0")}, dtypes=(_Text("float64"),), name=_Text("bent"))
    said = roles.describe(as_backend(bent))
    assert {type(word) for word in (*said.versions, *said.versions.values(), *said.dtypes, said.title)} == {str}


class _ForgetsEval(NumpyLearner):
    """Evaluates in train mode, unless its activations were asked for just before."""

    asked = False

    def activations(self, inputs, pattern=None):
        self.asked = True
        return super().activations(inputs, pattern)

    def evaluate(self, inputs, pattern=None):
        if self.asked:
            return super().evaluate(inputs, pattern)
        twin = NumpyLearner(self._state.spec, self.weights())
        return np.array(twin.train_step(inputs, np.zeros(len(inputs), int), 0.1).logits)


def test_evaluation_that_leans_on_another_call_disagrees() -> None:
    assert not judge(of_learner(_ForgetsEval)).agrees


class _FloatFault(Minimal):
    """Honest in float64; in the working dtype its steps are changed."""

    def __init__(self, change: Callable[[Any], Any]) -> None:
        self.change = change

    def learner(self, spec, weights, dtype):
        learner = super().learner(spec, weights, "float64")
        if dtype == "float32":
            step = learner.train_step
            setattr(learner, "train_step", lambda *given: self.change(step(*given)))  # noqa: B010
        return learner


@pytest.mark.parametrize(
    "change",
    [
        lambda step: replace(step, logits=step.logits * np.nan),
        lambda step: replace(step, gradients={name: 2 * a for name, a in step.gradients.items()}),
    ],
    ids=["NaN", "gradients doubled"],
)
def test_a_port_without_activations_is_held_to_its_precision(change: Callable[[Any], Any]) -> None:
    report = judge(_FloatFault(change), config=replace(FITTING, questions=("semantic", "precision")))
    assert (report.verdict, report.failed_question) == ("disagree", Question.PRECISION)


def test_where_rounding_can_switch_a_unit_a_port_without_activations_must_be_finite(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lockstep, "can_switch", lambda seen, keys: True)
    config = replace(FITTING, questions=("semantic", "precision"))
    not_finite = judge(_FloatFault(lambda step: replace(step, logits=step.logits * np.nan)), config=config)
    assert (not_finite.verdict, not_finite.failed_question) == ("disagree", Question.PRECISION)
    doubled = {"gradients": lambda step: {name: 2 * array for name, array in step.gradients.items()}}
    unknown = judge(_FloatFault(lambda step: replace(step, gradients=doubled["gradients"](step))), config=config)
    assert any("held only to be finite" in words for words in unknown.not_compared)
    # What its update leaves does not follow from the gradients that it shows, and that is judged always.
    assert unknown.first_divergence is not None
    assert unknown.first_divergence.tensor.startswith("increment of")
    # Logits are continuous where a unit switches, so they are judged always.
    assert judge(_FloatFault(lambda step: replace(step, logits=step.logits * 2)), config=config).failed_question


class _ShowsTrainingOnly(NumpyLearner):
    """Wrong in evaluation, of which it shows no activations."""

    def activations(self, inputs, pattern=None) -> Any:
        return None

    def evaluate(self, inputs, pattern=None):
        return 2 * super().evaluate(inputs, pattern)


class _TrainsWrongly(_ShowsTrainingOnly):
    def train_step(self, inputs, labels, learning_rate, pattern=None, masks=None):
        step = super().train_step(inputs, labels, learning_rate, pattern, masks)
        return replace(step, logits=2 * step.logits)


def test_a_port_that_shows_its_activations_in_training_only_is_judged_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lockstep, "can_switch", lambda seen, keys: True)
    assert judge(of_learner(_ShowsTrainingOnly), config=PRECISION).failed_question is Question.PRECISION
    assert judge(of_learner(_TrainsWrongly), config=PRECISION).failed_question is Question.PRECISION


def test_a_trajectory_that_blows_up_is_no_accusation() -> None:
    for norm in (True, False):
        config = replace(CONFIG, depths=(1,), batch_norm=(norm,), learning_rate=1e30, sampled_steps=(0, 1))
        report = judge(Bent(), config=config)
        assert report.verdict == "agree"
        # A fault at the first step shows before anything overflows.
        assert judge(Bent(step=lambda step: replace(step, logits=2 * step.logits)), config=config).first_divergence


@pytest.mark.parametrize("config", [CONFIG, PRECISION, FREE_RUN], ids=lambda config: config.questions[0])
def test_inputs_come_before_whatever_is_asked(config: CheckConfig) -> None:
    report = judge(of_inputs(train_labels=lambda a: (a + 1) % 10), config=replace(config, spec=FITTING.spec))
    assert (report.verdict, report.failed_question) == ("disagree", Question.INPUTS)


def test_faults_of_two_questions_are_each_named_once() -> None:
    config = CheckConfig(depths=(1, 2), batch_norm=(True,), questions=("semantic",), sampled_steps=(0,))
    candidate = NumpyBackend().with_fault("biased_pixel_std").with_fault("double_update")
    report = parity.check("numpy", candidate, config=config)
    assert report.failed_question is Question.INPUTS
    assert report.cause is not None
    assert report.cause.name == "biased_pixel_std"
    assert [cause.name for cause in report.other_causes] == ["double_update"]


def test_causes_of_two_sides_that_fail_in_different_networks_are_both_named() -> None:
    reference = NumpyBackend().with_fault("biased_running_variance")  # shows at depth 1, a transposed kernel does not
    config = replace(CONFIG, depths=(1, 2))
    report = judge(NumpyBackend().with_fault("transposed_kernel"), reference, config)
    assert report.cause is not None
    causes = {(cause.side, cause.name) for cause in (report.cause, *report.other_causes)}
    assert causes == {("reference", "biased_running_variance"), ("candidate", "transposed_kernel")}


class _WrongInputs(Bent):
    def inputs(self, dataset: Any, spec: Any, training: Any) -> Any:
        return NumpyBackend().with_fault("biased_pixel_std").inputs(dataset, spec, training)


def test_a_fault_of_the_inputs_hides_no_unknown_one_of_the_network() -> None:
    candidate = _WrongInputs(step=lambda step: replace(step, logits=2 * step.logits))
    report = judge(candidate, config=FITTING)
    assert report.cause is not None
    assert [cause.name for cause in (report.cause, *report.other_causes)] == ["biased_pixel_std", "unexplained"]


def test_a_search_that_fails_loses_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> Any:
        raise ValueError("a fit went wrong")

    monkeypatch.setattr(asking, "explain_role", broken)
    with open_side(SideSpec(target=NumpyBackend())) as here:  # a process would not see the change
        monkeypatch.setattr(run, "open_side", lambda spec: _same(here) if spec.target == "numpy" else open_side(spec))
        report = judge(NumpyBackend().with_fault("weight_decay"))
    assert (report.verdict, report.failed_question) == ("disagree", Question.SEMANTIC)
    assert report.cause is not None
    assert report.cause.name == "unexplained"
    assert "the search for a cause failed: " in report.cause.evidence
    assert "a fit went wrong" in report.cause.evidence


@contextmanager
def _same(side: Side) -> Iterator[Side]:
    yield side


def test_a_signal_that_has_vanished_is_nobodys_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "has_vanished", lambda found: True)
    report = judge(NumpyBackend())
    assert report.cause is not None
    assert (report.verdict, report.cause.name, report.cause.side) == ("disagree", "vanished_signal", "")
    assert "choose another seed or width" in report.cause.evidence


@pytest.mark.parametrize("share", [np.nan, np.inf])
def test_an_accuracy_that_is_none_is_no_result(share: float) -> None:
    def evaluate(self, inputs, labels):
        found = NumpyPopulation.evaluate(self, inputs, labels)
        return replace(found, accuracy=np.full_like(found.accuracy, share))

    report = judge(of_population(evaluate=evaluate), config=replace(STATISTICAL, dtypes=("float64",)))
    assert report.failed_question is Question.CRASH
    assert "accuracy must be" in report.message


def test_trainings_that_cannot_be_paired_are_no_agreement() -> None:
    findings = Findings(CONFIG, {"candidate": "a", "reference": "b"})
    findings.equivalences.append(
        compare_paired(Setting(depth=1, batch_norm=True, seed=0), "loss", np.full(3, np.inf), np.full(3, np.inf))
    )
    assert findings.report("synthetic", "c").verdict == "disagree"


# float32 in float64's place


def shown_as(change: Callable[[Any], Any]) -> Bent:
    """With every activation and gradient changed; the state is as it should be."""

    def step(step: Any) -> Any:
        changed = {name: change(array) for name, array in step.gradients.items()}
        shown = {name: change(array) for name, array in (step.activations or {}).items()}
        return replace(step, logits=change(step.logits), gradients=changed, activations=shown)

    return Bent(step=step)


@pytest.mark.parametrize(
    "change", [lambda a: np.full_like(a, np.nan), np.zeros_like, lambda a: a.astype(np.float32).astype(np.float64)]
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_only_what_is_computed_in_float32_is_said_to_be(change: Callable[[Any], Any]) -> None:
    report = judge(shown_as(change))
    assert report.cause is not None
    assert report.cause.name == "unexplained"


def test_registered_backends_have_titles_and_others_the_name_that_was_given() -> None:
    report = parity.check("numpy", "numpy", config=replace(CONFIG, dataset="synthetic"))
    assert report.titles == {"numpy": "NumPy"}
    own = parity.check("numpy", Bent(name="mine"), config=replace(CONFIG, dataset="synthetic"))
    assert own.titles == {"numpy": "NumPy"}
    assert own.title(own.candidate) == "mine"
    assert verdict_words(report) == "NumPy computes what NumPy computes"
    named = replace(report, candidate="numpy with fast_variance", reference="mine:make")
    assert verdict_words(named) == "NumPy with fast_variance computes what mine:make computes"
