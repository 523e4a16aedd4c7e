"""A port whose failures are told apart: what its model does wrong, and what the user gave."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from parity.backend.convention import Change, Option
from parity.backend.port import Anatomy, Forced, Island, Mode, Played, Port, Rounding
from parity.errors import InputError
from parity.process import Side, SideError, words_of
from parity.weights import Array


class CrashError(Exception):
    """A model raised, or its process ended; the message says which and where.

    Args:
        side: "reference" or "candidate".
        words: what it did.
    """

    def __init__(self, side: str, words: str) -> None:
        super().__init__(f"the {side} {words}")
        self.side, self.words = side, words


class Guarded:
    """A port, here or in a process of its own. See `Port`.

    Args:
        side: "reference" or "candidate".
        port: the port, or a process that has it.
    """

    def __init__(self, side: str, port: Port | Side) -> None:
        self.side, self._port = side, port
        self.framework, self.title, self.versions, self.has_loss, self.has_optimizer = self.call(_about)

    def call(self, task: Callable[..., Any], *arguments: Any) -> Any:
        """Do a task with the port, in its process, and return the answer."""
        if isinstance(self._port, Port):
            return self._told(lambda: task(self._port, *arguments))
        side = self._port
        is_bad_input, value = self._told(lambda: side.call(_answered, task, *arguments))
        if is_bad_input:
            raise InputError(f"the {self.side}: {value}")
        return value

    def _told(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except InputError as error:
            raise InputError(f"the {self.side}: {error}") from error
        except SideError as error:
            raise CrashError(self.side, str(error)) from error
        except Exception as error:  # a model can raise anything
            raise CrashError(self.side, words_of(error)) from error

    def prepare(self, inputs: Mapping[str, Any]) -> None:
        """See `Port`."""
        self.call(_method, "prepare", inputs)

    def lift(self) -> None:
        """See `Port`."""
        self.call(_method, "lift")

    def anatomy(self, inputs: Mapping[str, Any], mode: Mode) -> Anatomy:
        """See `Port`."""
        return self.call(_method, "anatomy", inputs, mode)  # type: ignore[no-any-return]

    def options(self, inputs: Mapping[str, Any], mode: Mode) -> Sequence[Option]:
        """See `Port`."""
        return self.call(_method, "options", inputs, mode)  # type: ignore[no-any-return]

    def state(self) -> Mapping[str, Array]:
        """See `Port`."""
        return self.call(_method, "state")  # type: ignore[no-any-return]

    def load(self, state: Mapping[str, Array]) -> None:
        """See `Port`."""
        self.call(_method, "load", state)

    def play(
        self,
        inputs: Mapping[str, Any],
        mode: Mode,
        forced: Forced | None = None,
        rounding: Rounding | None = None,
        dtype: str = "float64",
        is_backward: bool = True,
        change: Change | None = None,
    ) -> Played:
        """See `Port`."""
        given = inputs, mode, forced, rounding, dtype, is_backward, change
        return self.call(_method, "play", *given)  # type: ignore[no-any-return]

    def optimizer_islands(self) -> Sequence[Island]:
        """See `Port`."""
        return self.call(_method, "optimizer_islands")  # type: ignore[no-any-return]

    def optimizer_options(self) -> Sequence[Option]:
        """See `Port`."""
        return self.call(_method, "optimizer_options")  # type: ignore[no-any-return]

    def optimize(
        self,
        gradients: Sequence[Mapping[str, Array]],
        rounding: Rounding | None = None,
        change: Change | None = None,
    ) -> list[dict[str, Array]]:
        """See `Port`."""
        return self.call(_method, "optimize", gradients, rounding, change)  # type: ignore[no-any-return]


def _about(port: Port) -> tuple[str, str, dict[str, str], bool, bool]:
    return port.framework, port.title, port.versions, port.has_loss, port.has_optimizer


def _method(port: Port, name: str, *arguments: Any) -> Any:
    return getattr(port, name)(*arguments)


def _answered(port: Port, task: Callable[..., Any], *arguments: Any) -> tuple[bool, Any]:
    """In another process: bad input is an answer of its own."""
    try:
        return False, task(port, *arguments)
    except InputError as error:
        return True, str(error)
