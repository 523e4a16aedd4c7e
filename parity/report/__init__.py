"""Figures, tables and the self-contained HTML page of a sweep, of a check, and of a benchmark.

Importing this package imports Matplotlib; `import parity` does not.
"""

from parity.report.bench_page import write_bench_report
from parity.report.check_page import write_check_report
from parity.report.figures import (
    SWEEP_FIGURES,
    SweepFigure,
    divergent_learning_rate,
    loss_and_accuracy,
    training_curves,
)
from parity.report.page import write_report
from parity.report.tables import ThresholdCell, ThresholdRow, print_thresholds, threshold_table

__all__ = [
    "SWEEP_FIGURES",
    "SweepFigure",
    "ThresholdCell",
    "ThresholdRow",
    "divergent_learning_rate",
    "loss_and_accuracy",
    "print_thresholds",
    "threshold_table",
    "training_curves",
    "write_bench_report",
    "write_check_report",
    "write_report",
]
