"""What all tests of pairs share."""

from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
import torch
from jax.experimental.compilation_cache import compilation_cache


@pytest.fixture(autouse=True)
def the_same_weights() -> None:
    """PyTorch draws the weights of a model from a stream that other tests have moved on."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def compiled_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module", autouse=True)
def compiled_once(compiled_programs: Path) -> Iterator[None]:
    """Most tests compile a model that another has compiled; a process of its own that a test starts knows none."""
    settings = {
        "jax_compilation_cache_dir": str(compiled_programs),
        "jax_persistent_cache_min_compile_time_secs": 0.1,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    _set(settings)
    yield
    _set(before)


def _set(settings: dict[str, object]) -> None:
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # whether there is one is asked once
