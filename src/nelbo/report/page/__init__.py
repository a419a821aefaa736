"""Results as self-contained HTML pages."""

from nelbo.report.page.assembly import Reported, page
from nelbo.report.page.comparison import comparison_page
from nelbo.report.page.difference import difference_page
from nelbo.report.page.pictures import Picture, Pictures

__all__ = ["Picture", "Pictures", "Reported", "comparison_page", "difference_page", "page"]
