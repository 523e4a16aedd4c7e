"""The sides of a check by role: who a side is, what it offers, and whose error it was."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from parity.backend import Backend
from parity.check.config import CheckConfig
from parity.check.lockstep import RoleError
from parity.check.sides import Side, SideError, SideSpec


def side_spec(target: Any, config: CheckConfig, fault: str | None) -> SideSpec:
    """Return how a side is to run, with a fault if one is named."""
    return SideSpec(
        target=target,
        faults=((fault, ()),) if fault else (),
        device=config.device,
        precision=config.precision,
        time_limit=config.time_limit,
    )


@dataclass(frozen=True)
class About:
    """What a side says of itself.

    Args:
        versions: of its packages, by name.
        dtypes: that it offers.
    """

    versions: Mapping[str, str]
    dtypes: tuple[str, ...]


def describe(backend: Backend) -> About:
    """Return what a backend says of itself, as plain text: an object of its own classes would need its module here."""
    versions = backend.versions() if hasattr(backend, "versions") else {}
    dtypes = getattr(backend, "dtypes", ("float64", "float32"))
    return About({str(k): "".join(str(v)) for k, v in versions.items()}, tuple("".join(d) for d in dtypes))


@dataclass(frozen=True)
class RoleSide:
    """A side whose errors say which role it has."""

    role: str
    side: Side

    @property
    def name(self) -> str:
        """The side's own name."""
        return self.side.name

    @property
    def title(self) -> str:
        """Its role and its name, for people."""
        return f"{self.role} {self.name}"

    def call(self, task: Callable[..., Any], *arguments: Any) -> Any:
        """Return `task(backend, *arguments)`, where the backend is.

        Raises:
            RoleError: it raised, died or gave no answer in time.
        """
        try:
            return self.side.call(task, *arguments)
        except SideError as error:
            raise RoleError(self.role, f"the {self.title} {error}") from error
