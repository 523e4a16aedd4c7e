"""The whole gallery: every part in every framework, each framework in a process of its own."""

import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from threading import Lock
from types import ModuleType
from typing import Any

from parity.errors import InputError, choices
from parity.lab import (
    batch_norm,
    batch_size,
    convolution,
    deep_networks,
    network,
    phase_diagram,
    standardization,
    step_size,
)
from parity.lab.blocks import Plot, Results, Section, Text
from parity.lab.config import LabConfig, lab_data, raw_data
from parity.machine import usable_cores
from parity.process import Side, SideError, words_of
from parity.progress import Progress, SilentProgress
from parity.sides import SideSpec, open_side

Part = tuple[ModuleType, float]
PARTS: tuple[Part, ...] = (
    (batch_norm, 2),
    (convolution, 3),
    (network, 5),
    (standardization, 3),
    (step_size, 25),
    (batch_size, 30),
    (deep_networks, 90),
    (phase_diagram, 90),
)
"""The parts in order, each with about how many seconds it takes."""
TIME_LIMIT = 3600.0  # seconds that a part may take in a framework
SETTINGS = (
    ("GOMP_SPINCOUNT", "10000"),  # threads that wait by spinning take the cores from the other framework
    ("JAX_PLATFORMS", "cpu"),  # a GPU waits for networks this small
    ("CUDA_VISIBLE_DEVICES", ""),
)


@dataclass(frozen=True, kw_only=True)
class LabReport:
    """The gallery.

    Args:
        config: how large its experiments were.
        sections: in order.
        failures: what a part raised in a framework, in words.
        dataset: its name.
        environment: versions and machine.
        command: what made it.
        seconds: that it took.
        titles: the frameworks' names as their makers write them, by name.
    """

    config: LabConfig
    sections: tuple[Section, ...]
    failures: tuple[str, ...]
    dataset: str
    environment: dict[str, str]
    command: str
    seconds: float
    titles: Mapping[str, str] = field(default_factory=dict)

    def title(self, framework: str) -> str:
        """The framework's name as its makers write it."""
        return self.titles.get(framework, framework)


def run_lab(config: LabConfig, *, progress: Progress | None = None, command: str | None = None) -> LabReport:
    """Run every part of the gallery in every framework, and say what was found.

    A part that fails in one framework is shown with the others'; one that fails in all is a line that says so.

    Args:
        config: how large the experiments are.
        progress: shows how far it is.
        command: what made it, for the report; None for this call.

    Raises:
        InputError: bad input, or a framework that cannot start.

    Example::

        from parity.lab import LabConfig, run_lab, write_lab

        write_lab(run_lab(LabConfig(frameworks=("jax", "torch"))), "runs/lab")
    """
    start = time.perf_counter()
    parts = _chosen(config.parts)
    command = command or f"parity.lab.run_lab({config})"
    dataset = raw_data(config.dataset, config.data_dir)  # refused here if it cannot be had
    samples = len(lab_data(config.dataset, config.data_dir, config.fraction).train_labels)
    if max(config.batch_sizes) > samples:
        raise InputError(
            f"batch_sizes must be at most {samples}, the samples that are used, got {max(config.batch_sizes)}; use a larger fraction"
        )
    environment = {"bnparity": version("bnparity"), "python": platform.python_version()}
    # The pool ends last: its threads wait for the sides, which end first, at Ctrl-C too.
    with (
        ThreadPoolExecutor(len(config.frameworks)) as pool,
        _open(config) as sides,
        progress or SilentProgress() as telling,
    ):
        try:
            for side in sides.values():
                environment |= side.call(_versions)
            titles = _distinct({name: side.call(_shown_name) for name, side in sides.items()})
        except SideError as error:
            raise InputError(f"a framework cannot be run: it {error}") from None
        counter = _Counter(telling, len(sides) * sum(seconds for _, seconds in parts))
        futures = {name: pool.submit(_measure, side, parts, config, counter) for name, side in sides.items()}
        found = {name: future.result() for name, future in futures.items()}
    sections, failures = _sections([part for part, _ in parts], found, titles, config, command)
    return LabReport(
        config=config,
        sections=sections,
        failures=failures,
        dataset=dataset.name,
        environment=environment | {"machine": f"{platform.system()} {platform.machine()}, {usable_cores()} cores"},
        command=command,
        seconds=time.perf_counter() - start,
        titles=titles,
    )


def part_names() -> tuple[str, ...]:
    """The names of all parts, in order."""
    return tuple(_name(part) for part, _ in PARTS)


def _chosen(names: Sequence[str]) -> list[Part]:
    """The parts of these names, in their own order; all, if none is named."""
    if unknown := [name for name in names if name not in part_names()]:
        raise InputError(f"the gallery has no part {unknown[0]!r}; {choices(unknown[0], part_names())}")
    return [part for part, name in zip(PARTS, part_names(), strict=True) if name in names or not names]


def _sections(
    parts: Sequence[ModuleType],
    found: Mapping[str, dict[str, Any]],
    titles: Mapping[str, str],
    config: LabConfig,
    command: str,
) -> tuple[tuple[Section, ...], tuple[str, ...]]:
    """The sections, and what failed, in words."""
    results: dict[ModuleType, dict[str, Any]] = {part: {} for part in parts}
    sections, failures = [], []
    for part in parts:
        for name, measured in found.items():
            if isinstance(result := measured[part.__name__], SideError):
                failures.append(f"{_name(part)}, {name}: it {result}")
            else:
                results[part][titles[name]] = result
    for part in parts:
        try:
            section = _section(part, results, config, command)
            for block in section.blocks:
                if isinstance(block, Plot):
                    block.draw()
            sections.append(section)
        except Exception as error:  # a figure that cannot be drawn is no reason to lose the others
            failures.append(f"{_name(part)}: it cannot be shown, {words_of(error)}")
            sections.append(_section(part, {}, config, command))
    return tuple(sections), tuple(failures)


def _section(part: Any, results: Mapping[ModuleType, Results], config: LabConfig, command: str) -> Section:
    if not results.get(part):
        return Section(_name(part), part.TITLE, part.INTRODUCTION, (Text("This part failed."),))
    if part is step_size:
        words = phase_diagram.divergent_words(results.get(phase_diagram, {}), config)
        return step_size.section(results[part], config, command, words)
    return part.section(results[part], config, command)


def _name(part: ModuleType) -> str:
    return part.__name__.rpartition(".")[2]


@contextmanager
def _open(config: LabConfig) -> Iterator[dict[str, Side]]:
    threads = max(1, usable_cores() // len(config.frameworks))  # they run side by side
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(
                open_side(
                    SideSpec(target=name, threads=threads, time_limit=TIME_LIMIT, settings=SETTINGS, whole_machine=True)
                )
            )
            for name in config.frameworks
        }


class _Counter:
    """Tells how far all frameworks are together."""

    def __init__(self, progress: Any, total: float) -> None:
        self._progress, self._total, self._done, self._lock = progress, total, 0.0, Lock()

    def tell(self, seconds: float, words: str) -> None:
        with self._lock:
            self._done += seconds
            self._progress.update(self._done / self._total, words)


def _measure(side: Side, parts: Sequence[Part], config: LabConfig, counter: _Counter) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part, seconds in parts:
        counter.tell(0.0, f"{side.name}: {part.TITLE}")
        try:
            found[part.__name__] = side.call(part.measure, config)
        except SideError as error:
            found[part.__name__] = error
        counter.tell(seconds, f"{side.name}: {part.TITLE}")
    return found


def _versions(backend: Any) -> dict[str, str]:
    return backend.versions()


def _shown_name(backend: Any) -> str:
    return backend.shown_name


def _distinct(titles: Mapping[str, str]) -> dict[str, str]:
    """The titles by name, with the name in place of a title that two share."""
    return {name: title if [*titles.values()].count(title) == 1 else name for name, title in titles.items()}
