"""The convolution layer as a student makes it: its arguments, its output's size and its parameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from parity.backend import Lesson, Listing, run_listing
from parity.errors import InputError
from parity.lab.blocks import Block, Code, Results, Table, Text, listed

KERNEL = 5
SHOWN = ((1, 574, 3, 3), (1, 574, 1, 0), (1, 224, 3, 3), (8, 224, 3, 3))  # images, size, stride, padding


def output_size(size: int, kernel: int, padding: int = 0, stride: int = 1, dilation: int = 1) -> int:
    """`floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1`.

    >>> output_size(224, 5, padding=3, stride=3), output_size(574, 5)
    (76, 570)

    Raises:
        InputError: the kernel does not fit into the padded input.
    """
    if size + 2 * padding < dilation * (kernel - 1) + 1:
        raise InputError(
            f"a kernel of {kernel} with dilation {dilation} reaches over {dilation * (kernel - 1) + 1} pixels and does not "
            f"fit into {size + 2 * padding}; use more padding or a smaller kernel"
        )
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


@dataclass(frozen=True)
class ShownLayer:
    """What one framework's layer says of itself.

    Args:
        arguments: the names of its arguments, by what they mean.
        outputs: for each of `SHOWN`, whether it is a module, and the shapes of its parameters and of its output.
        listing: its code.
    """

    arguments: Mapping[str, str]
    outputs: tuple[Mapping[str, Any], ...]
    listing: Listing


def measure_shown(lesson: Lesson) -> ShownLayer:
    """Run the code that is shown."""
    calls = {f"convolution(images={n}, side={m}, stride={s}, padding={p})": (n, m, s, p) for n, m, s, p in SHOWN[:2]}
    listing, outputs = run_listing(lesson.convolution, calls)
    outputs += [lesson.convolution(*setting) for setting in SHOWN[2:]]
    return ShownLayer(lesson.CONVOLUTION_ARGUMENTS, tuple(outputs), listing)


def layer_blocks(results: Results) -> tuple[Block, ...]:
    """What is shown of the layer: a `ShownLayer` of each framework."""
    code = {name: result.listing for name, result in results.items()}
    return (
        _arguments(results),
        Code("convolution_layer", "The layer in each framework, and what it says of itself.", code),
        Text(_sizes(results)),
        _parameters(results),
    )


def _arguments(results: Results) -> Table:
    """The names of the layer's arguments in each framework."""
    meanings = next(iter(results.values())).arguments
    rows = [
        (meaning, *(r.arguments[meaning] or "read off the input" for r in results.values())) for meaning in meanings
    ]
    return Table(
        "convolution_arguments", "The arguments of the convolution layer.", ("what it is", *results), tuple(rows),
        words=1 + len(results),
    )  # fmt: skip


def _sizes(results: Results) -> str:
    """The layer that is shown, and what it gives without stride and padding: by the formula, and as it ran."""

    def says(place: int) -> str:
        _, size, stride, padding = SHOWN[place]
        side = output_size(size, KERNEL, padding, stride)
        ran = all(shown.count(side) == 2 for shown in (r.outputs[place]["output"] for r in results.values()))
        formula = f"$\\lfloor ({size} + 2 \\cdot {padding} - {KERNEL}) / {stride} \\rfloor + 1 = {side}$"
        return f"with padding {padding} and stride {stride} it is {formula} ({listed(list(results))} gave {'it' if ran else 'ANOTHER size'})"

    return f"On {SHOWN[0][1]} pixels a kernel of {KERNEL} gives: {says(0)}; {says(1)}."


def _parameters(results: Results) -> Table:
    """Names and shapes of the layer's parameters, for images of several sizes and numbers."""
    rows = []
    for (images, size, _, _), place in zip(SHOWN, range(len(SHOWN)), strict=True):
        for name, result in results.items():
            shapes = {key: value for key, value in result.outputs[place].items() if key not in ("module", "output")}
            count = sum(int(np.prod(shape)) for shape in shapes.values())
            words = ", ".join(f"{key} {shape}" for key, shape in shapes.items())
            rows.append(
                (
                    name,
                    "yes" if result.outputs[place]["module"] else "no",
                    f"{images} of {size} x {size}",
                    words,
                    f"{count:,}",
                )
            )
    header = ("framework", "a module", "images", "parameters", "numbers to learn")
    return Table(
        "convolution_parameters",
        "The parameters of that layer do not depend on the images.",
        header,
        tuple(rows),
        words=4,
    )
