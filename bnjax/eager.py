"""The same functions without a compiler, and without donated memory."""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import jax

from bnjax.learner import Learner
from bnjax.population import Population
from bnjax.programs import Programs, evaluation_activations, evaluation_logits, evaluation_sums, run_lanes
from bnjax.train import sgd_step


def not_compiled(backend: Any) -> Any:
    """Return the backend that dispatches every operation on its own."""
    return replace(backend, learner_type=_NotCompiledLearner, population_type=_NotCompiledPopulation)


def not_donated(backend: Any) -> Any:
    """Return the backend whose updates get memory of their own."""
    return replace(backend, learner_type=_NotDonatedLearner)


def _eager(program: Callable[..., Any]) -> Any:
    @wraps(program)
    def run(*args: Any, **named: Any) -> Any:
        with jax.disable_jit():
            return program(*args, **named)

    return run


class _NotCompiledLearner(Learner):
    train_program = staticmethod(_eager(sgd_step))
    logits_program = staticmethod(_eager(evaluation_logits))
    activations_program = staticmethod(_eager(evaluation_activations))


class _NotCompiledPopulation(Population):
    programs = Programs(_eager(run_lanes), _eager(evaluation_sums))


class _NotDonatedLearner(Learner):
    train_program = staticmethod(jax.jit(sgd_step))
