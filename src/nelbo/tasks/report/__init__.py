"""A result as a page, a table or a figure: of a run, of a file alone, of several."""

from nelbo.tasks.report.comparison import comparison
from nelbo.tasks.report.paper import paper_figure, paper_table
from nelbo.tasks.report.report import IMAGES, RESULT, report

__all__ = ["IMAGES", "RESULT", "comparison", "paper_figure", "paper_table", "report"]
