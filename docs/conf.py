"""The documentation: `make docs` builds it, and every warning is an error."""

import os
import re
import subprocess
import sys
from importlib.metadata import version as installed
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent.parent))

project = "bnparity"
author = "the developers of bnparity"
version = release = installed("bnparity")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]
html_show_copyright = False
html_theme = "furo"
html_title = f"bnparity {version}"
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
copybutton_prompt_text = "$ "
default_role = "code"  # docstrings name code between single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_use_rtype = False
COMMANDS = ("sweep", "check", "compare", "bench", "lab", "data")


def write_command_reference(app: Sphinx) -> None:
    """Write the page of every command and option, in the words of `--help`."""
    environment = os.environ | {"COLUMNS": "100", "PYTHONIOENCODING": "utf-8"}
    parts = []
    for command in ("", *COMMANDS):
        arguments = [sys.executable, "-m", "parity", *filter(None, [command]), "--help"]
        shown = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True, encoding="utf-8")
        lines = [line.rstrip() for line in re.sub("[│╭╮╰╯─]", " ", shown.stdout).splitlines()]
        text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
        parts.append(f"## {f'bnparity {command}'.strip()}\n\n```text\n{text}\n```\n")
    page = "# Commands\n\nEvery command and option, with its default, as `--help` prints them.\n\n" + "\n".join(parts)
    path = Path(app.srcdir) / "reference" / "commands.md"
    if not path.exists() or path.read_text(encoding="utf-8") != page:
        path.write_text(page, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("builder-inited", write_command_reference)
