"""A model's mark beside its name: the line and the shape that its curves have."""

from nelbo.report.page.charts import COLOURS
from nelbo.report.ranking_plots import MARKS

__all__ = ["mark"]

SHAPES = {
    "o": '<circle cx="17" cy="6" r="3.5"/>',
    "s": '<path d="M13.8 2.8h6.4v6.4h-6.4z"/>',
    "^": '<path d="M17 2l4 7.2h-8z"/>',
    "D": '<path d="M17 1.5l4.5 4.5-4.5 4.5-4.5-4.5z"/>',
    "v": '<path d="M17 10l4-7.2h-8z"/>',
    "P": '<path d="M15.5 2h3v2.5H21v3h-2.5V10h-3V7.5H13v-3h2.5z"/>',
}


def mark(number: int) -> str:
    """The mark of the ranking's `number`th model, as SVG that is not read out."""
    shape = MARKS[number % len(MARKS)]
    dash = " ".join(map(str, shape.dash[1]))
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    colour = COLOURS[shape.colour]
    return (
        f'<svg class="mark" viewBox="0 0 34 12" aria-hidden="true" style="color:{colour}">'
        f'<path d="M0 6h34" stroke="currentColor" stroke-width="2"{dashes}/>'
        f'<g fill="currentColor">{SHAPES[shape.shape]}</g></svg>'
    )
