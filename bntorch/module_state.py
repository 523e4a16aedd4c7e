"""A module's mode and tensors, exchanged for the time of a call."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call


@contextmanager
def mode(net: nn.Module, train: bool) -> Iterator[None]:
    """Run a module in train or evaluation mode, then restore the mode of each of its submodules."""
    before = [(module, module.training) for module in net.modules()]
    net.train(train)
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


class _Call(nn.Module):
    def __init__(self, function: Callable[..., Any], net: nn.Module) -> None:
        super().__init__()
        self.function, self.net = function, net

    def forward(self, *arguments: Any) -> Any:
        return self.function(self.net, *arguments)


def call_with_state(function: Callable[..., Any], net: nn.Module, state: dict[str, Tensor], *arguments: Any) -> Any:
    """Return `function(net, *arguments)`, with the tensors `state` in place of the parameters and buffers it names."""
    return functional_call(_Call(function, net), {f"net.{name}": value for name, value in state.items()}, arguments)
