"""The evidence of a cause, drawn: what the honest reference predicts against what the side showed."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from parity.check.records import Cause, CheckReport
from parity.report.canvas import is_narrow, open_sheet, room, say
from parity.report.heading import check_heading
from parity.report.style import REFERENCE_COLOR, page_style, plain, short

MOST_POINTS = 500
_DOTS: dict[str, Any] = {"color": "#0072B2", "marker": "o", "linestyle": "none", "markersize": 4, "alpha": 0.7}
_IDENTITY: dict[str, Any] = {"color": REFERENCE_COLOR, "linewidth": 1.2, "linestyle": (0, (6, 2))}
_FIT: dict[str, Any] = {"color": "#D55E00", "linewidth": 1.4, "linestyle": "solid"}
_PANEL = 3.3  # inches, both ways
_BETWEEN = 1.15


def points_of(cause: Cause) -> tuple[np.ndarray, np.ndarray] | None:
    """The finite pairs (predicted, observed), thinned out evenly to what can be told apart; None if there are none."""
    if cause.predicted is None or cause.observed is None:
        return None
    predicted, observed = (np.ravel(np.asarray(a, np.float64)) for a in (cause.predicted, cause.observed))
    if len(predicted) != len(observed):
        return None
    finite = np.flatnonzero(np.isfinite(predicted) & np.isfinite(observed))
    kept = finite[:: max(1, -(-len(finite) // MOST_POINTS))]
    return (predicted[kept], observed[kept]) if len(kept) else None


def fitted_multiple(predicted: np.ndarray, observed: np.ndarray) -> float | None:
    """The k of `observed = k * predicted` by least squares; None unless it explains 99% of what departs from k = 1.

    >>> fitted_multiple(np.array([1.0, 2.0]), np.array([0.5, 1.0]))
    0.5
    """
    scale = np.max(np.abs(predicted), initial=0.0)
    if scale == 0:
        return None
    x, y = predicted / scale, observed / scale
    k = float(x @ y / (x @ x))
    departure, residue = np.sqrt(np.sum((y - x) ** 2)), np.sqrt(np.sum((y - k * x) ** 2))
    return k if np.isfinite(k) and departure > 0 and residue <= 0.01 * departure else None


def predicted_and_observed(report: CheckReport, cause: Cause) -> Figure:
    """Observed against predicted with the identity, and their difference, in which small departures show."""
    found = points_of(cause)
    if found is None:
        raise ValueError(f"the cause {cause.name!r} has nothing to draw")
    predicted, observed = found
    side = min(_PANEL, room() - 1.4)
    step = side + _BETWEEN
    across = (0.0, step) if is_narrow() else (step, 0.0)  # from the second panel to the first, in inches
    with page_style():
        k = fitted_multiple(predicted, observed)
        handles = [Line2D([], [], label=f"{len(predicted)} values", **_DOTS),
                   Line2D([], [], label="where they would agree", **_IDENTITY)]  # fmt: skip
        if k is not None:
            handles.append(Line2D([], [], label=f"fitted: observed = {k:.7g} × predicted", **_FIT))
        sheet = open_sheet(
            check_heading(report), f"Cause: {short(cause.name.replace('_', ' '), 60)} ({short(cause.side, 20)})",
            size=(across[0] + side + 1.5, across[1] + side + 0.1), handles=handles, left=1.1,
        )  # fmt: skip
        unit = plain(short(cause.axes, 60)) or "value"
        left = sheet.axes(0, across[1], side, side)
        right = sheet.axes(across[0], 0, side, side)
        ends = np.array([predicted.min(), predicted.max()])
        _draw(left, predicted, observed, ends, ends, None if k is None else k * ends)
        _draw(right, predicted, observed - predicted, ends, 0 * ends, None if k is None else (k - 1) * ends)
        for axes, words in ((left, "observed"), (right, "observed − predicted")):
            axes.set_xlabel(f"predicted: {unit}", fontsize=8)
            axes.set_ylabel(words, fontsize=8)
            axes.tick_params(labelsize=7.5)
            axes.locator_params(nbins=6)
        return sheet.figure


def _draw(axes: Axes, x: np.ndarray, y: np.ndarray, ends: np.ndarray, same: np.ndarray, fit: np.ndarray | None) -> None:
    axes.plot(x, y, gid="values", **_DOTS)
    lines = axes.plot(ends, same, gid="identity", **_IDENTITY)
    if fit is not None:
        lines += axes.plot(ends, fit, gid="fit", **_FIT)
    for line in lines:
        say(line, ())
