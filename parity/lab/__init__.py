"""The lab as a gallery: experiments on batch norm in every framework side by side, with what explains them.

Each part is a module: `measure(backend, config)` runs it in one framework, `section(results, config, command)` says and
draws what was found.
"""

from parity.lab.blocks import Code, Plot, Section, Table, Text
from parity.lab.config import LabConfig
from parity.lab.page import render_section, write_lab
from parity.lab.run import PARTS, LabReport, run_lab

__all__ = [
    "PARTS",
    "Code",
    "LabConfig",
    "LabReport",
    "Plot",
    "Section",
    "Table",
    "Text",
    "render_section",
    "run_lab",
    "write_lab",
]
