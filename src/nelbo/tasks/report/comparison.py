"""The page of several results beside each other."""

from collections.abc import Sequence
from pathlib import Path

from nelbo.report import comparison_page, rank
from nelbo.tasks.report.report import measured

__all__ = ["comparison"]


def comparison(sources: Sequence[str | Path]) -> str:
    """The HTML page of run folders and result files, paired by image where they can be.

    Raises:
        BadInput: fewer than two, one that is no result, or results that do not compare.
    """
    return comparison_page(rank([measured(source) for source in sources]))
