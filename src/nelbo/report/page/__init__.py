"""Results as self-contained HTML pages."""

from nelbo.report.page.assembly import Reported, page
from nelbo.report.page.charted import charted
from nelbo.report.page.comparison import comparison_page
from nelbo.report.page.kinds import page_of
from nelbo.report.page.pictures import Picture, Pictures, Positions, Texts

__all__ = [
    "Picture",
    "Pictures",
    "Positions",
    "Reported",
    "Texts",
    "charted",
    "comparison_page",
    "page",
    "page_of",
]
