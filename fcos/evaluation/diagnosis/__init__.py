"""Where a detector fails, on one page."""

from fcos.evaluation.diagnosis.diagnosing import run_diagnosis, summary_of_diagnosis

__all__ = ["run_diagnosis", "summary_of_diagnosis"]
