"""Load what a sweep needs, and refuse one that could not finish, before anything is started or written."""

import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from parity.backend import Backend, load_backend
from parity.data import Dataset, StandardizedData, load_dataset, standardize, updates_per_pass
from parity.errors import InputError
from parity.sweep.executors import Execution, workers_here
from parity.sweep.grid import SweepConfig, extended
from parity.sweep.identity import Identity, common_versions
from parity.sweep.memory import check_memory
from parity.sweep.output import check_parquet
from parity.sweep.store import stored_words

STORE = "sweep.sqlite"
OUTPUTS = (
    "trials.csv",
    "thresholds.csv",
    "trials.parquet",
    "thresholds.parquet",
    "config.toml",
    "report.html",
    "figures",
)


@dataclass(frozen=True)
class Prepared:
    """A sweep that can begin.

    Args:
        config: what to run.
        folder: where it is kept; None for nowhere.
        stored: the words of the sweep in a store there; empty if there is none.
        backends: by name.
        dataset: the data set's name.
        data: that is trained on.
        digest: of the data that is trained on: the set's, and the share of it.
        environment: versions and machine.
        identity: what decides the numbers.
    """

    config: SweepConfig
    folder: Path | None
    stored: Mapping[str, str]
    backends: Mapping[str, Backend]
    dataset: str
    data: StandardizedData
    digest: str
    environment: dict[str, str]
    identity: Identity


def prepare(
    config: SweepConfig,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    *,
    execution: Execution | None = None,
    extend: bool = False,
    parquet: bool = False,
) -> Prepared:
    """Load what a sweep needs, and refuse one that could not finish. Nothing is started or written.

    Args:
        config, out, data_dir, execution, extend, parquet: as those of `sweep`.

    Raises:
        InputError: there is no such framework, device or data, no update could be made, memory does not suffice, or the
            folder holds something else or cannot be written.
    """
    if parquet:
        check_parquet()
    folder = None if out is None else Path(out)
    stored = {} if folder is None else stored_words(folder / STORE)
    if extend:
        config = extended(config, stored)
    device = {"device": config.device} if config.device else {}
    backends = {name: load_backend(name, **device) for name in config.frameworks}
    dataset = load_dataset(config.dataset, data_dir)
    data = standardize(dataset, config.fraction)
    updates_per_pass(len(data.train_labels), config.batch_size)  # refuses a batch size that leaves no update
    for name, backend in backends.items():
        check_memory(name, backend, config, len(data.train_labels), workers_here(execution or Execution(), backend))
    versions = {name: backend.versions() | _accelerator(name, backend, config) for name, backend in backends.items()}
    ours = _environment(dataset)
    identity = Identity(config.to_words(), ours, versions)
    if folder is not None:
        if stored:
            identity.check_same(stored, folder / STORE, extend)
        _check_folder(folder)
    environment = {package: version for own in versions.values() for package, version in own.items()} | ours
    digest = f"{dataset.digest}-{config.fraction}"
    return Prepared(config, folder, stored, backends, dataset.name, data, digest, environment, identity)


def _accelerator(name: str, backend: Backend, config: SweepConfig) -> dict[str, str]:
    """Return what else decides the numbers if rounding depends on how many members are trained together."""
    if not (kind := backend.accelerator):
        return {}
    members = config.lanes_of(config.num_seeds) * config.population_size
    return {f"{name} accelerator": kind, f"{name} members together": str(members)}


def _environment(dataset: Dataset) -> dict[str, str]:
    return common_versions() | {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "data digest": dataset.digest,
    }


def _check_folder(folder: Path) -> None:
    """Refuse a folder that another program wrote, or that looks unwritable."""
    taken = [name for name in OUTPUTS if _holds_something(folder / name)]
    if taken and not (folder / STORE).is_file():
        raise InputError(
            f"--out {str(folder)!r} holds {', '.join(taken)} but no {STORE}, so no sweep made them; "
            "choose another folder"
        )
    problem = ""
    with suppress(OSError, ValueError):  # making the folder fails again, and reports it
        problem = _problem(folder)
    if problem:
        raise InputError(f"cannot write to --out {str(folder)!r}: {problem}; choose a writable folder")


def _problem(folder: Path) -> str:
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists() or place.is_symlink())
    if not there.is_dir():
        return f"{str(there)!r} is no folder"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{str(there)!r} is not writable"
    figures = folder / "figures"
    if figures.exists() and not figures.is_dir():
        return "figures is no folder there"
    taken = [name for name in OUTPUTS if (folder / name).is_dir() and name != figures.name]
    return f"{taken[0]} is a folder there" if taken else ""


def _holds_something(path: Path) -> bool:
    """Return whether a file or a non-empty folder is there; an interrupted start leaves an empty folder."""
    try:
        return any(path.iterdir()) if path.is_dir() else path.exists()
    except (OSError, ValueError):  # making the folder fails again, and reports it
        return False
