"""What a sweep would do: its grid, what of it is done, and about how long the rest takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from rich.console import Console
from rich.table import Table

from parity.data import updates_per_pass
from parity.sweep.ahead import compilers_at_once
from parity.sweep.executors import Execution
from parity.sweep.grid import SweepConfig
from parity.sweep.lanes import lanes_at_work
from parity.sweep.plan import Plan, plan
from parity.sweep.prepare import STORE, Prepared, prepare
from parity.sweep.speed import measure_speeds
from parity.sweep.store import Store


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
    is_pooled = execution is None or execution.executor == "in-process"
    known = {name: speed for name, speed in speeds.items() if speed is not None}
    seconds = {
        name: cost * known[name] if name in known else _by_a_moment(prepared, name, left, is_pooled)
        for name, cost in costs.items()
        if cost
    }
    return Forecast(config, left, seconds, frozenset(known))


def _by_a_moment(prepared: Prepared, framework: str, left: Plan, is_pooled: bool) -> float:
    """Seconds of what is left for a framework, by what a moment's training takes here.

    Lanes beyond those that are at work at a time wait for these. Compiling goes on beside the training, and each slows
    down the other.
    """
    config, data, backend = prepared.config, prepared.data, prepared.backends[framework]
    speeds = measure_speeds(backend, config, framework, data)
    updates = config.num_passes * updates_per_pass(len(data.train_labels), config.batch_size)
    samples, total = len(data.train_labels) + len(data.test_labels), 0.0
    for family in (family for family in config.families() if family[0].framework == framework):
        own = [planned.lanes for planned in left.groups if planned.group in family and planned.lanes]
        speed = speeds[family[0].batch_norm].at(family[0].depth)
        together = [[sum(lanes) for lanes in zip_longest(*own, fillvalue=0)]] if is_pooled else own
        for lanes in (lanes for blocks in together for lanes in blocks):
            waves = -(-lanes // lanes_at_work(backend, config, len(family)))
            total += speed.block + waves * (updates * speed.update + samples * speed.sample)
        total += speed.compiling / (1 + compilers_at_once()) if own else 0.0
    return total


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
