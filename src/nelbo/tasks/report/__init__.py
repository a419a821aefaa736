"""A result as a page, a table or a figure: of a run, of a file alone, of several."""

from nelbo.tasks.report.comparison import comparison
from nelbo.tasks.report.drawing import Drawing
from nelbo.tasks.report.model_page import model_of, model_page, page
from nelbo.tasks.report.paper import paper_figure, paper_table
from nelbo.tasks.report.report import IMAGES, RESULT, measured, report

__all__ = [
    "IMAGES",
    "RESULT",
    "Drawing",
    "comparison",
    "measured",
    "model_of",
    "model_page",
    "page",
    "paper_figure",
    "paper_table",
    "report",
]
