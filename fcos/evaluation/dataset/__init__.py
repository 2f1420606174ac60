"""A data set on one page before training: what is in it, and what the config makes of it."""

from fcos.evaluation.dataset.reporting import report_on_data, summary_of_report

__all__ = ["report_on_data", "summary_of_report"]
