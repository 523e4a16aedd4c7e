"""What a sweep is: its grid, which can grow, and all else that decides its numbers, which cannot."""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from parity.errors import InputError
from parity.sweep.grid import Group

GRID = ("framework", "depths", "batch_norm", "learning_rates", "seeds")


def common_versions() -> dict[str, str]:
    """What decides the numbers here beside the framework itself."""
    return {"bnparity": version("bnparity"), "python": platform.python_version(), "numpy": version("numpy")}


@dataclass(frozen=True)
class Identity:
    """What decides the numbers of a sweep; the order in which things were asked for does not.

    Args:
        fields: of the configuration, in the words of the command line.
        environment: versions of all frameworks together, the machine, the digest of the data.
        versions: by framework, of what it alone brings along.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def words(self) -> dict[str, str]:
        """Everything by name, each as JSON."""
        fields = {n: sorted(v) if isinstance(v, list) else v for n, v in self.fields.items()}
        versions = {package: version for own in self.versions.values() for package, version in own.items()}
        return {name: json.dumps(value) for name, value in (fields | versions | dict(self.environment)).items()}

    def trial_spec(self, group: Group, learning_rate: float) -> dict[str, Any]:
        """All that decides the numbers of one trial."""
        fixed = {name: value for name, value in self.fields.items() if name not in GRID}
        own = {"framework": group.framework, "depth": group.depth, "batch_norm": group.batch_norm, "seed": group.seed,
               "learning_rate": learning_rate}  # fmt: skip
        return fixed | own | dict(self.environment) | dict(self.versions.get(group.framework, {}))

    def trial_key(self, group: Group, learning_rate: float) -> str:
        """SHA-256 of `trial_spec`, written as JSON with sorted names."""
        text = json.dumps(self.trial_spec(group, learning_rate), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def check_same(self, found: Mapping[str, str], where: object, extend: bool) -> None:
        """Refuse another sweep.

        Args:
            found: `words()` of the one that was stored.
            where: it was stored.
            extend: whether a larger grid is still the same sweep.

        Raises:
            InputError: lists every difference.
        """
        wanted = self.words()
        changed = [name for name in sorted(found.keys() | wanted.keys()) if found.get(name) != wanted.get(name)]
        added = [name for name in changed if name in GRID or name not in found]
        if not changed or (extend and len(added) == len(changed)):
            return
        differences = "; ".join(f"{name} is {found.get(name)} there, {wanted.get(name)} here" for name in changed)
        only_grid = {name for name in changed if name in found} <= set(GRID)
        remedy = "; --extend adds to its grid" if only_grid and not extend else ""
        raise InputError(
            f"{where} holds another sweep: {differences}; choose another --out or remove that file{remedy}"
        )
