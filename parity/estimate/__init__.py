"""What the compiler of a chip says of the programs that would run on it. Nothing is run, and nothing is measured."""

from parity.estimate.config import EstimateConfig
from parity.estimate.records import EstimateReport, EstimateRow
from parity.estimate.run import estimate

__all__ = ["EstimateConfig", "EstimateReport", "EstimateRow", "estimate"]
