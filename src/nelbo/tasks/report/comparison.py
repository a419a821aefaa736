"""The page of several results beside each other."""

from collections.abc import Callable, Sequence
from pathlib import Path

from nelbo.report.page import comparison_page
from nelbo.results import rank
from nelbo.tasks.report.report import measured

__all__ = ["comparison"]


def comparison(
    sources: Sequence[str | Path], say: Callable[[str], None] = lambda text: None
) -> str:
    """The HTML page of run folders and result files, paired by image where they can be.

    say: called with what should be known of a table, such as that it is of another result.

    Raises:
        BadInput: fewer than two, one that is no result, or results that do not compare.
    """
    return comparison_page(rank([measured(source, say) for source in sources]))
