"""The lab's code as a student types it: its source, and what it printed when it ran."""

import ast
import inspect
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pprint import pformat
from typing import Any, Protocol

from parity.spec import DType, ModelSpec
from parity.weights import Array, Weights


@dataclass(frozen=True)
class Listing:
    """Code and its output.

    Args:
        source: with the imports that it uses.
        output: each call, and what it printed, or else returned; "" for code that was not called.
    """

    source: str
    output: str = ""


class Lesson(Protocol):
    """Short plain functions of one framework, to read and to run; a module of a backend's package.

    `net` is the framework's own form of a plain network: a module, or the variables of one.

    Args:
        CONVOLUTION_ARGUMENTS: the name of each argument of the convolution layer, by what it means; "" for one that the
            layer does not take.
        PlainNet: Linear, ReLU and BatchNorm, and a head, by the framework's own layers.
    """

    CONVOLUTION_ARGUMENTS: Mapping[str, str]
    PlainNet: Any

    def convolution(self, images: int, side: int, stride: int, padding: int) -> Mapping[str, object]:
        """Return whether a layer from 3 channels to 16 with a kernel of 5 is a module, and its shapes on noise."""
        ...

    def both_modes(self, x: Array) -> Mapping[str, Array]:
        """Print and return what a new batch norm gives of `x`, shape (n, features), in training and then evaluation."""
        ...

    def summary(self) -> None:
        """Print a plain network as the framework shows it."""
        ...

    def train(self, net: Any, inputs: Array, labels: Any, passes: int = 2) -> Sequence[float]:
        """Train a plain network, print how far it is, and return the loss of every update."""
        ...

    def plain_net(self, spec: ModelSpec, weights: Weights, dtype: DType = "float32") -> Any:
        """Return a plain network at weights of the neutral dictionary."""
        ...

    def plain_tensors(self, spec: ModelSpec) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        """Return the framework's own name and shape of each tensor of a plain network, by neutral name."""
        ...

    def plain_logits(self, net: Any, x: Array, train: bool = False) -> Array:
        """Return the logits of a plain network, shape (n, 10), for `x` of shape (n, 784)."""
        ...


def run_listing(function: Callable[..., Any], calls: Mapping[str, Sequence[Any]]) -> tuple[Listing, list[Any]]:
    """Run code that is shown, and return it with its output, and what each call returned.

    Args:
        function: or a class, with no calls.
        calls: the arguments of each call, by the call as a reader is to see it.
    """
    shown, values = [], []
    for call, arguments in calls.items():
        printed = io.StringIO()
        with redirect_stdout(printed):
            values.append(function(*arguments))
        said = printed.getvalue() or pformat(values[-1], width=64, sort_dicts=False)
        shown += [f">>> {call}", *(line.rstrip() for line in said.strip("\n").splitlines() if line.strip())]
    source = inspect.getsource(function).rstrip()
    return Listing("\n".join([*_imports(function, source), "", source]).strip(), "\n".join(shown)), values


def _imports(function: Callable[..., Any], source: str) -> list[str]:
    """The imports of the function's module whose names the source uses, as they stand there."""
    used = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    module = inspect.getsource(sys.modules[function.__module__])
    imports = [node for node in ast.parse(module).body if isinstance(node, ast.Import | ast.ImportFrom)]
    bound = {node: {(name.asname or name.name).partition(".")[0] for name in node.names} for node in imports}
    return [ast.unparse(node) for node in imports if bound[node] <= used]
