"""Updates as a CUDA graph, which is captured once and replayed."""

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 1  # runs before a capture; in these, libraries choose their algorithms and allocate their memory
Capture = Callable[[Callable[[], None]], Callable[[], None]]


def cuda_graph(step: Callable[[], None]) -> Callable[[], None]:
    """Capture `step` as a CUDA graph and return its replay. PyTorch asks for a few runs first, on a separate stream."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # Keep the work of other threads on the GPU (of another framework, say) out of the graph.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        step()
    return graph.replay


class CapturedUpdates:
    """Updates of one minibatch shape. A graph reads and writes where it was captured, so all that changes is copied in:
    the minibatches' indices, and which of them is next.

    Args:
        update: makes one on (inputs, labels) of the lanes' minibatches, and returns the losses before it.
        state: the tensors that it changes in place.
        inputs: the training set, shape (n, input_dim).
        labels: shape (n,).
        batches: zeros, shape (lanes, updates, batch), as many updates as one call may make.
        capture: makes a replay of a step.
    """

    def __init__(
        self,
        update: Callable[[Tensor, Tensor], Tensor],
        state: list[Tensor],
        inputs: Tensor,
        labels: Tensor,
        batches: Tensor,
        capture: Capture,
    ) -> None:
        self._batches, self._next = batches, torch.zeros(1, dtype=torch.int64, device=batches.device)
        self._losses = torch.empty(0)

        def step() -> None:
            batch = self._batches.index_select(1, self._next)[:, 0]
            losses = update(inputs[batch], labels[batch])
            self._losses.index_copy_(0, self._next, losses[None])
            self._next += 1

        before = [tensor.detach().clone() for tensor in state]
        losses = update(inputs[batches[:, 0]], labels[batches[:, 0]])
        self._losses = losses.new_empty(batches.shape[1], len(losses))
        self._replay = capture(step)
        with torch.no_grad():  # as if none of these updates had been
            for tensor, kept in zip(state, before, strict=True):
                tensor.copy_(kept)

    def __call__(self, batches: Tensor) -> Tensor:
        """Make an update on each of the minibatches, shape (lanes, updates, batch); the losses before each."""
        count = batches.shape[1]
        self._batches[:, :count] = batches
        self._next.zero_()
        for _ in range(count):
            self._replay()
        return self._losses[:count].clone()
