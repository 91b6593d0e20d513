"""The report of a run: one offline HTML file, drawn from a `RunSummary`.

`summary` says what a report shows, `page` in which order, `element` why nothing from data can
become markup. The charts are svg, made in `curves`, `evaluation`, `fit` and `flow`.
"""

from backpass.report.page import render_report
from backpass.report.summary import (
    ConfusionCounts,
    ModelRow,
    NormalizationRow,
    RegressionFit,
    RocCurve,
    RunSummary,
)
from backpass.report.write import write_report

__all__ = [
    "ConfusionCounts",
    "ModelRow",
    "NormalizationRow",
    "RegressionFit",
    "RocCurve",
    "RunSummary",
    "render_report",
    "write_report",
]
