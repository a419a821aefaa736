"""The page of a result: of a run, with all that its model can show, or of a file alone."""

from nelbo.tasks.report.report import IMAGES, RESULT, report

__all__ = ["IMAGES", "RESULT", "report"]
