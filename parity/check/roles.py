"""The sides of a check by role: who a side is, what it offers, and whose error it was."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from parity.backend import Backend, backend_names
from parity.check.config import CheckConfig
from parity.check.lockstep import CANDIDATE, RoleError
from parity.process import Side, SideError
from parity.reference import NumpyBackend
from parity.sides import SideSpec


def side_spec(role: str, target: Any, config: CheckConfig, fault: str | None) -> SideSpec:
    """Return how a side is to run.

    Args:
        role: of the side. The reference gets the accepted differences, if it is assembled from replaceable parts.
        target: as `SideSpec` takes it.
        config: of the check.
        fault: for the candidate, or None.
    """
    assembled = target in backend_names() if isinstance(target, str) else hasattr(target, "with_fault")
    names = ([fault] if fault else []) if role == CANDIDATE else config.accept if assembled else ()
    return SideSpec(
        target=target,
        faults=tuple(names),
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
        is_exact: whether it is the NumPy reference.
    """

    versions: Mapping[str, str]
    dtypes: tuple[str, ...]
    is_exact: bool = False


def describe(backend: Backend) -> About:
    """Return what a backend says of itself, as plain text: an object of its own classes would need its module here."""
    return About(
        versions={str(k): "".join(str(v)) for k, v in backend.versions().items()},
        dtypes=tuple("".join(dtype) for dtype in backend.dtypes),
        is_exact=isinstance(backend, NumpyBackend),
    )


@dataclass
class RoleSide:
    """A side whose errors say which role it has."""

    role: str
    side: Side
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = self.side.name

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
