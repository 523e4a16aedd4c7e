"""What a sweep would do: its grid, what of it is done, and about how long the rest takes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from parity.sweep.blocks import Block, train_block
from parity.sweep.executors import Execution
from parity.sweep.grid import SweepConfig
from parity.sweep.meter import block_cost
from parity.sweep.plan import Plan, plan
from parity.sweep.prepare import STORE, Prepared, prepare
from parity.sweep.store import Store

PROBE_SAMPLES = 2048  # of which a moment's training is a pass


@dataclass(frozen=True)
class Forecast:
    """What is left of a sweep.

    Args:
        config: the sweep.
        plan: what is done, and what is not.
        seconds: by framework, that the rest takes at the speed so far, or of a moment in this process; nothing for one
            that is done.
        measured: the frameworks whose speed the store tells; that of others is of a moment's training.
    """

    config: SweepConfig
    plan: Plan
    seconds: Mapping[str, float]
    measured: frozenset[str]


def forecast_sweep(
    config: SweepConfig,
    *,
    out: str | Path,
    data_dir: str | Path | None = None,
    execution: Execution | None = None,
    extend: bool = False,
    parquet: bool = False,
) -> Forecast:
    """Look at what a sweep would do. Nothing is written, and nothing trained but for a moment where no speed is known.

    Args:
        config, out, data_dir, execution, extend, parquet: as those of `sweep`.

    Raises:
        InputError: what `sweep` would refuse before it begins; that its executor cannot be had, or another sweep is
            at work there, it alone tells.
    """
    prepared = prepare(config, out, data_dir, execution=execution, extend=extend, parquet=parquet)
    config, there = prepared.config, prepared.folder / STORE if prepared.folder and prepared.stored else None
    with Store(there, prepared.identity, extend=extend, read_only=there is not None) as store:
        left = plan(config, store)
        speeds = {name: store.seconds_for(name) for name in config.frameworks}
    costs = {name: left.cost(name) for name in config.frameworks}
    known = {name: speed for name, speed in speeds.items() if speed is not None}
    seconds = {
        name: cost * (known[name] if name in known else _moment(prepared, name)) for name, cost in costs.items() if cost
    }
    return Forecast(config, left, seconds, frozenset(known))


def _moment(prepared: Prepared, framework: str) -> float:
    """Seconds for a unit of work: of the shallowest network with a few samples, twice, since the first is compiled."""
    config, data = prepared.config, prepared.data
    count = min(PROBE_SAMPLES, len(data.train_labels))
    share = config.fraction * count / len(data.train_labels)
    data = replace(data, train_inputs=data.train_inputs[:count], train_labels=data.train_labels[:count])
    config = replace(config, num_passes=1, fraction=share, num_seeds=1)
    group = min((g for g in config.groups() if g.framework == framework), key=lambda g: g.depth)
    wanted = {group: config.learning_rates.values()[: config.population_size]}
    block = Block(config, wanted, "", {})
    times = [train_block(prepared.backends[framework], block, data).seconds for _ in range(2)]
    return times[-1] / block_cost(config, wanted)


def print_forecast(forecast: Forecast, console: Console) -> None:
    """Show it: a row for each framework, depth and norm."""
    config = forecast.config
    console.out(
        f"{len(config.groups())} groups of {config.learning_rates.count} learning rates, {config.learning_rates}, "
        f"{config.num_passes} passes over {config.fraction:.0%} of {config.dataset}",
        highlight=False,
    )
    table = Table("framework", "depth", "batch norm", "seeds", "finished", "done", "to run")
    for name in config.frameworks:
        for depth in config.depths:
            for on in config.batch_norm:
                own = [
                    planned
                    for planned in forecast.plan.groups
                    if (planned.group.framework, planned.group.depth, planned.group.batch_norm) == (name, depth, on)
                ]
                counts = (len(own), sum(p.finished for p in own), sum(p.done for p in own), sum(p.to_run for p in own))
                table.add_row(name, str(depth), "on" if on else "off", *map(str, counts))
    console.print(table)
    words = [
        f"{name} about {_in_words(seconds)}" + ("" if name in forecast.measured else " (by a moment's training)")
        for name, seconds in forecast.seconds.items()
    ]
    rest = f"; the rest takes {', '.join(words)}" if words else ""
    console.out(
        f"{forecast.plan.done} trials done, {forecast.plan.to_run} to run{forecast.plan.more}{rest}", highlight=False
    )


def _in_words(seconds: float) -> str:
    """A time for people.

    >>> _in_words(4.4), _in_words(200.0), _in_words(7300.0)
    ('4 s', '3 min', '2.0 h')
    """
    if seconds < 100:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
