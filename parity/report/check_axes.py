"""The axes of a check's figures: layers and steps across; upwards a log scale that has room for zero and infinity."""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from parity.check.records import Measurement
from parity.report.canvas import say
from parity.report.style import log_ticks

_STRIP = 0.09  # share of a panel's height
_MARGIN = 0.04
_FOOT, _TOP = 0.4 * _STRIP, 1 - 0.4 * _STRIP
_MOST_TICKS = 16


@dataclass(frozen=True)
class LogScale:
    """A log scale, with a strip at the foot for zeros and one at the top for what is not finite.

    Args:
        low: the smallest positive number.
        high: the largest finite one.
        zeros: whether there is a zero.
        infinities: whether something is not finite.
    """

    low: float
    high: float
    zeros: bool = False
    infinities: bool = False

    @classmethod
    def of(cls, values: Iterable[float], include: Iterable[float] = ()) -> "LogScale":
        """The scale that holds all values, and those in `include` that can stand on it."""
        found = np.asarray([*values], np.float64)
        drawn = np.append(found, [*include])
        drawn = drawn[np.isfinite(drawn) & (drawn > 0)]
        low, high = (drawn.min(), drawn.max()) if len(drawn) else (1.0, 1.0)
        room = max(1.0, math.sqrt(20 / (high / low)))  # a narrow scale is widened to a ratio of 20
        low, high = max(low / room, 5e-324), min(high * room, 1.7e308)
        return cls(float(low), float(high), bool((found == 0).any()), bool((~np.isfinite(found)).any()))

    def apply(self, axes: Axes, *, labelled: bool) -> None:
        """Make it the vertical scale of a panel; only labelled panels name the strips."""
        span = math.log10(self.high) - math.log10(self.low)
        total = span / (1 - 2 * _MARGIN - _STRIP * (self.zeros + self.infinities))
        below, above = (10 ** (total * (_MARGIN + _STRIP * there)) for there in (self.zeros, self.infinities))
        axes.set_yscale("log")
        axes.set_ylim(self.low / below, self.high * above)
        log_ticks(axes.yaxis, self.low, self.high)
        for there, bottom, middle, word in ((self.zeros, 0, _FOOT, "0"), (self.infinities, 1 - _STRIP, _TOP, "∞")):
            if there:
                strip = Rectangle((0, bottom), 1, _STRIP, transform=axes.transAxes, color="#F3F0EA", zorder=0.1)
                axes.add_patch(strip)
                if labelled:
                    axes.text(-0.012, middle, word, transform=axes.transAxes, ha="right", va="center", fontsize=9)

    def draw(self, axes: Axes, x: ArrayLike, y: ArrayLike, *, gid: str, texts: Sequence[str] = (), **look: Any) -> None:
        """Draw a series: its line through what can stand on the scale, the rest as markers in the strips.

        Args:
            axes: a panel.
            x: places.
            y: values.
            gid: the name of the series.
            texts: what each point tells.
            look: for Matplotlib.
        """
        x, y, words = np.asarray(x, np.float64), np.asarray(y, np.float64), np.asarray([*texts] or [""] * np.size(x))
        drawn = np.isfinite(y) & (y > 0)
        if drawn.any():
            (line,) = axes.plot(x, np.where(drawn, y, np.nan), gid=gid, **look)
            say(line, words)
        zero, wild = y == 0, ~np.isfinite(y)
        self._strip(axes, x[zero], _FOOT, look | {"gid": f"{gid}: zero", "markerfacecolor": "white"}, words[zero])
        self._strip(axes, x[wild], _TOP, look | {"gid": f"{gid}: infinite", "markeredgecolor": "black"}, words[wild])

    @staticmethod
    def _strip(axes: Axes, x: np.ndarray, height: float, look: dict[str, Any], texts: Iterable[str] = ()) -> None:
        if len(x):
            look = {"marker": "o", "markersize": 3} | look | {"linestyle": "none", "clip_on": False}
            (line,) = axes.plot(x, np.full(len(x), height), transform=axes.get_xaxis_transform(), **look)
            say(line, texts)

    def ring(self, axes: Axes, x: ArrayLike, y: ArrayLike, size: float = 9) -> None:
        """Ring the points of a series that are beyond a limit, so that colour is not needed to find them."""
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        finite, look = np.isfinite(y), RING | {"markersize": size, "gid": "beyond"}
        (line,) = axes.plot(x[finite], y[finite], **look)
        say(line, ())  # its marks do
        self._strip(axes, x[~finite], _TOP, look)


RING: dict[str, Any] = {
    "marker": "o", "markersize": 9, "markerfacecolor": "none", "markeredgecolor": "#B3261E", "markeredgewidth": 1.4,
    "linestyle": "none", "zorder": 5,
}  # fmt: skip


@dataclass(frozen=True)
class Places:
    """Where measurements stand across a panel.

    Args:
        label: of the axis.
        key: what places a measurement.
        at: the place of each key.
        names: of the keys that get a tick.
        slanted: whether the names are long.
    """

    label: str
    key: Callable[[Measurement], Hashable]
    at: Mapping[Hashable, float]
    names: Mapping[Hashable, str] = field(default_factory=dict)
    slanted: bool = False

    def apply(self, axes: Axes) -> None:
        """Make it the horizontal axis of a panel."""
        axes.set_xlim(min(self.at.values()) - 0.6, max(self.at.values()) + 0.6)
        turned: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if self.slanted else {}
        axes.set_xticks([self.at[key] for key in self.names], list(self.names.values()), fontsize=7.5, **turned)
        axes.set_xlabel(self.label)


def by_layer(measurements: Sequence[Measurement]) -> Places:
    """From the input through the hidden layers to the head, and then what belongs to no layer."""
    found = {m.layer for m in measurements}
    hidden = sorted(layer for layer in found if isinstance(layer, int))
    last = max(hidden, default=0)
    gap = max(1.0, 0.09 * last)
    at: dict[Hashable, float] = {"input": -gap} if "input" in found else {}
    at |= {layer: float(layer) for layer in hidden}
    for layer in [name for name in ("head", None) if name in found]:
        at[layer] = max([*at.values(), float(last)]) + gap
    every = -(-len(hidden) // _MOST_TICKS)
    every = next(step for step in (1, 2, 5, 10, 20, 50, 10**9) if step >= every)
    names: dict[Hashable, str] = {layer: str(layer) for layer in hidden if layer % every == 0}
    losses = {m.tensor for m in measurements if m.layer is None} == {"loss"}
    words = {"input": "input", "head": "head", None: "loss" if losses else "other"}
    names |= {layer: word for layer, word in words.items() if layer in at}
    return Places("layer (hidden layers are counted from 0)", lambda m: m.layer, at, names)


def by_step(measurements: Sequence[Measurement]) -> Places:
    """Updates by number, then probes as they come."""
    steps = list(dict.fromkeys(m.step for m in measurements))
    updates = sorted(step for step in steps if not isinstance(step, str))
    probes = [step for step in steps if isinstance(step, str)]
    at: dict[Hashable, float] = {step: float(place) for place, step in enumerate([*updates, *probes])}
    every = max(1, -(-len(updates) // _MOST_TICKS))
    names: dict[Hashable, str] = {step: str(step) for step in updates[::every]}
    names |= {step: step.removeprefix("probe:").replace("_", " ")[:24] for step in probes}
    return Places("update (counted from 0; evenly spaced), then probes", lambda m: m.step, at, names, bool(probes))
