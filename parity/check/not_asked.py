"""What could not be asked of a side though it was asked for, and how to ask for less."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from parity.check.config import CheckConfig
from parity.check.lockstep import CANDIDATE, REFERENCE
from parity.check.roles import About, RoleSide


@dataclass(frozen=True)
class Offer:
    """What two sides offer for the questions of a check.

    Args:
        config: what is asked for.
        sides: by role.
        about: what each says of itself, by role.
        fits_dataset: whether the network takes the data set's images and labels.
    """

    config: CheckConfig
    sides: Mapping[str, RoleSide]
    about: Mapping[str, About]
    fits_dataset: bool

    def has(self, role: str, dtype: str) -> bool:
        """Return whether a side offers a dtype."""
        return dtype in self.about[role].dtypes

    def both_have(self, dtype: str) -> bool:
        """Return whether both sides offer a dtype."""
        return all(self.has(role, dtype) for role in self.sides)

    def takers(self, dtype: str) -> dict[str, RoleSide]:
        """Return the sides that can be asked in a dtype; none if the candidate cannot, since it is judged."""
        return (
            {role: side for role, side in self.sides.items() if self.has(role, dtype)}
            if self.has(CANDIDATE, dtype)
            else {}
        )

    def not_asked(self) -> tuple[str, ...]:
        """Return a line for everything that cannot be asked, each with the options that ask for less."""
        reasons = [reason for question in self.config.questions for reason in self._reasons(question)]
        return tuple(f"{reason}; {self._remedy()}" for reason in reasons)

    def _reasons(self, question: str) -> Iterator[str]:
        if question == "statistical":
            if not self.fits_dataset:
                yield "statistical was not asked: the network fits no data set"
            elif not any(map(self.both_have, self.config.dtypes)):
                wanted = " or ".join(self.config.dtypes)
                yield f"statistical was not asked: the two do not both offer {wanted}"
            return
        for dtype in self.config.dtypes if question == "precision" else ("float64",):
            for role, side in self.sides.items():
                if not self.has(role, dtype) and not (question == "precision" and self._is_exact(role)):
                    yield f"{question} was not asked of the {side.title}, which does not offer {dtype}"

    def _is_exact(self, role: str) -> bool:
        """Whether a side is the NumPy reference, which each side's precision is measured against anyway."""
        return role == REFERENCE and self.about[role].is_exact

    def _remedy(self) -> str:
        """The options that leave out what cannot be asked, and nothing else."""
        dtypes = [
            dtype
            for dtype in self.config.dtypes
            if all(self.has(role, dtype) or self._is_exact(role) for role in self.sides)
        ]
        in_float64 = {"semantic", "free_run"} if self.both_have("float64") else set()
        in_others = {"precision"} if dtypes else set()
        if self.fits_dataset and any(map(self.both_have, self.config.dtypes)):
            in_others.add("statistical")
        questions = [question for question in self.config.questions if question in in_float64 | in_others]
        if not questions:
            return self._instead()
        fewer = _option("--questions", questions, self.config.questions)
        return (
            f"ask for less with {fewer}{_option('--dtype', dtypes, self.config.dtypes) if in_others else ''}".rstrip()
        )

    def _instead(self) -> str:
        """Another question, where none of those that were asked for is left."""
        if self.both_have("float64"):
            return "ask another question with --questions semantic"
        dtype = next(filter(self.both_have, ("float32", "bfloat16")), None)
        if dtype is not None:
            return f"ask another question with --questions precision --dtype {dtype}"
        return "let both sides offer float64 or float32 (`dtypes`)"


def _option(name: str, kept: Sequence[str], asked: Sequence[str]) -> str:
    return "" if list(kept) == list(asked) else f"{name} {' '.join(kept)} "
