"""The counts of `make fuzz`: each process of the run writes its own."""

import json
import os
from pathlib import Path

from hostile_cases import COUNTS, FOLDER


def pytest_sessionfinish() -> None:
    if FOLDER:
        Path(FOLDER, f"{os.getpid()}.json").write_text(json.dumps(COUNTS))
