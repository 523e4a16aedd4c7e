"""The words on every figure: the data set, the setting, the command, and what a reader must know before any number."""

from dataclasses import dataclass

from parity.check.records import CheckReport
from parity.report.style import SeriesStyle, series_styles, short
from parity.spec import BlockOrder, Initialization
from parity.sweep.grid import SweepConfig
from parity.sweep.records import SweepReport


@dataclass(frozen=True)
class Heading:
    """The words on every figure of a report.

    Args:
        setting: the data set and what was run on it.
        command: what made it.
        notices: what a reader must know before any number.
    """

    setting: str
    command: str
    notices: tuple[str, ...] = ()


def notices(report: SweepReport) -> tuple[str, ...]:
    """What a reader must know before any number: made-up data, a sweep that was cut short."""
    found = data_notices(report.dataset)
    if not report.complete:
        found.append("INCOMPLETE: the sweep was interrupted; what had finished by then is shown")
    return tuple(found)


def data_notices(dataset: str) -> list[str]:
    """What a reader must know of a data set."""
    made_up = "SYNTHETIC DATA: made up by a program, not comparable with results on a real data set"
    return [made_up] if dataset.lower().startswith("synthetic") else []


def sweep_heading(report: SweepReport) -> Heading:
    """The words on every figure of a sweep."""
    config = report.config
    seeds = f"{config.num_seeds} seeds" if config.num_seeds > 1 else "1 seed"
    passes = f"{config.num_passes} passes" if config.num_passes > 1 else "1 pass"
    setting = (
        f"data set: {report.dataset}, {config.fraction:.0%} of its training set; "
        f"width {config.hidden_width}, batches of {config.batch_size}, plain SGD, {passes}, {seeds}"
    )
    return Heading(", ".join([setting, *remedies(config)]), report.command, notices(report))


def sweep_styles(report: SweepReport) -> dict[tuple[str, bool], SeriesStyle]:
    """A look for every framework and setting of batch norm of a sweep."""
    return series_styles(report.config.frameworks, report.config.batch_norm, report.title)


def remedies(config: SweepConfig) -> list[str]:
    """How the networks differ from the lab's, in words."""
    found = []
    if config.block_order == BlockOrder.NORM_FIRST:
        found.append("batch norm before ReLU")
    if config.initialization != Initialization.UNIFORM_FAN_IN:
        found.append(f"{config.initialization.replace('_', ' ')} initialization")
    if config.residual:
        found.append("residual blocks")
    if config.dropout_rate:
        found.append(f"dropout {config.dropout_rate:g}")
    return found


def check_heading(report: CheckReport) -> Heading:
    """The words on every figure of a check. Synthetic data is no warning here: nothing is learned from it."""
    config = report.config
    setting = (
        f"candidate {short(report.title(report.candidate))}, reference {short(report.title(report.reference))}; "
        f"verdict: {report.verdict}; data set: {config.dataset}; width {config.spec.hidden_width}, "
        f"batches of {config.batch_size}, plain SGD, learning rate {config.learning_rate:g}"
    )
    return Heading(setting, report.command)
