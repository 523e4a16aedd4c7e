"""The sides of a check by role: who a side is, what it offers, and whose error it was."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from parity.backend import Backend, backend_names
from parity.check.config import CheckConfig
from parity.check.lockstep import CANDIDATE, REFERENCE, RoleError
from parity.errors import InputError
from parity.process import Side, SideError
from parity.reference import NumpyBackend
from parity.reference.training_faults import TRAINING_FAULTS
from parity.sides import SideSpec


def side_spec(role: str, target: Any, config: CheckConfig, fault: str | None) -> SideSpec:
    """Return how a side is to run.

    Args:
        role: of the side. The reference gets the accepted differences.
        target: as `SideSpec` takes it.
        config: of the check.
        fault: for the candidate, or None.

    Raises:
        InputError: the reference cannot be given an accepted difference.
    """
    own_fault = (fault,) if fault else ()
    spec = SideSpec(
        target=target,
        faults=own_fault if role == CANDIDATE else config.accept,
        device=config.device,
        precision=config.precision,
        time_limit=config.time_limit,
    )
    if role == REFERENCE:
        _check_takes(replace(spec, faults=()).name, target, config.accept)
    return spec


def _check_takes(title: str, target: Any, names: Iterable[str]) -> None:
    """Check that a reference can be given the accepted differences."""
    if target == NumpyBackend.name or isinstance(target, NumpyBackend):
        return
    is_assembled = target in backend_names() if isinstance(target, str) else hasattr(target, "with_fault")
    for name in names:
        if not is_assembled or name in TRAINING_FAULTS:
            raise InputError(
                f"--accept {name} plays the reference with that difference, and {title} cannot be given it; choose "
                f"--reference {NumpyBackend.name}"
            )


@dataclass(frozen=True)
class About:
    """What a side says of itself.

    Args:
        versions: of its packages, by name.
        dtypes: that it offers.
        is_exact: whether it is the NumPy reference.
        title: its name as its makers write it.
    """

    versions: Mapping[str, str]
    dtypes: tuple[str, ...]
    is_exact: bool = False
    title: str = ""


def describe(backend: Backend) -> About:
    """Return what a backend says of itself, as plain text: an object of its own classes would need its module here."""
    return About(
        versions={str(k): "".join(str(v)) for k, v in backend.versions().items()},
        dtypes=tuple("".join(dtype) for dtype in backend.dtypes),
        is_exact=isinstance(backend, NumpyBackend),
        title="".join(backend.shown_name),
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
