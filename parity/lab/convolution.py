"""Convolution reviewed: sizes, both frameworks' layers, and batch norm over the channels of images."""

from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from parity.backend import Convolved
from parity.lab.blocks import Plot, Results, Section, Table, Text, compared, furthest, listed
from parity.lab.config import LabConfig
from parity.lab.convolution_layer import ShownLayer, layer_blocks, measure_shown, output_size
from parity.lab.drawing import COLORS, lab_sheet, panels
from parity.report.canvas import say
from parity.weights import Array

TITLE = "Convolution, and batch norm over channels"
INTRODUCTION = """\
A convolution slides a small kernel over an image. On each side, with $n$ pixels, a kernel of $k$, padding $p$, stride $s$ and
dilation $d$, the output has

$$\\left\\lfloor \\frac{n + 2 p - d (k - 1) - 1}{s} \\right\\rfloor + 1$$

pixels: the kernel reaches over $d (k - 1) + 1$ of them, and moves on as often as the stride fits into what is left.

An output channel is a sum over all input channels and all of the kernel's pixels, and a bias. A layer from
$c_\\text{in}$ channels to $c_\\text{out}$ has

$$c_\\text{out} \\cdot c_\\text{in} \\cdot k^2 \\text{ weights and } c_\\text{out} \\text{ biases.}$$

**Neither the image's size nor the batch size is in that number.** The same kernel is used at every place of an image and for every
image of a batch. A larger image or batch only means more places.

PyTorch orders images as (image, channel, row, column) and kernels as (out, in, row, column). Flax has the channels last:
(image, row, column, channel) and (row, column, in, out). The same numbers in another order are the same layer.

Batch norm over images has a mean and a variance for each *channel*: its batch is every pixel of every image."""

# (input, kernel, padding, stride, dilation)
LARGE = ((1, 224, 5, 3, 3, 1), (8, 574, 5, 0, 1, 1))  # images first; with 3 channels in and 16 out
SIZES, KERNELS, PADDINGS, STRIDES, DILATIONS = (12,), (1, 3, 5), (0, 2), (1, 2, 3), (1, 2)
SETTINGS = tuple(
    setting
    for setting in product(SIZES, KERNELS, PADDINGS, STRIDES, DILATIONS)
    if setting[0] + 2 * setting[2] >= setting[4] * (setting[1] - 1) + 1
)
IN, OUT = 3, 16
NORM_BATCHES, NORM_IMAGES, NORM_SIDE = 50, 6, 7


class Row(NamedTuple):
    """A convolution over a row of pixels."""

    size: int
    kernel: int
    padding: int
    stride: int
    dilation: int


DRAWN = Row(9, 3, padding=1, stride=2, dilation=2)
STEPPED = 5  # the kernel whose output sizes are drawn


@dataclass(frozen=True)
class Measured:
    """What one framework's layers gave.

    Args:
        outputs: of each of `SETTINGS`, shape (2, height, width, 4), float64.
        large: of each of `LARGE`: the shapes in the framework's own order, and the sum of the output in float64.
        statistics: running mean and variance of batch norm over 4 channels, shape (2, 4).
        normalized: the last batch of images in training mode.
        shown: the layer whose code is shown.
    """

    outputs: tuple[Array, ...]
    large: tuple[tuple[tuple[int, ...], tuple[int, ...], float], ...]
    statistics: Array
    normalized: Array
    shown: ShownLayer


def measure(backend: Any, config: LabConfig) -> Measured:
    """Run the framework's own convolution on images of noise, and its batch norm over channels."""
    tools, rng = backend.tools(), np.random.default_rng(0)
    outputs = []
    for size, kernel, padding, stride, dilation in SETTINGS:
        images, weights = rng.standard_normal((2, size, size, IN)), rng.standard_normal((kernel, kernel, IN, 4))
        found: Convolved = tools.convolve(images, weights, rng.standard_normal(4), stride, padding, dilation)
        outputs.append(found.output)
    large = []
    for images, size, kernel, padding, stride, dilation in LARGE:
        image = rng.standard_normal((images, size, size, IN), np.float32)
        weights, bias = rng.standard_normal((kernel, kernel, IN, OUT), np.float32), np.zeros(OUT, np.float32)
        found = tools.convolve(image, weights, bias, stride, padding, dilation)
        large.append((found.own_output_shape, found.own_kernel_shape, float(found.output.sum(dtype=np.float64))))
    layer, normalized = tools.norm_layer(4, images=True), np.empty(0)
    for _ in range(NORM_BATCHES):
        normalized = layer.train(rng.normal([0, 5, -3, 100], [1, 2, 0.1, 10], (NORM_IMAGES, NORM_SIDE, NORM_SIDE, 4)))
    statistics = np.array(layer.statistics())
    return Measured(tuple(outputs), tuple(large), statistics, normalized, measure_shown(tools.lesson))


def section(results: Results, config: LabConfig, command: str) -> Section:
    """What was found."""
    names = list(results)
    right = all(
        output.shape == (2, output_size(*setting), output_size(*setting), 4)
        for result in results.values()
        for setting, output in zip(SETTINGS, result.outputs, strict=True)
    )
    apart = max(furthest(results, lambda r, i=i: r.outputs[i]) for i in range(len(SETTINGS)))
    kernel, pixels = LARGE[0][2], NORM_IMAGES * NORM_SIDE**2
    blocks = (
        *layer_blocks({name: result.shown for name, result in results.items()}),
        Text(
            f"A kernel of {OUT} filters, one for each output channel: each has {IN} input channels of {kernel} by {kernel} pixels. So an "
            f"output pixel is a sum of {IN * kernel**2} products and a bias, and the layer has {OUT * IN * kernel**2 + OUT:,} numbers "
            "to learn, whatever the images."
        ),
        Text(
            f"{len(SETTINGS)} settings of input, kernel, padding, stride and dilation: the sizes of "
            f"{listed(names)} are {'all' if right else 'NOT all'} those of the formula"
            + compared(results, f", and their values are at most {apart:.0e} apart, the rounding of sums of up to {max(KERNELS) ** 2 * IN} products")
            + "."
        ),
        _layers(results),
        Plot(
            "convolution_sizes",
            partial(_draw, command),
            "Left: which pixels each output of a one-dimensional convolution looks at. Right: output size against input "
            "size for strides " f"{listed([str(stride) for stride in STRIDES])}.",
            f"Left: a kernel of {DRAWN.kernel} with dilation {DRAWN.dilation}, stride {DRAWN.stride} and {DRAWN.padding} zero of padding "
            f"(hatched) on a row of {DRAWN.size} pixels; each output, above, is joined to the pixels that it is a sum of. "
            f"Right: output size against input size for a kernel of {STEPPED}; the steps are the floor of the formula.",
        ),
        Text(
            f"Batch norm over the channels of {NORM_BATCHES} batches of {NORM_IMAGES} images of {NORM_SIDE} by {NORM_SIDE} pixels: "
            f"its batch is {pixels} pixels for each channel, so the unbiased variance is {pixels}/{pixels - 1} times the biased one."
            + compared(results, f" The running means and variances of {listed(names)} are at most "
            f"{furthest(results, lambda r: r.statistics):.0e} apart, the normalized images {furthest(results, lambda r: r.normalized):.0e}.")
        ),
    )  # fmt: skip
    return Section("convolution", TITLE, INTRODUCTION, blocks)


def _layers(results: Results) -> Table:
    """The lab's two layers in each framework."""
    rows = []
    for index, (images, size, width, padding, stride, dilation) in enumerate(LARGE):
        side = output_size(size, width, padding, stride, dilation)
        for name, result in results.items():
            output, weights, _ = result.large[index]
            rows.append((name, f"{images} of {IN} x {size} x {size}", f"kernel {width}, padding {padding}, stride {stride}",
                         str(side), str(output), str(weights)))  # fmt: skip
    header = ("framework", "images", "layer", "size by the formula", "own output", "own kernel")
    return Table(
        "convolutions",
        "The lab's two layers in each framework, in its own order of axes.",
        header,
        tuple(rows),
        words=3,
    )


def _draw(command: str) -> Any:
    handles = [
        Line2D([], [], color=COLORS[i], marker="o", markersize=3, label=f"right: stride {s}")
        for i, s in enumerate(STRIDES)
    ]
    setting = "sizes by the formula"
    sheet = lab_sheet(
        "What a convolution looks at, and how large its output is", setting, command, 2.9, handles, columns=2
    )
    left, right = panels(
        sheet,
        2,
        (
            f"kernel {DRAWN.kernel}, dilation {DRAWN.dilation}, stride {DRAWN.stride}, padding {DRAWN.padding}",
            f"kernel {STEPPED}, no padding",
        ),
    )
    size, kernel, padding, stride, dilation = DRAWN
    for pixel in range(-padding, size + padding):
        zero = not 0 <= pixel < size
        left.add_patch(Rectangle((pixel - 0.4, -0.4), 0.8, 0.8, facecolor="white" if zero else "#D9E8F5",
                                 edgecolor="#555555", hatch="////" if zero else None))  # fmt: skip
    for output in range(output_size(size, kernel, padding, stride, dilation)):
        middle = output * stride - padding + dilation * (kernel - 1) / 2
        left.add_patch(Rectangle((middle - 0.4, 2.6), 0.8, 0.8, facecolor="#FBE3C0", edgecolor="#555555"))
        for tap in range(kernel):
            (line,) = left.plot(
                [middle, output * stride - padding + tap * dilation],
                [2.6, 0.4],
                color="#555555",
                linewidth=1.2,
            )
            say(line, ())  # it is no curve
    left.set_xlim(-padding - 0.8, size + padding - 0.2)
    left.set_ylim(-0.8, 3.8)
    left.set_yticks([0, 3], ["input", "output"])
    left.set_xticks(range(size))
    left.set_xlabel("pixel")
    left.grid(False)
    inputs = np.arange(STEPPED, 31)
    for i, stride in enumerate(STRIDES):
        right.plot(inputs, [output_size(int(n), STEPPED, 0, stride) for n in inputs], color=COLORS[i], drawstyle="steps-post",
                   marker="o", markersize=3)  # fmt: skip
    right.set_xlabel("input size")
    right.set_ylabel("output size")
    return sheet.figure
