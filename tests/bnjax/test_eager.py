"""The variant that compiles nothing."""

from bnjax.eager import _NotCompiledLearner
from bnjax.learner import Learner

PROGRAMS = ("train_program", "logits_program", "activations_program")


def test_no_program_of_it_is_compiled() -> None:
    for name in PROGRAMS:
        assert hasattr(getattr(Learner, name), "lower"), name
        assert not hasattr(getattr(_NotCompiledLearner, name), "lower"), name
