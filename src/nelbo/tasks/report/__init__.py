"""The page of a result: of a run, with all that its model can show, of a file alone, of several."""

from nelbo.tasks.report.comparison import comparison
from nelbo.tasks.report.report import IMAGES, RESULT, report

__all__ = ["IMAGES", "RESULT", "comparison", "report"]
