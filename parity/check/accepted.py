"""Accepted differences: the reference is played with them, so that everything else is still judged exactly."""

from collections.abc import Iterable, Sequence

from parity.check.catalogue import CATALOGUE
from parity.errors import InputError, choices
from parity.reference import NumpyBackend
from parity.reference.faults import default_values, part_of
from parity.spec import ModelSpec

GONE, UNSEEN = "accepted_difference_gone", "accepted_difference_unseen"


def gone_words(name: str) -> str:
    """Return what is said of an accepted difference that the candidate no longer has."""
    return f"the accepted difference {name} is no longer there; leave out --accept {name}"


def unseen_words(name: str) -> str:
    """Return what is said of an accepted difference of which nothing that was asked tells whether it is there."""
    return f"nothing that was asked shows whether the accepted difference {name} is there; leave out --accept {name}"


def accepted_words(name: str) -> str:
    """Return the name of an accepted difference, with the values that it is accepted at.

    >>> accepted_words("weight_decay")
    'weight_decay (coefficient 0.0001)'
    """
    values = ", ".join(f"{value} {default:g}" for value, default in default_values(name).items())
    return f"{name} ({values})" if values else name


def check_difference(role: str, name: str, specs: Iterable[ModelSpec]) -> None:
    """Check that a difference of the catalogue can be put into one of the networks.

    Args:
        role: what the difference is for, in words.
        name: of the difference.
        specs: the networks that are asked for.

    Raises:
        InputError: it is unknown, or applies to none of them.
    """
    if name not in CATALOGUE:
        raise InputError(f"no {role} is named {name!r}; {choices(name, CATALOGUE)}")
    if not any(CATALOGUE[name].applies(spec) for spec in specs):
        raise InputError(
            f"the {role} {name!r} ({CATALOGUE[name].what}) does not apply to any of the networks that are asked for; "
            "choose other depths, other conventions, or with batch norm"
        )


def check_accepted(names: Sequence[str], questions: Sequence[str], specs: Sequence[ModelSpec]) -> None:
    """Check that differences can be accepted together.

    Raises:
        InputError: one is unknown or applies to no network, two are in one part, or the questions do not show one.
    """
    parts: dict[str, str] = {}
    for name in names:
        check_difference("accepted difference", name, specs)
        part = part_of(name)
        if part != "conventions" and part in parts:
            raise InputError(
                f"accepted differences must be in different parts, and {parts[part]!r} and {name!r} are in one "
                f"({part.replace('_', ' ')}); accept one of them"
            )
        parts[part] = name
        if CATALOGUE[name].shows_in == "precision" and set(questions) != {"precision"}:
            raise InputError(
                f"{name!r} is a difference of the working dtype, which only the precision question asks for; accept it "
                f"with --questions precision, got {', '.join(questions)}"
            )
        if CATALOGUE[name].shows_in != "inputs" and not {"semantic", "precision"} & set(questions):
            raise InputError(
                f"accepting {name!r} needs the semantic or the precision question, which show whether it is still "
                f"there, got {', '.join(questions)}; add one of them"
            )


def reference_with(names: Iterable[str]) -> NumpyBackend:
    """Return the NumPy reference with these differences."""
    reference = NumpyBackend()
    for name in names:
        reference = reference.with_fault(name)
    return reference
