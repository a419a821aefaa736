"""Results as self-contained HTML pages."""

from nelbo.report.page.assembly import Reported, page
from nelbo.report.page.comparison import comparison_page
from nelbo.report.page.kinds import page_of
from nelbo.report.page.pictures import Picture, Pictures

__all__ = ["Picture", "Pictures", "Reported", "comparison_page", "page", "page_of"]
