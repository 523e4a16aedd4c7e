"""What a row of the benchmark is made of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A published port in one configuration.

    Args:
        architecture: what the port is of.
        package: that has published it.
        configuration: what is special about it, in a few words.
        sides: makes the port of the PyTorch model and the port of the candidate.
        inputs: of the comparison; also the minimal input that shows what is found.
        options: more of `parity.compare`.
        known: reports under `docs/findings` that say what is found here, by name.
        weakness: what `bnparity compare` itself gets wrong here, in words; "" if nothing.
    """

    architecture: str
    package: str
    configuration: str
    sides: Callable[[], tuple[Any, Any]]
    inputs: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    known: tuple[str, ...] = ()
    weakness: str = ""

    @property
    def shapes(self) -> str:
        """What enters the models, in words: names and shapes."""
        first = self.inputs if isinstance(self.inputs, Mapping) else self.inputs[0]
        return ", ".join(f"`{n}` {' x '.join(map(str, each.shape))}" for n, each in first.items() if n != "target")

    @property
    def name(self) -> str:
        """What the row is called."""
        return f"{self.architecture}: {self.configuration}"
