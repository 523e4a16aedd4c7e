"""How far a sweep is, on standard error: a bar on a terminal, plain lines elsewhere."""

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from parity.sweep.classify import BRACKET_RATIO
from parity.sweep.grid import Group, SweepConfig
from parity.sweep.run import LANES_OF_A_BISECTION

ALMOST = 0.99  # the whole is said once, when all is done
PLAIN_INTERVAL = 10.0  # seconds between two lines
USUAL = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}  # what Python does about a signal


class Progress(Protocol):
    """Told what is about to run and how much of the whole is done."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    def update(self, share: float, description: str) -> None:
        """`share` of the estimated work is done (0 to 1), and `description` comes next."""
        ...

    def say(self, text: str) -> None:
        """Something to be known once."""
        ...


class Meter:
    """Estimates how much of a sweep is done: an update costs about as much as its network has layers.

    Args:
        config: the sweep.
        progress: is told.
        to_train: the groups that are not done yet.
        note: what more is to be known of a block, by its groups.
    """

    def __init__(
        self,
        config: SweepConfig,
        progress: Progress,
        to_train: Iterable[Group],
        note: Callable[[Sequence[Group]], str] = lambda groups: "",
    ) -> None:
        self._progress, self._note, self._finished = progress, note, 0
        self._total = sum(_layers(group) for group in to_train)
        self._most_blocks = most_blocks(config)
        self._under_way: dict[Sequence[Group], tuple[int, float]] = {}  # blocks begun, share of the last
        self._trouble = ""

    def start(self, groups: Sequence[Group], wanted: Iterable[Group]) -> Callable[[float], None]:
        """A block of some of these groups is about to be trained; gives what is to be told the share that is done."""
        begun, wanted = self._under_way.get(groups, (0, 0.0))[0] + 1, tuple(wanted)
        note = self._note(wanted)

        def tick(share: float) -> None:
            self._under_way[groups] = begun, share
            more = len(self._under_way) - 1
            beside = f" and {more} more" if more else ""
            self._tell(f"{describe(wanted)}{beside}{note and f', {note}'}")

        tick(0.0)
        return tick

    def finish(self, groups: Sequence[Group]) -> None:
        """Groups have ended."""
        self._under_way.pop(groups, None)
        self._finished += sum(map(_layers, groups))
        if self._finished == self._total:
            self._progress.update(1.0, "done")

    def tell_trouble(self, trouble: str) -> None:
        """Why nothing goes on, "" where it does; it is said once."""
        if trouble and trouble != self._trouble:
            self._progress.say(trouble)
        self._trouble = trouble

    def _tell(self, description: str) -> None:
        done = float(self._finished)
        for groups, (begun, share) in self._under_way.items():
            done += min((begun - 1 + share) / self._most_blocks, 1.0) * sum(map(_layers, groups))
        self._progress.update(min(done / self._total, ALMOST), description)


def _layers(group: Group) -> int:
    return group.depth + 2  # the wide first layer and the evaluation count as one more each


def block_cost(config: SweepConfig, wanted: Mapping[Group, Sequence[float]]) -> float:
    """How much work a block is, in a unit of its own: layers times lanes times shares of the training set."""
    lanes = {group: -(-len(rates) // config.population_size) for group, rates in wanted.items()}
    return config.num_passes * config.fraction * sum(_layers(group) * count for group, count in lanes.items())


def describe(groups: Sequence[Group]) -> str:
    """Groups that differ in their seeds, in words."""
    text = str(groups[0])
    return text if len(groups) == 1 else f"{text.rpartition(' ')[0].removesuffix('seed')}{len(groups)} seeds"


def most_blocks(config: SweepConfig) -> int:
    """How often a group can need to be trained: for its grid, and for a whole bisection."""
    rates = config.learning_rates.values()
    halvings, log_ratio = 0, math.log(rates[1]) - math.log(rates[0])  # the ratio itself may overflow
    while log_ratio >= math.log(BRACKET_RATIO):
        halvings, log_ratio = halvings + 1, log_ratio / 2
    halvings_at_once = (LANES_OF_A_BISECTION * config.population_size + 1).bit_length() - 1
    return 1 + -(-halvings // halvings_at_once)


@contextmanager
def attentive(progress: Progress) -> Iterator[Progress]:
    """A progress that passes on to another, and raises a Ctrl-C that was swallowed. SIGTERM is taken for one.

    Python cannot raise out of a callback that a framework registered (with the garbage collector, say), and only
    prints what was raised there. So Ctrl-C is noted here, and raised again before the next block. What is raised has
    the signal's number as its argument.
    """
    watching = _Attentive(progress)
    main_thread = threading.current_thread() is threading.main_thread()  # no other may handle signals
    # What is not Python's own is ignored on purpose (nohup), or somebody else's to handle.
    ours = {number: own for number, own in USUAL.items() if main_thread and signal.getsignal(number) == own}
    for number in ours:
        signal.signal(number, watching.note)
    try:
        yield watching
    finally:
        for number, own in ours.items():
            signal.signal(number, own)


class _Attentive:
    def __init__(self, progress: Progress) -> None:
        self._progress, self._signal = progress, 0

    def note(self, signum: int, frame: FrameType | None) -> None:
        del frame
        if self._signal:  # the second ends at once, whatever is being done; files are replaced whole, so none is half
            os._exit(128 + signum)
        self._signal = signum
        raise KeyboardInterrupt(signum)

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.__exit__(*exception)

    def update(self, share: float, description: str) -> None:
        if self._signal:
            raise KeyboardInterrupt(self._signal)
        self._progress.update(share, description)

    def say(self, text: str) -> None:
        self._progress.say(text)


class SilentProgress:
    """Says nothing: the library's default."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def update(self, share: float, description: str) -> None:
        """Say nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""


class BarProgress:
    """A bar with the time elapsed and the time left, on a terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("elapsed,"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
        )
        self._task = self._progress.add_task("starting", total=1.0)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def update(self, share: float, description: str) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=share, description=description)

    def say(self, text: str) -> None:
        """Print it above the bar."""
        self._progress.console.print(text, highlight=False, markup=False)


class PlainProgress:
    """A line every few seconds, for logs."""

    def __init__(self, console: Console) -> None:
        self._console, self._start, self._last = console, time.monotonic(), -PLAIN_INTERVAL

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def update(self, share: float, description: str) -> None:
        """Print a line, unless the last is recent."""
        elapsed = time.monotonic() - self._start
        if elapsed - self._last < PLAIN_INTERVAL and share < 1:
            return
        self._last = elapsed
        left = f", about {elapsed * (1 - share) / share:.0f} s left" if share > 0 else ""
        line = f"{share:4.0%} {description} ({elapsed:.0f} s elapsed{left})"
        self._console.print(line, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print it."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def console_progress(console: Console) -> Progress:
    """The form that suits where the console writes."""
    return BarProgress(console) if console.is_terminal else PlainProgress(console)
