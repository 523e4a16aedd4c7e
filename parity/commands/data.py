"""The command `bnparity data`."""

from dataclasses import dataclass

from parity.commands.options import DataDir, DatasetName
from parity.commands.terminal import show
from parity.data import describe, load_dataset


@dataclass(frozen=True, kw_only=True)
class Data:
    """Find and verify the data set, and say where it lies."""

    dataset: DatasetName = "fashion-mnist"
    """The data set."""
    data_dir: DataDir = ""
    """Folder that holds the data set's files."""

    def run(self, command: str) -> int:
        """Print what was found."""
        words = describe(load_dataset(self.dataset, self.data_dir or None))
        show(lambda console: console.out(words, highlight=False))
        return 0
