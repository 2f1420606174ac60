"""The report of a course: FCOS explained, measured row by row, beside Mask R-CNN."""

from fcos.evaluation.report.plan import PROFILES, Planned, plan_runs
from fcos.evaluation.report.reporting import summary_of_course, write_report
from fcos.evaluation.report.submission import Submission, pack

__all__ = [
    "PROFILES",
    "Planned",
    "Submission",
    "pack",
    "plan_runs",
    "summary_of_course",
    "write_report",
]
