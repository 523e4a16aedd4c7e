"""Figures, tables and the self-contained HTML page of a sweep, of a check, and of a benchmark.

Importing this package imports Matplotlib; `import parity` does not.
"""

from parity.report.bench_page import write_bench_report
from parity.report.check_page import write_check_report
from parity.report.estimate_page import write_estimate_report
from parity.report.page import write_report
from parity.report.pair_bench_page import write_pair_bench_report
from parity.report.tables import print_thresholds

__all__ = [
    "print_thresholds",
    "write_bench_report",
    "write_check_report",
    "write_estimate_report",
    "write_pair_bench_report",
    "write_report",
]
